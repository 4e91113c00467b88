"""Runs: begun, carried on, answered. Puts plan, journal, leases and durable engine together."""

import getpass
import os
import platform
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from drorch import __version__
from drorch.core.clock import Clock, Halt
from drorch.core.errors import DrorchError, RunError
from drorch.core.evidence import Evidence, ProofLevel
from drorch.core.model import Json
from drorch.core.outage import watched_key
from drorch.core.scene import RunFacts
from drorch.core.step import RunState, Toolbox
from drorch.engine.interpret import Answer, Attempt, Ending
from drorch.engine.journal import Journal, Run
from drorch.engine.lease import Leases
from drorch.engine.measure import measure
from drorch.engine.perform import Performer, Watcher
from drorch.engine.plan import Plan, PlannedStep

if TYPE_CHECKING:
    from drorch.engine.durable import Engine

STOP_PATIENCE = 90.0
"""Seconds that a stopped run gives its commands to end; then the process leaves, and resume looks after the rest."""


def operator() -> str:
    """Who acts, for the record: ``user@machine``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{os.environ.get('SUDO_USER') or user}@{platform.node()}"


def run_id(runbook: str, slot: datetime | None, now: datetime) -> str:
    """``runbook@slot``; for an unscheduled run the second of its start."""
    if slot is not None:
        return f"{runbook}@{slot.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
    return f"{runbook}@{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits for a person."""

    run: str
    state: RunState
    detail: Mapping[str, Json]

    @property
    def topic(self) -> str:
        """Under which the answer is sent."""
        return str(self.detail["topic"])

    @property
    def step(self) -> str:
        """Which step waits."""
        return str(self.detail["step"])

    @property
    def verbs(self) -> tuple[str, ...]:
        """What can be answered."""
        return tuple(str(verb) for verb in self.detail["verbs"])


@dataclass(frozen=True, slots=True)
class Stopped:
    """A run that was stopped in this process, or could not go on in it; it can be resumed."""

    run: str
    why: str = ""
    hint: str = ""
    asked: bool = True
    """Whether somebody asked for it; else the engine failed."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Instead of an answer: somebody else gives it, from another process."""


Result = Ending | Waiting | Stopped
Asker = Callable[[Waiting], Answer | Elsewhere | None]
"""Asks a person; None leaves the run waiting, and the process with it; with `Elsewhere` this process waits too."""


def nobody(_waiting: Waiting) -> Answer | None:
    """An asker where no person is."""
    return None


@dataclass(slots=True)
class _Story:
    """`interpret.Story` over the journal; what a person must hear of goes into ``events``."""

    journal: Journal
    clock: Clock
    run: Run
    plan: Plan
    events: "queue.SimpleQueue[Waiting | None]" = field(default_factory=queue.SimpleQueue)

    def attempted(self, attempt: Attempt) -> None:
        body = {"what": "attempt", "state": attempt.state.value, **attempt.model_dump(mode="json", exclude_none=True)}
        self.journal.append(
            self.run.id, f"attempt {attempt.step}#{attempt.number}", datetime.fromisoformat(attempt.ended), body
        )

    def waiting(self, state: RunState, detail: Mapping[str, Json]) -> None:
        now = self.clock.now()
        body = {"what": "waiting", "state": state.value, "step": detail["step"], "verbs": detail["verbs"]}
        self.journal.append(self.run.id, asked_under(str(detail["topic"])), now, body)
        self.journal.stand(self.run.id, state, now, detail)
        self.events.put(Waiting(self.run.id, state, detail))

    def answered(self, topic: str, step: str, answer: Answer | None) -> None:
        said: dict[str, Json] = (
            answer.model_dump(mode="json", exclude_none=True) if answer else {"verb": "no answer in time"}
        )
        now = self.clock.now()
        self.journal.append(self.run.id, f"answer {topic}", now, {"what": "answer", "step": step, **said})
        self.journal.stand(self.run.id, RunState.RUNNING, now)
        self.events.put(None)

    def ended(self, ending: Ending) -> None:
        measured = measure(self.run.started, self.plan, ending.attempts)
        body: dict[str, Json] = {
            "what": "ended",
            "state": ending.state.value,
            "why": ending.why,
            "hint": ending.hint,
            "step": ending.step,
            "exceptions": list(ending.exceptions),
            "measured": measured.model_dump(mode="json"),
            "points": _points(ending.attempts),
        }
        self._at_home(ending)
        if (watched := self.journal.get(watched_key(self.run.id))) is not None:
            body["outage"] = watched
        self.journal.append(self.run.id, "ended", self.clock.now(), body, state=ending.state, detail=body)

    def _at_home(self, ending: Ending) -> None:
        """A service that was led elsewhere by a person's hand lives there from now on, too."""
        scene, key = self.plan.scene, f"home:{self.run.service}"
        if not (scene.moves and scene.target and ending.state.good):
            return
        home = self.journal.get(key) or {"host": scene.primary}
        if home["host"] != scene.target:
            since = self.clock.now().isoformat()
            self.journal.put(key, {"host": scene.target, "since": since, "run": self.run.id})


def asked_under(topic: str) -> str:
    """The key of the record that says when a question was asked first."""
    return f"waiting {topic}"


def _points(attempts: tuple[Attempt, ...]) -> dict[str, Json]:
    """The recovery point of each source that this run took or worked on, with the highest level shown for it."""
    points: dict[str, dict[str, Json]] = {}
    for attempt in attempts:
        evidence: Evidence | None = attempt.evidence
        if evidence is None:
            continue
        for source, level in evidence.levels.items():
            said = evidence.facts.get("points", {}).get(source, {})
            point = points.setdefault(source, {})
            if point.setdefault("snapshot", said.get("snapshot")) == said.get("snapshot"):
                point.setdefault("time", said.get("time"))
                _raise(point, level)
        if evidence.source is None:
            continue
        point = points.setdefault(evidence.source, {})
        if "snapshot" in evidence.facts:
            # A copy is another snapshot of the same recovery point.
            point["snapshot"] = evidence.facts.get("original") or evidence.facts["snapshot"]
            point["time"] = evidence.facts.get("snapshot_time") or evidence.facts.get("time")
        if evidence.level:
            _raise(point, evidence.level)
    return {source: dict(point) for source, point in points.items()}


def _raise(point: dict[str, Json], level: ProofLevel) -> None:
    if level.height >= ProofLevel(point.get("level", "taken")).height:
        point["level"] = level.value


class Runs:
    """The runs of one state folder."""

    def __init__(self, journal: Journal, leases: Leases, clock: Clock, database_url: str) -> None:
        self.journal = journal
        self.leases = leases
        self.clock = clock
        self._database_url = database_url

    def begin(
        self, plan: Plan, *, slot: datetime | None = None, by: str | None = None, said: Mapping[str, Json] | None = None
    ) -> Run:
        """Record that a run of this plan starts; a scheduled slot that was begun already gives that very run.

        The id of an unscheduled run is the second of its start: a second one waits for the next second. ``said`` is
        kept with it: what a person saw and confirmed.
        """
        while True:
            run = self._begun(plan, slot, by or operator(), said or {})
            if run is not None:
                return run
            self.clock.sleep(1 - self.clock.now().microsecond / 1_000_000)

    def _begun(self, plan: Plan, slot: datetime | None, by: str, said: Mapping[str, Json]) -> Run | None:
        """The run that was begun; None when the id is another's."""
        now = self.clock.now()
        run = Run(
            id=run_id(plan.runbook, slot, now),
            runbook=plan.runbook,
            kind=plan.kind,
            service=plan.service_name,
            slot=slot.astimezone(UTC).isoformat() if slot else "",
            plan=plan.digest,
            state=RunState.PENDING,
            started=now,
            ended=None,
            detail={},
        )
        body = {
            "what": "started",
            "runbook": plan.runbook,
            "kind": plan.kind,
            "service": plan.service_name,
            "plan": plan.digest,
            "slot": run.slot,
            "by": by,
            "drorch": __version__,
            **({"said": said} if said else {}),
        }
        if not self.journal.begin(run, plan.text, body):
            return self.journal.run(run.id) if slot else None
        return run

    def end(self, run: Run, ending: Ending) -> None:
        """Record that a run that nothing was done for is over."""
        _Story(self.journal, self.clock, run, self.plan(run)).ended(ending)

    def standing(self, run: Run) -> tuple[PlannedStep, ...]:
        """The steps that have succeeded and were not taken back, in their order."""
        done: dict[str, None] = {}
        for record in self.journal.records(run.id):
            body = record.body
            if body.get("what") != "attempt" or body.get("state") != "succeeded":
                continue
            if body.get("undo"):
                done.pop(str(body["step"]), None)
            else:
                done[str(body["step"])] = None
        plan = self.plan(run)
        return tuple(plan.step(step) for step in done)

    def alive(self, run: Run) -> bool:
        """Whether a process works on it now."""
        return self.leases.held(f"run:{run.id}")

    def plan(self, run: Run) -> Plan:
        """The plan that the run carries out."""
        return Plan.read(self.journal.plan_text(run.plan))

    def carry_on(
        self,
        run: Run,
        box: Toolbox,
        watcher: Watcher,
        halt: Halt,
        *,
        ask: Asker = nobody,
        answer: Answer | None = None,
        aborted: Answer | None = None,
    ) -> Result:
        """Start a run, or go on with it, in this process until it ends, waits or is stopped.

        ``answer`` is given to the run if it waits when this begins; ``aborted`` ends it wherever it is.

        Raises:
            Busy: another process works on it.
            RunError: it is over, or belongs to another engine version.
        """
        with self.leases.hold(f"run:{run.id}", purpose=f"working on {run.id}"):
            run = self.journal.run(run.id)
            if run.state.final:
                raise RunError(f"{run.id} is over: {run.state}", hint=f"drorch show {run.id}")
            plan = self.plan(run)
            by = str(self.journal.said(run.id, "started").get("by", ""))
            facts = RunFacts(id=run.id, plan=plan.digest, started=run.started, by=by)
            resumed = run.state is not RunState.PENDING
            performer = Performer(plan, facts, box, watcher, resumed=resumed, aborted=aborted)
            story = _Story(self.journal, self.clock, run, plan)
            waited = Waiting(run.id, run.state, run.detail) if "topic" in run.detail else None
            if run.state in (RunState.PENDING, RunState.PAUSED_OPERATOR):
                self.journal.stand(run.id, RunState.RUNNING, self.clock.now())
            if resumed and waited is None:
                self._went_on(run)
            return self._execute(performer, story, halt, ask, (waited, answer) if waited and answer else None)

    def _went_on(self, run: Run) -> None:
        """Record who goes on with a run that was cut or paused: perhaps somebody else, on another machine."""
        now = self.clock.now()
        said = {"what": "went on", "by": operator(), "after": run.state.value}
        self.journal.append(run.id, f"went on {now.isoformat()}", now, said)

    def _execute(
        self,
        performer: Performer,
        story: _Story,
        halt: Halt,
        ask: Asker,
        given: tuple[Waiting, Answer] | None,
    ) -> Result:
        from drorch.engine.durable import Engine  # noqa: PLC0415 - half a second to import: only when a run runs

        run = story.run
        _private(self._database_url)
        engine = Engine(self._database_url, run.id)
        engine.start(performer, story)
        answered = set()
        if given is not None:
            engine.answer(given[0].topic, given[1])
            answered.add(given[0].topic)
        open_question: Waiting | None = None
        asked_at = 0.0
        while not engine.wait(_POLL_SECONDS):
            if halt.requested:
                quiet = engine.stop(halt, patience=STOP_PATIENCE)
                return Stopped(run.id, "" if quiet else "a command did not end in time")
            while not story.events.empty():
                open_question, asked_at = story.events.get(), time.monotonic()
            if open_question is None or open_question.topic in answered or time.monotonic() - asked_at < _SETTLE:
                continue
            said = ask(open_question)
            if said is None:
                return open_question
            answered.add(open_question.topic)
            _pass_on(engine, open_question, said)
        if engine.ending is not None:
            return engine.ending
        broken = engine.broken
        if isinstance(broken, RunError):
            raise broken
        asked = halt.requested
        engine.stop(halt, patience=STOP_PATIENCE)
        if asked or broken is None:
            return Stopped(run.id)
        hint = broken.hint if isinstance(broken, DrorchError) else ""
        return Stopped(run.id, broken.message if isinstance(broken, DrorchError) else str(broken), hint, asked=False)

    def answer(self, run: Run, answer: Answer) -> Waiting:
        """Answer a waiting run that another process has open; it goes on there.

        Raises:
            RunError: it does not wait, or not for that.
        """
        waiting = self.waits_for(run, answer.verb)
        from drorch.engine.durable import send_answer  # noqa: PLC0415 - half a second to import

        send_answer(self._database_url, run.id, waiting.topic, answer)
        return waiting

    def waits_for(self, run: Run, verb: str) -> Waiting:
        """What the run waits for, if ``verb`` answers it.

        Raises:
            RunError: it does not wait, or not for that.
        """
        if run.state not in (RunState.PAUSED_FAILED, RunState.WAITING_APPROVAL) or "topic" not in run.detail:
            cut = not run.state.final and not self.alive(run)
            stands, do = ("interrupted", "resume") if cut else (str(run.state), "show")
            raise RunError(f"{run.id} waits for nobody: it is {stands}", hint=f"drorch {do} {run.id}")
        waiting = Waiting(run.id, run.state, run.detail)
        if verb not in waiting.verbs and verb != "abort":
            raise RunError(f"{run.id} cannot be answered with {verb}", hint=f"it waits for {', '.join(waiting.verbs)}")
        return waiting


def _pass_on(engine: "Engine", question: Waiting, said: Answer | Elsewhere) -> None:
    if isinstance(said, Answer):
        engine.answer(question.topic, said)


def _private(database_url: str) -> None:
    """Let nobody else read the engine's file: it holds plans and evidence."""
    scheme, _, path = database_url.partition(":///")
    if scheme == "sqlite":
        Path(path).touch(mode=0o600)


_POLL_SECONDS = 0.1
_SETTLE = 0.3
"""Seconds for which a question must stand before a person is asked: a replay passes through answered ones."""
