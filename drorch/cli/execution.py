"""What all verbs that execute a run share: signals, questions, the closing words and the exit code."""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING

import click

from drorch.cli.main import say_json
from drorch.cli.watch import Bars, seconds, watcher
from drorch.core.errors import SettingsError
from drorch.core.exits import Exit, of_state
from drorch.core.host import printable
from drorch.core.step import RunState
from drorch.engine.interpret import COMMIT, Answer, Ending
from drorch.engine.journal import Run
from drorch.engine.plan import Plan
from drorch.engine.runs import Asker, Elsewhere, Result, Stopped, Waiting, nobody, operator

if TYPE_CHECKING:
    from drorch.app import App, Box
    from drorch.engine.probe import Prober


def execute(
    app: "App",
    run: Run,
    *,
    as_json: bool,
    answer: Answer | None = None,
    aborted: Answer | None = None,
    instead: Asker = nobody,
    prober: "Prober | None" = None,
    former: "Box | None" = None,
) -> Exit:
    """Carry a run on in this process and say how that ended.

    ``instead`` answers before a person is asked; ``prober`` goes on asking as customers do, else one is made where the
    service has a probe and is moved; ``former`` are tools for the same hosts, whose connections are gone on with.
    """
    plan = app.runs.plan(run)
    prober = prober or app.prober(plan)
    if prober is not None:
        prober.attach(run.id)
    watch = watcher(plan, quiet=as_json)
    box = app.box(plan, former=former)
    interactive = sys.stdin.isatty() and sys.stderr.isatty() and not as_json
    asking = threading.Event()
    _stop_on_signals(app, asking)
    try:
        result = app.runs.carry_on(
            run,
            box,
            watch,
            app.halt,
            ask=_first(instead, _asker(watch, asking) if interactive else _stays(quiet=as_json)),
            answer=answer,
            aborted=aborted,
        )
    finally:
        watch.close()
        box.close()
        if prober is not None:
            prober.close()
    return _conclude(app, plan, run, result, as_json=as_json)


def start(app: "App", plan: Plan, *, as_json: bool, slot: datetime | None = None) -> Exit:
    """Begin a run of a plan and carry it on."""
    with app.leases.hold(f"runbook:{plan.runbook}", purpose=f"running {plan.runbook}"):
        run = app.runs.begin(plan, slot=slot)
        if not as_json:
            click.echo(f"{run.id}  plan {plan.digest[:16]}", err=True)
        return execute(app, run, as_json=as_json)


def _stop_on_signals(app: "App", asking: threading.Event) -> None:
    """The first signal asks everything to stop in order; the second leaves at once.

    While a person is asked, a signal takes the question away and leaves the run waiting.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        if asking.is_set():
            raise KeyboardInterrupt
        if app.halt.requested:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        click.echo("\nstopping; once more to leave at once", err=True)
        app.halt.request()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _first(instead: Asker, then: Asker) -> Asker:
    """Ask one, and the other where that says nothing."""
    return lambda waiting: instead(waiting) or then(waiting)


def _stays(*, quiet: bool) -> Asker:
    """Where no person is: wait only where everything is taken back when nobody answers, which somebody must do."""

    def ask(waiting: Waiting) -> Elsewhere | None:
        if waiting.topic != COMMIT:
            return None
        if not quiet:
            _say_where(waiting)
        return Elsewhere()

    return ask


def _say_where(waiting: Waiting) -> None:
    """Say what is asked, and that it is answered from another process."""
    click.echo(printable(str(waiting.detail["question"])), err=True)
    for verb in waiting.verbs if waiting.topic == COMMIT else ("approve",):
        click.echo(f"  drorch {verb} {waiting.run}", err=True)
    whom = "an answer from another terminal" if waiting.topic == COMMIT else "them"
    click.echo(f"waiting for {whom}; ctrl-C stops here", err=True)


def _asker(watch: object, asking: threading.Event) -> Asker:
    def ask(waiting: Waiting) -> Answer | Elsewhere | None:
        if isinstance(watch, Bars):
            watch.close()
        click.echo("", err=True)
        if "approve" in waiting.verbs or waiting.topic == COMMIT:
            _say_where(waiting)
            if isinstance(watch, Bars):
                watch.reopen()
            return Elsewhere()
        if waiting.state is RunState.WAITING_APPROVAL:
            click.echo(printable(str(waiting.detail["question"])), err=True)
        else:
            failure = waiting.detail["failure"]
            click.secho(f"{waiting.step} failed: {printable(failure['why'])}", fg="red", err=True)
            if failure.get("hint"):
                click.echo(f"  what to do: {printable(failure['hint'])}", err=True)
        asking.set()
        try:
            return _asked(waiting)
        except (KeyboardInterrupt, click.Abort):
            return None
        finally:
            asking.clear()
            if isinstance(watch, Bars):
                watch.reopen()

    return ask


def _asked(waiting: Waiting) -> Answer | None:
    choices = [*waiting.verbs, "leave"]
    verb = click.prompt("Answer", type=click.Choice(choices), err=True, show_choices=True)
    if verb == "leave":
        return None
    note = click.prompt("Reason", default="", show_default=False, err=True) if verb == "refuse" else ""
    return Answer(verb=verb, by=operator(), note=note)


def _conclude(app: "App", plan: Plan, run: Run, result: Result, *, as_json: bool) -> Exit:
    stands = run
    with suppress(SettingsError):  # such as a full disk: then the run was stopped, and that must still be told
        stands = app.journal.run(run.id)
    code = _code(result)
    if as_json:
        say_json(
            {
                "run": run.id,
                "runbook": run.runbook,
                "kind": run.kind,
                "service": run.service,
                "plan": run.plan,
                "state": "interrupted" if isinstance(result, Stopped) else result.state.value,
                "started": stands.started,
                "ended": stands.ended,
                "detail": stands.detail,
                "exit_code": int(code),
            }
        )
        return code
    effects = []
    if plan.scene.moves and isinstance(result, Stopped | Waiting):
        with suppress(SettingsError):
            effects = [one.step.describe(plan.scene) for one in app.runs.standing(stands) if one.step.can_undo]
    for line in _words(plan, stands, result, effects):
        click.echo(line, err=True)
    return code


def _code(result: Result) -> Exit:
    if isinstance(result, Stopped):
        return Exit.INTERRUPTED if result.asked else Exit.FAILED
    return of_state(result.state)


def _words(plan: Plan, run: Run, result: Result, effects: Sequence[str]) -> list[str]:
    if isinstance(result, Stopped):
        why = f": {printable(result.why)}" if result.why else ""
        return [
            f"{run.id} was stopped{why}",
            *([f"  in effect until it goes on or ends: {'; '.join(effects)}"] if effects else []),
            *([f"  what to do: {printable(result.hint)}"] if result.hint else []),
            f"  to go on: drorch resume {run.id}",
            f"  to end it: drorch abort {run.id}",
        ]
    if isinstance(result, Waiting):
        answers = [
            f"  drorch {verb} {run.id}" for verb in (*result.verbs, *(() if "abort" in result.verbs else ("abort",)))
        ]
        asked = str(result.detail.get("question", "")).strip()
        question = [f"  {line}" for line in printable(asked).splitlines()]
        held = [f"  in effect meanwhile: {'; '.join(effects)}"] if effects else []
        return [f"{run.id} waits for a person: {result.step}", *question, *held, *answers]
    return [*_ending(plan, run, result), f"  evidence: drorch show {run.id}"]


def _ending(plan: Plan, run: Run, ending: Ending) -> list[str]:
    took = seconds((run.ended - run.started).total_seconds()) if run.ended else "?"
    lines = [f"{run.id} {ending.state.value.replace('_', ' ')} after {took}"]
    lines.extend(f"  also: {printable(text)}" for text in ending.exceptions[:10])
    if len(ending.exceptions) > 10:  # noqa: PLR2004 - as many as are shown
        lines.append(f"  and {len(ending.exceptions) - 10} more")
    if not ending.state.good:
        lines.append(f"  {printable(ending.why)}")
        if ending.hint:
            lines.append(f"  what to do: {printable(ending.hint)}")
    if plan.kind == "maintenance":
        lines.extend(_places(ending))
    if plan.scene.moves:
        lines.extend(f"  {printable(text)}" for text in _moved(plan, run, ending))
    measured = run.detail.get("measured", {})
    if plan.kind == "drill" and ending.state.good:
        rto, rpo = measured.get("rto_seconds"), measured.get("rpo_seconds")
        if rto is not None and rpo is not None:
            lines.append(f"  measured: back in {seconds(rto)}, at most {seconds(rpo)} of data lost")
    return lines


def _moved(plan: Plan, run: Run, ending: Ending) -> Iterator[str]:
    """Where the service is now, what that cost, what comes next."""
    from drorch.reports.moved import ending_words, moved_by  # noqa: PLC0415 - only who moves a service pays

    did = moved_by(plan, [{**one.model_dump(mode="json"), "state": one.state} for one in ending.attempts], run.detail)
    return ending_words(did, run.id) if did else iter(())


def _places(ending: Ending) -> list[str]:
    """Where restored things stand, and what was kept of the live ones."""
    lines = []
    for attempt in ending.attempts:
        facts = attempt.evidence.facts if attempt.evidence else {}
        if not attempt.step.startswith("restore") or "host" not in facts:
            continue
        place = facts.get("path") or (f"database {facts['name']}" if facts.get("name") else facts.get("directory"))
        lines.append(f"  restored: {printable(str(place))} on {facts['host']}")
        kept = facts.get("kept")
        if kept:
            lines.append(f"  kept of the live one: {printable(str(kept))}")
    return lines
