"""Names that a declared value mentions: found by the `Ref` marks of its fields, whatever the kind."""

from collections.abc import Iterator, Mapping
from typing import Annotated, get_args, get_origin

from pydantic import BaseModel

from drorch.core.model import Ref


def references(value: BaseModel, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Ref, str]]:
    """Every marked name below a model: where it stands, what it must name, the name."""
    for name, field in type(value).model_fields.items():
        content = getattr(value, name)
        place = (*path, field.alias or name)
        marks = [mark for mark in field.metadata if isinstance(mark, Ref)]
        yield from _walk(content, field.annotation, marks, place)


def _walk(
    content: object, annotation: object, marks: list[Ref], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Ref, str]]:
    if isinstance(content, BaseModel):
        yield from references(content, path)
    elif isinstance(content, str):
        for mark in marks or _marks_in(annotation):
            yield path, mark, content
    elif isinstance(content, Mapping):
        for key, item in content.items():
            yield from _walk(item, _last_argument(annotation), [], (*path, key))
    elif isinstance(content, list | tuple):
        for index, item in enumerate(content):
            yield from _walk(item, annotation, marks, (*path, index))


def _last_argument(annotation: object) -> object:
    arguments = get_args(annotation)
    return arguments[-1] if arguments else annotation


def _marks_in(annotation: object) -> list[Ref]:
    """The marks on any string within an annotation such as ``Annotated[str, Ref] | None``."""
    if get_origin(annotation) is Annotated:
        found = [mark for mark in get_args(annotation)[1:] if isinstance(mark, Ref)]
        return found or _marks_in(get_args(annotation)[0])
    found = []
    for argument in get_args(annotation):
        found.extend(mark for mark in _marks_in(argument) if mark not in found)
    return found
