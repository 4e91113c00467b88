"""The ways to lead customers to another host: one file each. Adding one is adding a file."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Discriminator, Tag

from drorch.core.kinds import worded, worded_in
from drorch.core.switch import Way

WAYS = worded_in(__name__, list(__path__), Way)  # type: ignore[type-abstract]  # the base of the kinds
"""Every way by its word."""

if TYPE_CHECKING:
    AnyWay = Way
else:
    _EACH = tuple(Annotated[kind, Tag(word)] for word, kind in WAYS.items())
    AnyWay = Annotated[Union[_EACH], Discriminator(worded(WAYS))]  # noqa: UP007 - made at run time
