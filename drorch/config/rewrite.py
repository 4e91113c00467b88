"""Sets single values in a YAML document's text and leaves every other byte as it was. Pure.

The parser tells where each value stands. A text is only given out when, read again, it says exactly what was wanted; a
document whose form does not let itself be edited is written anew.
"""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from drorch.config.yaml import Path, events, read
from drorch.core.errors import DrorchError
from drorch.core.model import Json

_PLAIN: Final = re.compile(r"(\.\.)?/[A-Za-z0-9/._-]*")
"""Values that need no quotes anywhere in YAML."""


def rewritten(content: bytes, file: str, changes: Mapping[Path, Json], note: str) -> bytes:
    """The document with the values at these paths replaced, and a comment on top.

    Raises:
        DrorchError: the document cannot be read, or no text says what is wanted.
    """
    before = read(content, file)
    if before.problems or not isinstance(before.data, dict):
        raise DrorchError(f"{file} cannot be read", hint="drorch check says why")
    wanted = deepcopy(before.data)
    for path, value in changes.items():
        _set(wanted, path, value)
    text = content.decode("utf-8-sig")
    head = "".join(f"# {line}\n" for line in note.splitlines())
    anew = "# It was written in a way that drorch does not edit, so its comments are in the original only.\n"
    for candidate in (_edited(text, changes), anew + json.dumps(wanted, indent=2, ensure_ascii=False) + "\n"):
        if candidate is None:
            continue
        new = (head + candidate).encode()
        after = read(new, file)
        if not after.problems and after.data == wanted:
            return new
    raise DrorchError(f"{file} is written in a way that drorch cannot edit", hint="write it in a plainer form")


def _set(data: Any, path: Path, value: Json) -> None:  # noqa: ANN401 - any YAML value
    for piece in path[:-1]:
        data = data.setdefault(piece, {}) if isinstance(data, dict) else data[piece]
    data[path[-1]] = value


def _edited(text: str, changes: Mapping[Path, Json]) -> str | None:
    """The text with the spans of these values replaced; None where one of them has none."""
    spans = _spans(text)
    if not all(path in spans for path in changes):
        return None
    for path in sorted(changes, key=lambda path: spans[path], reverse=True):
        start, end = spans[path]
        text = f"{text[:start]}{_word(changes[path])}{text[end:]}"
    return text


def _word(value: Json) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_word(item)}" for key, item in value.items()) + "}"
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


@dataclass(slots=True)
class _Open:
    """A mapping or list that the parser is in."""

    path: Path
    start: int
    end: int
    """Where what is inside ends, as far as it was read."""
    items: int | None
    """How many items a list has had; None for a mapping."""
    key: str | None = None


def _spans(text: str) -> dict[Path, tuple[int, int]]:
    """Where each value stands in the text, by its path; blanks after it do not belong to it."""
    tracker = _Tracker(text)
    for event in events(text):
        tracker.take(type(event).__name__, event.start_mark.index, event.end_mark.index, getattr(event, "value", None))
    return tracker.found


class _Tracker:
    """Follows the parser."""

    def __init__(self, text: str) -> None:
        self.found: dict[Path, tuple[int, int]] = {}
        self._text = text
        self._open: list[_Open] = []

    def take(self, kind: str, start: int, end: int, value: object) -> None:
        """The next event."""
        if kind == "ScalarEvent" and self._open and self._open[-1].items is None and self._open[-1].key is None:
            self._open[-1].key = str(value)
        elif kind == "ScalarEvent":
            self._put(self._here(), start, end)
        elif kind in {"MappingStartEvent", "SequenceStartEvent"}:
            self._open.append(_Open(self._here(), start, start, None if kind == "MappingStartEvent" else 0))
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            closed = self._open.pop()
            # What stands in brackets ends with its own; a block ends with the last thing in it.
            self._put(closed.path, closed.start, end if self._text[start:end] in {"}", "]"} else closed.end)

    def _here(self) -> Path:
        """The path of the value that comes next."""
        if not self._open:
            return ()
        top = self._open[-1]
        if top.items is None:
            return (*top.path, top.key or "")
        top.items += 1
        return (*top.path, top.items - 1)

    def _put(self, path: Path, start: int, end: int) -> None:
        end = start + len(self._text[start:end].rstrip())
        self.found[path] = (start, end)
        if self._open:
            self._open[-1].end = max(self._open[-1].end, end)
            self._open[-1].key = None
