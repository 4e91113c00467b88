"""Repositories: where snapshots live."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Protocol

from pydantic import AwareDatetime, Field, StringConstraints

from drorch.core.evidence import Progress
from drorch.core.host import Domain, Host
from drorch.core.model import Frozen, SecretRef
from drorch.core.source import Part


class RepositorySpec(Frozen):
    """A restic repository.

    ``url`` is restic's: a path on the controller, ``sftp:user@host:/path``, ``rest:https://host/``, ``s3:https://host/bucket``.
    """

    url: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^-\s][^\s]*$")]
    password: SecretRef
    credentials: dict[str, SecretRef] = Field(default_factory=dict)
    """Environment variables that restic needs for the storage, such as AWS_ACCESS_KEY_ID, by secret name."""
    through_controller: bool | None = None
    """Whether remote hosts reach it through their SSH connection to the controller, append-only, holding no storage
    credentials. Default: yes for a path on the controller (there is no other way), no for the others."""
    domain: Domain = Domain()

    @property
    def is_path(self) -> bool:
        """Whether it is a folder of the controller."""
        head = self.url.split(":", 1)[0]
        return head not in {"sftp", "rest", "s3"}

    @property
    def served(self) -> bool:
        """Whether remote hosts reach it through the controller."""
        return self.is_path if self.through_controller is None else self.through_controller


class Tags(Frozen):
    """What drorch writes on each snapshot, as restic tags ``key=value``."""

    service: str
    source: str
    part: str
    """Which stream or tree of the source: `Part.name`."""
    run: str
    """Run id; all parts of one recovery point share it."""
    plan: str
    """The plan's digest, its first 16 hexadecimal digits."""

    def words(self) -> tuple[str, ...]:
        """The tags as restic takes them."""
        return tuple(f"{key}={value}" for key, value in self.model_dump().items())

    @classmethod
    def read(cls, words: Sequence[str]) -> "Tags | None":
        """The tags of a snapshot that drorch made; None for any other snapshot."""
        pairs = dict(word.split("=", 1) for word in words if "=" in word)
        fields = {key: pairs.get(key) for key in cls.model_fields}
        return cls.model_validate(fields) if all(fields.values()) else None


class Snapshot(Frozen):
    """One restic snapshot."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    time: AwareDatetime
    host: str
    paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tree: str = ""
    bytes_processed: int | None = None
    """Size of what was backed up, where restic recorded it."""
    original: str = ""
    """The id of the snapshot in another repository that this is a copy of; empty for none. (Restic's own changes of a
    snapshot, such as of its tags, name the former one here too.)"""

    def copies(self, other: "Snapshot") -> bool:
        """Whether this is a copy of another repository's snapshot, or what that one is a copy of, with the very same
        content. A tree's id is the hash of all that is below it, and copying leaves it alone.
        """
        return (
            (other.original or other.id) in (self.original, self.id)
            and bool(self.tree)
            and (self.tree, self.time, self.host) == (other.tree, other.time, other.host)
            and set(self.paths) == set(other.paths)
            and set(self.tags) == set(other.tags)
        )

    @property
    def origin(self) -> Tags | None:
        """What drorch knows about it."""
        return Tags.read(self.tags)


class BackedUp(Frozen):
    """What one backup measured."""

    snapshot: str
    bytes_processed: int
    bytes_added: int
    """Before compression."""
    bytes_stored: int
    """After compression and encryption."""
    files: int
    seconds: float
    unreadable: tuple[str, ...] = ()
    """Error lines of an incomplete backup (restic's exit code 3): the snapshot exists without these; printable,
    at most 100, each at most 500 characters."""


class RestoredTree(Frozen):
    """What one restore measured."""

    snapshot: str
    path: str
    files: int
    bytes: int
    seconds: float


class Comparison(Frozen):
    """How a tree differs from a snapshot, every byte compared."""

    files: int
    bytes: int
    differing: tuple[str, ...]
    """Paths that are missing, altered or unexpected, each with the word before it; printable, at most 100."""
    differing_count: int


class CheckReport(Frozen):
    """What `restic check` found."""

    subset: str
    """``n/t`` of the packs whose bytes were read, or ``structure`` when none were."""
    seconds: float


class Forgotten(Frozen):
    """What a retention pass did."""

    kept: tuple[str, ...]
    removed: tuple[str, ...]
    bytes_freed: int | None = None


class Copied(Frozen):
    """What one copy from another repository brought about."""

    copies: dict[str, str]
    """The copy's id by the id of each snapshot that was asked for; every one is there."""
    new: tuple[str, ...]
    """Those among the snapshots asked for whose copies were not there before, by the ids of the originals."""
    bytes_written: int | None
    """About how much was stored, after compression and encryption; None while unknown."""
    seconds: float


ProgressSink = Callable[[Progress], None]


class Repository(Protocol):
    """A restic repository, worked on by restic on a given host.

    Every method raises a `RepositoryError` subtype or a `HostError`; a partial success is in the returned facts.
    ``at`` is the host on which restic runs: the one that owns the data for `backup`, `restore` and `compare`, the
    controller for the rest.
    """

    @property
    def name(self) -> str:
        """Its name in the inventory."""
        ...

    def create(self, at: Host, *, like: "Repository | None" = None) -> str:
        """Create it; gives its id. The only call that ever does.

        ``like`` names a repository of which it shall hold copies: files are cut into the same pieces then. This cannot
        be mended later.

        Raises:
            RepositoryError: there is one already, or something else is in the way, or ``like`` has the same password.
        """
        ...

    def identify(self, at: Host) -> str:
        """Its id, from its ``config`` file."""
        ...

    def snapshots(self, at: Host, *, tags: Mapping[str, str] | None = None) -> tuple[Snapshot, ...]:
        """All snapshots that carry all these tags, oldest first."""
        ...

    def backup(
        self, at: Host, part: Part, tags: Tags, *, time: datetime, progress: ProgressSink, repeated: bool = True
    ) -> BackedUp:
        """Take one snapshot of one part, or give the facts of the one that a former attempt of this run finished;
        ``repeated`` False says that there was certainly none. A stream whose command fails or gives nothing leaves no
        snapshot.

        ``time`` is recorded as the snapshot's time.
        """
        ...

    def restore(self, at: Host, snapshot: Snapshot, into: str, *, progress: ProgressSink) -> RestoredTree:
        """Write a snapshot into a fresh directory (made here, 0700; refused if it exists and is not empty unless a
        former attempt at this very snapshot left it) and read every byte back against the repository.
        """
        ...

    def compare(self, at: Host, snapshot: Snapshot, path: str) -> Comparison:
        """Compare a restored tree with its snapshot, content and metadata; changes nothing."""
        ...

    def check(self, at: Host, *, subset: tuple[int, int] | None) -> CheckReport:
        """Check the structure and, with ``(n, t)``, read the n-th of t equal parts of the packs. Exclusive.

        Raises:
            RepositoryError: damage was found, or the check could not be done.
        """
        ...

    def forget(self, at: Host, snapshots: Sequence[str], *, prune: bool) -> Forgotten:
        """Remove exactly these snapshots and free their space. Exclusive. Deciding which is `core.retention`'s work."""
        ...

    def copy_from(
        self, at: Host, source: "Repository", snapshots: Sequence[Snapshot], *, progress: ProgressSink
    ) -> Copied:
        """Bring about a copy of each of these snapshots of another repository, encrypted anew under this one's own key;
        what is there already is not copied again. ``at`` is the controller. Locks both, neither exclusively.

        Every snapshot was found here afterwards, with the same tree; its bytes were not read again: that is `check`.

        Raises:
            RepositoryError: both are one, or open with one password, or cut files differently, or cannot be used by
                one process, or something did not arrive.
        """
        ...

    def unlock(self, at: Host) -> None:
        """Remove stale locks only; never those of live processes."""
        ...
