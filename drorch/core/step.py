"""Steps: one action of a runbook. One file in `drorch.steps` is one kind.

A kind is a frozen model: its fields are at once the YAML schema, the documentation, the editor's completion and the
plan's line. The engine stores it as JSON inside the plan and may perform it again after a kill, so `perform` means
*bring this about*: probe, act, verify; never merely *do*.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Protocol

from pydantic import Field

from drorch.core.clock import Clock, Deadline
from drorch.core.evidence import Evidence, Failure, Outcome, Progress
from drorch.core.finding import Finding
from drorch.core.host import Host
from drorch.core.model import Duration, Frozen, Json, Name, parse_duration
from drorch.core.repository import Repository
from drorch.core.scene import Mode, RunFacts, Scene
from drorch.core.secret import Secrets
from drorch.core.store import Reading, Shelf, Store


class StepState(StrEnum):
    """Where a step is."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    TIMED_OUT = "timed_out"


class RunState(StrEnum):
    """Where a run is."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING_APPROVAL = "waiting_approval"
    PAUSED_FAILED = "paused_failed"
    PAUSED_OPERATOR = "paused_operator"
    COMPLETED = "completed"
    COMPLETED_WITH_EXCEPTIONS = "completed_with_exceptions"
    CANCELLED = "cancelled"
    FAILED = "failed"
    TIMED_OUT = "timed_out"

    @property
    def final(self) -> bool:
        """Whether the run is over."""
        return self in _FINAL

    @property
    def good(self) -> bool:
        """Whether the run reached its purpose."""
        return self in (RunState.COMPLETED, RunState.COMPLETED_WITH_EXCEPTIONS)


_FINAL = frozenset(
    {RunState.COMPLETED, RunState.COMPLETED_WITH_EXCEPTIONS, RunState.CANCELLED, RunState.FAILED, RunState.TIMED_OUT}
)


class Retries(Frozen):
    """Further attempts after a retryable failure."""

    max: Annotated[int, Field(ge=0, le=100)] = 0
    delay: Duration = parse_duration("10s")
    """Before the first further attempt."""
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Each further delay is this many times the one before."""
    ceiling: Duration = parse_duration("15m")

    def pause(self, attempt: int) -> timedelta:
        """The wait after failed attempt number ``attempt`` (from 1)."""
        return min(self.ceiling, self.delay * self.factor ** (attempt - 1))


OnFailure = Literal["pause", "undo", "continue", "abort"]
"""After the last attempt: wait for a person; undo what succeeded, newest first, and fail; note it and go on; fail."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A command that a step would run, for the printed plan."""

    host: str
    argv: tuple[str, ...]
    """Secrets never; what is only known later stands as ``<snapshot>``, ``<port>``."""
    note: str = ""


class Memory(Protocol):
    """Small facts that outlive a run, such as how much of a repository has been read. Written on success only."""

    def get(self, key: str) -> Json:
        """The value, or None."""
        ...

    def put(self, key: str, value: Json) -> None:
        """Remember it, durably."""
        ...


class Notifier(Protocol):
    """A way to tell people."""

    def send(self, title: str, body: str) -> None:
        """Deliver it.

        Raises:
            DrorchError: it was certainly not, or not certainly, delivered.
        """
        ...


class Toolbox(Protocol):
    """What all steps of a run share."""

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def secrets(self) -> Secrets:
        """Secret values by reference."""
        ...

    @property
    def memory(self) -> Memory:
        """What outlives the run."""
        ...

    def host(self, name: str) -> Host:
        """A host of the scene; connections are shared."""
        ...

    def controller(self) -> Host:
        """The machine on which drorch runs."""
        ...

    def repository(self, name: str) -> Repository:
        """A repository of the scene."""
        ...

    def lease(self, name: str, *, wait: timedelta) -> AbstractContextManager[None]:
        """Hold a name alone among all drorch processes of this state folder, as ``repository:nas``.

        Raises:
            Busy: another held it all that time.
        """
        ...

    def store(self, name: str) -> Store:
        """A store of the scene."""
        ...

    def files(self, repository: str) -> Shelf:
        """The files of a repository as they lie there, read on the controller: for mirrors."""
        ...

    def mirrored(self, repository: str, store: str) -> Repository:
        """The mirror of a repository in a store, read by restic where it lies; it cannot be written to.

        Raises:
            StoreError: restic cannot read this kind of store in place.
        """
        ...

    def elsewhere(self, repository: str, reading: Reading) -> Repository:
        """A copy of a repository's files in another place, read by restic where it lies; it cannot be written to."""
        ...

    def notifier(self, name: str) -> Notifier:
        """A route of the inventory."""
        ...


class Tools(Toolbox, Protocol):
    """What a step may use: hosts and repositories by name, time, secrets. Never the journal or the environment.

    No command on a host from here outlives the attempt's deadline.
    """

    @property
    def scene(self) -> Scene:
        """What the plan is about."""
        ...

    @property
    def run(self) -> RunFacts:
        """Which run this is."""
        ...

    @property
    def step(self) -> str:
        """The id of the step that is performed: its evidence is kept under it."""
        ...

    @property
    def repeated(self) -> bool:
        """Whether this attempt may have been begun before and been cut or lost: look first for what it left.

        False only when that is certain, so that the common case need not look.
        """
        ...

    @property
    def deadline(self) -> Deadline:
        """When this attempt must be over."""
        ...

    def repository(self, name: str | None = None) -> Repository:
        """A repository of the scene; the service's own unless named."""
        ...

    def progress(self, progress: Progress) -> None:
        """Show how far it is; cheap, may be called often."""
        ...


Earlier = Mapping[str, Evidence]
"""Evidence of this run's steps that succeeded before, by step id."""


class Question(Frozen):
    """What a person must answer before the run goes on."""

    text: str
    timeout: Duration
    verbs: tuple[str, str] = ("confirm", "refuse")
    """The yes and the no."""


class Step(Frozen, ABC):
    """One action."""

    kind: str
    id: Name | None = None
    """Names its evidence and is how people answer it; made from the kind and subject unless said."""
    timeout: Duration | None = None
    """Length of one attempt; `default_timeout` unless said."""
    retries: Retries = Retries()
    on_failure: OnFailure | None = None
    """The runbook kind's own unless said: ``pause`` for failover and failback, ``abort`` for the others."""
    always: bool = False
    """Run it whatever happened before, after everything else."""
    when: Mode | None = None
    """Do it in a ``planned`` switchover only, or in an ``unplanned`` failover only; in both unless said."""

    @property
    def default_timeout(self) -> timedelta:
        """Length of one attempt unless `timeout` says otherwise."""
        return timedelta(hours=24)

    @property
    def subject(self) -> str:
        """What it acts on, as a name for its id; empty for none."""
        return ""

    @abstractmethod
    def describe(self, scene: Scene) -> str:
        """The plan's line: what will be brought about, in one sentence without a full stop; pure."""

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """Every command that it would run; pure. ``run`` is the run's id or a stand-in such as ``shop-drill@…``."""
        return ()

    @abstractmethod
    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about. Safe to repeat, cut at any moment. May raise a `DrorchError`, which becomes a `Failure`."""

    def question(self, scene: Scene, earlier: Earlier) -> Question | None:
        """Asked and answered with yes before `perform`; no answer in time is a no. None for no question."""
        return None

    @property
    def can_undo(self) -> bool:
        """Whether `undo` takes back what `perform` did."""
        return False

    @property
    def irreversible(self) -> bool:
        """Whether this is a point of no return: nothing that succeeded before it is undone any more."""
        return False

    @property
    def skippable(self) -> bool:
        """Whether a person may leave it out once it has failed."""
        return True

    def undo(self, tools: Tools, evidence: Evidence) -> Outcome:
        """Take it back, given the evidence of the success. Safe to repeat."""
        return Failure(why=f"a {self.kind} step cannot be undone")

    def retract(self, tools: Tools) -> Outcome:
        """Take back what attempts that failed or were cut may have left: there is no evidence of them, and perhaps they
        did nothing. Of an irreversible step only find out whether anything of it may have happened, which is a failure.
        Safe to repeat.
        """
        if self.irreversible:
            return Failure(why=f"it was begun, and nothing tells how far a {self.kind} step got")
        return Evidence(facts={"left": False})

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """Whether it could succeed now, found out without changing anything. May raise a `DrorchError`, which becomes a
        finding. Asked long before, on schedule, and once more before a person confirms; `Tools.deadline` is short.
        """
        return ()

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about as far as that is possible apart from everything live, in a drill; the fact ``rehearsed`` says
        what really was, and ``looked_at`` what was only looked at. Safe to repeat; whatever it leaves lies in the run's
        own folder or is removed by `forget`.
        """
        return Evidence(facts={"rehearsed": False})

    def forget(self, tools: Tools) -> Failure | None:
        """Remove what `rehearse` left outside the run's folder; nothing there is success."""
        return None

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """What is wrong with it in this scene: (key, message, hint) each; pure, for `drorch check`."""
        return ()

    def doubts(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """What works, but not as anybody would wish: as `problems`, but only a warning."""
        return ()
