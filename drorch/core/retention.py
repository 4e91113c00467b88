"""Which snapshots to keep: pure. Snapshots, policy and now go in; what to keep and remove, with reasons, comes out."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from drorch.core.model import Duration, Frozen

Count = Annotated[int, Field(ge=0, le=10_000)]


class Keep(Frozen):
    """A retention policy: a snapshot is kept when any of its rules keeps it."""

    last: Count = 0
    hourly: Count = 0
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    within: Duration | None = None
    """Everything younger than this, counted from now."""


Reasons = Mapping[str, tuple[str, ...]]
"""Snapshot id → why it is kept, such as ``("last", "daily 3")``."""
