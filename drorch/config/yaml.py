"""YAML text → plain data, and the line of every key and value. The only place that knows the YAML library.

A small, safe YAML 1.2: mappings with text keys, lists, text, numbers, booleans, null; ``on``, ``no``, dates and times
are text. Everything else (aliases, anchors, merge keys, tags, several documents, huge or deep ones) is refused with
its line. The events of the parser are followed one by one, so that a bomb is seen before it is built.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from drorch.config.syntax import syntax_problem
from drorch.core.errors import Problem
from drorch.core.host import printable
from drorch.core.model import Json

if TYPE_CHECKING:
    from ruamel.yaml.events import Event

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 20
"""Mappings and lists inside each other."""
MAX_NODES: Final = 50_000
"""Keys and values of a document."""
MAX_PROBLEMS: Final = 100
"""After so many the rest of the document is not read: somebody fed it something else."""

Path = tuple[str | int, ...]
"""Keys and list positions from the top of a document."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: 1-based lines."""

    key: int
    """Of its key, or of itself for an item of a list."""
    value: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document as plain data."""

    file: str
    """As shown to the user."""
    data: Json
    """None when nothing could be read."""
    places: Mapping[Path, Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Path] = frozenset()
    """Values that a problem already speaks of; they read None."""

    def line(self, path: Path, *, value: bool = False) -> int:
        """The line of a key, or of its value; of the nearest thing around it when it does not exist."""
        for end in range(len(path), -1, -1):
            place = self.places.get(path[:end])
            if place is not None:
                return place.value if value and end == len(path) else place.key
        return 1

    def problem(self, path: Path, message: str, hint: str = "", *, value: bool = False) -> Problem:
        """A problem with what stands at a path."""
        return Problem(self.file, self.line(path, value=value), dotted(path), message, hint)


def dotted(path: Path) -> str:
    """The path as people write it, such as ``steps.2.host``, list positions counted from 0; safe to print."""
    return printable(".".join(str(piece) for piece in path)).replace("\n", "\\n")[:200]


def read(content: bytes, file: str) -> Document:
    """The one document in a file's content. Never raises: what is wrong stands in ``problems``."""
    whole = _whole(content, file)
    if isinstance(whole, Problem):
        return Document(file, None, problems=(whole,))
    builder = _Builder(file)
    try:
        for event in events(whole):
            builder.take(event)
    except _Stop:
        pass
    except Exception as error:  # noqa: BLE001 - the scanner asserts, indexes and converts while it reads hostile text
        builder.problems.append(syntax_problem(error, file, whole))
        builder.data = None
    if not builder.documents and not builder.problems:
        builder.problems.append(Problem(file, 0, "", "is empty", "drorch init writes a commented starting point"))
    return Document(file, builder.data, builder.places, tuple(builder.problems), frozenset(builder.broken))


def _whole(content: bytes, file: str) -> str | Problem:
    if len(content) > MAX_BYTES:
        return Problem(file, 0, "", f"is larger than {MAX_BYTES >> 10} KiB", "a document of this size is no document")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem(file, line, "", f"byte 0x{content[error.start]:02x} is no UTF-8", "save the file as UTF-8")


def events(text: str) -> "Iterator[Event]":
    """What the parser meets, in order; raises whatever the library raises for hostile text."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - help and completion need no YAML

    return iter(YAML(typ="safe", pure=True).parse(text))


class _Stop(Exception):
    """Nothing after this can be trusted."""


_NULL: Final = re.compile(r"(?:~|null|Null|NULL|)")
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]{1,40}")
_OCTAL: Final = re.compile(r"0o[0-7]{1,40}")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]{1,40}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
_FIRST: Final = frozenset("~nNtTfF.+-0123456789")
"""First characters of plain words that may be something else than text."""


def _resolved(word: str) -> Json:
    """A plain word by YAML 1.2's core schema; infinities and not-a-number stay text, since no setting is one."""
    if not word:
        return None
    if word[0] not in _FIRST:
        return word
    if word in _BOOL:
        return _BOOL[word]
    if _NULL.fullmatch(word):
        return None
    for pattern, base in ((_INT, 10), (_OCTAL, 0), (_HEX, 0)):
        if pattern.fullmatch(word):
            return int(word, base)
    return float(word) if _FLOAT.fullmatch(word) else word


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read."""

    path: Path
    content: dict[str, Json] | list[Json]
    key: str | None = None
    """Of a mapping: the key whose value comes next."""
    key_line: int = 0
    mute: bool = False
    """What is inside belongs to something that was refused already."""


class _Builder:
    """Builds data from events."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.data: Json = None
        self.places: dict[Path, Place] = {}
        self.problems: list[Problem] = []
        self.broken: set[Path] = set()
        self.documents = 0
        self._open: list[_Open] = []
        self._nodes = 0
        self._takers = {
            "DocumentStartEvent": self._document,
            "AliasEvent": self._alias,
            "ScalarEvent": self._scalar,
            "MappingStartEvent": self._begin,
            "SequenceStartEvent": self._begin,
            "MappingEndEvent": self._end,
            "SequenceEndEvent": self._end,
        }

    def take(self, event: "Event") -> None:
        """The next event."""
        taker = self._takers.get(type(event).__name__)
        if taker is not None:
            taker(event)

    def _refuse(self, line: int, path: Path, message: str, hint: str) -> None:
        self.problems.append(Problem(self.file, line, dotted(path), message, hint))
        if len(self.problems) >= MAX_PROBLEMS:
            self.data = None
            raise _Stop

    def _document(self, event: Any) -> None:  # noqa: ANN401 - the library's events share no type with their fields
        self.documents += 1
        if self.documents > 1:
            self._refuse(_line(event), (), "a second document begins here", "one document a file: remove `---`")
            raise _Stop

    def _count(self, event: Any) -> None:  # noqa: ANN401 - as above
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(_line(event), (), f"more than {MAX_NODES} keys and values", "split it up, or is it a mistake?")
            self.data = None
            raise _Stop
        mark = event.anchor
        if mark is not None and not isinstance(event, _alias_type()):
            self._refuse(
                _line(event), self._here(), "anchors (&name) are not read", "write the value out where it is needed"
            )

    def _here(self) -> Path:
        """The path of the node that comes next."""
        if not self._open:
            return ()
        top = self._open[-1]
        if isinstance(top.content, list):
            return (*top.path, len(top.content))
        return (*top.path, top.key) if top.key is not None else top.path

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].content, dict) and self._open[-1].key is None

    def _alias(self, event: Any) -> None:  # noqa: ANN401 - as above
        self._count(event)
        if self._wants_key():
            self._bad_key(event, "an alias (*name) is no key")
            return
        self._refuse(_line(event), self._here(), "aliases (*name) are not read", "write the value out here")
        self.broken.add(self._here())
        self._put(event, None)

    def _scalar(self, event: Any) -> None:  # noqa: ANN401 - as above
        self._count(event)
        plain = event.style is None or event.style == ""
        value = _resolved(event.value) if plain else event.value
        tagged = self._tagged(event)
        if self._wants_key():
            self._key(event, value)
            return
        if isinstance(value, str) and not value.isascii() and not _encodable(value):
            self._refuse(_line(event), self._here(), "holds a character that is no text", "write the character itself")
            tagged = True
        if tagged:
            self.broken.add(self._here())
        self._put(event, None if tagged else value)

    def _tagged(self, event: Any) -> bool:  # noqa: ANN401 - as above
        if event.tag is None:
            return False
        tag = printable(str(event.tag))[:60]
        self._refuse(_line(event), self._here(), f"tags ({tag}) are not read", "remove it; quotes make text")
        return True

    def _key(self, event: Any, value: Json) -> None:  # noqa: ANN401 - as above
        top = self._open[-1]
        line = _line(event)
        plain = event.style is None or event.style == ""
        if plain and value == "<<":
            self._refuse(line, top.path, "merge keys (<<) are not read", "write the keys out here")
            self._skip(top, line)
        elif not isinstance(value, str):
            self._refuse(line, top.path, "a key must be text", "put it in quotes")
            self._skip(top, line)
        elif not _encodable(value):
            self._refuse(line, top.path, "a key holds a character that is no text", "write it in plain letters")
            self._skip(top, line)
        else:
            path = (*top.path, value)
            if path in self.places and not top.mute:
                first = self.places[path].key
                self._refuse(line, path, f"is said twice, first in line {first}", "keep one of them")
                self._skip(top, line)
            else:
                top.key, top.key_line = value, line

    def _skip(self, top: _Open, line: int) -> None:
        """The value of a refused key is read, since it must be passed, and forgotten."""
        top.key, top.key_line = _FORGET, line

    def _bad_key(self, event: Any, message: str) -> None:  # noqa: ANN401 - as above
        self._refuse(_line(event), self._open[-1].path, message, "write a name")
        self._skip(self._open[-1], _line(event))

    def _begin(self, event: Any) -> None:  # noqa: ANN401 - as above
        self._count(event)
        mapping = type(event).__name__ == "MappingStartEvent"
        if self._wants_key():
            self._refuse(
                _line(event), self._open[-1].path, "a key must be text", "is a value in {{ … }} without quotes?"
            )
            raise _Stop
        if len(self._open) >= MAX_DEPTH:
            self._refuse(_line(event), (), f"nested deeper than {MAX_DEPTH}", "flatten it, or is a bracket too many?")
            self.data = None
            raise _Stop
        path = self._here()
        content: dict[str, Json] | list[Json] = {} if mapping else []
        tagged = self._tagged(event)
        if tagged:
            self.broken.add(path)
        parent = self._open[-1] if self._open else None
        mute = (parent is not None and (parent.mute or parent.key == _FORGET)) or tagged
        self._put(event, None if tagged else content)
        self._open.append(_Open(path, content, mute=mute))

    def _end(self, event: Any) -> None:  # noqa: ANN401 - as above
        self._open.pop()

    def _put(self, event: Any, value: Json) -> None:  # noqa: ANN401 - as above
        path, line = self._here(), _line(event)
        if not self._open:
            self.data = value
            self.places[path] = Place(line, line)
            return
        top = self._open[-1]
        if isinstance(top.content, list):
            top.content.append(value)
            key_line = line
        else:
            key, key_line, top.key = top.key, top.key_line, None
            if key is None or key == _FORGET:
                return
            top.content[key] = value
        if not top.mute:
            self.places[path] = Place(key_line, line)


_FORGET: Final = "\0"
"""Stands for a refused key. A real key never equals it: the reader refuses NUL, and an escaped one is refused here."""


def _alias_type() -> type:
    from ruamel.yaml.events import AliasEvent  # noqa: PLC0415 - imported already when events come

    return AliasEvent


def _encodable(text: str) -> bool:
    if text == _FORGET:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _line(event: Any) -> int:  # noqa: ANN401 - as above
    return int(event.start_mark.line) + 1
