"""The rungs of a fence ladder: one file each. Adding one is adding a file."""

from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import BeforeValidator, Discriminator, Tag, ValidationError

from drorch.core.fence import Rung
from drorch.core.kinds import worded, worded_in

RUNGS = worded_in(__name__, list(__path__), Rung)  # type: ignore[type-abstract]  # the base of the kinds
"""Every rung by its word."""


def _enough(word: str, kind: type[Rung]) -> bool:
    """Whether the word alone says enough."""
    try:
        kind.model_validate({word: {}})
    except ValidationError:
        return False
    return True


ALONE = tuple(word for word, kind in RUNGS.items() if _enough(word, kind))
"""Words that may stand alone, such as ``attest``."""


def _bare(value: object) -> object:
    """A word alone stands for the rung with nothing said about it."""
    return {value: {}} if isinstance(value, str) and value in RUNGS else value


if TYPE_CHECKING:
    AnyRung = Rung
else:
    _EACH = tuple(Annotated[kind, Tag(word)] for word, kind in RUNGS.items())
    _SAID = Annotated[Union[_EACH], Discriminator(worded(RUNGS))]  # noqa: UP007 - made at run time
    AnyRung = Annotated[_SAID, BeforeValidator(_bare, json_schema_input_type=_SAID | Literal[ALONE])]
