"""One attempt of a step: its tools, its deadline, and the border at which errors become values."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from drorch.core.clock import Clock, Deadline
from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure, Outcome, Progress
from drorch.core.host import OUTPUT_LIMIT, Command, Completed, Host, Identity, LineSink
from drorch.core.repository import Repository
from drorch.core.scene import RunFacts, Scene
from drorch.core.secret import Secrets
from drorch.core.step import Earlier, Memory, Notifier, Toolbox, Tools
from drorch.core.store import Reading, Shelf, Store
from drorch.engine.interpret import Answer, Attempt, Before
from drorch.engine.plan import Plan, PlannedStep
from drorch.steps._claimed import held

log = logging.getLogger(__name__)


SURE = 60.0
"""Seconds for which a claim that was looked at is taken to hold by steps that do not look themselves."""


class Watcher(Protocol):
    """Who looks on while a run runs, such as a terminal. Called from several threads; must not raise."""

    def step_started(self, planned: PlannedStep, number: int, *, undo: bool) -> None:
        """An attempt begins, or one to take the step back."""
        ...

    def progressed(self, progress: Progress) -> None:
        """A long action got further."""
        ...

    def step_ended(self, planned: PlannedStep, attempt: Attempt) -> None:
        """An attempt is over."""
        ...


@dataclass(frozen=True, slots=True)
class _DeadlineHost:
    """A host on which no command outlives the attempt."""

    inner: Host
    deadline: Deadline

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def is_controller(self) -> bool:
        return self.inner.is_controller

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        left = max(self.deadline.remaining(), 0.001)
        limit = left if command.timeout is None else min(left, command.timeout)
        return self.inner.run(replace(command, timeout=limit), on_line=on_line)

    def put(self, path: str, content: bytes | Path, *, mode: int = 0o600) -> None:
        self.inner.put(path, content, mode=mode)

    def get(self, path: str, *, limit: int = OUTPUT_LIMIT) -> bytes:
        return self.inner.get(path, limit=limit)

    def identity(self) -> Identity:
        return self.inner.identity()

    def dial(self, address: str, port: int, *, timeout: float = 10.0) -> AbstractContextManager[socket.socket]:
        return self.inner.dial(address, port, timeout=min(timeout, max(self.deadline.remaining(), 0.001)))

    def publish(self, path: Path) -> AbstractContextManager[int]:
        return self.inner.publish(path)

    def close(self) -> None:
        """The connection is the run's, not the attempt's."""


@dataclass(frozen=True, slots=True)
class _AttemptTools:
    """`core.step.Tools` of one attempt."""

    box: Toolbox
    scene: Scene
    run: RunFacts
    deadline: Deadline
    repeated: bool
    step: str
    watcher: Watcher

    @property
    def clock(self) -> Clock:
        return self.box.clock

    @property
    def secrets(self) -> Secrets:
        return self.box.secrets

    @property
    def memory(self) -> Memory:
        return self.box.memory

    def host(self, name: str) -> Host:
        return _DeadlineHost(self.box.host(name), self.deadline)

    def controller(self) -> Host:
        return _DeadlineHost(self.box.controller(), self.deadline)

    def repository(self, name: str | None = None) -> Repository:
        return self.box.repository(name or self.scene.repository)

    def store(self, name: str) -> Store:
        return self.box.store(name)

    def files(self, repository: str) -> Shelf:
        return self.box.files(repository)

    def mirrored(self, repository: str, store: str) -> Repository:
        return self.box.mirrored(repository, store)

    def elsewhere(self, repository: str, reading: Reading) -> Repository:
        return self.box.elsewhere(repository, reading)

    def lease(self, name: str, *, wait: timedelta) -> AbstractContextManager[None]:
        return self.box.lease(name, wait=min(wait, timedelta(seconds=self.deadline.remaining())))

    def notifier(self, name: str) -> Notifier:
        return self.box.notifier(name)

    def progress(self, progress: Progress) -> None:
        with suppress(Exception):  # who looks on changes nothing
            self.watcher.progressed(progress.model_copy(update={"step": self.step}))


class _Onlooker:
    """Nobody looks on."""

    def step_started(self, planned: PlannedStep, number: int, *, undo: bool) -> None:
        """Nothing."""

    def progressed(self, progress: Progress) -> None:
        """Nothing."""

    def step_ended(self, planned: PlannedStep, attempt: Attempt) -> None:
        """Nothing."""


def looking_tools(plan: Plan, run: RunFacts, box: Toolbox, deadline: Deadline) -> Tools:
    """Tools for a look at the living world outside a run."""
    return _AttemptTools(
        box=box, scene=plan.scene, run=run, deadline=deadline, repeated=False, step="", watcher=_Onlooker()
    )


class Performer:
    """Performs attempts of one run in this process."""

    def __init__(
        self, plan: Plan, run: RunFacts, box: Toolbox, watcher: Watcher, *, resumed: bool, aborted: Answer | None = None
    ) -> None:
        """``aborted``: who ended the run, and how; then the next step of the plan proper is not begun any more."""
        self.plan = plan
        self.run = run
        self.box = box
        self.watcher = watcher
        self._resumed = resumed
        self._aborted = aborted
        self._afterwards = {planned.id for planned in plan.afterwards}
        self._active = 0
        self._sure_until = 0.0 if resumed else box.clock.monotonic() + SURE
        self._idle = threading.Condition()

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until no attempt is being performed; False when the time is over first."""
        with self._idle:
            return self._idle.wait_for(lambda: self._active == 0, timeout=seconds)

    def attempt(self, planned: PlannedStep, number: int, before: Before, *, undo: bool) -> Attempt:
        """Perform a step once; every error of drorch's own or of its libraries becomes a value.

        Raises:
            Interrupted: a stop was asked for; nothing is to be recorded.
        """
        with self._counted():
            started = self.box.clock.now()
            if self._aborted and not undo and planned.id not in self._afterwards:
                return self._record(planned, number, started.isoformat(), aborted=self._aborted)
            with suppress(Exception):  # who looks on, through a pipe that broke say, changes nothing
                self.watcher.step_started(planned, number, undo=undo)
            step = planned.step
            deadline = Deadline.after(step.timeout or step.default_timeout, self.box.clock)
            tools = _AttemptTools(
                box=self.box,
                scene=replace(self.plan.scene, mode=before.mode),
                run=self.run,
                deadline=deadline,
                repeated=self._resumed or number > 1,
                step=planned.id,
                watcher=self.watcher,
            )
            outcome = _guarded(
                lambda: (
                    self._superseded(planned, tools, before.earlier) or _act(planned, tools, before.earlier, undo=undo)
                )
            )
            if isinstance(outcome, Failure) and deadline.passed:
                outcome = outcome.model_copy(update={"timed_out": True})
            attempt = self._record(planned, number, started.isoformat(), outcome=self._clean(outcome), undo=undo)
            with suppress(Exception):  # the same
                self.watcher.step_ended(planned, attempt)
            return attempt

    def tell(self, title: str, body: str) -> str:
        """Tell the plan's route; the reason when that failed, else an empty text."""
        if self.plan.tell is None:
            return ""
        try:
            self.box.notifier(self.plan.tell).send(
                f"[{self.plan.service_name}] {title}", f"{body}\n\nRun {self.run.id}; drorch show {self.run.id}"
            )
        except DrorchError as error:
            log.warning("%s was not told: %s", self.plan.tell, error)
            return self.box.secrets.redact(str(error))
        return ""

    def _record(
        self,
        planned: PlannedStep,
        number: int,
        started: str,
        *,
        outcome: Outcome | None = None,
        aborted: Answer | None = None,
        undo: bool = False,
    ) -> Attempt:
        return Attempt(
            step=planned.id,
            number=number,
            started=started,
            ended=self.box.clock.now().isoformat(),
            evidence=outcome if isinstance(outcome, Evidence) else None,
            failure=outcome if isinstance(outcome, Failure) else None,
            aborted_by=aborted.by if aborted else None,
            parting=aborted.parting if aborted else None,
            undo=True if undo else None,
        )

    def _superseded(self, planned: PlannedStep, tools: Tools, earlier: Earlier) -> Failure | None:
        """Why this run may do nothing more: after a stop of any length, somebody else may have taken its service over.

        Steps that cannot be taken back look at once before they act, too; this keeps the others from acting.
        """
        own = planned.id in self._afterwards or planned.step.kind in ("claim", "approval")
        if own or not self.plan.scene.moves or self.box.clock.monotonic() < self._sure_until:
            return None
        failure = held(tools, earlier)
        if failure is None:
            self._sure_until = self.box.clock.monotonic() + SURE
        return failure

    def _clean(self, outcome: Outcome) -> Outcome:
        """The outcome without secret values, should a program have echoed one."""
        return type(outcome).model_validate(self.box.secrets.redact_json(outcome.model_dump(mode="json")))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count the attempts in progress."""
        with self._idle:
            self._active += 1
        try:
            yield
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()


def _act(planned: PlannedStep, tools: _AttemptTools, earlier: Earlier, *, undo: bool) -> Outcome:
    step = planned.step
    if undo:
        return step.undo(tools, earlier[planned.id]) if planned.id in earlier else step.retract(tools)
    if planned.part == "rehearse":
        return step.rehearse(tools, earlier)
    if planned.part == "forget":
        return step.forget(tools) or Evidence(facts={"removed": planned.of})
    return step.perform(tools, earlier)


def _guarded(act: Callable[[], Outcome]) -> Outcome:
    try:
        return act()
    except DrorchError as error:
        return Failure.of(error)
    except Exception as error:
        log.exception("a step broke")
        return Failure(
            why=f"a defect of drorch: {type(error).__name__}: {error}",
            hint="the log has the place; please report it",
        )
