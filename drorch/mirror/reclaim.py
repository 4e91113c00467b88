"""Deletion from a copy: the exception. Nothing here happens unless a person asks for it twice, a grace period apart.

What the source no longer has is noted first. Only what was noted so long ago, and is still gone, may be removed:
snapshots first, packs last, with a barrier between, by a credential that nothing else uses.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from pydantic import AwareDatetime, Field

from drorch.core.errors import Refused, StoreError
from drorch.core.model import Frozen, format_duration
from drorch.core.step import Memory
from drorch.core.store import Lock, Shelf, Store
from drorch.mirror.lanes import lanes
from drorch.mirror.ledger import Ledger, interval
from drorch.mirror.names import CONFIG, CONFIG_LIMIT, REMOVED, File, Kind, digest, file_at, paired
from drorch.mirror.transfer import Stage, summary

GRACE: Final = timedelta(days=30)
SHRINK: Final = 0.5
"""A larger share of a copy's objects or bytes is not removed at once, unless a person says so."""


class Noted(Frozen):
    """What a source no longer had when a person looked, remembered for the day when it may go."""

    since: AwareDatetime
    ids: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By `Kind`."""


def noted(memory: Memory, store: str, repository: str) -> Noted | None:
    """What was noted; None for nothing."""
    value = memory.get(f"gone:{store}:{repository}")
    return Noted.model_validate(value) if value else None


def note(memory: Memory, store: str, repository: str, gone: "Gone", known: Ledger, *, now: datetime) -> Noted:
    """Note what is gone now; what was noted before keeps counting only as long as it is the whole note.

    Raises:
        Refused: the copy is not up to date: what is gone may be all that its snapshots have.
    """
    _up_to_date(gone, known)
    said = Noted(since=now, ids={kind.value: tuple(sorted(gone.files[kind])) for kind in REMOVED})
    memory.put(f"gone:{store}:{repository}", said.model_dump(mode="json"))
    return said


def forget(memory: Memory, store: str, repository: str) -> None:
    """Note that nothing is gone."""
    memory.put(f"gone:{store}:{repository}", None)


@dataclass(slots=True)
class Gone:
    """What a copy has and its source no longer does."""

    files: dict[Kind, dict[str, int]] = field(default_factory=lambda: {kind: {} for kind in REMOVED})
    """Sizes by id."""
    objects: int = 0
    """Of the copy, gone ones among them."""
    bytes: int = 0
    live_snapshots: int = 0
    index: str = ""
    """As `transfer.Passed.index`, of the source now."""
    config: str = ""

    def only(self, ids: Mapping[str, Iterable[str]]) -> "Gone":
        """The same, with these files only."""
        wanted = {kind: frozenset(ids.get(kind.value, ())) for kind in REMOVED}
        kept = {kind: {id_: size for id_, size in self.files[kind].items() if id_ in wanted[kind]} for kind in REMOVED}
        return Gone(kept, self.objects, self.bytes, self.live_snapshots, self.index, self.config)

    @property
    def count(self) -> int:
        """How many files."""
        return sum(len(ids) for ids in self.files.values())

    @property
    def size(self) -> int:
        """How many bytes."""
        return sum(sum(ids.values()) for ids in self.files.values())

    @property
    def token(self) -> str:
        """A digest of exactly these files: what a person agreed to is what is done."""
        lines = [f"{kind.value}/{id_}" for kind in REMOVED for id_ in sorted(self.files[kind])]
        return digest("\n".join(lines).encode())


def look(source: Shelf, target: Store, folder: str, check: Callable[[], None] = lambda: None) -> Gone:
    """Compare a copy with its source by listing both.

    Packs are looked for first: one that is gone by then is in no index that is found later.
    """
    gone = Gone(config=digest(source.read(CONFIG, limit=CONFIG_LIMIT)))
    index: list[File] = []
    for kind in reversed(REMOVED):
        below = f"{kind.value}/"
        # The copy first: what it had before is all that may go, and the source is asked after.
        copied = list(target.entries(folder + below)) if kind is not Kind.DATA else target.entries(folder + below)
        for number, pair in enumerate(paired(source.entries(below), copied, folder)):
            if number % 1000 == 0:
                check()
            file = file_at(pair.key)
            if file is None:
                continue
            if pair.source is not None and kind is Kind.INDEX:
                index.append(file)
            if pair.source is not None and kind is Kind.SNAPSHOTS:
                gone.live_snapshots += 1
            if pair.copy is None:
                continue
            gone.objects += 1
            gone.bytes += pair.copy.size
            if pair.source is None:
                gone.files[kind][file.id] = pair.copy.size
    gone.index = summary(index)
    return gone


def grace_for(lock: Lock | None, grace: timedelta) -> timedelta:
    """The grace period, never shorter than locks last: a lock must not be what protects from a mistake here."""
    return max(grace, timedelta(days=lock.days) + interval(lock)) if lock else grace


def ripe(gone: Gone, since: Noted | None, known: Ledger, *, grace: timedelta, now: datetime, shrink: bool) -> Gone:
    """Of what is gone, that which may be removed now.

    Raises:
        Refused: none of it may; why, and from when it may.
    """
    _up_to_date(gone, known)
    if gone.live_snapshots == 0:
        raise Refused(
            "the repository has no snapshots at all, so nothing is removed from its copy",
            hint="this looks like a loss: the copy may be all that is left",
        )
    if since is None or since.since > now:
        raise Refused("what is gone was not noted yet", hint="drorch reclaim notes it, and says from when it may go")
    if now - since.since < grace:
        raise Refused(
            f"what is gone was noted on {since.since:%Y-%m-%d}; the grace period is {format_duration(grace)}",
            hint=f"come back on {since.since + grace:%Y-%m-%d}",
        )
    found = gone.only(since.ids)
    if not shrink and (found.count > SHRINK * gone.objects or found.size > SHRINK * gone.bytes):
        raise Refused(
            f"{found.count} of {gone.objects} objects ({found.size} of {gone.bytes} bytes) would go, more than half",
            hint="is that what you want? then say --shrink",
        )
    return found


def _up_to_date(gone: Gone, known: Ledger) -> None:
    if known.began is None or known.config != gone.config:
        raise Refused("there was no complete mirror pass of this repository", hint="mirror first")
    if known.index != gone.index:
        raise Refused(
            "the repository's index is another one than at the last mirror pass", hint="mirror again, then come back"
        )


@dataclass(slots=True)
class Reclaimed:
    """What was removed."""

    objects: int = 0
    bytes: int = 0
    versions: int = 0


def reclaim(
    target: Store,
    folder: str,
    gone: Gone,
    *,
    check: Callable[[], None] = lambda: None,
    show: Callable[[Stage], None] = lambda _: None,
) -> Reclaimed:
    """Remove these files with all their versions, so that whatever is left at any moment is whole.

    Raises:
        StoreError: one could not be removed; those that need it are gone already, so the copy is whole.
    """
    done = Reclaimed()
    lock = threading.Lock()

    def remove(file: File, size: int) -> None:
        versions = _remove(target, folder + file.key)
        with lock:
            done.versions += versions
            done.objects += 1
            done.bytes += size
            show(Stage(f"removing {file.kind.value}", done_bytes=done.bytes, done=done.objects))

    with lanes(target.lanes, check) as open_lanes:
        for kind in REMOVED:
            for id_, size in gone.files[kind].items():
                open_lanes.do(partial(remove, File(kind, id_), size))
            open_lanes.barrier()
    return done


def _remove(target: Store, key: str) -> int:
    """Remove every version of an object; gives how many there were."""
    versions = [version for version in target.versions(key) if version.key == key]
    for version in versions:
        target.remove(key, version=version.id)
    if any(version.key == key and not version.deleted for version in target.versions(key)):
        raise StoreError(f"{key} is still in {target.shown} after it was removed", hint="is it locked?")
    return len(versions)
