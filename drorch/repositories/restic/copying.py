"""Copying snapshots between two restic repositories: what goes before, and proof of what arrived.

`restic copy` tells nothing that a program could rely on: a snapshot that it cannot find in the source is ignored with
exit code 0. So what is there is read from the target's own listing, before and after.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from drorch.core.errors import RepositoryError
from drorch.core.evidence import Progress
from drorch.core.host import Host
from drorch.core.repository import Copied, ProgressSink, Repository, Snapshot
from drorch.repositories.restic import argv, parse
from drorch.repositories.restic.reach import Reach

FIRST_BATCH, GROWTH, LARGEST_BATCH = 8, 8, 512
"""Snapshots of the first command, so many times more of each further one, and of any at most. Restic writes a command's
snapshots only at its end, so what a cut leaves whole is a batch: the newest come first, and soon."""


def beside(source: Repository, target: Reach, what: str) -> Reach:
    """The source, as restic reaches it beside the target.

    Raises:
        RepositoryError: they do not go together.
    """
    found = getattr(source, "reach", None)
    if not isinstance(found, Reach):
        raise RepositoryError(f"{what}: {source.name} is no restic repository")
    if target.reading:
        raise RepositoryError(f"{what}: a mirror in a store is only read", hint="name a repository of its own")
    if found.password.reveal() == target.password.reveal():
        raise RepositoryError(
            f"{what}: both have the same password, so one that leaks would open both",
            hint=f"give {target.shown} a password of its own",
        )
    return found


def config(reach: Reach, at: Host) -> parse.Config:
    """What a repository was made with."""
    return parse.config(reach.execute(at, argv.identify, f"opening {reach.name}").stdout)


def bring(target: Reach, at: Host, source: Reach, snapshots: Sequence[Snapshot], *, progress: ProgressSink) -> Copied:
    """What `core.repository.Repository.copy_from` promises."""
    what = f"copying from {source.name} to {target.name}"
    began = time.monotonic()
    _fit(config(source, at), config(target, at), source, target, what)
    before = _listed(target, at, snapshots)
    missing = sorted((each for each in snapshots if not _found(each, before)), key=lambda each: each.time, reverse=True)
    watch = _Watch(progress, what, len(missing))
    for batch in _batches(missing):
        ids = tuple(each.id for each in batch)
        target.execute(at, partial(argv.copy, snapshots=ids), what, on_line=watch.line, source=source)
    after = _listed(target, at, snapshots) if missing else before
    copies = {each.id: _found(each, after) for each in snapshots}
    absent = [id_ for id_, copy in copies.items() if not copy]
    if absent:
        raise RepositoryError(
            f"{what}: restic ended well, but {len(absent)} of {len(snapshots)} snapshots are not there as they are in "
            f"{source.name}, such as {absent[0][:12]}",
            hint="was it removed meanwhile? run the step again; if it stays, check both repositories",
        )
    return Copied(
        copies=copies,
        new=tuple(each.id for each in reversed(missing)),
        bytes_written=watch.size if watch.told or not missing else None,
        seconds=round(time.monotonic() - began, 3),
    )


def _fit(theirs: parse.Config, own: parse.Config, source: Reach, target: Reach, what: str) -> None:
    if theirs.id == own.id:
        raise RepositoryError(
            f"{what}: {source.shown} and {target.shown} are one repository, {own.id[:16]}",
            hint="a copy needs a repository of its own, made by: " + _make(source, target),
        )
    if not own.chunker or theirs.chunker != own.chunker:
        raise RepositoryError(
            f"{what}: {target.name} cuts files into other pieces than {source.name}, so what both back up would be "
            "stored twice; a repository's way of cutting can never be changed",
            hint="name a new place for it, and make it by: " + _make(source, target),
        )


def _make(source: Reach, target: Reach) -> str:
    return f"drorch repository create {target.name} --like {source.name}"


def _listed(target: Reach, at: Host, snapshots: Sequence[Snapshot]) -> Mapping[str, list[Snapshot]]:
    """What the target has of these snapshots, by their original's id; where they come from, that is itself there."""
    wanted = {_origin(each) for each in snapshots}
    end = target.execute(at, argv.snapshots, f"listing the snapshots of {target.name}")
    found: dict[str, list[Snapshot]] = {}
    for each in parse.snapshots(end.stdout):
        for name in {each.original, each.id} & wanted:
            found.setdefault(name, []).append(each)
    return found


def _origin(snapshot: Snapshot) -> str:
    return snapshot.original or snapshot.id


def _found(snapshot: Snapshot, there: Mapping[str, Sequence[Snapshot]]) -> str:
    """The id of its copy; empty for none."""
    return next((each.id for each in there.get(_origin(snapshot), ()) if each.copies(snapshot)), "")


def _batches(snapshots: Sequence[Snapshot]) -> Iterator[Sequence[Snapshot]]:
    start, size = 0, FIRST_BATCH
    while start < len(snapshots):
        yield snapshots[start : start + size]
        start, size = start + size, min(size * GROWTH, LARGEST_BATCH)


@dataclass
class _Watch:
    """What restic says while it copies."""

    progress: ProgressSink
    text: str
    total: int
    size: int = 0
    """About how many bytes it set out to write."""
    told: bool = False
    """Whether it said so."""
    begun: int = 0
    """Snapshots begun."""

    def line(self, content: bytes) -> None:
        """One line of its output."""
        said = parse.copying(content)
        if said is None:
            return
        if said.begins:
            self.begun, self.told, self.size = self.begun + 1, True, self.size + said.size
        packs = f", {said.packs[0]} of {said.packs[1]} packs" if said.packs else ""
        done = max(0, min(self.begun, self.total) - 1)
        self.progress(Progress(step="", text=f"{self.text}{packs}", done_files=done, total_files=self.total))
