"""The audit of a copy, without decrypting and mostly without downloading.

Three levels, never merged: present with the right size, by listing; the recorded checksum, by asking for each object;
the bytes hashed again, by reading a share. Nothing is repaired here: the next mirror pass does that.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from drorch.core.errors import ObjectMissing, StoreError
from drorch.core.store import Entry, Recorded, Shelf, Store
from drorch.mirror.lanes import Lanes, lanes
from drorch.mirror.names import CONFIG, CONFIG_LIMIT, FILE_LIMIT, File, Kind, digest, file_at, paired
from drorch.mirror.transfer import Stage

SHOWN: Final = 100
"""Keys of each finding that are kept; all are counted."""


@dataclass(slots=True)
class Finding:
    """Keys that something is wrong with."""

    count: int = 0
    keys: list[str] = field(default_factory=list)

    def add(self, key: str) -> None:
        """One more."""
        self.count += 1
        if len(self.keys) < SHOWN:
            self.keys.append(key)


@dataclass(slots=True)
class Audited:
    """What an audit saw; each level counts its own objects."""

    listed: int = 0
    """Objects of the copy that the listing showed, foreign ones left out."""
    listed_bytes: int = 0
    right_size: int = 0
    """Of those: as large as at the source. The others cannot be compared: the source no longer has them."""
    recorded: int = 0
    """Objects whose recorded checksum equals their name."""
    unrecorded: int = 0
    """Objects for which the store recorded none that could be compared."""
    hashed: int = 0
    """Objects that were read and hashed again."""
    hashed_bytes: int = 0
    kept: int = 0
    """Objects that the source no longer has."""
    pending: int = 0
    """Objects of the source that came after the last pass, and need not be there yet."""
    missing: Finding = field(default_factory=Finding)
    altered: Finding = field(default_factory=Finding)
    """Of another size, another recorded checksum or other bytes, or encrypted with a key that only its writer knows."""
    unexpected: Finding = field(default_factory=Finding)
    """Below the copy's folder, but no file of a repository; or one that the repository does not have, although it came
    after the last pass."""
    unlocked: Finding = field(default_factory=Finding)
    """Not locked although it should be."""
    expiring: Finding = field(default_factory=Finding)
    """About to lose its lock: the next extension may come too late."""
    locked_until: datetime | None = None
    """The earliest end of a live object's lock; None where none was looked at."""
    snapshots: set[str] = field(default_factory=set)
    """Ids of the snapshots that were listed and not found altered."""
    config: bool = False
    """Whether the copy's ``config`` was read and is the one that is remembered."""

    @property
    def problems(self) -> int:
        """How many objects are not as they must be."""
        return sum(one.count for one in (self.missing, self.altered, self.unlocked, self.expiring))


@dataclass(frozen=True, slots=True)
class Asked:
    """What an audit shall look at."""

    recorded: bool
    """Ask for every object's recorded checksum and lock."""
    parts: frozenset[str]
    """Read and hash objects whose name begins so, two hexadecimal digits each."""
    config: str
    """The remembered SHA-256 of the config; empty when nothing is remembered."""
    passed: datetime | None
    """When the last complete mirror pass began: what the source held before must be there."""
    since: datetime | None
    """Objects that the store recorded later were sent by nobody knows whom: they are read and hashed, all of them."""
    locked: timedelta | None
    """How much longer live objects must stay locked at least; None when they need not be."""


def audit(
    source: Shelf | None,
    target: Store,
    folder: str,
    asked: Asked,
    *,
    now: datetime,
    check: Callable[[], None] = lambda: None,
    show: Callable[[Stage], None] = lambda _: None,
) -> Audited:
    """Look at the copy in ``folder`` (ends with ``/``) of a store.

    Without a source, what is there is compared with its names only, and nobody knows what is missing.

    Raises:
        StoreError: it could not be looked at, which is not the same as finding something wrong.
    """
    return _Audit(source, target, folder, asked, now, check, show).carry_out()


@dataclass(slots=True)
class _Audit:
    source: Shelf | None
    target: Store
    folder: str
    asked: Asked
    now: datetime
    check: Callable[[], None]
    show: Callable[[Stage], None]
    seen: Audited = field(default_factory=Audited)
    lock: threading.Lock = field(default_factory=threading.Lock)
    bad: set[str] = field(default_factory=set)
    """Keys that are counted as altered: each only once, whatever level found it."""
    done: int = 0

    def carry_out(self) -> Audited:
        self._config()
        with lanes(self.target.lanes, self.check) as open_lanes:
            self._list(open_lanes)
            open_lanes.barrier()
        if not self.seen.listed and not self.seen.config and self.asked.passed is None:
            raise StoreError(
                f"there is no copy in {self.folder} of {self.target.shown}",
                hint="mirror first, or name the repository that was mirrored",
            )
        self.seen.snapshots -= {key.rpartition("/")[2] for key in self.bad}
        return self.seen

    def _config(self) -> None:
        try:
            there = digest(self.target.read(self.folder + CONFIG, limit=CONFIG_LIMIT))
        except ObjectMissing:
            self.seen.missing.add(CONFIG)
            return
        except StoreError as error:
            if error.retryable or not self._is_sealed(CONFIG):
                raise
            self.seen.altered.add(CONFIG)
            return
        wanted = self.asked.config
        if not wanted and self.source is not None:
            wanted = digest(self.source.read(CONFIG, limit=CONFIG_LIMIT))
        if wanted and there != wanted:
            self.seen.altered.add(CONFIG)
        elif wanted:
            self.seen.config = True
            self._lock_of(CONFIG)

    def _lock_of(self, key: str) -> None:
        if self.asked.recorded and self.asked.locked is not None:
            self._judge_lock(key, self.target.recorded(self.folder + key))

    def _list(self, open_lanes: Lanes) -> None:
        here: Iterator[Entry] = self.source.entries("") if self.source else iter(())
        for number, pair in enumerate(paired(here, self.target.entries(self.folder), self.folder)):
            if number % 1000 == 0:
                self.check()
            file = file_at(pair.key)
            if file is None:
                if pair.copy is not None and pair.key != CONFIG and not pair.key.startswith("locks/"):
                    self.seen.unexpected.add(pair.key)
            elif pair.copy is None:
                self._absent(pair.key, pair.source)
            else:
                self._present(file, pair.source, pair.copy)
                self._further(open_lanes, file, pair.copy, live=pair.source is not None)

    def _absent(self, key: str, source: Entry | None) -> None:
        passed = self.asked.passed
        if source is not None and passed is not None and source.modified < passed:
            self.seen.missing.add(key)
        else:
            self.seen.pending += 1

    def _present(self, file: File, source: Entry | None, copy: Entry) -> None:
        with self.lock:
            self.seen.listed += 1
            self.seen.listed_bytes += copy.size
            if file.kind is Kind.SNAPSHOTS:
                self.seen.snapshots.add(file.id)
            if source is None:
                self.seen.kept += 1
            elif copy.size == source.size:
                self.seen.right_size += 1
        if source is not None and copy.size != source.size:
            self._alter(file, live=True)

    def _further(self, open_lanes: Lanes, file: File, copy: Entry, *, live: bool) -> None:
        """The levels that cost a call for each object."""
        strange = self.asked.since is not None and copy.modified > self.asked.since
        reread = strange or file.id[:2] in self.asked.parts
        if self.asked.recorded:
            open_lanes.do(partial(self._ask, file, live=live))
        if reread:
            open_lanes.do(partial(self._hash, file, live=live), weight=copy.size)
        if strange and not live and self.source is not None:
            open_lanes.do(partial(self._judge_stranger, self.source, file), weight=copy.size)

    def _judge_stranger(self, source: Shelf, file: File) -> None:
        """Somebody else than drorch wrote it, unless a backup and a pass went on since the source was listed."""
        try:
            source.read(file.key, limit=FILE_LIMIT)
        except ObjectMissing:
            self._alter(file, live=False)

    def _ask(self, file: File, *, live: bool) -> None:
        try:
            recorded = self.target.recorded(self.folder + file.key)
        except ObjectMissing:
            with self.lock:
                self.seen.missing.add(file.key)
            return
        right = self._as_recorded(file, recorded)
        if right is False:
            self._alter(file, live=live)
        with self.lock:
            self.seen.recorded += right is True
            self.seen.unrecorded += right is None
            self._tick(file)
        if live and self.asked.locked is not None:
            self._judge_lock(file.key, recorded)

    def _as_recorded(self, file: File, recorded: Recorded) -> bool | None:
        if recorded.customer_key:
            return False
        if recorded.sha256:
            return recorded.sha256 == file.id
        if not recorded.md5 or self.source is None:
            return None
        try:
            content = self.source.read(file.key, limit=FILE_LIMIT)
        except ObjectMissing:
            return None
        if digest(content) != file.id:
            return None  # the source itself is rotten, so it is no measure
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == recorded.md5

    def _judge_lock(self, key: str, recorded: Recorded) -> None:
        assert self.asked.locked is not None  # noqa: S101 - asked before
        until = recorded.locked_until
        with self.lock:
            if until is None or until <= self.now:
                if not recorded.held:
                    self.seen.unlocked.add(key)
                return
            if self.seen.locked_until is None or until < self.seen.locked_until:
                self.seen.locked_until = until
            if until < self.now + self.asked.locked and not recorded.held:
                self.seen.expiring.add(key)

    def _hash(self, file: File, *, live: bool) -> None:
        try:
            content = self.target.read(self.folder + file.key, limit=FILE_LIMIT)
        except ObjectMissing:
            with self.lock:
                self.seen.missing.add(file.key)
            return
        except StoreError as error:
            if error.retryable or not self._is_sealed(file.key):
                raise
            self._alter(file, live=live)
            return
        if digest(content) != file.id:
            self._alter(file, live=live)
        with self.lock:
            self.seen.hashed += 1
            self.seen.hashed_bytes += len(content)
            self._tick(file)

    def _is_sealed(self, key: str) -> bool:
        """Whether it was encrypted with a key that only its writer knows, so that nobody else can read it."""
        try:
            return self.target.recorded(self.folder + key).customer_key
        except ObjectMissing:
            return False

    def _alter(self, file: File, *, live: bool) -> None:
        """Count what is wrong, once. What the repository does not have is nothing that it could mend: junk, or what it
        had once.
        """
        with self.lock:
            if file.key in self.bad:
                return
            self.bad.add(file.key)
            if live or self.source is None:
                self.seen.altered.add(file.key)
            else:
                self.seen.unexpected.add(file.key)

    def _tick(self, file: File) -> None:
        self.done += 1
        self.show(Stage(f"auditing {file.kind.value}", done_bytes=self.seen.hashed_bytes, done=self.done))
