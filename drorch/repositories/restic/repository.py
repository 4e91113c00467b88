"""`core.repository.Repository` by restic."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from drorch.core.errors import HostError, RepositoryError, StreamFailed
from drorch.core.evidence import Progress
from drorch.core.host import Command, Completed, Host, HostSpec
from drorch.core.model import SecretRef
from drorch.core.repository import (
    BackedUp,
    CheckReport,
    Comparison,
    Copied,
    Forgotten,
    ProgressSink,
    Repository,
    RepositorySpec,
    RestoredTree,
    Snapshot,
    Tags,
)
from drorch.core.secret import Secret, Secrets
from drorch.core.source import Part, Stream, Tree
from drorch.core.store import Reading
from drorch.repositories.restic import argv, compare, copying, endings, parse
from drorch.repositories.restic.reach import Reach

LOCK_WAIT = "3m"
"""How long to wait for another process's lock once a dead one is ruled out."""

_SKIPPED = " does not exist, skipping"


class ResticRepository:
    """A restic repository."""

    def __init__(
        self,
        name: str,
        spec: RepositorySpec,
        *,
        secrets: Secrets,
        controller: Host,
        state: Path,
        hosts: Mapping[str, HostSpec] | None = None,
        first_wait: str = argv.FIRST_LOCK_WAIT,
        lock_wait: str = LOCK_WAIT,
        reading: Reading | None = None,
    ) -> None:
        self._name = name
        self._reach = Reach(
            name,
            spec,
            secrets=secrets,
            controller=controller,
            state=state,
            hosts=hosts or {},
            first_wait=first_wait,
            lock_wait=lock_wait,
            reading=reading,
        )

    @property
    def name(self) -> str:
        """Its name in the inventory."""
        return self._name

    def close(self) -> None:
        """End what was started to offer it to other hosts; it can be used again afterwards."""
        self._reach.close()

    def create(self, at: Host, *, like: Repository | None = None) -> str:
        """Create it; gives its id. With ``like`` it cuts files as that one does."""
        what = f"creating {self._name}"
        self._reach.only_if_writable(what)
        source = copying.beside(like, self._reach, what) if like else None
        if source is not None:
            copying.config(source, at)  # what is wrong with it is said by its own name
        try:
            end = self._reach.execute(
                at, lambda common: argv.create(common, like=source is not None), what, source=source
            )
            return parse.created(end.stdout)
        except RepositoryError as error:
            if "already exists" not in error.message:
                raise
            raise RepositoryError(
                f"there is a repository at {self._reach.shown} already", hint="use it, or name another place"
            ) from error

    def identify(self, at: Host) -> str:
        """Its id."""
        return copying.config(self._reach, at).id

    def snapshots(self, at: Host, *, tags: Mapping[str, str] | None = None) -> tuple[Snapshot, ...]:
        """All snapshots that carry all these tags, oldest first."""
        return tuple(snapshot for snapshot, _ in self._listed(at, tags or {}))

    def _listed(self, at: Host, tags: Mapping[str, str]) -> list[tuple[Snapshot, BackedUp | None]]:
        words = tuple(f"{key}={value}" for key, value in tags.items())
        end = self._reach.execute(
            at, lambda common: argv.snapshots(common, words), f"listing the snapshots of {self._name}"
        )
        return [entry for entry in parse.snapshot_facts(end.stdout) if set(words) <= set(entry[0].tags)]

    def backup(
        self, at: Host, part: Part, tags: Tags, *, time: datetime, progress: ProgressSink, repeated: bool = True
    ) -> BackedUp:
        """Take one snapshot of one part, or give the facts of the one that a former attempt of this run finished."""
        what = f"backup of {tags.source}/{tags.part} on {at.name}"
        self._reach.only_if_writable(what)
        if isinstance(part, Tree):
            site = self._reach.site(at)
            part = part.model_copy(update={"paths": tuple(site.expand(path) for path in part.paths)})
        former = self._former(at, part, tags) if repeated else None
        if former is not None:
            return former.model_copy(update={"unreadable": self._still_unreadable(at, part, tags, time, what)})
        summary: list[parse.Summary] = []
        end = self._reach.execute(
            at,
            lambda common: argv.backup(common, part, host=at.name, tags=tags.words(), time=time),
            what,
            good=tuple(range(256)),
            on_line=_watch(progress, what, summary),
            extra=self._stream_environment(part),
        )
        if isinstance(part, Stream):
            return self._streamed(at, part, end, summary, what)
        if end.exit_code not in {endings.OK, endings.INCOMPLETE}:
            raise self._reach.failure(end, what)
        if not summary:
            raise RepositoryError(f"{what}: restic ended without naming its snapshot: {endings.reason(end.stderr)}")
        return parse.backed_up(summary[-1].fields, _unreadable(end))

    def _streamed(self, at: Host, part: Stream, end: Completed, summary: list[parse.Summary], what: str) -> BackedUp:
        facts = parse.backed_up(summary[-1].fields) if summary else None
        if end.exit_code == endings.OK and facts is not None and facts.bytes_processed > 0:
            return facts
        why = endings.stream_failure(end.stderr)
        if facts is not None:
            # restic 0.19 keeps a snapshot without the file when the command gives nothing and succeeds.
            left = self._take_back(at, facts.snapshot)
            raise StreamFailed(
                f"{what}: `{part.argv[0]}` gave no data: {why.said or endings.UNHEARD}",
                errors=why.said,
                hint=left or "no snapshot was kept; run the command by hand on that host",
            )
        if why.failed:
            raise StreamFailed(
                f"{what}: `{part.argv[0]}` failed, so no snapshot was taken: {why.failed}"
                f"{': ' if why.said else ''}{why.said}",
                errors=why.said,
                hint="run the command by hand on that host",
            )
        raise self._reach.failure(end, what)

    def _take_back(self, at: Host, snapshot: str) -> str:
        """Remove a snapshot that holds nothing; says what is left to do, if anything."""
        try:
            self._reach.execute(
                self._reach.keeper or at,
                lambda common: argv.forget(common, (snapshot,), prune=False),
                "removing an empty snapshot",
            )
        except (RepositoryError, HostError) as error:
            return f"the empty snapshot {snapshot[:8]} is left, which drorch ignores: {error.message}"
        return ""

    def _stream_environment(self, part: Part) -> dict[str, str | Secret]:
        if not isinstance(part, Stream):
            return {}
        return {
            key: self._reach.secrets.get(value) if isinstance(value, SecretRef) else value
            for key, value in part.env.items()
        }

    def _former(self, at: Host, part: Part, tags: Tags) -> BackedUp | None:
        """What a former attempt of the same run finished, if it did; its lock, if it died, is removed."""
        with suppress(RepositoryError):
            self.unlock(at)
        wanted = tags.model_dump(include={"service", "source", "part", "run"})
        found = [facts for _, facts in self._listed(at, wanted) if facts is not None]
        whole = [facts for facts in found if isinstance(part, Tree) or facts.bytes_processed > 0]
        return whole[-1] if whole else None

    def _still_unreadable(self, at: Host, part: Part, tags: Tags, time: datetime, what: str) -> tuple[str, ...]:
        """Whether the finished snapshot was whole died with the attempt that took it: look at the tree again."""
        if not isinstance(part, Tree):
            return ()
        end = self._reach.execute(
            at,
            lambda common: argv.backup(common, part, host=at.name, tags=tags.words(), time=time, dry_run=True),
            what,
            good=(endings.OK, endings.INCOMPLETE),
            on_line=lambda _: None,
        )
        return _unreadable(end)

    def restore(self, at: Host, snapshot: Snapshot, into: str, *, progress: ProgressSink) -> RestoredTree:
        """Write a snapshot into a fresh directory and read every byte back."""
        what = f"restore of snapshot {snapshot.id[:8]} to {at.name}"
        into = self._reach.site(at).expand(into).rstrip("/")
        self._make_room(at, snapshot, into, what)
        end = self._reach.execute(
            at,
            lambda common: argv.restore(common, snapshot.id, into),
            what,
            on_line=_watch(progress, what, []),
        )
        # A snapshot of the root directory carries its permissions onto the target.
        _ran(at.run(Command(("chmod", "700", "--", into))), what)
        sizes: list[int] = []
        _ran(
            at.run(
                Command(("find", into, "-mindepth", "1", "-type", "f", "-printf", "%s\\n")),
                on_line=lambda line: sizes.append(int(line)),
            ),
            what,
        )
        return RestoredTree(
            snapshot=snapshot.id, path=into, files=len(sizes), bytes=sum(sizes), seconds=round(end.seconds, 3)
        )

    def _make_room(self, at: Host, snapshot: Snapshot, into: str, what: str) -> None:
        """Make the directory, or take over what a former attempt at the same snapshot left in it."""
        marker = f"{into}.snapshot"
        began = _began(at, marker)
        if began is not None and not re.fullmatch(r"[0-9a-f]{64}", began):
            raise RepositoryError(
                f"{what}: {marker} is in the way, where drorch notes what it restores", hint="restore to another place"
            )
        there = at.run(Command(("find", into, "-maxdepth", "1", "-printf", "%d%y\\n")))
        lines = there.text.split()
        if there.ok and lines[:1] != ["0d"]:
            raise RepositoryError(f"{what}: {into} is there and is no directory", hint="restore to a fresh place")
        if there.ok and len(lines) > 1 and began != snapshot.id:
            raise RepositoryError(
                f"{what}: {into} is not empty", hint="restore to a fresh place, or remove it if nobody needs it"
            )
        if not there.ok:
            _ran(at.run(Command(("mkdir", "-p", "--", into.rpartition("/")[0] or "/"))), what)
        at.put(marker, snapshot.id.encode("ascii"))
        make = ("chmod", "700", "--", into) if there.ok else ("mkdir", "-m", "700", "--", into)
        _ran(at.run(Command(make)), what)

    def compare(self, at: Host, snapshot: Snapshot, path: str) -> Comparison:
        """Compare a restored tree with its snapshot, content and metadata; changes nothing."""
        what = f"comparison with snapshot {snapshot.id[:8]} on {at.name}"
        site = self._reach.site(at)
        path = site.expand(path)
        difference = compare.Difference(owners=site.root)
        self._reach.execute(at, lambda common: argv.listing(common, snapshot.id), what, on_line=difference.expect)
        if difference.has_links:
            self._reach.execute(
                at, lambda common: argv.long_listing(common, snapshot.id), what, on_line=difference.point
            )
        _ran(at.run(Command(compare.find(path)), on_line=difference.found), what)
        self._reach.execute(
            at, lambda common: argv.compare(common, snapshot.id, path), what, on_line=difference.compared
        )
        return difference.result()

    def check(self, at: Host, *, subset: tuple[int, int] | None) -> CheckReport:
        """Check the structure and, with ``(n, t)``, read the n-th of t equal parts of the packs."""
        what = f"check of {self._name}"
        end = self._reach.execute(at, lambda common: argv.check(common, subset), what, good=tuple(range(256)))
        damage = endings.damage(end) if end.exit_code == 1 else ()
        if damage:
            raise RepositoryError(
                f"{what}: the repository is damaged: {'; '.join(damage[:3])}",
                hint=endings.RESCUE,
            )
        if end.exit_code != endings.OK:
            raise self._reach.failure(end, what)
        if not endings.sound(end.stdout, self._reach.site(at).restic.version):
            raise RepositoryError(f"{what}: restic ended without saying that it found no errors")
        return CheckReport(subset=f"{subset[0]}/{subset[1]}" if subset else "structure", seconds=round(end.seconds, 3))

    def forget(self, at: Host, snapshots: Sequence[str], *, prune: bool) -> Forgotten:
        """Remove exactly these snapshots; gone already is as good. Their space is freed also by a repetition."""
        for snapshot in snapshots:
            if not re.fullmatch(r"[0-9a-f]{64}", snapshot):
                raise RepositoryError(f"{snapshot!r} is no whole snapshot id, so nothing was removed")
        what = f"removal of {len(snapshots)} snapshots from {self._name}"
        self._reach.only_if_writable(what)
        present = {snapshot.id for snapshot in self.snapshots(at)}
        going = tuple(snapshot for snapshot in snapshots if snapshot in present)
        freed = None
        if going:
            end = self._reach.execute(at, lambda common: argv.forget(common, going, prune=prune), what)
            freed = parse.freed(end.stdout)
        elif prune:
            freed = parse.freed(self._reach.execute(at, argv.prune, what).stdout)
        kept = tuple(snapshot.id for snapshot in self.snapshots(at)) if going else tuple(present)
        stayed = set(kept) & set(snapshots)
        if stayed:
            raise RepositoryError(
                f"{what}: {len(stayed)} of them are still there", hint="see whether the storage allows removal"
            )
        return Forgotten(kept=kept, removed=tuple(snapshots), bytes_freed=freed)

    def copy_from(
        self, at: Host, source: Repository, snapshots: Sequence[Snapshot], *, progress: ProgressSink
    ) -> Copied:
        """Bring about a copy of each of these snapshots of another repository."""
        other = copying.beside(source, self._reach, f"copying from {source.name} to {self._name}")
        return copying.bring(self._reach, at, other, snapshots, progress=progress)

    @property
    def reach(self) -> Reach:
        """How restic gets at it."""
        return self._reach

    def unlock(self, at: Host) -> None:
        """Remove stale locks only."""
        what = f"unlocking {self._name}"
        self._reach.only_if_writable(what)
        self._reach.execute(at, argv.unlock, what)


def _watch(progress: ProgressSink, text: str, summary: list[parse.Summary]) -> "parse.Sink":
    def line(content: bytes) -> None:
        said = parse.read_line(content)
        if isinstance(said, parse.Status):
            shown: Progress = parse.progress(said, text=text)
            progress(shown)
        elif isinstance(said, parse.Summary):
            summary.append(said)

    return line


def _unreadable(end: Completed) -> tuple[str, ...]:
    found = endings.complaints(end.stderr)
    if end.exit_code == endings.INCOMPLETE:
        return found or ("restic could not read everything and does not say what",)
    # Before 0.19 a missing path was no reason for another exit code.
    return tuple(line for line in found if line.endswith(_SKIPPED))


def _began(at: Host, marker: str) -> str | None:
    """What the marker says that a former attempt began to restore; None without one."""
    end = at.run(Command(("head", "-c", "100", "--", marker)))
    return end.text.strip() if end.ok else None


def _ran(end: Completed, what: str) -> None:
    if not end.ok:
        failure = end.failure(what)
        raise RepositoryError(failure.why, hint=failure.hint, retryable=failure.unknown)
