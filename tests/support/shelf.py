"""A repository for tests of what uses one: snapshots are kept in memory, so each call takes no time.

It works on local hosts only, reading and writing their files directly, and knows neither modes nor links.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from drorch.core.errors import RepositoryError
from drorch.core.host import Command, Host
from drorch.core.repository import (
    BackedUp,
    CheckReport,
    Comparison,
    Forgotten,
    ProgressSink,
    RestoredTree,
    Snapshot,
    Tags,
)
from drorch.core.source import Part, Tree


@dataclass(frozen=True)
class _File:
    content: bytes
    modified: int
    """Nanoseconds since the epoch."""


@dataclass
class Shelf:
    """`core.repository.Repository` in memory."""

    name: str
    taken: dict[str, tuple[Snapshot, BackedUp, dict[str, _File]]] = field(default_factory=dict)

    def create(self, at: Host) -> str:
        """There is always one."""
        return self.identify(at)

    def identify(self, at: Host) -> str:
        """An id made of the name."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    def snapshots(self, at: Host, *, tags: Mapping[str, str] | None = None) -> tuple[Snapshot, ...]:
        """Those that carry all the tags."""
        wanted = {f"{key}={value}" for key, value in (tags or {}).items()}
        found = [snapshot for snapshot, _, _ in self.taken.values() if wanted <= set(snapshot.tags)]
        return tuple(sorted(found, key=lambda snapshot: snapshot.time))

    def backup(
        self, at: Host, part: Part, tags: Tags, *, time: datetime, progress: ProgressSink, repeated: bool = True
    ) -> BackedUp:
        """Keep the content, or give the facts of what the same run kept before."""
        for snapshot, facts, _ in self.taken.values():
            if repeated and snapshot.tags == tags.words():
                return facts
        files = _tree(at, part) if isinstance(part, Tree) else _stream(at, part.argv, part.filename)
        id_ = hashlib.sha256(f"{tags.words()} {time} {len(self.taken)}".encode()).hexdigest()
        size = sum(len(file.content) for file in files.values())
        facts = BackedUp(
            snapshot=id_, bytes_processed=size, bytes_added=size, bytes_stored=size, files=len(files), seconds=0.1
        )
        paths = part.paths if isinstance(part, Tree) else (f"/{part.filename}",)
        self.taken[id_] = (Snapshot(id=id_, time=time, host=at.name, paths=paths, tags=tags.words()), facts, files)
        return facts

    def restore(self, at: Host, snapshot: Snapshot, into: str, *, progress: ProgressSink) -> RestoredTree:
        """Write the files, their times included."""
        files = self._files(snapshot)
        for path, file in files.items():
            target = Path(into + path)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(file.content)
            os.utime(target, ns=(file.modified, file.modified))
        size = sum(len(file.content) for file in files.values())
        return RestoredTree(snapshot=snapshot.id, path=into, files=len(files), bytes=size, seconds=0.1)

    def compare(self, at: Host, snapshot: Snapshot, path: str) -> Comparison:
        """Compare every byte."""
        files = self._files(snapshot)
        differing: list[str] = []
        for name, file in files.items():
            target = Path(path + name)
            if not target.is_file():
                differing.append(f"missing {name}")
            elif target.read_bytes() != file.content:
                differing.append(f"altered {name}")
        size = sum(len(file.content) for file in files.values())
        return Comparison(files=len(files), bytes=size, differing=tuple(differing), differing_count=len(differing))

    def check(self, at: Host, *, subset: tuple[int, int] | None) -> CheckReport:
        """Memory is always well."""
        return CheckReport(subset=f"{subset[0]}/{subset[1]}" if subset else "structure", seconds=0.1)

    def forget(self, at: Host, snapshots: Sequence[str], *, prune: bool) -> Forgotten:
        """Drop them."""
        for id_ in snapshots:
            del self.taken[id_]
        return Forgotten(kept=tuple(self.taken), removed=tuple(snapshots), bytes_freed=0)

    def unlock(self, at: Host) -> None:
        """Nothing is ever locked."""

    def _files(self, snapshot: Snapshot) -> dict[str, _File]:
        if snapshot.id not in self.taken:
            raise RepositoryError(f"no snapshot {snapshot.id[:12]}")
        return self.taken[snapshot.id][2]


def _tree(at: Host, part: Tree) -> dict[str, _File]:
    home = at.identity().home
    roots = [Path(home + path[1:] if path.startswith("~/") else path) for path in part.paths]
    found = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    return {str(path): _File(path.read_bytes(), path.stat().st_mtime_ns) for path in found if path.is_file()}


def _stream(at: Host, argv: tuple[str, ...], filename: str) -> dict[str, _File]:
    done = at.run(Command(argv))
    if not done.ok or not done.stdout:
        raise RepositoryError(f"{argv[0]} gave nothing, so no snapshot was taken")
    return {f"/{filename}": _File(done.stdout, 0)}
