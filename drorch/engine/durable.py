"""Durable execution: all of DBOS.

One process executes exactly one run, under an executor id *and an application version* of the run's own, and holds the
run's lease meanwhile. So a process that launches re-does nothing of another's, and to resume is to launch with the dead
executor's id: DBOS then recovers that run's workflows, and no others, by itself. (It recovers through a queue that
any process of the same application version may take from: an executor id alone would not keep two runs apart.)

What the module sees to (each is a pitfall of its own):

- The application version begins with the order of recorded actions, `PROTOCOL`, not with a hash of the sources, so an
  upgrade of drorch goes on with the runs of before. Runs of another protocol are refused by name.
- Records are JSON. Failures are values: nothing raises through a recorded action but `BaseException`s, which leave no
  record. An error of the engine itself (the disk is full) is turned into one too, so that the run stays resumable.
- Steps side by side are children with ids from the plan, started and awaited in sorted order.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, SetWorkflowID

from drorch.core.clock import Halt
from drorch.core.errors import DrorchError, Interrupted, RunError, SettingsError
from drorch.core.evidence import Evidence
from drorch.core.model import Json
from drorch.core.scene import Mode
from drorch.engine.interpret import Answer, Attempt, Before, Ending, Story, attempts, interpret
from drorch.engine.perform import Performer
from drorch.engine.plan import PlannedStep

PROTOCOL = "1"
"""Raised when `interpret` or `_Recorded` changes the order or the names of recorded actions."""

log = logging.getLogger(__name__)


class _Stranded(BaseException):
    """The engine itself failed: leave no record, the run is resumable."""


@dataclass(slots=True)
class _Execution:
    """The run of this process."""

    performer: Performer
    story: Story
    finished: threading.Event = field(default_factory=threading.Event)
    ending: Ending | None = None
    broken: BaseException | None = None

    def over(self, *, ending: Ending | None = None, broken: BaseException | None = None) -> None:
        """The workflow is over in this process."""
        self.ending, self.broken = ending, broken or self.broken
        self.finished.set()


_execution: _Execution | None = None


def _current() -> _Execution:
    if _execution is None:
        raise _Stranded("no run was set up in this process")
    return _execution


@contextmanager
def _unrecorded() -> Iterator[None]:
    """Turn an error of the engine's own into one that leaves no record: a recorded one would come back for ever."""
    try:
        yield
    except Exception as error:
        raise _Stranded(str(error)) from error


class _Recorded:
    """`interpret.Durable` over DBOS."""

    def __init__(self, execution: _Execution) -> None:
        self._performer = execution.performer

    def attempt(self, planned: PlannedStep, number: int, before: Before, *, undo: bool) -> Attempt:
        def act() -> Json:
            with _unrecorded():
                return self._performer.attempt(planned, number, before, undo=undo).model_dump(mode="json")

        name = f"{'undo ' if undo else ''}{planned.id}#{number}"
        return Attempt.model_validate(DBOS.run_step({"name": name}, act))

    def side_by_side(
        self, steps: Sequence[PlannedStep], first: Mapping[str, int], before: Before
    ) -> Mapping[str, tuple[Attempt, ...]]:
        told = {step: evidence.model_dump(mode="json") for step, evidence in before.earlier.items()}
        handles = {}
        for planned in sorted(steps, key=lambda planned: planned.id):
            with SetWorkflowID(f"{self._performer.run.id}/{planned.id}#{first[planned.id]}"):
                handles[planned.id] = DBOS.start_workflow(_branch, planned.id, first[planned.id], told, before.mode)
        results = {step: handle.get_result(polling_interval_sec=0.2) for step, handle in handles.items()}
        return {step: tuple(Attempt.model_validate(one) for one in result) for step, result in results.items()}

    def sleep(self, length: timedelta) -> None:
        DBOS.sleep(length.total_seconds())

    def answer(self, topic: str, timeout: timedelta) -> Answer | None:
        said = DBOS.recv(topic, timeout_seconds=timeout.total_seconds())
        return None if said is None else Answer.model_validate(said)

    def tell(self, key: str, title: str, body: str) -> None:
        DBOS.run_step({"name": f"tell {key}"}, self._performer.tell, title, body)


def _resumable(act: Callable[[_Execution], Json]) -> Json:
    """Do the workflow's work; whatever goes wrong with the engine leaves it resumable."""
    execution = _current()
    try:
        return act(execution)
    except (Interrupted, _Stranded) as stop:
        execution.over(broken=stop)
        raise
    except Exception as error:
        cause = _translated(error)
        if not isinstance(cause, DrorchError):
            log.exception("the engine stopped")
        execution.over(broken=cause)
        raise _Stranded(str(cause)) from error


def _translated(error: Exception) -> Exception:
    """The error as drorch's own where it is the database's; what the library says of it repeats whole statements."""
    cause: BaseException | None = getattr(error, "orig", None)
    if isinstance(error, DrorchError) or cause is None:
        return error
    return SettingsError(
        f"the engine's database cannot be used: {cause}",
        hint="check the state folder's free space, or the database server",
    )


@DBOS.workflow(name="run", max_recovery_attempts=None)  # a person may go on as often as it takes
def _run(plan: str) -> Json:
    def act(execution: _Execution) -> Json:
        if execution.performer.plan.text != plan:
            raise RunError("the run's plan is not the one of this process", hint="the state folder was altered")
        ending = interpret(execution.performer.plan, _Recorded(execution), execution.story)
        execution.over(ending=ending)
        return {"state": ending.state.value, "why": ending.why}

    return _resumable(act)


@DBOS.workflow(name="branch", max_recovery_attempts=None)
def _branch(step_id: str, first: int, earlier: dict[str, Json], mode: Mode | None = None) -> Json:
    def act(execution: _Execution) -> Json:
        planned = execution.performer.plan.step(step_id)
        evidence = {step: Evidence.model_validate(value) for step, value in earlier.items()}
        before = Before(earlier=evidence, mode=mode)
        done = attempts(_Recorded(execution), execution.story, planned, first, before)
        return [attempt.model_dump(mode="json") for attempt in done]

    return _resumable(act)


class Engine:
    """The durable execution of one run in this process."""

    def __init__(self, database_url: str, run_id: str) -> None:
        self._url = database_url
        self._run_id = run_id
        self._version = f"{PROTOCOL}/{run_id}"

    def start(self, performer: Performer, story: Story) -> None:
        """Start the run, or go on with it where its records end.

        The caller holds the run's lease. Returns at once; the run goes on in threads of its own.

        Raises:
            RunError: the run was started by another protocol, or is over.
        """
        global _execution  # noqa: PLW0603 - DBOS recovers module-level functions; one process executes one run
        _execution = _Execution(performer, story)
        logging.getLogger("dbos").setLevel(logging.ERROR)
        DBOS(
            config={
                "name": "drorch",
                "system_database_url": self._url,
                "executor_id": f"run:{self._run_id}",
                "application_version": self._version,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "ERROR",
                "console_log_level": "ERROR",
                "notification_listener_polling_interval_sec": 0.2,
            }
        )
        DBOS.launch()
        status = DBOS.get_workflow_status(self._run_id)
        if status is None:
            with SetWorkflowID(self._run_id):
                DBOS.start_workflow(_run, performer.plan.text)
        elif status.app_version != self._version:
            raise RunError(
                f"{self._run_id} was started by a drorch with another engine ({status.app_version}; this: {PROTOCOL})",
                hint="finish it with that version, or abort it there",
            )
        elif status.status not in ("PENDING", "ENQUEUED"):
            raise RunError(f"{self._run_id} cannot go on: the engine holds it as {status.status}")

    def answer(self, topic: str, answer: Answer) -> None:
        """Answer the run that this process executes."""
        DBOS.send(self._run_id, answer.model_dump(mode="json"), topic, idempotency_key=f"{topic}:{answer.verb}")

    def wait(self, seconds: float) -> bool:
        """Wait for the end in this process; False when the time is over first."""
        return _current().finished.wait(seconds)

    @property
    def ending(self) -> Ending | None:
        """How the run ended; None while it has not."""
        return _current().ending

    @property
    def broken(self) -> BaseException | None:
        """Why the run stopped in this process without an end."""
        return _current().broken

    def stop(self, halt: Halt, *, patience: float) -> bool:
        """Stop what is being performed without recording it; False when something did not stop in time."""
        halt.request()
        return _current().performer.wait_until_idle(patience)

    def close(self) -> None:
        """Flush and let go of the database."""
        DBOS.destroy(workflow_completion_timeout_sec=0)


def send_answer(database_url: str, run_id: str, topic: str, answer: Answer) -> None:
    """Answer a waiting run from a process that does not execute it; it is kept until the run goes on."""
    client = DBOSClient(
        system_database_url=database_url, serializer=cast("Any", DBOSPortableJSONSerializer()), lazy=False
    )
    try:
        client.send(run_id, answer.model_dump(mode="json"), topic, idempotency_key=f"{run_id}:{topic}:{answer.verb}")
    finally:
        client.destroy()
