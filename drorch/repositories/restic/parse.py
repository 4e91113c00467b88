"""What restic answers: pure. JSON and plain lines come mixed on both pipes, whole or cut; nothing here trusts them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from drorch.core.errors import (
    DrorchError,
    RepositoryError,
    RepositoryLocked,
    RepositoryMissing,
    Unreachable,
    WrongPassword,
)
from drorch.core.evidence import Progress
from drorch.core.host import Completed, Ended, printable
from drorch.core.repository import BackedUp, Snapshot
from drorch.repositories.restic.argv import JSON_CHECK, Version

COMPLAINTS = 100
COMPLAINT_LENGTH = 500

OK, INCOMPLETE, NO_REPOSITORY, LOCKED, WRONG_PASSWORD, CANCELLED = 0, 3, 10, 11, 12, 130


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


def complaints(stderr: bytes) -> tuple[str, ...]:
    """What restic complained about, without its closing reason: printable, bounded, in its order."""
    found = []
    for line in map(read_line, stderr.splitlines()):
        if isinstance(line, Text) or (isinstance(line, Trouble) and not line.fatal):
            found.append(line.text[:COMPLAINT_LENGTH])
        if len(found) == COMPLAINTS:
            break
    return tuple(found)


def reason(stderr: bytes) -> str:
    """Why it ended as it did: its own closing reason, with the first error where that only counts them, and else the
    last lines it wrote before any trace of its own functions.
    """
    lines = [line for line in map(read_line, _untraced(stderr)) if isinstance(line, Text | Trouble)]
    fatal = [line.text for line in lines if isinstance(line, Trouble) and line.fatal]
    if not fatal:
        return "; ".join(line.text for line in lines[-_LAST:])[:2000]
    first = next((line.text for line in lines if isinstance(line, Trouble) and not line.fatal), "")
    return (f"{fatal[-1]}, the first: {first}" if first and _COUNTED.search(fatal[-1]) else fatal[-1])[:2000]


def _untraced(stderr: bytes) -> list[bytes]:
    """The lines without those pairs that name a function and its place in the source."""
    lines: list[bytes] = []
    for line in stderr.splitlines():
        if _TRACE.match(line):
            del lines[-1:]
        else:
            lines.append(line)
    return lines


_TRACE = re.compile(rb"\t\S+\.[gs]o?:\d+$")
_LAST = 4
"""Lines: so many tell of a lock, the first of them who holds it."""
_COUNTED = re.compile(r"There were \d+ errors")
"""A closing reason that is none: what happened stands in the errors before."""


def without_cache(end: Completed) -> bool:
    """Whether restic gave up, before it did anything, because of its cache: damaged, or just being made by another
    restic (seen with 0.19.1, which reads the cache's version while it is being written).
    """
    return end.ended is Ended.EXITED and end.exit_code == 1 and b"cache.readVersion" in end.stderr


def failure(end: Completed, what: str, repository: str) -> DrorchError:
    """The error that an end other than success means; ``what`` names the action, ``repository`` the place."""
    if end.ended is Ended.UNKNOWN:
        return Unreachable(
            f"{what}: the connection broke while restic worked, so its outcome is unknown",
            hint="the next attempt looks for what this one left before doing anything again",
        )
    if end.ended is Ended.TIMED_OUT:
        return RepositoryError(
            f"{what}: not finished after {end.seconds:.0f} s and ended",
            hint="give the step a longer timeout, or see whether the storage answers",
            retryable=True,
        )
    why = reason(end.stderr)
    if end.exit_code in _MEANINGS:
        kind, text, hint = _MEANINGS[end.exit_code]
        return kind(f"{what}: {text.format(repository=repository)}{': ' if why else ''}{why}", hint=hint)
    return RepositoryError(
        f"{what}: restic ended with exit code {end.exit_code}{': ' if why else ''}{why}",
        hint=_hint(why),
        retryable=end.exit_code == CANCELLED or _transient(why),
    )


_MEANINGS: Mapping[int | None, tuple[type[RepositoryError], str, str]] = {
    NO_REPOSITORY: (
        RepositoryMissing,
        "there is no repository at {repository}",
        "an unmounted disk looks just the same: mount it. Only for a new one: drorch repository create",
    ),
    LOCKED: (
        RepositoryLocked,
        "another restic holds {repository}",
        "wait for it; a lock that a dead restic left elsewhere can be removed there, or is stale in 30 minutes",
    ),
    WRONG_PASSWORD: (
        WrongPassword,
        "the password opens no key of {repository}",
        "compare the repository's secret; if it is right, the repository's keys were removed",
    ),
}


def _hint(why: str) -> str:
    if "no space left on device" in why:
        return "free space there"
    if "permission denied" in why:
        return "give the user that runs restic access there"
    if _ROT.search(why):
        return RESCUE
    return ""


RESCUE = "keep every copy of it, back up to another repository now, and see `restic repair`"
"""What to do about a damaged repository."""
_ROT = re.compile(r"ciphertext verification failed|wrong data returned|invalid data returned|invalid hash")


_TRANSIENT = re.compile(
    r"connection (refused|reset|closed)|i/o timeout|no route to host|temporary failure|unexpected EOF|broken pipe"
    r"|server response unexpected: 5\d\d|TLS handshake timeout",
    re.IGNORECASE,
)


def _transient(why: str) -> bool:
    """Whether a storage or network that is away only now explains it."""
    return _TRANSIENT.search(why) is not None


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


def damage(end: Completed) -> tuple[str, ...]:
    """What a `restic check` that failed found wrong with the repository; empty when it says nothing of the kind.

    Restic counts a storage that does not answer among its errors too. That is no damage, unless it names a pack.
    """
    if _DAMAGED not in reason(end.stderr):
        return ()
    found = list(complaints(end.stderr))
    packs: list[str] = []
    for line in map(read_line, end.stdout.splitlines()):
        if isinstance(line, Summary):
            packs = [f"pack {pack} is damaged" for pack in line.fields.get("broken_packs") or ()]
    if not packs and any(map(_transient, found)):
        return ()
    return (*packs, *found) or ("it does not say what",)


_DAMAGED = "repository contains errors"


def sound(stdout: bytes, version: Version) -> bool:
    """Whether `restic check` ended by saying that it found no errors."""
    if version < JSON_CHECK:
        return b"no errors were found" in stdout
    summaries = [line for line in map(read_line, stdout.splitlines()) if isinstance(line, Summary)]
    return bool(summaries) and summaries[-1].fields.get("num_errors") == 0


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """Why a stream was not stored."""

    failed: str
    """How the command ended, or why it did not start; empty when it is not the command's fault."""
    said: str
    """What the command wrote to its standard error: printable, its end."""


def stream_failure(stderr: bytes) -> StreamFailure:
    """What restic says about the command whose output it stored."""
    lines = [line for line in map(read_line, stderr.splitlines()) if isinstance(line, Text | Trouble)]
    failed = [
        found[1]
        for line in lines
        if isinstance(line, Trouble)
        and (found := re.search(r"(?:command failed|failed to start command): (.*)$", line.text))
    ]
    said = [found[1] for line in lines if isinstance(line, Text) and (found := _CHILD.match(line.text))]
    return StreamFailure(failed[-1] if failed else "", "; ".join(said)[-1000:])


_CHILD = re.compile(r"subprocess [^:]*: (.*)$")
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
