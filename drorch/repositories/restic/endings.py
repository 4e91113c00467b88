"""What restic's ends mean: its exit codes, complaints and damage, as our errors. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from drorch.core.errors import (
    DrorchError,
    RepositoryError,
    RepositoryLocked,
    RepositoryMissing,
    Unreachable,
    WrongPassword,
)
from drorch.core.host import Completed, Ended
from drorch.repositories.restic.argv import JSON_CHECK, Version
from drorch.repositories.restic.parse import Summary, Text, Trouble, read_line

COMPLAINTS = 100
COMPLAINT_LENGTH = 500

OK, INCOMPLETE, NO_REPOSITORY, LOCKED, WRONG_PASSWORD, CANCELLED = 0, 3, 10, 11, 12, 130


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


UNHEARD = "it said nothing, or restic passed nothing of it on"
"""In place of a command's own words: restic 0.19.1 reads them beside its output, and can lose the last of them when the
command ends at once.
"""


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
