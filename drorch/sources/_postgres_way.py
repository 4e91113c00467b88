"""How the files of a stopped PostgreSQL server become those of a standby: decided before anything is touched."""

from dataclasses import dataclass
from typing import Literal

from drorch.core.evidence import Failure
from drorch.core.host import Host
from drorch.sources._postgres_fork import Fork, beyond, branches, fork
from drorch.sources._postgres_leader import Leader
from drorch.sources._postgres_look import Place, written
from drorch.sources._postgres_server import Server


@dataclass(frozen=True, slots=True)
class Way:
    """What is done, and why."""

    how: Literal["as it is", "rewound", "copied"]
    why: str
    parted: Fork | None = None
    """Where the two parted; None where that is not known or they never did."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A stopped server and the leader that it is to follow."""

    server: Server
    host: Host
    leader: Leader
    place: Place
    fresh: bool

    def way(self) -> Way:
        """The cheapest one that is certain; what cannot be found out is copied."""
        hopeless = self._hopeless()
        if hopeless:
            return Way("copied", hopeless)
        if self.place.timeline == self.leader.state.history:
            return self._reached(None)
        parted = fork(self.leader.branches, self._branches())
        if parted is None:
            return Way("copied", "where the two parted is not known")
        further = beyond(self.server, self.host, self.place, parted)
        if isinstance(further, Failure):
            return Way("copied", further.why, parted)
        if not further:
            return self._reached(parted)
        fixed = self._fixed()
        return Way("copied" if fixed else "rewound", fixed or "it has what the leader lacks", parted)

    def _hopeless(self) -> str:
        """Why its files are of no use at all."""
        if not self.place.version:
            return "there is no database"
        if self.place.cluster != self.leader.state.cluster:
            return "there is another database"
        primary = self.place.phase in {"shut down", "in production", "in crash recovery"} and not self.place.signal
        if primary and self.place.timeline == self.leader.state.history:
            return "it was a primary on the leader's own timeline"
        return ""

    def _fixed(self) -> str:
        """Why it cannot be rewound."""
        if not self.place.rewindable:
            return "it has neither data checksums nor wal_log_hints, so it cannot be rewound"
        if self.place.phase in {"in archive recovery", "shutting down"}:
            return f"it was not stopped in order ({self.place.phase})"
        return ""

    def _reached(self, parted: Fork | None) -> Way:
        """Whether the leader still has the log from where it stands on."""
        needs = self.place.at("Latest checkpoint's REDO location")
        if self.leader.has(needs):
            return Way("as it is", "it has nothing that the leader lacks", parted)
        return Way("copied", f"the leader no longer has the log from {written(needs)} on", parted)

    def _branches(self) -> tuple[Fork, ...]:
        file = f"{self.place.data}/pg_wal/{self.place.timeline:08X}.history"
        done = self.server.script(self.host, 'cat -- "$1" 2>/dev/null || :', file)
        return branches(done.text, self.place.timeline)
