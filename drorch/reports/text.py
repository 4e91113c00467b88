"""Text for terminals and pipes: lengths of time, sizes, lines with styles, wrapping, columns.

A line is a sequence of `Span`s. At a terminal it is wrapped to its width with a hanging indent and coloured; elsewhere
it stays whole and plain, so that ``grep`` works. A style only underlines what the words say already.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import groupby
from math import ceil
from typing import IO, Literal
from zoneinfo import ZoneInfo

from drorch.core.host import printable
from drorch.core.model import Frozen, Json

Style = Literal["", "good", "bad", "warn", "dim", "bold"]

_SGR: Mapping[Style, str] = {"good": "32", "bad": "31;1", "warn": "33", "dim": "2", "bold": "1"}
_NARROWEST = 40


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line. Its text is made printable here, whoever wrote it; newlines become spaces."""

    text: str
    style: Style = ""

    def __post_init__(self) -> None:
        """Nothing unprintable gets further than this."""
        object.__setattr__(self, "text", printable(self.text).replace("\n", " ").replace("\t", " "))


@dataclass(frozen=True, slots=True)
class Line:
    """A line, and how far its continuation is indented when it is wrapped."""

    spans: tuple[Span, ...]
    hanging: int = 0

    @property
    def plain(self) -> str:
        """Its text alone."""
        return "".join(span.text for span in self.spans).rstrip()


def line(*pieces: str | Span, hanging: int = 0) -> Line:
    """A line of pieces; a bare text is a span without style."""
    return Line(tuple(piece if isinstance(piece, Span) else Span(piece) for piece in pieces), hanging)


def columns(rows: Sequence[Sequence[str | Span]], *, indent: int = 2, gap: int = 2) -> list[Line]:
    """Rows as lines with aligned columns; the last column is wrapped below itself."""
    cells = [[cell if isinstance(cell, Span) else Span(cell) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    widths = [max((width(row[at].text) for row in cells if at < len(row)), default=0) for at in range(count)]
    lines = []
    for row in cells:
        spans = [Span(" " * indent)]
        for at, cell in enumerate(row):
            last = at == len(row) - 1
            spans.append(cell)
            if not last:
                spans.append(Span(" " * (widths[at] - width(cell.text) + gap)))
        hanging = indent + sum(widths[: count - 1]) + gap * (count - 1)
        lines.append(Line(tuple(spans), hanging))
    return lines


def width(text: str) -> int:
    """Cells that a text takes at a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


# -- writing -----------------------------------------------------------------------------------------------------------


def render(lines: Sequence[Line], *, columns_wide: int | None, colour: bool) -> str:
    """The lines as text; ``columns_wide`` None leaves them whole."""
    return "".join(f"{row}\n" for each in lines for row in _rows(each, columns_wide, colour=colour))


def write(lines: Sequence[Line], stream: IO[str] | None = None) -> None:
    """Write the lines as fits where they go."""
    stream = stream or sys.stdout
    terminal = stream.isatty() and os.environ.get("TERM", "") != "dumb"
    wide = max(_NARROWEST, shutil.get_terminal_size((80, 24)).columns) if stream.isatty() else None
    stream.write(render(lines, columns_wide=wide, colour=terminal and not os.environ.get("NO_COLOR")))


def _rows(each: Line, columns_wide: int | None, *, colour: bool) -> Iterator[str]:
    if columns_wide is None:
        yield _painted([(span.text, span.style) for span in each.spans], colour=colour)
        return
    hanging = min(each.hanging, columns_wide // 2)
    row: list[tuple[str, Style]] = []
    used, fresh = 0, False
    for text, style in _pieces(each, columns_wide - hanging):
        blank = not text.strip()
        if used + width(text) > columns_wide:
            if any(word.strip() for word, _ in row):
                yield _painted(row, colour=colour)
            row, used, fresh = [(" " * hanging, "")], hanging, True
        if not (fresh and blank):
            row.append((text, style))
            used, fresh = used + width(text), False
    yield _painted(row, colour=colour)


def _pieces(each: Line, room: int) -> Iterator[tuple[str, Style]]:
    """Words and the blanks between them; what is too long for a row is cut."""
    for span in each.spans:
        for _, chars in groupby(span.text, key=" ".__eq__):
            word = ""
            for char in chars:
                if width(word + char) > room:
                    yield word, span.style
                    word = ""
                word += char
            yield word, span.style


def _painted(row: Sequence[tuple[str, Style]], *, colour: bool) -> str:
    while row and not row[-1][0].strip():
        row = row[:-1]
    if not colour:
        return "".join(text for text, _ in row).rstrip()
    return "".join(f"\x1b[{_SGR[style]}m{text}\x1b[0m" if style else text for text, style in row)


# -- words for measurements --------------------------------------------------------------------------------------------

_DAY, _HOUR, _MINUTE = 86400, 3600, 60
_LONG = 10 * _DAY
_UNIT = 1000


def length(value: timedelta) -> str:
    """A length of time in its two largest units, cut: ``45 s``, ``12 min``, ``3 h 12 min``, ``4 d 5 h``, ``120 d``."""
    return _length(int(value.total_seconds()))


def at_most(value: timedelta) -> str:
    """A length of time, rounded up: what is said is never too little."""
    seconds = ceil(value.total_seconds())
    step = 1 if seconds < _MINUTE else _MINUTE if seconds < _DAY else _HOUR if seconds < _LONG else _DAY
    return _length(ceil(seconds / step) * step)


def _length(seconds: int) -> str:
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds < _MINUTE:
        return f"{sign}{seconds} s"
    if seconds < _HOUR:
        return f"{sign}{seconds // _MINUTE} min"
    if seconds < _DAY:
        minutes = seconds % _HOUR // _MINUTE
        return f"{sign}{seconds // _HOUR} h" + (f" {minutes} min" if minutes else "")
    hours = seconds % _DAY // _HOUR
    return f"{sign}{seconds // _DAY} d" + (f" {hours} h" if hours and seconds < _LONG else "")


def precise(seconds: float) -> str:
    """A measured length of time: ``0.4 s``, ``12.3 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return _length(whole)


def size(count: float) -> str:
    """Bytes, powers of 1000: ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < (_UNIT if unit == "B" else _UNIT - 0.05):
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= _UNIT
    return f"{count:.1f} TB"


def moment(value: datetime | None, zone: ZoneInfo, *, seconds: bool = False) -> str:
    """A point in time as people there read it; ``-`` for none."""
    return (
        "-" if value is None else value.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    )


def to_json(value: object) -> Json:
    """A report as JSON: times in ISO 8601 UTC, lengths of time in seconds under ``NAME_seconds``."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f"{entry.name}_seconds" if "timedelta" in str(entry.type) else entry.name: to_json(
                getattr(value, entry.name)
            )
            for entry in fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    return _scalar(value)


def _scalar(value: object) -> Json:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.model_dump(mode="json") if isinstance(value, Frozen) else value
