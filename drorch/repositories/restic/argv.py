"""restic's command lines: pure, so that the printed plan and the real run are one text.

Each builder gives the words of one command. The program and every identifier may be a stand-in such as
``<snapshot>``. What is secret or depends on where restic runs travels in the environment; `ENVIRONMENT` names it.
Words that a user may choose never stand where restic could take them for an option.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from drorch.core.source import Part, Tree

RESTIC = "restic"
ENVIRONMENT = ("RESTIC_REPOSITORY", "RESTIC_PASSWORD", "RESTIC_CACHE_DIR", "RESTIC_PROGRESS_FPS", "TMPDIR", "TZ")
"""The variables that every command is given."""
SOURCE_ENVIRONMENT = ("RESTIC_FROM_REPOSITORY", "RESTIC_FROM_PASSWORD")
"""The variables that name a second repository."""

GROUP_BY = "host,paths"
"""How restic finds the parent: run tags differ every night, so they must not be part of the group. A parent only
spares reading unchanged files, so the newest snapshot of the same host and paths is always a right one."""

FIRST_LOCK_WAIT = "10s"
"""For the first attempt: long enough for a passing backup's lock list, short enough to notice a dead lock soon."""

LINGER = ("sh", "-c", '"$@" && exit; code=$?; sleep 1; exit "$code"', "sh")
"""Stands before a stream's command: restic reads its complaints only while it lives, so one that fails at once would
often leave no reason behind (one time in six, with 0.19.1)."""


class Version(NamedTuple):
    """restic's version; compares as one expects."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


MINIMUM = Version(0, 17, 1)
"""Older ones do not tell a wrong password from other failures, and cannot run a dump's command themselves."""
RECOMMENDED = Version(0, 19, 0)
JSON_CHECK = Version(0, 18, 0)
"""From here on `restic check --json` ends with a summary."""


@dataclass(frozen=True, slots=True)
class Common:
    """What all commands of one repository share."""

    program: str = RESTIC
    retry_lock: str = FIRST_LOCK_WAIT
    """How long restic itself waits for another process's lock."""
    options: tuple[str, ...] = ()
    """Extended options, ``key=value`` each: `extended`."""
    version: Version = RECOMMENDED
    reading: bool = False
    """Whether the repository is only read, without locks: a mirror in its store."""
    further: tuple[str, ...] = ()
    """Words that the storage needs, such as ``--cacert=…``."""

    def words(self, *verb: str, json: bool = True, locks: bool = True) -> tuple[str, ...]:
        """The head of a command."""
        words = [self.program, *verb]
        if json:
            words.append("--json")
        if self.reading:
            words.append("--no-lock")
        elif locks:
            words.append(f"--retry-lock={self.retry_lock}")
        words += self.further
        for option in self.options:
            words += ["-o", option]
        return tuple(words)


def extended(url: str) -> tuple[str, ...]:
    """Extended options that a storage needs: over SFTP a cut link must end in seconds, and nobody can be asked."""
    if not url.startswith("sftp:"):
        return ()
    words = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=10", "ServerAliveCountMax=3")
    return ("sftp.args=" + " ".join(f"-o {word}" for word in words),)


def version(program: str = RESTIC) -> tuple[str, ...]:
    """Which restic is it?"""
    return (program, "version", "--json")


def create(common: Common, *, like: bool = False) -> tuple[str, ...]:
    """Make a repository; ``like``: one that cuts files as the one that `SOURCE_ENVIRONMENT` names."""
    return (*common.words("init", locks=False), *(["--copy-chunker-params"] if like else []))


def copy(common: Common, snapshots: Sequence[str]) -> tuple[str, ...]:
    """Copy exactly these snapshots from the repository that `SOURCE_ENVIRONMENT` names.

    As text: up to 0.19.1 it says nothing at all in JSON. ``--verbose`` tells how much is written.
    """
    return (*common.words("copy", json=False), "--verbose", "--", *snapshots)


def identify(common: Common) -> tuple[str, ...]:
    """Read the repository's ``config``."""
    return (*common.words("cat"), "config")


def snapshots(common: Common, tags: Sequence[str] = ()) -> tuple[str, ...]:
    """List the snapshots that carry all these tags."""
    return (*common.words("snapshots"), *([f"--tag={_tags(tags)}"] if tags else []))


def backup(
    common: Common, part: Part, *, host: str, tags: Sequence[str], time: datetime | str, dry_run: bool = False
) -> tuple[str, ...]:
    """Take one snapshot of one part; a tree's ``~/`` must have been expanded."""
    words = [
        *common.words("backup"),
        f"--host={host}",
        f"--group-by={GROUP_BY}",
        f"--time={time if isinstance(time, str) else moment(time)}",
        *(f"--tag={_tags((tag,))}" for tag in tags),
    ]
    if dry_run:
        words.append("--dry-run")
    if isinstance(part, Tree):
        words += [f"--exclude={pattern}" for pattern in part.excludes]
        words += ["--one-file-system"] if part.one_file_system else []
        return (*words, "--", *part.paths)
    return (*words, "--stdin-from-command", f"--stdin-filename={part.filename}", "--", *LINGER, *part.argv)


def restore(common: Common, snapshot: str, target: str) -> tuple[str, ...]:
    """Write a snapshot into a directory and read it back."""
    return (*common.words("restore"), f"--target={target}", "--overwrite=always", "--verify", "--", snapshot)


def compare(common: Common, snapshot: str, target: str) -> tuple[str, ...]:
    """Read every file in a directory and say which differ from the snapshot; writes nothing."""
    return (
        *common.words("restore"),
        f"--target={target}",
        "--dry-run",
        "--overwrite=always",
        "--verbose=2",
        "--",
        snapshot,
    )


def listing(common: Common, snapshot: str) -> tuple[str, ...]:
    """All nodes of a snapshot with their metadata, one JSON line each."""
    return (*common.words("ls"), "--", snapshot)


def long_listing(common: Common, snapshot: str) -> tuple[str, ...]:
    """All nodes as text: the only form that shows where a symbolic link points."""
    return (*common.words("ls", json=False), "--long", "--", snapshot)


def check(common: Common, subset: tuple[int, int] | None) -> tuple[str, ...]:
    """Check the structure and, with ``(n, t)``, the bytes of the n-th of t parts."""
    return (*common.words("check"), *([f"--read-data-subset={subset[0]}/{subset[1]}"] if subset else []))


def forget(common: Common, snapshots: Sequence[str], *, prune: bool) -> tuple[str, ...]:
    """Remove exactly these snapshots; as text, because only text tells how much `prune` freed."""
    return (*common.words("forget", json=False), *(["--prune"] if prune else []), "--", *snapshots)


def prune(common: Common) -> tuple[str, ...]:
    """Free the space of what no snapshot uses."""
    return common.words("prune", json=False)


def unlock(common: Common) -> tuple[str, ...]:
    """Remove stale locks; never ``--remove-all``."""
    return common.words("unlock", json=False, locks=False)


def moment(time: datetime) -> str:
    """A time as restic reads it: whole seconds, in UTC because every command runs with ``TZ=UTC``."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _tags(tags: Sequence[str]) -> str:
    """Several tags as one value, which restic takes as *all of them*."""
    for tag in tags:
        if "," in tag:
            raise ValueError(f"a tag cannot hold a comma: {tag}")
    return ",".join(tags)
