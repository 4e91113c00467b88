"""Store kinds: one file each."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from drorch.core.kinds import kinds_in
from drorch.core.store import StoreSpec

KINDS = kinds_in(__name__, list(__path__), StoreSpec)  # type: ignore[type-abstract]  # the base of the kinds
"""Every kind by its name."""

if TYPE_CHECKING:
    AnyStore = StoreSpec
else:
    AnyStore = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007 - made at run time
"""Told apart by ``kind``."""
