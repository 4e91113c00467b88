"""A repository that exists only in memory: for rehearsals, and for tests of what uses a repository.

It keeps the promises of `core.repository.Repository` for the hosts of this machine, whose files it reads and writes
directly: content, permissions, times and link targets. Owners, hard links and extended attributes are not kept.
"""

import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from drorch.core.errors import RepositoryError, RepositoryMissing, StreamFailed
from drorch.core.host import Command, Host, printable
from drorch.core.model import SecretRef
from drorch.core.repository import (
    BackedUp,
    CheckReport,
    Comparison,
    Copied,
    Forgotten,
    ProgressSink,
    Repository,
    RestoredTree,
    Snapshot,
    Tags,
)
from drorch.core.secret import Secret, Secrets
from drorch.core.source import Part, Stream, Tree

STREAM_LIMIT = 1 << 30
"""Bytes of one stream."""
_SHOWN = 100
_TIME_STEP = 2_000_000_000
"""Nanoseconds by which times may differ: the coarsest step of a file system in use."""


class Entry(NamedTuple):
    """One path of a snapshot."""

    kind: str
    """``f``, ``d`` or ``l``."""
    mode: int
    modified: int
    """Nanoseconds since the epoch."""
    content: bytes
    """A file's bytes, or where a link points."""


class _Kept(NamedTuple):
    snapshot: Snapshot
    facts: BackedUp
    entries: Mapping[str, Entry]


@dataclass
class MemoryRepository:
    """`core.repository.Repository` in memory; usable from several threads."""

    name: str
    secrets: Secrets | None = None
    """Where the secrets of a stream's environment come from."""
    _id: str = ""
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _left: dict[str, str] = field(default_factory=dict)
    """The snapshot that a restore began to write, by directory."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def create(self, at: Host, *, like: Repository | None = None) -> str:
        """Create it; gives its id."""
        if like is not None:
            like.identify(at)
        with self._lock:
            if self._id:
                raise RepositoryError(f"there is a repository {self.name} already", hint="use it")
            self._id = hashlib.sha256(os.urandom(16)).hexdigest()
            return self._id

    def identify(self, at: Host) -> str:
        """Its id."""
        if not self._id:
            raise RepositoryMissing(f"there is no repository {self.name}", hint="drorch repository create")
        return self._id

    def snapshots(self, at: Host, *, tags: Mapping[str, str] | None = None) -> tuple[Snapshot, ...]:
        """All snapshots that carry all these tags, oldest first."""
        self.identify(at)
        wanted = {f"{key}={value}" for key, value in (tags or {}).items()}
        with self._lock:
            found = [kept.snapshot for kept in self._kept.values() if wanted <= set(kept.snapshot.tags)]
        return tuple(sorted(found, key=lambda snapshot: (snapshot.time, snapshot.id)))

    def backup(
        self, at: Host, part: Part, tags: Tags, *, time: datetime, progress: ProgressSink, repeated: bool = True
    ) -> BackedUp:
        """Keep the part's content, or give the facts of what the same run kept before."""
        self.identify(at)
        _ours(at)
        what = f"backup of {tags.source}/{tags.part} on {at.name}"
        if repeated:
            wanted = tags.model_dump(include={"service", "source", "part", "run"})
            former = self.snapshots(at, tags=wanted)
            if former:
                return self._kept[former[-1].id].facts
        if isinstance(part, Tree):
            paths = tuple(_expanded(at, path) for path in part.paths)
            entries, unreadable = _read(part, paths, what)
        else:
            paths, unreadable = (f"/{part.filename}",), ()
            entries = {paths[0]: Entry("f", 0o644, int(time.timestamp() * 1e9), self._stream(at, part, what))}
        sizes = [len(entry.content) for entry in entries.values() if entry.kind == "f"]
        id_ = hashlib.sha256(os.urandom(16)).hexdigest()
        facts = BackedUp(
            snapshot=id_,
            bytes_processed=sum(sizes),
            bytes_added=sum(sizes),
            bytes_stored=sum(sizes),
            files=len(sizes),
            seconds=0.0,
            unreadable=unreadable,
        )
        whole = Snapshot(
            id=id_,
            time=time.replace(microsecond=0),
            host=at.name,
            paths=paths,
            tags=tags.words(),
            tree=_tree(entries),
            bytes_processed=sum(sizes),
        )
        with self._lock:
            self._kept[id_] = _Kept(whole, facts, entries)
        return facts

    def _stream(self, at: Host, part: Stream, what: str) -> bytes:
        done = at.run(Command(part.argv, env=self._environment(part, what), output_limit=STREAM_LIMIT))
        if not done.ok:
            raise StreamFailed(
                f"{done.failure(f'{what}: `{part.argv[0]}` failed, so no snapshot was taken').why}",
                errors=done.errors,
                hint="run the command by hand on that host",
            )
        if not done.stdout or done.truncated:
            told = "more data than memory is given" if done.truncated else "no data"
            raise StreamFailed(
                f"{what}: `{part.argv[0]}` gave {told}{': ' if done.errors else ''}{done.errors}",
                errors=done.errors,
                hint="no snapshot was kept; run the command by hand on that host",
            )
        return done.stdout

    def _environment(self, part: Stream, what: str) -> dict[str, str | Secret]:
        env: dict[str, str | Secret] = {}
        for key, value in part.env.items():
            if isinstance(value, SecretRef) and self.secrets is None:
                raise RepositoryError(f"{what}: {self.name} was given no secrets, and the command needs {value.secret}")
            env[key] = self.secrets.get(value) if self.secrets and isinstance(value, SecretRef) else str(value)
        return env

    def restore(self, at: Host, snapshot: Snapshot, into: str, *, progress: ProgressSink) -> RestoredTree:
        """Write a snapshot into a fresh directory."""
        entries = self._entries(at, snapshot)
        what = f"restore of snapshot {snapshot.id[:8]} to {at.name}"
        into = _expanded(at, into).rstrip("/")
        target = Path(into)
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise RepositoryError(f"{what}: {into} is there and is no directory", hint="restore to a fresh place")
        with self._lock:
            if target.is_dir() and any(target.iterdir()) and self._left.get(into) != snapshot.id:
                raise RepositoryError(
                    f"{what}: {into} is not empty", hint="restore to a fresh place, or remove it if nobody needs it"
                )
            self._left[into] = snapshot.id
        target.mkdir(parents=True, exist_ok=True)
        target.chmod(0o700)
        try:
            _write(into, entries)
        except OSError as error:
            raise RepositoryError(f"{what}: {error.strerror}: {error.filename!r}") from error
        sizes = [len(entry.content) for entry in entries.values() if entry.kind == "f"]
        return RestoredTree(snapshot=snapshot.id, path=into, files=len(sizes), bytes=sum(sizes), seconds=0.0)

    def compare(self, at: Host, snapshot: Snapshot, path: str) -> Comparison:
        """Compare a restored tree with its snapshot; changes nothing."""
        entries = self._entries(at, snapshot)
        root = _expanded(at, path).rstrip("/")
        differing = list(_differences(root, entries))
        sizes = [len(entry.content) for entry in entries.values() if entry.kind == "f"]
        return Comparison(
            files=len(sizes),
            bytes=sum(sizes),
            differing=tuple(printable(line.replace("\n", "\\n")) for line in differing[:_SHOWN]),
            differing_count=len(differing),
        )

    def check(self, at: Host, *, subset: tuple[int, int] | None) -> CheckReport:
        """Memory is always well."""
        self.identify(at)
        return CheckReport(subset=f"{subset[0]}/{subset[1]}" if subset else "structure", seconds=0.0)

    def forget(self, at: Host, snapshots: Sequence[str], *, prune: bool) -> Forgotten:
        """Remove exactly these snapshots; gone already is as good."""
        self.identify(at)
        for snapshot in snapshots:
            if not re.fullmatch(r"[0-9a-f]{64}", snapshot):
                raise RepositoryError(f"{snapshot!r} is no whole snapshot id, so nothing was removed")
        with self._lock:
            gone = [self._kept.pop(id_) for id_ in dict.fromkeys(snapshots) if id_ in self._kept]
            freed = sum(kept.facts.bytes_stored for kept in gone) if prune else None
            return Forgotten(kept=tuple(self._kept), removed=tuple(snapshots), bytes_freed=freed)

    def copy_from(
        self, at: Host, source: Repository, snapshots: Sequence[Snapshot], *, progress: ProgressSink
    ) -> Copied:
        """Keep a copy of each of these snapshots of another repository in memory."""
        what = f"copying from {source.name} to {self.name}"
        if source.identify(at) == self.identify(at):
            raise RepositoryError(f"{what}: both are one repository", hint="a copy needs a repository of its own")
        kept: Callable[[str], _Kept | None] | None = getattr(source, "kept", None)
        if kept is None:
            raise RepositoryError(f"{what}: {source.name} is not in memory")
        copies, new = {}, []
        with self._lock:
            for snapshot in snapshots:
                there = next((each.snapshot.id for each in self._kept.values() if each.snapshot.copies(snapshot)), "")
                original = kept(snapshot.id)
                if original is None and not there:
                    raise RepositoryError(f"{what}: snapshot {snapshot.id[:12]} is not there")
                if original is not None and not there:
                    there = hashlib.sha256(os.urandom(16)).hexdigest()
                    whole = snapshot.model_copy(update={"id": there, "original": snapshot.original or snapshot.id})
                    facts = original.facts.model_copy(update={"snapshot": there})
                    self._kept[there] = _Kept(whole, facts, original.entries)
                    new.append(snapshot.id)
                copies[snapshot.id] = there
            written = sum(self._kept[copies[id_]].facts.bytes_stored for id_ in new)
        return Copied(copies=copies, new=tuple(new), bytes_written=written, seconds=0.0)

    def kept(self, snapshot: str) -> _Kept | None:
        """All that is known of a snapshot; None for none of that id."""
        return self._kept.get(snapshot)

    def unlock(self, at: Host) -> None:
        """Nothing is ever locked."""
        self.identify(at)

    def _entries(self, at: Host, snapshot: Snapshot) -> Mapping[str, Entry]:
        self.identify(at)
        _ours(at)
        if snapshot.id not in self._kept:
            raise RepositoryError(f"{self.name} has no snapshot {snapshot.id[:8]}")
        return self._kept[snapshot.id].entries


def _tree(entries: Mapping[str, Entry]) -> str:
    """The hash of all content."""
    found = hashlib.sha256()
    for path, entry in sorted(entries.items()):
        head = (path, entry.kind, entry.mode, entry.modified, len(entry.content))
        found.update(repr(head).encode("utf-8", "surrogateescape"))
        found.update(entry.content)
    return found.hexdigest()


def _ours(at: Host) -> None:
    if not at.is_controller:
        raise RepositoryError(
            f"{at.name} is another machine, and a repository in memory serves this one only",
            hint="rehearse with local hosts, each with a `home` of its own",
        )


def _expanded(at: Host, path: str) -> str:
    if path == "~" or path.startswith("~/"):
        path = at.identity().home.rstrip("/") + path[1:]
    if not path.startswith("/"):
        raise RepositoryError(f"{path} is not an absolute path", hint="begin it with / or ~/")
    return path


def _read(part: Tree, paths: Sequence[str], what: str) -> tuple[dict[str, Entry], tuple[str, ...]]:
    entries: dict[str, Entry] = {}
    unreadable: list[str] = []
    for path in paths:
        if not os.path.lexists(path):
            unreadable.append(printable(f"{path} does not exist, skipping"))
        for found in _walk(Path(path), part.excludes):
            try:
                entry = _entry(found)
            except OSError as error:
                unreadable.append(printable(f"{found}: {error.strerror}"))
                continue
            if entry is not None:
                entries[str(found)] = entry
    if not entries:
        raise RepositoryError(f"{what}: nothing of {', '.join(paths)} exists or can be read")
    return entries, tuple(line[:500] for line in unreadable[:_SHOWN])


def _walk(root: Path, excludes: Sequence[str] = ()) -> Iterator[Path]:
    """The path and all below it that no pattern leaves out; links are not followed."""
    if not os.path.lexists(root) or any(PurePosixPath(root).match(pattern) for pattern in excludes):
        return
    yield root
    if root.is_dir() and not root.is_symlink():
        for below in sorted(root.iterdir()):
            yield from _walk(below, excludes)


def _entry(path: Path) -> Entry | None:
    """What stands at a path; None for what is neither file, directory nor link."""
    facts = path.lstat()
    mode, modified = stat.S_IMODE(facts.st_mode), facts.st_mtime_ns
    if stat.S_ISLNK(facts.st_mode):
        return Entry("l", mode, modified, os.fsencode(path.readlink()))
    if stat.S_ISDIR(facts.st_mode):
        return Entry("d", mode, modified, b"")
    return Entry("f", mode, modified, path.read_bytes()) if stat.S_ISREG(facts.st_mode) else None


def _write(into: str, entries: Mapping[str, Entry]) -> None:
    for path, entry in entries.items():
        place = Path(into + path)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if entry.kind == "d":
            place.mkdir(mode=0o700, exist_ok=True)
            continue
        place.unlink(missing_ok=True)
        if entry.kind == "l":
            place.symlink_to(os.fsdecode(entry.content))
        else:
            place.write_bytes(entry.content)
    for path, entry in reversed(list(entries.items())):  # a directory after what is in it
        if entry.kind != "l":
            Path(into + path).chmod(entry.mode)
            os.utime(into + path, ns=(entry.modified, entry.modified))


def _differences(root: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    above = {str(parent) for path in entries for parent in PurePosixPath(path).parents}
    for found in _walk(Path(root)):
        path = str(found)[len(root) :]
        if path and path not in entries and path not in above:
            yield f"unexpected {path}"
    for path, entry in sorted(entries.items()):
        if not os.path.lexists(root + path):
            yield f"missing {path}"
            continue
        actual = _entry(Path(root + path))
        if actual is None or actual.kind != entry.kind:
            yield f"altered {path} (type)"
            continue
        wrong = [
            name
            for name, differs in (
                ("permissions", entry.kind != "l" and actual.mode != entry.mode),
                ("time", entry.kind == "f" and abs(actual.modified - entry.modified) > _TIME_STEP),
                ("target" if entry.kind == "l" else "content", actual.content != entry.content),
            )
            if differs
        ]
        if wrong:
            yield f"altered {path} ({', '.join(wrong)})"
