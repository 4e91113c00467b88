"""What is left of a document without its mistakes, so that one mistake does not hide the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from drorch.config.explain import explained
from drorch.config.shape import exists, spot
from drorch.config.yaml import Document, Path
from drorch.core.errors import Problem
from drorch.core.model import Json

M = TypeVar("M", bound=BaseModel)

_ROUNDS = 64
"""Each round leaves something out; a real document needs two or three."""


@dataclass(frozen=True, slots=True)
class Salvaged(Generic[M]):
    """What is right in a document, and what is wrong with it."""

    document: Document
    model: M | None
    """None when nothing could be saved."""
    problems: tuple[Problem, ...]
    kept: "_Kept"

    def original(self, path: Path) -> Path:
        """The document's own path of a path in the model, as far as the document goes."""
        old = self.kept.original(path)
        while old and not exists(self.document.data, old):
            old = old[:-1]
        return old

    def left_out(self, path: Path) -> bool:
        """Whether something at, in or around this path of the document had to be left out."""
        return any(path[: len(gone)] == gone or gone[: len(path)] == path for gone in self.kept.removed)

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        """A problem at a path of the model."""
        return self.document.problem(self.original(path), message, hint)


def salvage(document: Document, kind: type[M], fillers: Mapping[str, Json] | None = None) -> Salvaged[M]:
    """Validate; where that fails, report and validate what is right.

    ``fillers`` stand in for top keys without which nothing could be saved; what they stand in for is `left_out`.
    """
    removed: frozenset[Path] = frozenset()
    problems: tuple[Problem, ...] = ()
    kept = _Kept(document.data, removed, {})
    for turn in range(_ROUNDS):
        try:
            return Salvaged(document, kind.model_validate(kept.data), problems, kept)
        except ValidationError as error:
            if turn == 0:
                problems = tuple(problem for _, problem in explained(error, kind, document))
            wrong = {kept.original(spot(kind, where["loc"]).path) for where in error.errors(include_url=False)}
            removed |= document.broken | {_present(document.data, path) for path in wrong}
            kept = _Kept(document.data, removed - {()}, fillers or {})
            removed = removed if turn else removed - {()}  # the fillers may have given what was missing
            if () in removed:
                break
    return Salvaged(document, None, problems, kept)


def _present(data: Json, path: Path) -> Path:
    """The nearest thing that can be left out: what lacks a key goes as a whole."""
    while path and not exists(data, path):
        path = path[:-1]
    return path


class _Kept:
    """Data without some of its paths, and the way back from the new list positions to the old ones."""

    def __init__(self, data: Json, removed: frozenset[Path], fillers: Mapping[str, Json]) -> None:
        filled = frozenset((key,) for key in fillers if isinstance(data, Mapping) and key not in data)
        self.removed = removed | filled
        self._positions: dict[Path, list[int]] = {}
        self.data = self._copy(data, (), ()) if removed or filled else data
        if isinstance(self.data, dict):
            self.data = {**fillers, **self.data}

    def _copy(self, data: Json, old: Path, new: Path) -> Json:
        if isinstance(data, Mapping):
            return {
                key: self._copy(item, (*old, key), (*new, key))
                for key, item in data.items()
                if (*old, key) not in self.removed
            }
        if isinstance(data, list):
            kept = [index for index in range(len(data)) if (*old, index) not in self.removed]
            self._positions[new] = kept
            return [self._copy(data[index], (*old, index), (*new, place)) for place, index in enumerate(kept)]
        return data

    def original(self, path: Path) -> Path:
        """The old path of a new one."""
        old: Path = ()
        for end, piece in enumerate(path):
            kept = self._positions.get(path[:end])
            old = (*old, kept[piece] if kept is not None and isinstance(piece, int) and piece < len(kept) else piece)
        return old
