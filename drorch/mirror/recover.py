"""Recovery: rebuild a repository from whatever versions a store still has of its files.

Who has the writer's credential can overwrite everything and lay delete markers over it, but not make other content
that has the same SHA-256. So for each name the version whose hash equals it is the right one, whatever came later.
"""

import heapq
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Final

from drorch.core.errors import ObjectMissing, Refused, StoreError
from drorch.core.store import Store, Version
from drorch.mirror.keys import KEY_LIMIT, is_key
from drorch.mirror.lanes import Lanes, lanes
from drorch.mirror.names import CONFIG, CONFIG_LIMIT, FILE_LIMIT, UPLOADED, File, Kind, digest, file_at
from drorch.mirror.transfer import Stage

SHOWN: Final = 100

DATED: Final = (Kind.INDEX, Kind.SNAPSHOTS)
"""Kinds of which only what was there at the chosen moment is taken: a later snapshot may be forged, and so may a later
index, by somebody who knows the repository's password. Packs are harmless without those, keys by `_Recovery._keys`."""

KEYS: Final = 16
"""Keys that are taken at most, those that came first. restic tries 20 and gives up, so that many forged ones, which
anybody with the writer's credential can write, would close the repository."""
_KEYS_LOOKED_AT: Final = 1000


@dataclass(slots=True)
class Recovered:
    """What a recovery brought back."""

    config: str = ""
    """SHA-256 of the config that was taken."""
    objects: int = 0
    bytes: int = 0
    there: int = 0
    """Of those: files that a former attempt had brought back already."""
    snapshots: int = 0
    newest: datetime | None = None
    """When the newest snapshot file that was taken reached the store."""
    older: int = 0
    """Files whose newest version was wrong or deleted, so that an older one was taken."""
    later: int = 0
    """Files that came after the chosen moment, and were left out."""
    strange_keys: int = 0
    """Files among the repository's keys that are none, or came after the first `KEYS`: left out."""
    lost: list[str] = field(default_factory=list)
    """Keys of which no version has the right content; at most `SHOWN`."""
    lost_count: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One key with all that is left of it, oldest first."""

    file: File
    versions: tuple[Version, ...]
    covered: bool
    """Whether its newest version is a delete marker."""


def recover(
    store: Store,
    folder: str,
    into: Store,
    *,
    as_of: datetime | None,
    config: str,
    check: Callable[[], None] = lambda: None,
    show: Callable[[Stage], None] = lambda _: None,
) -> Recovered:
    """Rebuild the repository whose mirror lies in ``folder`` (ends with ``/``) of a store.

    Packs are written first and the config last, so what is there after a cut is no repository yet; a repetition goes
    on from there.

    Args:
        store: Where the mirror is.
        folder: Where it lies there.
        into: An empty folder, or one that a former attempt at this began, as a store.
        as_of: The moment to go back to, by the store's clock; None for everything that is right.
        config: SHA-256 of the config as it is remembered; empty when nobody remembers it: then the oldest one is taken.
        check: Called often; raises to stop.
        show: Told how far it is.

    Raises:
        StoreError: there is nothing, or no right config, or nothing had come by that moment.
        Refused: another repository is where it shall be rebuilt.
    """
    return _Recovery(store, folder, into, as_of, config, check, show).carry_out()


@dataclass(slots=True)
class _Recovery:
    store: Store
    folder: str
    into: Store
    as_of: datetime | None
    config: str
    check: Callable[[], None]
    show: Callable[[Stage], None]
    done: Recovered = field(default_factory=Recovered)
    lock: threading.Lock = field(default_factory=threading.Lock)
    step: Stage = field(default_factory=lambda: Stage("recovering"))

    def carry_out(self) -> Recovered:
        config = self._config()
        self._same_place(config)
        self._not_too_early()
        with lanes(self.store.lanes, self.check) as open_lanes:
            for kind in (Kind.DATA, *(kind for kind in UPLOADED if kind is not Kind.DATA)):
                self._kind(open_lanes, kind)
                open_lanes.barrier()
        if not self.done.objects:
            raise StoreError(f"nothing of {self.folder} in {self.store.shown} could be recovered")
        self.into.put(CONFIG, config, sha256=self.done.config)
        return self.done

    def _config(self) -> bytes:
        """The remembered config, or the oldest one: what came later is more likely an attacker's."""
        versions = [v for v in self.store.versions(self.folder + CONFIG) if v.key == self.folder + CONFIG]
        for version in reversed(versions):
            if version.deleted:
                continue
            with suppress(ObjectMissing):
                content = self.store.read(version.key, limit=CONFIG_LIMIT, version=version.id)
                if content and self.config in {"", digest(content)}:
                    self.done.config = digest(content)
                    return content
        if not versions:
            raise StoreError(
                f"there is no mirror in {self.folder} of {self.store.shown}",
                hint="name the repository that was mirrored with --repository",
            )
        raise StoreError(
            f"none of {len(versions)} versions of {self.folder}{CONFIG} in {self.store.shown} is the remembered one"
        )

    def _same_place(self, config: bytes) -> None:
        with suppress(ObjectMissing):
            if self.into.read(CONFIG, limit=CONFIG_LIMIT) != config:
                raise Refused(f"another repository is in {self.into.shown}", hint="recover to a fresh folder")

    def _not_too_early(self) -> None:
        """Refuse a moment before the first snapshot came: what is rebuilt then has nothing to restore."""
        if self.as_of is None:
            return
        came = [one.versions[0].modified for one in self._candidates(Kind.SNAPSHOTS) if one.versions]
        if came and min(came) > self.as_of:
            raise StoreError(
                f"no snapshot had come to {self.folder} of {self.store.shown} by {self.as_of:%Y-%m-%dT%H:%M:%SZ}: "
                f"the first one came at {min(came):%Y-%m-%dT%H:%M:%SZ}",
                hint="name a later time with --as-of",
            )

    def _keys(self) -> Iterator[_Candidate]:
        """The repository's keys: of the files that may be some, those that came first.

        Whoever has the writer's credential can add files here whose hash is their name. One that is no key makes restic
        give up before it tries the others, one that asks for a lot of memory kills it, and many are more than it tries.
        """
        came = (one for one in self._candidates(Kind.KEYS) if one.versions)
        taken = 0
        for candidate in heapq.nsmallest(_KEYS_LOOKED_AT, came, key=lambda one: one.versions[0].modified):
            self.check()
            contents = (self._content(version, limit=KEY_LIMIT) for version in candidate.versions)
            right = next((one for one in contents if one is not None and digest(one) == candidate.file.id), b"")
            if taken < KEYS and is_key(right):
                taken += 1
                yield candidate
            else:
                self.done.strange_keys += 1

    def _kind(self, open_lanes: Lanes, kind: Kind) -> None:
        there = {entry.key: entry.size for entry in self.into.entries(f"{kind.value}/")}
        for candidate in self._keys() if kind is Kind.KEYS else self._candidates(kind):
            self.check()
            self.step = Stage(f"recovering {kind.value}", self.step.done_bytes, 0, self.step.done)
            size = max((version.size for version in candidate.versions), default=0)
            open_lanes.do(partial(self._take, candidate, there.get(candidate.file.key)), weight=size)

    def _candidates(self, kind: Kind) -> Iterator[_Candidate]:
        cut = len(self.folder)
        for key, group in groupby(self.store.versions(f"{self.folder}{kind.value}/"), key=lambda one: one.key):
            file = file_at(key[cut:])
            if file is None:
                continue
            found = list(group)
            kept = tuple(version for version in reversed(found) if not version.deleted)
            yield _Candidate(file, kept, covered=bool(found) and found[0].deleted)

    def _take(self, candidate: _Candidate, there: int | None) -> None:
        """Bring one file back, from its oldest right version."""
        file = candidate.file
        if there is not None and self._is_there(file):
            self._count(candidate, None, there)
            return
        for version in candidate.versions:
            content = self._content(version)
            if content is None or digest(content) != file.id:
                continue
            if self.as_of is not None and file.kind in DATED and version.modified > self.as_of:
                with self.lock:
                    self.done.later += 1
                return
            self.into.put(file.key, content, sha256=file.id)
            self._count(candidate, version, len(content))
            return
        with self.lock:
            self.done.lost_count += 1
            if len(self.done.lost) < SHOWN:
                self.done.lost.append(file.key)

    def _content(self, version: Version, *, limit: int = FILE_LIMIT) -> bytes | None:
        """A version's bytes; None for one that cannot be read, such as one under a key that only its writer knows."""
        try:
            return self.store.read(version.key, limit=limit, version=version.id)
        except ObjectMissing:
            return None
        except StoreError as error:
            if error.retryable:
                raise
            return None

    def _is_there(self, file: File) -> bool:
        return digest(self.into.read(file.key, limit=FILE_LIMIT)) == file.id

    def _count(self, candidate: _Candidate, version: Version | None, size: int) -> None:
        with self.lock:
            done = self.done
            done.objects += 1
            done.bytes += size
            done.there += version is None
            if candidate.file.kind is Kind.SNAPSHOTS:
                done.snapshots += 1
                if version is not None and (done.newest is None or version.modified > done.newest):
                    done.newest = version.modified
            if candidate.covered or (version is not None and version is not candidate.versions[-1]):
                done.older += 1
            self.step = Stage(self.step.text, self.step.done_bytes + size, 0, self.step.done + 1)
            self.show(self.step)
