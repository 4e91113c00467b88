"""A store that exists only in memory: for rehearsals, and for tests of what uses a store.

It keeps the promises of `core.store.Store`, versions and locks among them; its time is the clock's, so a test can let
locks run out. As with a fake host, no inventory declares one.
"""

import hashlib
import secrets as randomness
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime, timedelta

from drorch.core.clock import Clock
from drorch.core.errors import AlreadyThere, ContentRefused, ObjectMissing, StoreDenied, StoreError
from drorch.core.store import Entry, Lock, Probe, Receipt, Recorded, Trial, Version
from drorch.stores._trials import tried, unlocked


@dataclass(frozen=True, slots=True)
class Held:
    """One version of an object. A test may put another in its place: rot is new ``content`` under an old ``sha256``."""

    id: str
    content: bytes
    sha256: str
    """What was recorded when it was written."""
    modified: datetime
    deleted: bool = False
    locked_until: datetime | None = None
    held: bool = False
    customer_key: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a verb, as hooks see it."""

    verb: str
    """``entries``, ``read``, ``ready``, ``put``, ``recorded``, ``extend``, ``versions``, ``remove``, ``probe``."""
    key: str
    """Or the folder; empty for ``ready`` and ``probe``."""
    count: int
    """How many calls of this verb there were, this one included."""


Hook = Callable[[Call], None]
"""May raise, and the call then raises that."""


@dataclass
class MemoryStore:
    """`core.store.Store` in memory; usable from several threads.

    Raises:
        ValueError: it shall lock but keep no versions: a lock protects a version.
    """

    name: str = "memory"
    _: KW_ONLY
    clock: Clock
    lock: Lock | None = None
    versioned: bool = True
    lanes: int = 4
    careless: bool = False
    """Takes any content, as a store does that knows no checksums."""
    may_remove: bool = True
    """Whether it was given a deleter's credential."""
    objects: dict[str, list[Held]] = field(default_factory=dict)
    """By key, the newest version last."""
    calls: list[Call] = field(default_factory=list)
    """Every call, in order."""
    before: list[Hook] = field(default_factory=list)
    """Called when a call begins: what raises here fails without effect."""
    after: list[Hook] = field(default_factory=list)
    """Called when its work is done: what raises here took effect, and only the answer was lost."""
    _counts: Counter[str] = field(default_factory=Counter)
    _mutex: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        if self.lock is not None and not self.versioned:
            raise ValueError("a store that locks keeps versions")

    @property
    def shown(self) -> str:
        """Name and address."""
        return f"{self.name} (memory)"

    def ready(self) -> None:
        """Memory is always there."""
        with self._call("ready", ""):
            pass

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every object below a folder, as of now."""
        with self._call("entries", folder):
            listed = [
                Entry(key, len(held.content), held.modified, md5=_md5(held.content)) for key, held in self._live(folder)
            ]
        yield from listed

    def read(self, key: str, *, limit: int, version: str = "") -> bytes:
        """A whole object."""
        with self._call("read", key):
            content = self._one(key, version).content
            if len(content) > limit:
                raise StoreError(f"{self.shown}: {key} has {len(content)} bytes, more than {limit}")
            return content

    def put(self, key: str, content: bytes, *, sha256: str, absent: bool = False) -> Receipt:
        """Write an object."""
        with self._call("put", key):
            actual = hashlib.sha256(content).hexdigest()
            if actual != sha256 and not self.careless:
                raise ContentRefused(f"{self.shown}: {key} does not match its checksum")
            former = self.objects.get(key, [])
            if absent and former and not former[-1].deleted:
                raise AlreadyThere(f"{self.shown}: there is {key} already")
            at = self.clock.now()
            new = Held(
                randomness.token_hex(8),
                bytes(content),
                sha256,
                at,
                locked_until=at + timedelta(days=self.lock.days) if self.lock else None,
                held=self.lock.legal_hold if self.lock else False,
            )
            self.objects[key] = [*former, new] if self.versioned else [new]
            return Receipt(at=at, sha256=sha256, md5=_md5(new.content), version=self._id(new))

    def recorded(self, key: str, *, version: str = "") -> Recorded:
        """What was recorded about an object."""
        with self._call("recorded", key):
            held = self._one(key, version)
            return Recorded(
                size=len(held.content),
                modified=held.modified,
                sha256=held.sha256,
                md5=_md5(held.content),
                version=self._id(held),
                mode=self.lock.mode if self.lock and held.locked_until else "",
                locked_until=held.locked_until,
                held=held.held,
                customer_key=held.customer_key,
            )

    def extend(self, key: str, *, until: datetime, version: str = "") -> None:
        """Keep an object locked until then at least."""
        with self._call("extend", key):
            if self.lock is None:
                raise StoreError(f"{self.shown} locks nothing", hint="give the store a lock")
            held = self._one(key, version)
            self._exchange(key, held, replace(held, locked_until=max(until, held.locked_until or until)))

    def shorten(self, key: str, *, until: datetime, version: str = "") -> None:
        """What `extend` never asks for: lock for a shorter time.

        Raises:
            StoreDenied: it is locked for longer.
        """
        with self._mutex:
            held = self._one(key, version)
            if held.locked_until is not None and until < held.locked_until and self.clock.now() < held.locked_until:
                raise StoreDenied(f"{self.shown}: {key} is locked until {held.locked_until:%Y-%m-%d}")
            self._exchange(key, held, replace(held, locked_until=until))

    def versions(self, start: str) -> Iterator[Version]:
        """Every version and delete marker below a folder, as of now."""
        with self._call("versions", start):
            listed = [
                Version(
                    key=key,
                    id=self._id(held),
                    size=len(held.content),
                    modified=held.modified,
                    latest=held is self.objects[key][-1],
                    deleted=held.deleted,
                    md5="" if held.deleted else _md5(held.content),
                )
                for key in sorted(self.objects)
                if key.startswith(start)
                for held in reversed(self.objects[key])
            ]
        yield from listed

    def remove(self, key: str, *, version: str = "") -> None:
        """Remove an object, or one version of it, unless that is locked; without a version a marker is laid over it."""
        with self._call("remove", key):
            if not self.may_remove:
                raise StoreDenied(f"{self.shown}: there is no credential that may delete", hint="give it a deleter")
            held = self.objects.get(key, [])
            if self.versioned and not version:
                if held and not held[-1].deleted:
                    marker = Held(randomness.token_hex(8), b"", "", self.clock.now(), deleted=True)
                    self.objects[key] = [*held, marker]
                return
            gone = [each for each in held if not self.versioned or each.id == version]
            for each in gone:
                if each.held or (each.locked_until is not None and self.clock.now() < each.locked_until):
                    raise StoreDenied(f"{self.shown}: {key} is locked")
            if kept := [each for each in held if each not in gone]:
                self.objects[key] = kept
            else:
                self.objects.pop(key, None)

    def probe(self) -> Probe:
        """Try what a safe store refuses, on a twin of this store that has nothing in it and is forgotten at once."""
        twin = MemoryStore(
            self.name, clock=self.clock, lock=self.lock, versioned=self.versioned, careless=self.careless
        )

        def tampered(key: str, content: bytes, sha256: str) -> Receipt:
            return twin.put(key, content, sha256=sha256)

        with self._call("probe", ""):
            return tried(twin, tampered=tampered, further=twin._lock_trials)

    def close(self) -> None:
        """Nothing is held."""

    def _lock_trials(self, key: str) -> tuple[Trial, ...]:
        if self.lock is None:
            return unlocked("it locks nothing")
        version = self.objects[key][-1].id

        def denied(name: str, what: str, attempt: Callable[[], object]) -> Trial:
            try:
                attempt()
            except StoreDenied as error:
                return Trial(name=name, what=what, good=True, answer=error.message)
            return Trial(name=name, what=what, good=False, answer="it did")

        now = self.clock.now()
        return (
            denied("locked_shortening", "to lock for a shorter time", lambda: self.shorten(key, until=now)),
            denied("locked_deletion", "to delete what is locked", lambda: self.remove(key, version=version)),
        )

    @contextmanager
    def _call(self, verb: str, key: str) -> Iterator[None]:
        with self._mutex:
            self._counts[verb] += 1
            call = Call(verb, key, self._counts[verb])
            self.calls.append(call)
        for hook in tuple(self.before):
            hook(call)
        with self._mutex:
            yield
        for hook in tuple(self.after):
            hook(call)

    def _live(self, folder: str) -> list[tuple[str, Held]]:
        return [
            (key, held[-1])
            for key, held in sorted(self.objects.items())
            if key.startswith(folder) and not held[-1].deleted
        ]

    def _one(self, key: str, version: str) -> Held:
        """A version, the newest unless one is named; never a delete marker."""
        for held in reversed(self.objects.get(key, [])):
            if version in {"", self._id(held)}:
                if held.deleted:
                    break
                return held
        raise ObjectMissing(f"{self.shown}: there is no {key}")

    def _exchange(self, key: str, old: Held, new: Held) -> None:
        self.objects[key] = [new if held is old else held for held in self.objects[key]]

    def _id(self, held: Held) -> str:
        return held.id if self.versioned else ""


def failing(verb: str, error: BaseException, *, at: int = 1, times: int = 1, key: str = "") -> Hook:
    """A hook that raises at the ``at``-th call of a verb that its key's beginning fits, ``times`` times in a row."""
    seen = 0
    mutex = threading.Lock()

    def hook(call: Call) -> None:
        nonlocal seen
        if call.verb != verb or not call.key.startswith(key):
            return
        with mutex:
            seen += 1
            if at <= seen < at + times:
                raise error

    return hook


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
