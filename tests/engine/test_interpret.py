"""What a run does with its plan, over scripted outcomes: no world, no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import pytest

from drorch.config.inventory import Service
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.model import Json
from drorch.core.scene import RunKind, Scene
from drorch.core.step import Earlier, OnFailure, Question, Retries, RunState, Step, Tools
from drorch.engine.interpret import Answer, Attempt, Before, Ending, Parting, attempts, interpret
from drorch.engine.plan import Block, Plan, PlannedStep

GOOD = Evidence(facts={"bytes": 1})
BAD = Failure(why="no route to host", hint="plug it in")
WEAK = BAD.model_copy(update={"retryable": True})
LATE = BAD.model_copy(update={"timed_out": True})
ODD = Evidence(facts={"bytes": 1}, exceptions=("one file could not be read",))


class Scripted(Step):
    """A step whose outcomes the test tells."""

    kind: Literal["scripted"] = "scripted"
    asks: bool = False
    undoable: bool = False
    final: bool = False

    def describe(self, scene: Scene) -> str:
        """Nothing in particular."""
        return "do as told"

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Never called here."""
        raise NotImplementedError

    def question(self, scene: Scene, earlier: Earlier) -> Question | None:
        """Ask when told so."""
        return Question(text="Is the cable in?", timeout=timedelta(hours=1)) if self.asks else None

    @property
    def can_undo(self) -> bool:
        """As told."""
        return self.undoable

    @property
    def irreversible(self) -> bool:
        """As told."""
        return self.final


class Retractable(Scripted):
    """One that can take back what a failed attempt left."""

    undoable: bool = True

    def retract(self, tools: Tools) -> Outcome:
        """Never called here."""
        raise NotImplementedError


@dataclass
class World:
    """`Durable` and `Story` at once: outcomes and answers come from the script, what happens is written down."""

    outcomes: Mapping[str, Sequence[Outcome]] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    aborted: bool = False
    parting: Parting | None = None
    undoing: Mapping[str, Outcome] = field(default_factory=dict)
    happened: list[str] = field(default_factory=list)
    states: list[RunState] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)

    def attempt(self, planned: PlannedStep, number: int, before: Before, *, undo: bool) -> Attempt:
        self.happened.append(f"{'undo ' if undo else ''}{planned.id}#{number}")
        said = {"step": planned.id, "number": number, "started": "", "ended": ""}
        if self.aborted and not undo and planned.id != "cleanup":
            return Attempt.model_validate({**said, "aborted_by": "eve", "parting": self.parting})
        script = self.outcomes.get(planned.id, [GOOD])
        outcome = self.undoing.get(planned.id, GOOD) if undo else script[min(number, len(script)) - 1]
        evidence = outcome if isinstance(outcome, Evidence) else None
        failure = outcome if isinstance(outcome, Failure) else None
        return Attempt.model_validate({**said, "evidence": evidence, "failure": failure, "undo": undo or None})

    def side_by_side(
        self, steps: Sequence[PlannedStep], first: Mapping[str, int], before: Before
    ) -> Mapping[str, tuple[Attempt, ...]]:
        return {planned.id: attempts(self, self, planned, first[planned.id], before) for planned in steps}

    def sleep(self, length: timedelta) -> None:
        self.happened.append(f"sleep {length.total_seconds():.0f}")

    def answer(self, topic: str, timeout: timedelta) -> Answer | None:
        return self.answers.get(topic)

    def tell(self, key: str, title: str, body: str) -> None:
        self.happened.append(f"tell {key}")

    def attempted(self, attempt: Attempt) -> None:
        pass

    def waiting(self, state: RunState, detail: Mapping[str, Json]) -> None:
        self.states.append(state)

    def answered(self, topic: str, step: str, answer: Answer | None) -> None:
        pass

    def ended(self, ending: Ending) -> None:
        self.endings.append(ending)


def step(name: str, on_failure: OnFailure | None = None, *, retries: int = 0, **more: bool) -> PlannedStep:
    """A step of that id."""
    wanted = Retries(max=retries, delay=timedelta(seconds=1))
    return PlannedStep.model_construct(id=name, step=Scripted(on_failure=on_failure, retries=wanted, **more))


def fence(name: str) -> PlannedStep:
    """A step that can be taken back whether it succeeded or not."""
    return PlannedStep.model_construct(id=name, step=Retractable(on_failure="pause"))


def plan(
    *blocks: PlannedStep | tuple[PlannedStep, ...], last: Sequence[PlannedStep] = (), kind: RunKind = "backup"
) -> Plan:
    """A plan of these blocks."""
    made = [Block.model_construct(steps=block if isinstance(block, tuple) else (block,)) for block in blocks]
    return Plan.model_construct(
        runbook="shop-nightly",
        kind=kind,
        service_name="shop",
        service=Service.model_construct(primary="web1", repository="nas", sources={}, standbys=()),
        blocks=tuple(made),
        afterwards=tuple(last),
        hosts={},
        repositories={},
    )


def done(world: World) -> list[str]:
    """What was performed, without what was told."""
    return [what for what in world.happened if not what.startswith("tell")]


def test_steps_happen_in_order_and_the_run_completes() -> None:
    """A plan without trouble is its steps, once each, in order."""
    world = World()
    ending = interpret(plan(step("a"), step("b"), last=[step("c")]), world, world)
    assert done(world) == ["a#1", "b#1", "c#1"]
    assert ending.state is RunState.COMPLETED


def test_a_failure_ends_the_run_but_not_the_last_words() -> None:
    """After an abort nothing more is begun, except what always runs."""
    world = World({"a": [BAD]})
    ending = interpret(plan(step("a"), step("b"), last=[step("cleanup")]), world, world)
    assert done(world) == ["a#1", "cleanup#1"]
    assert (ending.state, ending.why, ending.hint) == (RunState.FAILED, "a: no route to host", "plug it in")


def test_a_time_out_is_told_from_a_failure() -> None:
    """A run that ended for lack of time says so."""
    world = World({"a": [LATE]})
    assert interpret(plan(step("a")), world, world).state is RunState.TIMED_OUT


def test_all_last_words_are_spoken() -> None:
    """One clean-up that fails does not keep the next from running, and the run is not good."""
    world = World({"x": [BAD]})
    ending = interpret(plan(step("a"), last=[step("x"), step("y")]), world, world)
    assert done(world) == ["a#1", "x#1", "y#1"]
    assert ending.state is RunState.FAILED


def test_the_first_cause_is_the_reason() -> None:
    """A clean-up that fails after a failure does not hide why the run failed."""
    world = World({"a": [BAD], "x": [LATE]})
    ending = interpret(plan(step("a"), last=[step("x")]), world, world)
    assert ending.step == "a"
    assert ending.exceptions == ("x: no route to host",)


@pytest.mark.parametrize(
    ("outcomes", "retries", "happened"),
    [
        ([WEAK, WEAK, GOOD], 5, ["a#1", "sleep 1", "a#2", "sleep 2", "a#3"]),
        ([WEAK, WEAK, WEAK], 1, ["a#1", "sleep 1", "a#2"]),
        ([BAD, GOOD], 5, ["a#1"]),
        ([WEAK, BAD], 5, ["a#1", "sleep 1", "a#2"]),
    ],
)
def test_only_what_a_retry_can_help_is_retried(outcomes: list[Outcome], retries: int, happened: list[str]) -> None:
    """Attempts go on while the failure says that a retry may help, with growing pauses, up to the limit."""
    world = World({"a": outcomes})
    interpret(plan(step("a", retries=retries)), world, world)
    assert done(world) == happened


def test_going_on_after_a_failure_is_an_exception() -> None:
    """``continue`` completes the run, but never as if nothing had been."""
    world = World({"a": [BAD]})
    ending = interpret(plan(step("a", "continue"), step("b")), world, world)
    assert done(world) == ["a#1", "b#1"]
    assert ending.state is RunState.COMPLETED_WITH_EXCEPTIONS


def test_evidence_with_exceptions_is_not_a_clean_run() -> None:
    """A backup that could not read a file completes with exceptions."""
    world = World({"a": [ODD]})
    ending = interpret(plan(step("a")), world, world)
    assert ending.state is RunState.COMPLETED_WITH_EXCEPTIONS
    assert ending.exceptions == ("a: one file could not be read",)


def test_undo_takes_back_newest_first_what_can_be_taken_back() -> None:
    """After ``undo`` each success that can be undone is, in reverse, and the run has failed."""
    world = World({"d": [BAD]})
    steps = (step("a", undoable=True), step("b"), step("c", undoable=True), step("d", "undo"))
    ending = interpret(plan(*steps), world, world)
    assert done(world) == ["a#1", "b#1", "c#1", "d#1", "undo c#2", "undo a#2"]
    assert ending.state is RunState.FAILED


@pytest.mark.parametrize(
    ("verb", "happened", "state"),
    [
        ("retry", ["a#1", "a#2", "b#1"], RunState.COMPLETED),
        ("skip", ["a#1", "b#1"], RunState.COMPLETED_WITH_EXCEPTIONS),
        ("abort", ["a#1"], RunState.CANCELLED),
    ],
)
def test_a_paused_run_does_what_it_is_answered(
    verb: Literal["retry", "skip", "abort"], happened: list[str], state: RunState
) -> None:
    """Retry, skip and abort each mean what they say."""
    world = World({"a": [BAD, GOOD]}, {"a#1": Answer(verb=verb, by="ann")})
    ending = interpret(plan(step("a", "pause"), step("b")), world, world)
    assert done(world) == happened
    assert ending.state is state
    assert world.states == [RunState.PAUSED_FAILED]


def test_a_second_failure_asks_again_under_another_topic() -> None:
    """An answer that was sent twice never answers the next question."""
    world = World(
        {"a": [BAD, BAD, GOOD]}, {"a#1": Answer(verb="retry", by="ann"), "a#2": Answer(verb="retry", by="bob")}
    )
    assert interpret(plan(step("a", "pause")), world, world).state is RunState.COMPLETED


def test_a_pause_that_nobody_answers_ends_the_run() -> None:
    """Waiting has an end, and it is not a success."""
    world = World({"a": [BAD]})
    assert interpret(plan(step("a", "pause")), world, world).state is RunState.TIMED_OUT


@pytest.mark.parametrize("kind", ["failover", "failback"])
def test_a_failover_pauses_where_a_backup_gives_up(kind: RunKind) -> None:
    """In the middle of an outage a person decides, so failover and failback pause by default."""
    world = World({"a": [BAD]}, {"a#1": Answer(verb="abort", by="ann")})
    interpret(plan(step("a"), kind=kind), world, world)
    assert world.states == [RunState.PAUSED_FAILED]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(verb="confirm", by="ann"), RunState.COMPLETED),
        (Answer(verb="refuse", by="ann", note="too risky"), RunState.CANCELLED),
        (None, RunState.TIMED_OUT),
    ],
)
def test_a_question_is_answered_before_the_step(answer: Answer | None, state: RunState) -> None:
    """Yes performs the step; no, and silence, end the run without it."""
    world = World({}, {"a?": answer} if answer else {})
    ending = interpret(plan(step("a", asks=True)), world, world)
    assert ending.state is state
    assert done(world) == (["a#1"] if state is RunState.COMPLETED else [])


def test_side_by_side_only_what_failed_is_repeated() -> None:
    """After a retry of a block its successful steps stay done."""
    world = World({"b": [BAD, GOOD]}, {"b#1": Answer(verb="retry", by="ann")})
    ending = interpret(plan((step("a", "pause"), step("b", "pause"))), world, world)
    assert done(world) == ["a#1", "b#1", "b#2"]
    assert ending.state is RunState.COMPLETED


def test_an_aborted_run_begins_nothing_and_cleans_up() -> None:
    """Abort ends the run as cancelled, names who did it, and still asks for the clean-up."""
    world = World(aborted=True)
    ending = interpret(plan(step("a"), step("b"), last=[step("cleanup")]), world, world)
    assert done(world) == ["a#1", "cleanup#1"]
    assert (ending.state, ending.why) == (RunState.CANCELLED, "aborted by eve")


@pytest.mark.parametrize(
    ("failing", "undoing", "parting", "kind", "happened"),
    [
        # A move that has not passed its point of no return is taken back, whatever failed and however far it got.
        ("fence", {}, None, "failover", ["undo fence#2", "undo hold#2"]),
        ("promote", {}, None, "failover", ["undo promote#2", "undo fence#2", "undo hold#2"]),
        ("promote", {}, "leave", "failover", []),
        # Nobody knows whether the standby was promoted: that is past it.
        ("promote", {"promote": BAD}, None, "failback", ["undo promote#2"]),
        ("switch", {}, None, "failover", []),
        # Who asks for it has taken back what is behind the point of no return.
        ("http", {}, "undo", "failover", ["undo switch#2"]),
        ("http", {}, None, "backup", []),
        ("fence", {}, "undo", "backup", ["undo fence#2", "undo hold#2"]),
    ],
)
def test_an_abort_takes_a_move_back_until_the_point_of_no_return(
    failing: str, undoing: Mapping[str, Outcome], parting: Parting | None, kind: RunKind, happened: list[str]
) -> None:
    """The service runs again where it was, unless another host may rule by now, or who aborts says otherwise."""
    said = Answer(verb="abort", by="ann", parting=parting)
    world = World({failing: [BAD]}, {f"{failing}#1": said}, undoing=undoing)
    steps = (
        *(step("hold", undoable=True), fence("fence"), step("promote", "pause", final=True)),
        *(step("switch", "pause", undoable=True), step("http", "pause")),
    )
    ending = interpret(plan(*steps, kind=kind), world, world)
    assert [what for what in done(world) if what.startswith("undo")] == happened
    assert ending.state is RunState.CANCELLED


def test_a_run_that_is_aborted_where_it_was_cut_is_taken_back() -> None:
    """The step that was cut has no evidence, and may have left something all the same."""
    world = World(aborted=True)
    ending = interpret(plan(fence("fence"), step("b"), last=[step("cleanup")], kind="failover"), world, world)
    assert done(world) == ["fence#1", "undo fence#2", "cleanup#1"]
    assert ending.exceptions == ()


def test_what_cannot_be_taken_back_is_told() -> None:
    """A failure to undo does not stop the rest, and is in the run's exceptions with what to do."""
    world = World({"b": [BAD]}, {"b#1": Answer(verb="abort", by="ann")}, undoing={"fence": BAD})
    steps = (step("hold", undoable=True), fence("fence"), step("b", "pause"))
    ending = interpret(plan(*steps, kind="failover"), world, world)
    assert done(world)[-2:] == ["undo fence#2", "undo hold#2"]
    assert ending.exceptions == ("fence could not be undone: no route to host; plug it in",)


@pytest.mark.parametrize(("outcome", "told"), [(GOOD, []), (ODD, []), (BAD, ["tell ended"])])
def test_people_hear_of_runs_that_did_not_reach_their_purpose(outcome: Outcome, told: list[str]) -> None:
    """Good runs are quiet."""
    world = World({"a": [outcome]})
    interpret(plan(step("a")), world, world)
    assert [what for what in world.happened if what.startswith("tell")] == told


def test_the_end_is_told_exactly_once() -> None:
    """A run ends in one final state."""
    world = World({"a": [BAD]})
    ending = interpret(plan(step("a"), last=[step("b")]), world, world)
    assert world.endings == [ending]
