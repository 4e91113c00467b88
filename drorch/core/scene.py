"""What a plan is about: the inventory's part that a run may touch, resolved."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from drorch.core.errors import Refused
from drorch.core.model import Duration, Frozen
from drorch.core.repository import RepositorySpec
from drorch.core.source import Destination, Source
from drorch.core.store import StoreSpec

RunKind = Literal["backup", "drill", "failover", "failback", "maintenance"]
MOVING: Final[frozenset[RunKind]] = frozenset({"failover", "failback"})
"""The kinds that lead a service to another host."""
Mode = Literal["planned", "unplanned"]
"""Of a failover or failback: with the old primary's help, so that nothing is lost; or without it."""
PointSelection = str
"""``latest``, ``random``, ``before:ISO-TIME`` or a snapshot id."""


class Objectives(Frozen):
    """What the business needs of a service."""

    rpo: Duration | None = None
    """At most so much data, in time, may be lost."""
    rto: Duration | None = None
    """At most so long may it be down."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The names of a run, resolved. Everything here is pure data; nothing connects."""

    kind: RunKind
    service: str
    objectives: Objectives
    primary: str
    target: str | None
    """The host that a drill restores on, or that a failover or failback leads to; None for the other kinds."""
    sources: Mapping[str, Source]
    repository: str
    repositories: Mapping[str, RepositorySpec]
    hosts: frozenset[str]
    controller_side: frozenset[str]
    """Hosts whose commands run on the controller itself, as the same user (connector ``local``)."""
    work: Mapping[str, str]
    """Each host's working folder; ``~`` stands for its user's home."""
    snapshot: PointSelection = "latest"
    stores: Mapping[str, StoreSpec] = field(default_factory=dict)
    store: str | None = None
    """The store whose mirror recovery points are restored from; None for the repository itself."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """The address of each host that has one."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """The port at which each of them is reached."""
    mode: Mode | None = None
    """Of a failover or failback; it may change from planned to unplanned while it runs, never back."""
    runbook: str = ""
    """Which runbook this is."""

    @property
    def moves(self) -> bool:
        """Whether this leads the service to another host."""
        return self.kind in MOVING

    @property
    def destination_host(self) -> str:
        """The host that a failover, or its rehearsal, leads to.

        Raises:
            Refused: there is none.
        """
        if self.target is None:
            raise Refused(f"{self.service} has no host to lead to", hint="name one under `to:` of the runbook")
        return self.target

    @property
    def drill(self) -> bool:
        """Whether this rehearses."""
        return self.kind == "drill"

    def home_of(self, source: str) -> str:
        """The host that a source lives on."""
        return self.sources[source].host or self.primary

    def restore_host(self, source: str, said: str | None) -> str:
        """The host to restore a source to.

        Raises:
            Refused: a drill would touch the primary or a source's own host.
        """
        if not self.drill:
            return said or self.target or self.home_of(source)
        host = said or self.target
        if host is None:
            msg = "this drill has no standby"
            raise Refused(msg, hint="name one under `standby:`")
        if host == self.primary or host == self.home_of(source):
            msg = f"a drill never works on the primary, and {host} is where {self.service} lives"
            raise Refused(msg, hint="name a standby")
        return host

    def folder(self, run: str, host: str) -> str:
        """The folder on a host that holds everything this run puts there; removed as a whole by the clean-up."""
        return f"{self.work[host]}/{'drills' if self.drill else 'restores'}/{slug(run)}"

    def destination(self, run: str, source: str, host: str) -> Destination:
        """Where a run restores a source to."""
        return Destination(token=token(run, source), directory=f"{self.folder(run, host)}/{source}", drill=self.drill)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Which run this is."""

    id: str
    """``runbook@slot``."""
    plan: str
    """The plan's digest, 64 hexadecimal digits."""
    started: datetime
    """When the run began, UTC; the same after every resume."""
    by: str = ""
    """Who began it, as ``user@machine``."""


def slug(run: str) -> str:
    """A run's id as a file name: letters, digits, ``-``, ``_`` and ``.`` only."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "-" for char in run)


def token(run: str, source: str) -> str:
    """A database-safe name that no other run and source has: ``drorch_``, a readable piece, and 12 digits of a hash."""
    digest = hashlib.sha256(f"{run}\0{source}".encode()).hexdigest()[:12]
    readable = "".join(char if char.isascii() and char.isalnum() else "_" for char in source.lower())[:16]
    return f"drorch_{readable}_{digest}"
