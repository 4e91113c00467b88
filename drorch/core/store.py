"""Stores: where off-site copies live. One file in `drorch.stores` is one kind.

A store holds objects under keys. A mirrored repository is one folder of it, named as the inventory names the
repository, with the very files of the repository below: ``nas/config``, ``nas/data/4f/4f2a…``. Everything but
``config`` is named by the SHA-256 of its content, so whoever holds a key can tell whether the content is right.

A `Shelf` is the half that only reads. The files of a repository are a shelf too, wherever the repository lies.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Protocol

from pydantic import Field, StringConstraints

from drorch.core.clock import Clock
from drorch.core.host import Domain, Host
from drorch.core.model import Frozen, Json, SecretRef
from drorch.core.secret import Secret, Secrets


class Lock(Frozen):
    """Objects that cannot be deleted for a while: S3's Object Lock."""

    mode: Literal["governance", "compliance"] = "governance"
    """``governance`` yields to a credential with a right of its own; ``compliance`` to nobody, the payer included,
    until the days are over."""
    days: Annotated[int, Field(ge=1, le=36500)]
    """How long each object stays locked, counted from its last extension; every live object is extended in time."""
    legal_hold: bool = False
    """Also hold every object without a date, until somebody with the right lifts it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as a listing tells it."""

    key: str
    size: int
    modified: datetime
    """UTC, by the store's clock."""
    md5: str = ""
    """Hexadecimal; where the listing tells it (S3's ETag of a single put), else empty."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object, or the mark that it was deleted."""

    key: str
    id: str
    size: int
    modified: datetime
    latest: bool
    deleted: bool = False
    """Whether this is a delete marker, which has no content."""
    md5: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a store recorded about one object when it was written; nothing is read again."""

    size: int
    modified: datetime
    sha256: str = ""
    """Hexadecimal; empty where the store records none."""
    md5: str = ""
    version: str = ""
    mode: str = ""
    """``governance``, ``compliance``, or empty for no lock."""
    locked_until: datetime | None = None
    held: bool = False
    """A legal hold is on it."""
    customer_key: bool = False
    """Encrypted with a key that only the writer knows (SSE-C): ransom by re-encryption looks like this."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A store's answer to a put that succeeded."""

    at: datetime
    """UTC, by the store's clock, not before the object's `Entry.modified`."""
    sha256: str = ""
    """What the store says it computed, hexadecimal; empty where it says nothing."""
    md5: str = ""
    version: str = ""


class Grade(StrEnum):
    """How far a store can be trusted, as a probe saw it."""

    LOCKS = "refuses and locks"
    """It refuses content that does not match its checksum, and to delete or shorten what is locked."""
    REFUSES = "refuses"
    """It refuses content that does not match; what is there can be deleted by whoever holds the credential."""
    NEITHER = "neither"
    """It takes anything: only reading everything back tells what it holds."""

    @property
    def height(self) -> int:
        """0 for ``neither``, upwards."""
        return [Grade.NEITHER, Grade.REFUSES, Grade.LOCKS].index(self)


class Trial(Frozen):
    """One thing that a probe tried."""

    name: str
    """``wrong_sha256``, ``wrong_md5``, ``tampered_payload``, ``second_put``, ``locked_deletion``,
    ``locked_shortening``, ``customer_key``."""
    what: str
    """What was asked of the store, in one sentence without a full stop."""
    good: bool | None
    """Whether it behaved as a safe store does; None when that could not be found out."""
    answer: str
    """What it said."""


class Probe(Frozen):
    """What a probe saw."""

    trials: tuple[Trial, ...]

    def good(self, name: str) -> bool:
        """Whether that trial was made and went well."""
        return any(trial.name == name and trial.good is True for trial in self.trials)

    @property
    def grade(self) -> Grade:
        """Nothing is trusted that was not seen to refuse."""
        digest = self.good("wrong_sha256") or self.good("wrong_md5")
        if not (digest and self.good("tampered_payload")):
            return Grade.NEITHER
        locks = self.good("locked_deletion") and self.good("locked_shortening")
        return Grade.LOCKS if locks else Grade.REFUSES


class Shelf(Protocol):
    """Objects that can be listed and read. May be used from several threads.

    Every method raises a `StoreError` subtype. What can be tried again with hope was tried again before it raises;
    waits in between raise `Interrupted` when a stop is asked for.
    """

    @property
    def shown(self) -> str:
        """Name and address, for messages; no secrets."""
        ...

    @property
    def lanes(self) -> int:
        """How many calls at once are useful at most."""
        ...

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every object whose key begins with ``folder`` (ends with ``/`` or is empty), in the order of the keys'
        code points. A listing is not a moment: objects may come and go while it is read. Nothing there is no error.
        """
        ...

    def read(self, key: str, *, limit: int, version: str = "") -> bytes:
        """A whole object.

        Raises:
            ObjectMissing: there is none.
            StoreError: it is larger than ``limit`` bytes, or cannot be read.
        """
        ...

    def close(self) -> None:
        """Give back connections; it can be used again afterwards."""
        ...


class Store(Shelf, Protocol):
    """Where off-site copies live."""

    @property
    def name(self) -> str:
        """Its name in the inventory."""
        ...

    @property
    def versioned(self) -> bool:
        """Whether it can keep what an overwrite or a deletion replaces."""
        ...

    @property
    def lock(self) -> Lock | None:
        """How long what is put stays locked; None for not at all."""
        ...

    def ready(self) -> None:
        """Check that the place is there and can be used: address, credentials, bucket, clock, lock.

        Raises:
            StoreError: what is wrong, and what to do.
        """
        ...

    def put(self, key: str, content: bytes, *, sha256: str, absent: bool = False) -> Receipt:
        """Write an object, whole or not at all, durable when this returns, locked as `lock` says.

        The store is given the checksum and must refuse content that does not match it. ``absent`` asks it to refuse
        when there is an object of that key already. Safe to repeat with the same content.

        Raises:
            ContentRefused: it does not match.
            AlreadyThere: with ``absent``, and there was one.
        """
        ...

    def recorded(self, key: str, *, version: str = "") -> Recorded:
        """What was recorded about an object.

        Raises:
            ObjectMissing: there is none.
        """
        ...

    def extend(self, key: str, *, until: datetime, version: str = "") -> None:
        """Keep an object locked until then at least, in the store's lock mode."""
        ...

    def versions(self, start: str) -> Iterator[Version]:
        """Every version and delete marker whose key begins with ``start`` (a folder with its ``/``, or a whole key), in
        the order of keys, the newest of each first. A store that is not `versioned` gives its objects.
        """
        ...

    def remove(self, key: str, *, version: str = "") -> None:
        """Remove an object, with the deleter's credential; a version where one is named. Gone already is as good.

        Raises:
            StoreDenied: there is no such credential, or it may not.
        """
        ...

    def probe(self) -> Probe:
        """Try what a safe store refuses, on objects of its own below ``drorch-probe/``."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """How restic reads a mirrored repository where it lies."""

    url: str
    """As in `RepositorySpec.url`."""
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    """Credentials and settings for restic's environment."""
    options: tuple[str, ...] = ()
    """Further words for restic's command line, such as ``--cacert=…``."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a store needs to be opened."""

    secrets: Secrets
    clock: Clock
    host: Callable[[str], Host]
    """A host of the inventory by name."""


@dataclass(frozen=True, slots=True)
class Policies:
    """What the credentials of a store should be allowed, and nothing more."""

    documents: Mapping[str, Json]
    """By whom they are for: ``writer``, ``deleter``; as the provider takes them."""
    notes: tuple[str, ...] = ()
    """What whoever applies them should know, one sentence each."""


@dataclass(frozen=True, slots=True)
class Created:
    """What making a store's place came to."""

    done: tuple[str, ...]
    """What was done, in order, one sentence each; nothing where it was there and whole."""
    has: tuple[str, ...]
    """What the place has now, as it was seen afterwards."""
    lacks: tuple[str, ...]
    """What it should have and has not, each with what to do."""


@dataclass(frozen=True, slots=True)
class Creation:
    """Making a store's place at its provider."""

    will: tuple[str, ...]
    """What will be done, in order, one sentence each."""
    warnings: tuple[str, ...]
    """What cannot be undone, or costs somebody something."""
    create: Callable[[], Created]
    """Do it; safe to repeat. Raises a `StoreError`."""


_FOLDER = r"\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*"
"""A folder's name; neither ``.`` nor ``..``, which would lead out of the store."""


class StoreSpec(Frozen, ABC):
    """A store as the inventory declares it: a kind is a frozen model, its fields are what the user writes."""

    kind: str
    prefix: Annotated[str, StringConstraints(pattern=rf"^({_FOLDER}(/{_FOLDER})*)?$")] = ""
    """A folder within, so that several sites can share a store; none unless said."""
    domain: Domain = Domain()
    """What it could fail together with."""
    lock: Lock | None = None
    """Whether what is written cannot be deleted for a while; only for kinds that can."""

    @abstractmethod
    def describe(self) -> str:
        """What it is, in a few words, such as ``bucket acme-offsite at https://s3.example.com``; pure."""

    @abstractmethod
    def open(self, name: str, means: Means) -> Store:
        """The store; nothing connects yet."""

    def reading(self, repository: str, secrets: Secrets) -> Reading | None:
        """How restic reads the mirror of that repository in place; None where it must be recovered first."""
        return None

    @property
    def readable(self) -> bool:
        """Whether restic can read mirrors in this kind of store where they lie."""
        return type(self).reading is not StoreSpec.reading

    def credentials_named(self) -> tuple[SecretRef, ...]:
        """The secrets that it uses, the writer's first."""
        return ()

    def policies(self) -> Policies | None:
        """What to allow its credentials; pure. None where there is nothing of the kind."""
        return None

    def creation(self, name: str, means: Means, credentials: SecretRef | None = None) -> Creation | None:
        """How its place is made, with other credentials than the writer's where said; nothing connects yet.

        None where there is nothing to be made by drorch: a folder is the administrator's.
        """
        return None
