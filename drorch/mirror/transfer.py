"""The mirror pass: bring a copy up to date, so that at every moment it is a repository that can be restored from.

Nothing is deleted, nothing that is right is sent again. The order is what makes it sound while backups and prunes go
on at the source: snapshots are listed first and packs last; packs are sent first and snapshots last, with a barrier
between.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from drorch.core.errors import ObjectMissing, StoreError
from drorch.core.store import Entry, Recorded, Shelf, Store
from drorch.mirror import belonging
from drorch.mirror.lanes import Lanes, lanes
from drorch.mirror.names import (
    CONFIG,
    FILE_LIMIT,
    LISTED,
    UPLOADED,
    File,
    Files,
    Kind,
    digest,
    file_at,
    paired,
)

ROUNDS: Final = 5
"""How often a pass begins anew because the source was pruned under it."""
SHOWN: Final = 100
"""Names of each kind of finding that are kept."""


class _Vanished(Exception):
    """A pack or index went away while the pass ran: the lists are no longer one picture."""


@dataclass(frozen=True, slots=True)
class Known:
    """What former passes left to be remembered; everything is empty before the first."""

    config: str = ""
    """SHA-256 of the repository's ``config``: which repository this is the copy of."""
    seen_until: datetime | None = None
    """Objects that the store recorded up to then were sent or looked at; later ones that this machine did not send are
    looked at one by one."""
    suspects: frozenset[str] = frozenset()
    """Keys that are looked at in any case: an audit found them altered."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a pass is."""

    text: str
    done_bytes: int = 0
    total_bytes: int = 0
    done: int = 0
    total: int = 0


@dataclass(slots=True)
class Passed:
    """What a complete pass found and did. The copy then holds all that the source held when it was listed."""

    config: str
    seen_until: datetime | None = None
    objects: int = 0
    """Of the source, all of which are in the copy."""
    bytes: int = 0
    uploaded: int = 0
    uploaded_bytes: int = 0
    looked_at: int = 0
    """Objects that others may have written, whose recorded checksum was compared."""
    replaced: list[str] = field(default_factory=list)
    """Keys whose content in the copy was wrong, and was written again; at most `SHOWN`."""
    replaced_count: int = 0
    rotten: list[str] = field(default_factory=list)
    """Snapshots and keys of the source whose content does not match their name: never copied."""
    kept: int = 0
    """Objects of the copy that the source no longer has."""
    kept_bytes: int = 0
    strangers: list[str] = field(default_factory=list)
    """Keys of those that came after the last pass: sent by one that was cut, or by somebody else; at most `SHOWN`."""
    strangers_count: int = 0
    extended: int = 0
    snapshots: frozenset[str] = frozenset()
    """Ids of the snapshots that are in the copy and in the source."""
    index: str = ""
    """A digest of the names of the source's index files: while it stays the same, no pack went away."""
    rounds: int = 1


@dataclass(slots=True)
class _Work:
    """What has to be done for one kind."""

    missing: Files
    wrong: Files
    doubtful: Files
    """In the copy, but written by nobody knows whom."""
    there: Files
    """Right in the copy, and to be locked longer; empty when it is not time for that."""


def transfer(
    source: Shelf,
    target: Store,
    folder: str,
    known: Known,
    *,
    extend_until: datetime | None = None,
    check: Callable[[], None] = lambda: None,
    show: Callable[[Stage], None] = lambda _: None,
) -> Passed:
    """Bring the copy of a repository in ``folder`` (ends with ``/``) of a store up to date.

    Args:
        source: The repository's files.
        target: The store.
        folder: Where the copy lies there.
        known: What former passes remembered.
        extend_until: Keep every live object locked until then at least; None when it is not time for that.
        check: Called often; raises to stop.
        show: Told how far it is.

    Raises:
        Refused: the source or the copy is another repository than the one that belongs there.
        StoreError: the copy is behind, but whatever it holds is whole: it can be done again.
    """
    config = belonging.config_of(source)
    belonging.agree(digest(config), known.config, target, folder)
    for number in range(1, ROUNDS + 1):
        one = _Pass(source, target, folder, known, extend_until, check, show, Passed(digest(config)), known.seen_until)
        with suppress(_Vanished):
            passed = one.carry_out(config)
            passed.rounds = number
            return passed
    raise StoreError(
        f"{source.shown} was pruned during each of {ROUNDS} passes, so the copy is behind",
        hint="is something else than drorch pruning it? it must not run beside the mirror",
        retryable=True,
    )


def summary(files: Iterable[File]) -> str:
    """One digest for a set of names, in whatever order they come."""
    return digest("\n".join(sorted(file.id for file in files)).encode())


@dataclass(slots=True)
class _Pass:
    """One round of a pass: list everything, then send what is missing."""

    source: Shelf
    target: Store
    folder: str
    known: Known
    extend_until: datetime | None
    check: Callable[[], None]
    show: Callable[[Stage], None]
    passed: Passed
    latest: datetime | None
    """The newest time that the store gave to what was sent or looked at."""
    rotten: list[File] = field(default_factory=list)
    gone: list[File] = field(default_factory=list)
    step: Stage = field(default_factory=lambda: Stage(""))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def carry_out(self, config: bytes) -> Passed:
        """The round.

        Raises:
            _Vanished: it must be begun anew.
        """
        passed = self.passed
        work: dict[Kind, _Work] = {}
        for kind in LISTED:
            work[kind] = self._list(kind)
            if kind is Kind.INDEX:
                self._list_again(work[kind])
        snapshots = {file.id for files in (work[Kind.SNAPSHOTS],) for file in self._all(files)}
        self._count(work)
        with lanes(min(self.source.lanes, self.target.lanes), self.check) as open_lanes:
            for kind in UPLOADED:
                self._send(open_lanes, work[kind])
                open_lanes.barrier()
                self._passable(kind)
                if kind is Kind.KEYS:
                    self._put_config(config)
        lost = {file.id for file in (*self.gone, *self.rotten) if file.kind is Kind.SNAPSHOTS}
        passed.snapshots = frozenset(snapshots - lost)
        passed.index = summary(self._all(work[Kind.INDEX]))
        passed.rotten = [file.key for file in self.rotten]
        passed.seen_until = self.latest
        return passed

    # -- listing -------------------------------------------------------------------------------------------------------

    def _list(self, kind: Kind) -> _Work:
        """Compare source and copy by their listings."""
        self.show(Stage(f"listing {kind.value}"))
        passed, since = self.passed, self.known.seen_until
        work = _Work(Files(kind), Files(kind), Files(kind), Files(kind))
        below = f"{kind.value}/"
        pairs = paired(
            self.source.entries(below),
            self.target.entries(self.folder + below),
            self.folder,
        )
        for number, pair in enumerate(pairs):
            if number % 1000 == 0:
                self.check()
            file = file_at(pair.key)
            if file is None:
                continue
            if pair.source is None:
                passed.kept += 1
                passed.kept_bytes += pair.copy.size if pair.copy else 0
                if since is not None and pair.copy is not None and pair.copy.modified > since:
                    passed.strangers_count += 1
                    passed.strangers += [pair.key] if len(passed.strangers) < SHOWN else []
                continue
            size = pair.source.size
            passed.objects += 1
            passed.bytes += size
            if pair.copy is None:
                work.missing.add(file.id, size)
            elif pair.copy.size != size:
                work.wrong.add(file.id, size)
            elif since is None or pair.copy.modified > since or pair.key in self.known.suspects:
                work.doubtful.add(file.id, size)
                self._note(pair.copy)
            else:
                work.there.add(file.id, size)
        return work

    def _list_again(self, work: _Work) -> None:
        """Add the indexes that only a second listing shows.

        A listing of many pages is no moment: when an index is replaced meanwhile, it may show neither the old one,
        gone before its page, nor the new one, come behind it. What is there between two listings, one of them shows.
        """
        seen = {file.id for file in self._all(work)}
        for entry in self.source.entries(f"{Kind.INDEX.value}/"):
            file = file_at(entry.key)
            if file is not None and file.id not in seen:
                work.missing.add(file.id, entry.size)
                self.passed.objects += 1
                self.passed.bytes += entry.size

    @staticmethod
    def _all(work: _Work) -> Iterator[File]:
        for files in (work.missing, work.wrong, work.doubtful, work.there):
            yield from (file for file, _ in files)

    def _note(self, entry: Entry) -> None:
        if self.latest is None or entry.modified > self.latest:
            self.latest = entry.modified

    # -- sending -------------------------------------------------------------------------------------------------------

    def _count(self, work: "dict[Kind, _Work]") -> None:
        files = [one for each in work.values() for one in (each.missing, each.wrong, each.doubtful)]
        if self.extend_until is not None:
            files += [each.there for each in work.values()]
        self.step = Stage(
            "",
            total=sum(len(one) for one in files),
            total_bytes=sum(one.bytes for each in work.values() for one in (each.missing, each.wrong)),
        )

    def _send(self, open_lanes: Lanes, work: _Work) -> None:
        for file, size in work.missing:
            open_lanes.do(partial(self._upload, file), weight=size)
        for file, size in work.wrong:
            open_lanes.do(partial(self._replace, file), weight=size)
        for file, size in work.doubtful:
            open_lanes.do(partial(self._look_at, file), weight=size)
        if self.extend_until is not None:
            for file, _ in work.there:
                open_lanes.do(partial(self._extend, file))

    def _passable(self, kind: Kind) -> None:
        """Whether the next kind may follow."""
        if kind not in {Kind.DATA, Kind.INDEX}:
            return
        if any(file.kind is kind for file in self.gone):
            raise _Vanished
        rotten = [file.key for file in self.rotten if file.kind is kind]
        if rotten:
            more = f" and {len(rotten) - 3} more" if len(rotten) > 3 else ""  # noqa: PLR2004 - as many as are shown
            raise StoreError(
                f"bit rot at the source: the content of {', '.join(rotten[:3])}{more} in {self.source.shown} does not "
                "match its name; it was not copied, and nothing that needs it either",
                hint="drorch check tells which snapshots it hurts; restic repair packs ID saves what can be saved. "
                "What was copied before is as it was",
            )

    def _content(self, file: File) -> bytes | None:
        """A file of the source whose content matches its name; None for one that is gone, or rotten."""
        try:
            content = self.source.read(file.key, limit=FILE_LIMIT)
        except ObjectMissing:
            with self.lock:
                self.gone.append(file)
            return None
        if digest(content) == file.id:
            return content
        with self.lock:
            self.rotten.append(file)
        return None

    def _upload(self, file: File) -> None:
        content = self._content(file)
        if content is None:
            return
        receipt = self.target.put(self.folder + file.key, content, sha256=file.id)
        with self.lock:
            self.passed.uploaded += 1
            self.passed.uploaded_bytes += len(content)
            self.latest = max(self.latest or receipt.at, receipt.at)
        self._done(file, len(content))

    def _replace(self, file: File) -> None:
        with self.lock:
            self.passed.replaced_count += 1
            if len(self.passed.replaced) < SHOWN:
                self.passed.replaced.append(file.key)
        self._upload(file)

    def _look_at(self, file: File) -> None:
        """Compare what the store recorded of an object with its name, and write it again where that is wrong."""
        with self.lock:
            self.passed.looked_at += 1
        if not self._is_right(file):
            self._replace(file)
            return
        if self.extend_until is not None:
            self._extend(file)
        else:
            self._done(file, 0)

    def _is_right(self, file: File) -> bool:
        key = self.folder + file.key
        try:
            recorded: Recorded = self.target.recorded(key)
        except ObjectMissing:
            return False
        if recorded.customer_key:
            return False
        if recorded.sha256:
            return recorded.sha256 == file.id
        if recorded.md5:
            content = self._content(file)
            if content is None:
                return True  # what it should be is no longer known here: the pass ends at the barrier
            return hashlib.md5(content, usedforsecurity=False).hexdigest() == recorded.md5
        return digest(self.target.read(key, limit=FILE_LIMIT)) == file.id

    def _extend(self, file: File) -> None:
        if self.extend_until is not None:
            self.target.extend(self.folder + file.key, until=self.extend_until)
        with self.lock:
            self.passed.extended += 1
        self._done(file, 0)

    def _put_config(self, config: bytes) -> None:
        """Put the config unless it is there; what is there was compared before."""
        passed, key = self.passed, self.folder + CONFIG
        passed.objects += 1
        passed.bytes += len(config)
        receipt = belonging.claim(self.target, self.folder, config)
        if receipt is not None:
            passed.uploaded += 1
            passed.uploaded_bytes += len(config)
            self.latest = max(self.latest or receipt.at, receipt.at)
        elif self.extend_until is not None:
            self.target.extend(key, until=self.extend_until)
            passed.extended += 1

    def _done(self, file: File, size: int) -> None:
        with self.lock:
            step = self.step
            self.step = Stage(
                f"mirroring {file.kind.value}", step.done_bytes + size, step.total_bytes, step.done + 1, step.total
            )
            self.show(self.step)
