"""The rungs of a fence ladder: one file each. Adding one is adding a file."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import BeforeValidator, Discriminator, Tag

from drorch.core.fence import Rung
from drorch.core.kinds import worded, worded_in

RUNGS = worded_in(__name__, list(__path__), Rung)  # type: ignore[type-abstract]  # the base of the kinds
"""Every rung by its word."""


def _bare(value: object) -> object:
    """A word alone, such as ``attest``, stands for the rung with nothing said about it."""
    return {value: {}} if isinstance(value, str) and value in RUNGS else value


if TYPE_CHECKING:
    AnyRung = Rung
else:
    _EACH = tuple(Annotated[kind, Tag(word)] for word, kind in RUNGS.items())
    AnyRung = Annotated[
        Annotated[Union[_EACH], Discriminator(worded(RUNGS))],  # noqa: UP007 - made at run time
        BeforeValidator(_bare),
    ]
