"""What restic answers: pure. JSON and plain lines come mixed on both pipes, whole or cut; nothing here trusts them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from drorch.core.errors import (
    RepositoryError,
)
from drorch.core.evidence import Progress
from drorch.core.host import printable
from drorch.core.repository import BackedUp, Snapshot
from drorch.repositories.restic.argv import Version


@dataclass(frozen=True, slots=True)
class Status:
    """How far a backup or restore is."""

    done_bytes: int
    total_bytes: int
    done_files: int
    total_files: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Item:
    """What happens, or would happen, to one path."""

    action: str
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The last word of a command, as restic wrote it."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong."""

    text: str
    fatal: bool
    """Whether it is restic's reason for its exit code."""


@dataclass(frozen=True, slots=True)
class Text:
    """A line that is no JSON message."""

    text: str


Sink = Callable[[bytes], None]
Line = Status | Item | Summary | Trouble | Text


def read_line(line: bytes) -> Line | None:
    """One line of either pipe; None for an empty one. Never raises."""
    line = line.strip()
    if not line:
        return None
    message = _object(line)
    reader = _READERS.get(str(message.get("message_type"))) if message is not None else None
    if message is None or reader is None:
        return Text(_words(line.decode("utf-8", "replace")))
    return reader(message)


def progress(status: Status, *, step: str = "", text: str = "") -> Progress:
    """The status as drorch shows it."""
    return Progress(
        step=step,
        text=text,
        done_bytes=status.done_bytes,
        total_bytes=status.total_bytes,
        done_files=status.done_files,
        total_files=status.total_files,
        seconds_left=status.seconds_left,
    )


def version(stdout: bytes) -> Version | None:
    """The answer of `restic version --json`; None for anything that is no released restic."""
    for line in stdout.splitlines():
        message = _object(line)
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", str((message or {}).get("version", "")))
        if found:
            return Version(*map(int, found.groups()))
    return None


def created(stdout: bytes) -> str:
    """The new repository's id."""
    for line in stdout.splitlines():
        message = _object(line)
        if message is not None and message.get("message_type") == "initialized":
            return _identifier(message)
    raise _strange("init", stdout)


@dataclass(frozen=True, slots=True)
class Config:
    """What a repository was made with."""

    id: str
    chunker: str
    """Where files are cut depends on it. As old as the repository, it cannot be changed; it is nobody's business."""


def config(stdout: bytes) -> Config:
    """The repository's ``config``."""
    message = _object(stdout)
    if message is None:
        raise _strange("cat config", stdout)
    return Config(_identifier(message), str(message.get("chunker_polynomial", "")))


@dataclass(frozen=True, slots=True)
class Copying:
    """A line of `restic copy`."""

    packs: tuple[int, int] | None = None
    """So many packs of so many of the present snapshot are copied."""
    begins: bool = False
    """Whether the next snapshot is begun, which takes `size` bytes."""
    size: int = 0


def copying(line: bytes) -> Copying | None:
    """One line of `restic copy`; None for any that tells nothing of how far it is."""
    text = line.decode("utf-8", "replace").strip()
    if found := _PACKS.search(text):
        return Copying(packs=(int(found[1]), int(found[2])))
    if found := _SETS_OUT.match(text):
        return Copying(begins=True, size=round(float(found[1]) * _SIZES[found[2]]))
    return None


_PACKS = re.compile(r"^\[[0-9:]+\].* (\d+) / (\d+) packs copied$")
_SETS_OUT = re.compile(r"^copy \d+ blobs with disk size ([0-9.]+) (B|KiB|MiB|GiB|TiB) in \d+ packfiles$")


def snapshots(stdout: bytes) -> tuple[Snapshot, ...]:
    """The answer of `restic snapshots --json`, oldest first.

    A snapshot that holds neither a file nor a directory is left out: it is what restic leaves when a stream's
    command gave nothing, and it can restore nothing.
    """
    return tuple(snapshot for snapshot, _ in snapshot_facts(stdout))


def snapshot_facts(stdout: bytes) -> tuple[tuple[Snapshot, BackedUp | None], ...]:
    """As `snapshots`, each with what its backup measured, where restic recorded it."""
    try:
        document = json.loads(stdout)
        entries = [_snapshot(entry) for entry in document or ()]
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
        raise _strange("snapshots", stdout) from error
    return tuple(
        sorted((entry for entry in entries if entry is not None), key=lambda entry: (entry[0].time, entry[0].id))
    )


def _snapshot(entry: Mapping[str, Any]) -> tuple[Snapshot, BackedUp | None] | None:
    summary = entry.get("summary")
    facts = None
    if summary is not None:
        facts = backed_up({**summary, "snapshot_id": entry["id"]})
        directories = sum(_int(summary, f"dirs_{word}") for word in ("new", "changed", "unmodified"))
        if facts.files == 0 and directories == 0:
            return None
    snapshot = Snapshot(
        id=entry["id"],
        time=datetime.fromisoformat(_microseconds(entry["time"])),
        host=entry.get("hostname", ""),
        paths=tuple(entry.get("paths") or ()),
        tags=tuple(entry.get("tags") or ()),
        tree=entry.get("tree", ""),
        original=entry.get("original") or "",
        bytes_processed=facts.bytes_processed if facts else None,
    )
    return snapshot, facts


def _microseconds(time: str) -> str:
    """RFC 3339 with at most the six digits that `datetime` reads."""
    return re.sub(r"(\.\d{6})\d+", r"\1", time)


def backed_up(fields: Mapping[str, Any], unreadable: Sequence[str] = ()) -> BackedUp:
    """What the summary of a backup says.

    Raises:
        RepositoryError: it names no snapshot.
    """
    identifier = fields.get("snapshot_id")
    if not isinstance(identifier, str) or not re.fullmatch(r"[0-9a-f]{64}", identifier):
        raise _strange("backup", repr(dict(fields)).encode())
    seconds = fields.get("total_duration")
    if not isinstance(seconds, int | float):
        start, end = (str(fields.get(key, "")) for key in ("backup_start", "backup_end"))
        seconds = _seconds_between(start, end)
    return BackedUp(
        snapshot=identifier,
        bytes_processed=_int(fields, "total_bytes_processed"),
        bytes_added=_int(fields, "data_added"),
        bytes_stored=_int(fields, "data_added_packed"),
        files=_int(fields, "total_files_processed"),
        seconds=max(0.0, float(seconds)),
        unreadable=tuple(unreadable),
    )


def _seconds_between(start: str, end: str) -> float:
    try:
        return (
            datetime.fromisoformat(_microseconds(end)) - datetime.fromisoformat(_microseconds(start))
        ).total_seconds()
    except ValueError:
        return 0.0


_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_FREED = re.compile(r"^total prune: +\d+ blobs / ([0-9.]+) (B|KiB|MiB|GiB|TiB)$", re.MULTILINE)


def freed(stdout: bytes) -> int | None:
    """About how many bytes `prune` freed; restic rounds them to three decimals of its unit."""
    found = _FREED.search(stdout.decode("utf-8", "replace"))
    return round(float(found[1]) * _SIZES[found[2]]) if found else None


def _object(line: bytes) -> Mapping[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _status(message: Mapping[str, Any]) -> Status:
    left = message.get("seconds_remaining")
    done = _int(message, "bytes_done") or _int(message, "bytes_restored") + _int(message, "bytes_skipped")
    files = _int(message, "files_done") or _int(message, "files_restored") + _int(message, "files_skipped")
    return Status(
        done_bytes=done,
        total_bytes=_int(message, "total_bytes"),
        done_files=files,
        total_files=_int(message, "total_files"),
        seconds_left=float(left) if isinstance(left, int | float) else _left(message),
    )


def _left(message: Mapping[str, Any]) -> float | None:
    """Time left from the share that is done, where restic does not say it."""
    share, elapsed = message.get("percent_done"), message.get("seconds_elapsed")
    if isinstance(share, int | float) and isinstance(elapsed, int | float) and 0 < share <= 1 and elapsed > 0:
        return float(elapsed * (1 - share) / share)
    return None


def _item(message: Mapping[str, Any]) -> Item:
    return Item(str(message.get("action", "")), str(message.get("item", "")), _int(message, "size"))


def _error_text(message: Mapping[str, Any]) -> str:
    error = message.get("error")
    text = error.get("message") if isinstance(error, dict) else error
    text = _words(text if text is not None else message.get("message"))
    item = _words(message.get("item"))
    return text if not item or item in text else f"{item}: {text}"


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Line]] = {
    "status": _status,
    "verbose_status": _item,
    "summary": Summary,
    "error": lambda message: Trouble(_error_text(message), fatal=False),
    "exit_error": lambda message: Trouble(_words(message.get("message")), fatal=True),
}


def _words(value: object) -> str:
    return " ".join(printable(str(value)).split()) if value else ""


def _int(fields: Mapping[str, Any], key: str) -> int:
    value = fields.get(key)
    return value if isinstance(value, int) and value >= 0 else 0


def _identifier(message: Mapping[str, Any]) -> str:
    value = message.get("id")
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value
    raise _strange("repository id", repr(dict(message)).encode())


def _strange(what: str, answer: bytes) -> RepositoryError:
    start = _words(answer[:200].decode("utf-8", "replace")) or "nothing"
    return RepositoryError(f"restic answered {what} in a way that cannot be read: {start}")
