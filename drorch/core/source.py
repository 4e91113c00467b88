"""Sources: what can be backed up and restored. One file in `drorch.sources` is one kind."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pydantic import Field

from drorch.core.evidence import Evidence, Failure
from drorch.core.host import Command, Host
from drorch.core.model import Frozen, HostName, Json, Name, SecretRef
from drorch.core.secret import Secrets

if TYPE_CHECKING:
    from drorch.core.replication import Replication


class Tree(Frozen):
    """Directories and files of a host, as they lie there."""

    name: Name = "tree"
    paths: tuple[str, ...]
    """Absolute, or ``~/…`` for the home of the host's user."""
    excludes: tuple[str, ...] = ()
    """restic's exclude patterns."""
    one_file_system: bool = False


class Stream(Frozen):
    """The standard output of a command, stored as one file."""

    name: Name
    filename: str
    """The file's name inside the snapshot; no slash."""
    argv: tuple[str, ...]
    env: dict[str, str | SecretRef] = Field(default_factory=dict)


Part = Tree | Stream
"""One snapshot's worth of a source."""


class Destination(Frozen):
    """Where a source is restored to, of the run's own: never the live place."""

    token: Name
    """Names things that are not files, such as a database: unique per run and source, at most 40 characters,
    letters, digits and ``_`` only, so it is valid as a PostgreSQL or MySQL identifier. Starts with ``drorch_``."""
    directory: str
    """A folder on the host that holds this source's restored parts, one folder per part, named `Part.name`; the
    source may write beside them. Removed as a whole by the clean-up."""
    drill: bool
    """Whether this is a rehearsal: leave owners, roles, jobs and everything else outside the destination alone."""
    recorded: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The absolute paths that the restored snapshot of each part recorded, by `Part.name`; what ``~/`` meant on the
    machine that was backed up is read from these. Empty while unknown."""


class Restored(Frozen):
    """What stands on a host after a restore; every field is usable in a runbook as ``{{ restore.SOURCE.FIELD }}``."""

    host: str
    name: str = ""
    """The database's name, for a source that is one."""
    path: str = ""
    """The restored file or directory, for a source that is one."""
    facts: dict[str, Json] = Field(default_factory=dict)


class Expectation(Frozen):
    """What a `verify` step asks of a restored source beyond its own checks."""

    tables: dict[str, int] = Field(default_factory=dict)
    """Least number of rows by table."""
    files: int | None = None
    """Least number of files."""


class Source(Frozen, ABC):
    """Something that can be backed up and restored.

    A kind is a frozen model: its fields are what the user writes. All methods that take a host may be done twice
    with the same arguments, and the second time brings about the same end, whatever moment the first was cut at.
    They return a `Failure` or raise a `DrorchError` with a remedy; they put secrets into `Command.env` only.
    """

    kind: str
    host: HostName | None = None
    """Where it lives; the service's primary unless said."""

    @abstractmethod
    def describe(self) -> str:
        """A few words for plans and reports, such as ``PostgreSQL database shop``."""

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """What a backup takes, in order; pure. The last part is the main one: its snapshot makes the recovery point."""

    def remedy(self, errors: str) -> str:
        """What to do about a part's command that failed with these lines of standard error; empty for no idea; pure."""
        return ""

    def replication(self) -> "Replication | None":
        """How a standby follows it; None where none does, so that a failover must restore it. Pure."""
        return None

    @abstractmethod
    def load(self, host: Host, into: Destination, secrets: Secrets) -> Restored | Failure:
        """Make the restored parts in ``into.directory`` usable (create and fill a database, …)."""

    @abstractmethod
    def preview_load(self, into: Destination) -> tuple[Command, ...]:
        """The commands of `load`, for the printed plan; pure; secrets left out."""

    @abstractmethod
    def verify(self, host: Host, restored: Restored, expect: Expectation, secrets: Secrets) -> Evidence | Failure:
        """Ask the restored thing itself whether it is whole. What compares with the snapshot is the caller's work."""

    @abstractmethod
    def discard(self, host: Host, into: Destination, secrets: Secrets) -> Failure | None:
        """Remove what `load` made outside ``into.directory`` (a database, …); the caller removes the directory.
        Nothing there is success. Refuses a destination whose token is not the run's own (``drorch_…``).
        """

    @abstractmethod
    def swap(self, host: Host, restored: Restored, into: Destination, secrets: Secrets) -> Evidence | Failure:
        """Put the restored thing in the live one's place; the live one is kept beside it, and the evidence names it.
        Done twice, the second finds it done.
        """
