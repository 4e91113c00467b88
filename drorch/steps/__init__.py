"""Step kinds: one file each. Adding a kind is adding a file."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from drorch.core.kinds import kinds_in
from drorch.core.step import Step

KINDS = kinds_in(__name__, list(__path__), Step)  # type: ignore[type-abstract]  # the base of the kinds
"""Every kind by its name."""

if TYPE_CHECKING:
    AnyStep = Step
else:
    AnyStep = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007 - made at run time
