"""A runbook's models: what is done, in which order, when."""

from typing import Annotated

from pydantic import Discriminator, Field, StringConstraints, Tag

from drorch.core.model import Frozen, HostName, Name, NotifyName, ServiceName
from drorch.core.scene import RunKind
from drorch.core.schedule import Schedule
from drorch.steps import AnyStep


class Parallel(Frozen):
    """Steps side by side; the block is over when all of them are."""

    parallel: Annotated[tuple[AnyStep, ...], Field(min_length=1)]


def _block_or_step(value: object) -> str:
    if isinstance(value, dict):
        return "parallel" if "parallel" in value else "step"
    return "parallel" if isinstance(value, Parallel) else "step"


Action = Annotated[
    Annotated[Parallel, Tag("parallel")] | Annotated[AnyStep, Tag("step")],
    Discriminator(_block_or_step),
]


class OnRunFailure(Frozen):
    """Whom to tell when a run fails or pauses."""

    notify: NotifyName


class Runbook(Frozen):
    """One runbook document."""

    runbook: Name
    kind: RunKind
    service: ServiceName
    standby: HostName | None = None
    """Where a drill restores; the service's first standby unless said."""
    schedule: Schedule | None = None
    snapshot: Annotated[str, StringConstraints(pattern=r"^(latest|random|before:\S+|[0-9a-f]{8,64})$")] = "latest"
    """Which recovery point a drill takes: ``latest``, ``random``, ``before:2026-10-01T00:00:00Z`` or a snapshot id."""
    steps: Annotated[tuple[Action, ...], Field(min_length=1)]
    on_failure: OnRunFailure | None = None
