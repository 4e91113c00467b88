"""What a run does with its plan: pure control flow over recorded outcomes.

The same plan and the same recorded outcomes always lead through the same decisions, so a replay after a kill arrives
at the first step without a record. Everything that touches the world goes through `Durable` (recorded) or `Story`
(idempotent by key).

Invariants: a step's attempt is numbered from 1 and never performed under a number that has a record; the steps of
`Plan.afterwards` are all performed once the others are over, whatever happened; a run ends in exactly one final state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from drorch.core.evidence import Evidence, Failure
from drorch.core.model import Frozen, Json, format_duration
from drorch.core.scene import Mode
from drorch.core.step import OnFailure, Question, RunState, Step, StepState
from drorch.engine.plan import Block, Plan, PlannedStep
from drorch.steps._safe import BROKEN

Verb = Literal["retry", "skip", "abort", "confirm", "refuse", "approve", "attest", "unplanned"]
Parting = Literal["undo", "leave"]
"""What an abort does with what was done: take it back, or leave it. A move of a service that has not passed its point
of no return is taken back unless it is to be left, anything else only when that is said."""

COMMIT = "commit?"
"""The topic under which a run asks whether it may stay as it is; the process that performs it waits for the answer."""
_FENCED_AGAIN = 3
"""How often in a run a host that keeps coming back is fenced again without asking."""
PATIENCE = timedelta(days=30)
"""How long a paused run waits for an answer before it gives up."""


class Attempt(Frozen):
    """One attempt of a step, as recorded."""

    step: str
    number: int
    started: str
    ended: str
    evidence: Evidence | None = None
    failure: Failure | None = None
    aborted_by: str | None = None
    """Set instead of either when a person ended the run before this attempt began."""
    parting: Parting | None = None
    """What that person said is to become of what was done."""
    undo: Literal[True] | None = None
    """Set when it was the attempt to take the step back."""

    @property
    def state(self) -> StepState:
        """What the attempt means for its step."""
        if self.evidence is not None:
            return StepState.SUCCEEDED
        if self.failure is not None and self.failure.timed_out:
            return StepState.TIMED_OUT
        return StepState.SKIPPED if self.aborted_by else StepState.FAILED


class Answer(Frozen):
    """What a person said to a waiting run."""

    verb: Verb
    by: str
    note: str = ""
    parting: Parting | None = None
    """Of an abort."""


class Durable(Protocol):
    """Actions that are recorded: on a replay the record answers and nothing is done."""

    def attempt(self, planned: PlannedStep, number: int, before: "Before", *, undo: bool) -> Attempt:
        """Perform (or undo) a step once."""
        ...

    def side_by_side(
        self, steps: Sequence[PlannedStep], first: Mapping[str, int], before: "Before"
    ) -> Mapping[str, tuple[Attempt, ...]]:
        """`attempts` of several steps at once, starting at the given numbers; ends when all have ended."""
        ...

    def sleep(self, length: timedelta) -> None:
        """Wait; a wait cut by a kill goes on for what is left of it."""
        ...

    def answer(self, topic: str, timeout: timedelta) -> Answer | None:
        """What a person says under that topic; None when the time is over."""
        ...

    def tell(self, key: str, title: str, body: str) -> None:
        """Tell the people whom the plan names, once per key; not reaching them changes nothing else."""
        ...


class Story(Protocol):
    """Where what happens is told; each call is idempotent."""

    def attempted(self, attempt: Attempt) -> None:
        """An attempt is over."""
        ...

    def waiting(self, state: RunState, detail: Mapping[str, Json]) -> None:
        """The run waits for a person from now on."""
        ...

    def answered(self, topic: str, step: str, answer: Answer | None) -> None:
        """A person said something, or the time was over."""
        ...

    def ended(self, ending: "Ending") -> None:
        """The run is over."""
        ...


class Before(Frozen):
    """What a step finds when it starts."""

    earlier: Mapping[str, Evidence]
    """Evidence of the steps that succeeded before, by step id."""
    mode: Mode | None = None
    """Of a failover or failback: how it is done by now."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    state: RunState
    why: str = ""
    """Of a run that did not complete: the first cause."""
    hint: str = ""
    step: str = ""
    exceptions: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()


def attempts(durable: Durable, story: Story, planned: PlannedStep, first: int, before: Before) -> tuple[Attempt, ...]:
    """Perform a step until it succeeds, fails for good or has no retries left; the last attempt decides."""
    done: list[Attempt] = []
    retries = planned.step.retries
    while True:
        number = first + len(done)
        attempt = durable.attempt(planned, number, before, undo=False)
        story.attempted(attempt)
        done.append(attempt)
        failure = attempt.failure
        if failure is None or not failure.retryable or len(done) > retries.max:
            return tuple(done)
        durable.sleep(retries.pause(len(done)))


@dataclass(slots=True)
class _Course:
    """Where a run is; rebuilt from the records by every replay."""

    plan: Plan
    durable: Durable
    story: Story
    evidence: dict[str, Evidence] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    ending: Ending | None = None
    fenced_again: int = 0
    mode: Mode | None = None
    undone: bool = False
    """Whether what was done has been taken back, as far as that goes."""

    def before(self) -> Before:
        """What the next step finds."""
        return Before(earlier=dict(self.evidence), mode=self.mode)

    def fail(self, state: RunState, why: str, *, hint: str = "", step: str = "") -> None:
        """The run will end so, unless it already ends in another way: the first cause stays."""
        if self.ending is None:
            self.ending = Ending(state, why, hint, step)

    def ask(
        self, state: RunState, topic: str, timeout: timedelta, detail: Mapping[str, Json], words: str
    ) -> Answer | None:
        """Wait for a person, having told the people; None when nobody answers in time."""
        self.story.waiting(state, {**detail, "topic": topic})
        self.durable.tell(topic, f"{detail['step']} waits for a person", words)
        answer = self.durable.answer(topic, timeout)
        self.story.answered(topic, str(detail["step"]), answer)
        return answer


def interpret(plan: Plan, durable: Durable, story: Story) -> Ending:
    """Carry out a plan to its end."""
    course = _Course(plan, durable, story, mode=plan.mode)
    for block in plan.blocks:
        _block(course, block)
        if course.ending is not None:
            break
    if course.ending is None and plan.commit is not None:
        _commit(course, plan.commit)
    for planned in plan.afterwards:
        _last_words(course, planned)
    ending = _ending(course)
    story.ended(ending)
    if not ending.state.good:
        hint = f"\nWhat to do: {ending.hint}" if ending.hint else ""
        durable.tell("ended", f"{plan.runbook} {ending.state}", f"{ending.why}{hint}")
    return ending


def _ending(course: _Course) -> Ending:
    exceptions, done = tuple(course.exceptions), tuple(course.attempts)
    if course.ending is None:
        state = RunState.COMPLETED_WITH_EXCEPTIONS if exceptions else RunState.COMPLETED
        return Ending(state, exceptions=exceptions, attempts=done)
    return replace(course.ending, exceptions=exceptions, attempts=done)


def _block(course: _Course, block: Block) -> None:
    """Perform a block until each of its steps has succeeded or been given up."""
    todo = [planned for planned in block.steps if _agreed(course, planned)]
    while todo and course.ending is None:
        failed = _perform(course, todo)
        again = [planned for planned, last in failed if _after_failure(course, planned, last)]
        todo = [planned for planned in again if _agreed(course, planned)]


def _commit(course: _Course, length: timedelta) -> None:
    """Wait for a person's word that it may stay so; without one, take everything back."""
    within = format_duration(length)
    text = f"{course.plan.runbook} is done. Shall it stay so? Without an answer within {within} all is taken back."
    detail: dict[str, Json] = {"step": "commit", "question": text, "verbs": ["confirm", "refuse"]}
    answer = course.ask(RunState.WAITING_APPROVAL, COMMIT, length, detail, text)
    if answer is not None and answer.verb == "confirm":
        return
    why = "nobody confirmed it in time" if answer is None else f"it was refused by {answer.by}"
    if answer is not None and answer.parting == "leave":
        course.fail(RunState.CANCELLED, f"{why}, who left it as it is", step="commit")
        return
    course.fail(RunState.CANCELLED, f"{why}, so it was taken back", step="commit")
    _undo(course)


def _last_words(course: _Course, planned: PlannedStep) -> None:
    """Perform a step that runs whatever happened; only a pause can ask for it again."""
    todo = [planned]
    while todo:
        failed = _perform(course, todo)
        todo = [
            again
            for again, last in failed
            if _after_failure(course, again, last, instead=("abort" if last.aborted_by is None else None))
        ]


def _agreed(course: _Course, planned: PlannedStep) -> bool:
    """Whether the step may start: no question, or a person's yes. No answer in time is a no."""
    if course.ending is not None or planned.step.when not in (None, course.mode):
        return False
    if planned.part != "perform":
        return True
    question: Question | None = planned.step.question(course.plan.scene, course.evidence)
    if question is None:
        return True
    detail: dict[str, Json] = {"step": planned.id, "question": question.text, "verbs": list(question.verbs)}
    asked = course.counts.get(planned.id, 0)
    topic = f"{planned.id}?{asked + 1}" if asked else f"{planned.id}?"
    answer = course.ask(RunState.WAITING_APPROVAL, topic, question.timeout, detail, question.text)
    if answer is None:
        course.fail(RunState.TIMED_OUT, f"{planned.id}: nobody answered in time, which is a no", step=planned.id)
        _part(course, None)
        return False
    if answer.verb == question.verbs[0]:
        course.evidence[planned.id] = Evidence(facts={"confirmed_by": answer.by, "note": answer.note})
        return True
    reason = f": {answer.note}" if answer.note else ""
    course.fail(RunState.CANCELLED, f"{planned.id} was refused by {answer.by}{reason}", step=planned.id)
    _part(course, answer.parting)
    return False


def _perform(course: _Course, todo: Sequence[PlannedStep]) -> list[tuple[PlannedStep, Attempt]]:
    """Perform steps, side by side when there are several; gives those that failed with their last attempt."""
    first = {planned.id: course.counts.get(planned.id, 0) + 1 for planned in todo}
    before = course.before()
    outcomes: Mapping[str, tuple[Attempt, ...]]
    if len(todo) == 1:
        only = todo[0]
        outcomes = {only.id: attempts(course.durable, course.story, only, first[only.id], before)}
    else:
        outcomes = course.durable.side_by_side(todo, first, before)
    failed = []
    for planned in todo:
        done = outcomes[planned.id]
        course.counts[planned.id] = first[planned.id] + len(done) - 1
        course.attempts.extend(done)
        evidence = done[-1].evidence
        if evidence is None:
            course.evidence.pop(planned.id, None)  # a person's answer to this step was for this attempt
            failed.append((planned, done[-1]))
        else:
            course.evidence[planned.id] = evidence
            course.exceptions.extend(f"{planned.id}: {text}" for text in evidence.exceptions)
    return failed


def _after_failure(course: _Course, planned: PlannedStep, last: Attempt, *, instead: OnFailure | None = None) -> bool:
    """Decide what a step's final failure leads to; True when it is to be attempted again.

    ``instead`` replaces what the step says, unless that is to pause.
    """
    if last.aborted_by is not None:
        course.fail(RunState.CANCELLED, f"aborted by {last.aborted_by}", step=planned.id)
        _part(course, last.parting)
        return False
    failure = last.failure or Failure(why="no outcome was recorded")
    if _fenced_again(course, planned, failure):
        return True
    wanted = course.plan.answer_to_failure(planned.step)
    if wanted == "pause":
        return _pause(course, planned, last, failure)
    wanted = instead or wanted
    if wanted == "continue":
        course.exceptions.append(f"{planned.id}: {failure.why}")
        return False
    if course.ending is not None:
        course.exceptions.append(f"{planned.id}: {failure.why}")
    state = RunState.TIMED_OUT if last.state is StepState.TIMED_OUT else RunState.FAILED
    course.fail(state, f"{planned.id}: {failure.why}", hint=failure.hint, step=planned.id)
    if wanted == "undo":
        _undo(course)
    return False


def _fenced_again(course: _Course, planned: PlannedStep, failure: Failure) -> bool:
    """Fence a host once more that came back behind the point of no return, when there is nothing to decide any more.

    Before that point a primary that comes back may be better than a failover: a person decides.
    """
    fence = failure.facts.get(BROKEN)
    past = any(course.plan.step(step).step.irreversible for step in course.evidence)
    if not (fence and past) or course.fenced_again >= _FENCED_AGAIN:
        return False
    course.fenced_again += 1
    if _perform(course, [course.plan.step(str(fence))]):
        return False
    course.exceptions.append(f"before {planned.id} it was fenced again: {failure.why}")
    return True


def _pause(course: _Course, planned: PlannedStep, last: Attempt, failure: Failure) -> bool:
    """Let a person decide; True when the step is to be attempted again."""
    verbs = [
        *(("retry", "skip", "abort") if planned.step.skippable else ("retry", "abort")),
        *(["unplanned"] if course.mode == "planned" else []),
        *(["attest"] if failure.facts.get("attest") else []),
    ]
    detail: dict[str, Json] = {"step": planned.id, "failure": failure.model_dump(mode="json"), "verbs": list(verbs)}
    words = f"It failed: {failure.why}\nAnswer with {', '.join(verbs[:-1])} or {verbs[-1]}."
    answer = course.ask(RunState.PAUSED_FAILED, f"{planned.id}#{last.number}", PATIENCE, detail, words)
    if answer is None:
        course.fail(RunState.TIMED_OUT, f"{planned.id}: {failure.why}; nobody answered in time", step=planned.id)
        return False
    return _answered(course, planned, last, failure, answer)


def _answered(course: _Course, planned: PlannedStep, last: Attempt, failure: Failure, answer: Answer) -> bool:
    """Do as a person said after a failure; True when the step is to be attempted again."""
    if answer.verb == "unplanned":
        course.mode = "unplanned"
        course.exceptions.append(f"from {planned.id} on it was unplanned, as {answer.by} said, after: {failure.why}")
        return planned.step.when != "planned"
    if answer.verb == "attest":
        course.evidence[planned.id] = Evidence(
            facts={"attested_by": answer.by, "note": answer.note, "at": last.ended, "tried": failure.facts.get("tried")}
        )
        return True
    if answer.verb == "retry":
        return True
    if answer.verb == "skip":
        course.exceptions.append(f"{planned.id} was skipped by {answer.by} after: {failure.why}")
        return False
    course.fail(RunState.CANCELLED, f"aborted by {answer.by} after {planned.id}: {failure.why}", step=planned.id)
    _part(course, answer.parting)
    return False


def _part(course: _Course, parting: Parting | None) -> None:
    """End as a person said. Unless they said, a service that was about to be moved runs again where it was, and one
    that has passed the point of no return stays as it is.
    """
    if parting == "undo":
        _undo(course)
    elif parting is None and course.plan.scene.moves:
        _undo(course, whole=True)


def _undo(course: _Course, *, whole: bool = False) -> None:
    """Take back what was done and can be taken back, newest first, as far as the point of no return; ``whole``: nothing
    where that was passed. A failure to undo is told and does not stop it.
    """
    if course.undone:
        return
    course.undone = True
    back: list[PlannedStep] = []
    for step_id in reversed(list(dict.fromkeys(attempt.step for attempt in course.attempts))):
        planned = course.plan.step(step_id)
        if planned.step.irreversible and (why := _passed(course, planned)):
            left = "nothing was taken back" if whole else "what was before it stays as it is"
            course.exceptions.append(f"{why}, so {left}")
            if whole:
                return
            break
        if not planned.step.irreversible:
            back.append(planned)
    for planned in back:
        succeeded = planned.id in course.evidence
        if not (planned.step.can_undo if succeeded else type(planned.step).retract is not Step.retract):
            continue
        attempt = _taken_back(course, planned)
        if attempt.evidence is None:
            failure = attempt.failure or Failure(why="no outcome was recorded")
            hint = f"; {failure.hint}" if failure.hint else ""
            course.exceptions.append(f"{planned.id} could not be undone: {failure.why}{hint}")
        else:
            course.evidence.pop(planned.id, None)


def _passed(course: _Course, planned: PlannedStep) -> str:
    """Why a point of no return was passed, or may have been; empty when it certainly was not."""
    if planned.id in course.evidence:
        return f"{planned.id} cannot be undone"
    failure = _taken_back(course, planned).failure
    return f"{planned.id} cannot be undone: {failure.why}" if failure is not None else ""


def _taken_back(course: _Course, planned: PlannedStep) -> Attempt:
    course.counts[planned.id] = course.counts.get(planned.id, 0) + 1
    attempt = course.durable.attempt(planned, course.counts[planned.id], course.before(), undo=True)
    course.story.attempted(attempt)
    course.attempts.append(attempt)
    return attempt


def when(attempt: Attempt) -> datetime:
    """The end of an attempt."""
    return datetime.fromisoformat(attempt.ended)
