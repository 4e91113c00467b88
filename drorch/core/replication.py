"""Replication: a source of which a standby receives every change as it happens.

A source kind that can be replicated gives a `Replication` (`Source.replication`). PostgreSQL's streaming replication is
the first. MySQL's place is the same: its source would give a class of its own (positions from its GTIDs, ``clean`` from
its binary log, a rebuild where PostgreSQL rewinds), and no step would change.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import Field

from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding
from drorch.core.host import Host
from drorch.core.model import Frozen, Json
from drorch.core.step import Planned, Tools


class ReplicaState(Frozen):
    """How a database server stands, as it says itself."""

    host: str
    role: Literal["primary", "standby", "stopped"]
    """Whether it accepts writes, follows another, or does not run."""
    at: datetime
    """When it was asked, UTC, by drorch's clock: what it said is at least as new."""
    version: str = ""
    cluster: str = ""
    """What all copies of one database have in common: PostgreSQL's system identifier."""
    history: int | None = None
    """The timeline: raised by each promotion."""
    position: int | None = None
    """How far it is, in bytes of log, safe on its disk: what a primary has written, what a standby has *received*, the
    last word of one that was stopped in order; None where it cannot be told."""
    applied: int | None = None
    """Of a standby: how far it has replayed."""
    receiving: bool = False
    """Of a standby: whether it is connected to its primary at this moment."""
    last_commit: datetime | None = None
    """When the newest transaction that it has was committed, by its primary's clock."""
    last_heard: datetime | None = None
    """Of a standby: when its primary last said that there is no more than the standby has, by drorch's clock."""
    next_transaction: int | None = None
    """The number that the next writing transaction will get."""
    synchronous: bool | None = None
    """Of a primary: whether a commit is only acknowledged when a standby has it; None where it cannot be told."""
    followers: tuple[str, ...] = ()
    """Of a primary: who receives from it now, with how: ``web2 (sync)``."""
    clean: bool | None = None
    """Of a stopped one: whether it was shut down in order, so that its position is its last word."""
    facts: dict[str, Json] = Field(default_factory=dict)


class Loss(Frozen):
    """What promoting a standby now would lose, at most."""

    none: bool = False
    """Certainly nothing that was acknowledged."""
    seconds: float | None = None
    """At most the changes of so long; None when unknown."""
    transactions: int | None = None
    """Writing transactions that the primary was seen to have and the standby has not; None when never seen."""
    bytes: int | None = None
    """Log that the primary was seen to have written and the standby has not received."""
    mode: Literal["synchronous", "asynchronous", "unknown", "backup"] = "unknown"
    """How the standby followed when that was last seen; ``backup`` for a restore from a snapshot."""
    basis: str = ""
    """How this is known, one clause: ``web1 answers``, ``last seen 3 min ago``."""

    @property
    def words(self) -> str:
        """For people, such as ``at most 4 min 12 s / 17 transactions seen but not received``."""
        if self.none:
            return "nothing"
        said = [] if self.seconds is None else [f"at most {_length(self.seconds)}"]
        if self.transactions:
            said.append(f"{self.transactions} transactions seen but not received")
        elif self.bytes:
            said.append(f"{self.bytes} bytes of log seen but not received")
        return " / ".join(said) or "an unknown amount"


def _length(seconds: float) -> str:
    """A length in the two largest units that matter, rounded up."""
    whole = int(seconds) + (seconds > int(seconds))
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


@dataclass(frozen=True, slots=True)
class Pair:
    """A server and the one that it is to follow."""

    follower: Host
    leader: Host
    leader_address: str
    """Where the follower reaches the leader."""


class Replication(Frozen, ABC):
    """How one source is replicated. Methods may be done twice; they give a `Failure` or raise a `DrorchError`."""

    @abstractmethod
    def units(self) -> tuple[str, ...]:
        """The systemd units of the database server, for fences and plans; pure."""

    def address(self, host: str) -> str | None:
        """Where other servers reach the one on a host, where that differs from the host's own address; pure."""
        return None

    @abstractmethod
    def look(self, tools: Tools, host: Host) -> ReplicaState | Failure:
        """Ask a server how it stands, changing nothing. A server that certainly does not run is ``stopped`` with what
        its files say; one that does not answer, or not in time, is a `Failure`: unknown.
        """

    @abstractmethod
    def promote(self, tools: Tools, host: Host, before: ReplicaState, *, former: str) -> Evidence | Failure:
        """Make a standby the primary, and assert that it has left recovery, that its history is further, and that a
        write succeeds; then what a later way back of the ``former`` primary's host needs.

        ``before`` is what `look` said just now: another database than that is refused. One that was promoted already
        is verified, not promoted again. No writer may wait for a standby that is not there.
        """

    @abstractmethod
    def follow(self, tools: Tools, pair: Pair, *, keep: str, fresh: bool = False) -> Evidence | Failure:
        """Make a server that once was a primary, or is empty or broken, a standby of the leader. What it has that the
        leader lacks is kept beside its data, in a folder named after ``keep``, before anything is overwritten; rewound
        where possible, copied afresh otherwise, or when ``fresh``, which also replaces another database; the evidence
        says which, and which transactions only it had.
        """

    @abstractmethod
    def preview(self, host: str, action: Literal["promote", "follow"]) -> tuple[Planned, ...]:
        """The commands of an action, for the printed plan; pure."""

    @abstractmethod
    def findings(self, tools: Tools, primary: Host, standby: Host) -> Iterable[Finding]:
        """Whether a promotion of the standby could work now: version, history, lag, slot, disk, what a later rewind
        needs; each with its remedy. The primary may be gone.
        """

    @abstractmethod
    def freeze(self, tools: Tools, host: Host) -> Failure | None:
        """Let the server accept no more writes, from anybody, also after a restart, and end what is writing now."""

    @abstractmethod
    def frozen(self, tools: Tools, host: Host) -> bool | Failure:
        """Whether it certainly accepts no writes, found out by trying."""

    @abstractmethod
    def thaw(self, tools: Tools, host: Host) -> Failure | None:
        """Take `freeze` back."""

    @abstractmethod
    def rehearse(self, tools: Tools, host: Host, folder: str, token: str) -> Evidence | Failure:
        """Promote a copy of the standby's data below ``folder``, apart from everything live (own port, no archiving, no
        replication), verify it by a write, and leave it running for later steps of the rehearsal; the fact ``port``
        says where. `forget` removes it.
        """

    @abstractmethod
    def forget(self, tools: Tools, host: Host, folder: str, token: str) -> Failure | None:
        """Stop and remove what `rehearse` left; nothing there is success."""


def loss(standby: ReplicaState | None, primary: ReplicaState | None, now: datetime, *, seen: str = "") -> Loss:
    """What promoting the standby now would lose; pure.

    ``primary`` is the newest state in which the primary was ever seen, perhaps long ago; ``seen`` says when for people.
    The bound in time comes from the standby alone when the primary does not answer: whatever was committed after the
    newest moment up to which it certainly has everything may be lost: its newest transaction, its primary's last word,
    or the last look at a primary that had no more. On an idle primary that is more than was written, never less.
    """
    if standby is None:
        return Loss(basis="the standby does not answer")
    if primary is None:
        return Loss(seconds=_since(now, standby.last_commit, standby.last_heard), basis=seen)
    fresh = abs((standby.at - primary.at).total_seconds()) <= _FRESH_SECONDS
    mode: Literal["synchronous", "asynchronous", "unknown"] = "unknown"
    if primary.synchronous is not None:
        mode = "synchronous" if primary.synchronous else "asynchronous"
    behind = None
    if primary.position is not None and standby.position is not None:
        behind = max(0, primary.position - standby.position)
    count = 0 if behind == 0 else None
    if behind and primary.next_transaction is not None and standby.next_transaction is not None:
        count = max(0, primary.next_transaction - standby.next_transaction)
    basis = seen or (f"{primary.host} answers" if fresh else "")
    over = primary.role == "stopped" and primary.clean
    recent = (now - primary.at).total_seconds() <= _TRUSTED_SECONDS
    if behind == 0 and (over or (mode == "synchronous" and recent)):
        return Loss(none=True, seconds=0.0, transactions=0, bytes=0, mode=mode, basis=basis)
    covered = primary.at if behind == 0 else None
    seconds = _since(now, standby.last_commit, standby.last_heard, covered)
    return Loss(seconds=seconds, transactions=count, bytes=behind, mode=mode, basis=basis)


def _since(now: datetime, *moments: datetime | None) -> float | None:
    """Seconds since the newest of the moments up to which the standby has everything; None when there is none."""
    known = [moment for moment in moments if moment is not None]
    return max(0.0, (now - max(known)).total_seconds()) if known else None


_FRESH_SECONDS = 30.0
_TRUSTED_SECONDS = 86_400.0
"""How long it is believed that commits still wait for the standby, as they did when the primary was last seen."""
