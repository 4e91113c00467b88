"""An error's place, followed through the models: from pydantic's location to the user's own keys.

Pydantic's locations mix the user's keys with the tags and names of union members. Which piece is which is known only
by walking the annotations beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Discriminator, Tag
from pydantic.fields import FieldInfo

from drorch.config.yaml import Path
from drorch.core.model import SecretRef


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an error is, in the user's words."""

    path: Path
    owner: type[BaseModel] | None = None
    """The model that has, or lacks, the last key."""
    members: tuple[Any, ...] = ()
    """At a union: what may stand there, when the error is about one of them."""
    secret: bool = False
    """Whether a secret's name belongs there: nothing below it may be shown."""
    key_itself: bool = False
    """Whether the key of a mapping is wrong, not what it leads to."""


@dataclass(frozen=True, slots=True)
class _Type:
    """An annotation with what stood around it."""

    bare: Any
    marks: tuple[Any, ...]

    @property
    def discriminated(self) -> bool:
        return any(
            isinstance(mark, Discriminator) or (isinstance(mark, FieldInfo) and mark.discriminator is not None)
            for mark in self.marks
        )


def spot(model: type[BaseModel], location: Sequence[str | int]) -> Spot:
    """Follow a location from a document's model."""
    here = Spot(())
    current: _Type | None = _Type(model, ())
    rest = list(location)
    while current is not None:
        if current.bare is SecretRef:
            return Spot(here.path, here.owner, secret=True)
        members = _members(current)
        if len(members) > 1 and not current.discriminated:
            bare = tuple(member.bare for member in members)
            return Spot(here.path, here.owner, bare, secret=SecretRef in bare)
        if members:
            current = members[0] if len(members) == 1 else (_tagged(members, rest.pop(0)) if rest else None)
        elif rest:
            here, current = _into(here, current, rest.pop(0))
            if rest == ["[key]"]:
                return Spot(here.path, key_itself=True)
        else:
            break
    return here


def _into(here: Spot, current: _Type, piece: str | int) -> tuple[Spot, _Type | None]:
    """One piece further; without a type where the models end."""
    if isinstance(current.bare, type) and issubclass(current.bare, BaseModel):
        found = _field(current.bare, piece)
        return Spot((*here.path, piece), current.bare), _of_field(found) if found else None
    origin = get_origin(current.bare)
    if origin is dict:
        return Spot((*here.path, piece)), _type(get_args(current.bare)[1])
    if origin in (list, tuple) and isinstance(piece, int):
        return Spot((*here.path, piece)), _type(get_args(current.bare)[0])
    return here, current  # pieces such as function-after[…] name what pydantic did, not what the user wrote


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys that a user may write in a model."""
    return tuple(info.alias or name for name, info in model.model_fields.items())


def _type(annotation: Any) -> _Type:  # noqa: ANN401 - annotations have no common type
    marks: tuple[Any, ...] = ()
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        marks += tuple(more)
    return _Type(annotation, marks)


def _of_field(info: FieldInfo) -> _Type:
    inner = _type(info.annotation)
    return _Type(inner.bare, (*inner.marks, *info.metadata, info))


def _members(current: _Type) -> tuple[_Type, ...]:
    """What a union allows, None aside; nothing for what is no union."""
    if get_origin(current.bare) not in (Union, UnionType):
        return ()
    members = tuple(_type(member) for member in get_args(current.bare) if member is not type(None))
    # Optional[Annotated[A | B, …]] keeps its marks on the inner union.
    return members if len(members) > 1 else tuple(_Type(m.bare, (*m.marks, *current.marks)) for m in members)


def _tagged(members: Sequence[_Type], tag: str | int) -> _Type | None:
    for member in members:
        if any(isinstance(mark, Tag) and mark.tag == tag for mark in member.marks):
            return member
        info = getattr(member.bare, "model_fields", {}).get("kind")
        if info is not None and get_origin(info.annotation) is Literal and tag in get_args(info.annotation):
            return member
    return None


def _field(model: type[BaseModel], key: str | int) -> FieldInfo | None:
    for name, info in model.model_fields.items():
        if key in (info.alias or name, info.validation_alias):
            return info
    return None


def at(data: Any, path: Path) -> Any:  # noqa: ANN401 - any YAML value
    """The value at a path; None for nothing there."""
    for piece in path:
        if isinstance(data, Mapping):
            data = data.get(piece)
        elif isinstance(data, list) and isinstance(piece, int) and piece < len(data):
            data = data[piece]
        else:
            return None
    return data


def exists(data: Any, path: Path) -> bool:  # noqa: ANN401 - any YAML value
    """Whether something, if only null, stands at a path."""
    if not path:
        return True
    around = at(data, path[:-1])
    last = path[-1]
    if isinstance(around, Mapping):
        return last in around
    return isinstance(around, list) and isinstance(last, int) and last < len(around)
