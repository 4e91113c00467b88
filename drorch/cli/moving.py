"""What `drorch failover` and `drorch failback` share: look, show, confirm, go."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Literal

import click

from drorch.cli.execution import execute
from drorch.cli.main import app, say_json
from drorch.core.approval import BreakGlass
from drorch.core.errors import Refused, UnknownName
from drorch.core.exits import Exit
from drorch.core.model import Json
from drorch.core.scene import MOVING, Mode
from drorch.core.step import RunState
from drorch.engine.interpret import Answer, Ending
from drorch.engine.runs import Asker, nobody, operator

if TYPE_CHECKING:
    from drorch.app import App, Box
    from drorch.engine.journal import Run
    from drorch.engine.plan import Plan
    from drorch.engine.preflight import Preflight
    from drorch.engine.probe import Prober

CALM = timedelta(hours=1)
"""After a failover of a service, another one within this time is refused unless a person says why."""

_HEAD_START = 0.3
"""Seconds that connections to hosts have to themselves before the engine is loaded beside them, which takes half a
second of a processor: it is needed only when all have answered, and nobody waits for it then."""


_HARMLESS = frozenset({"approval", "caught_up", "claim", "hold", "http", "manual", "notify", "release", "wait"})
"""Steps after which a service is as it was."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed."""

    kind: Literal["failover", "failback"]
    service: str
    to: str | None = None
    mode: Mode | None = None
    store: str | None = None
    yes: str | None = None
    break_glass: str = ""
    again: str = ""
    anyway: str = ""
    take_over: str = ""
    dry: bool = False
    as_json: bool = False


def options(command: click.Command) -> click.Command:
    """The options of both verbs."""
    for option in reversed(
        (
            click.Option(["--to"], help="Lead to this host instead of the runbook's."),
            click.Option(
                ["--planned", "mode"], flag_value="planned", help="With the old primary's help, losing nothing."
            ),
            click.Option(["--unplanned", "mode"], flag_value="unplanned", help="Without it: it is lost."),
            click.Option(["--store"], help="Where the runbook restores: from the off-site copy in this store."),
            click.Option(["--yes"], metavar="SERVICE", help="Confirm without being asked, by the service's name."),
            click.Option(["--look", "dry"], is_flag=True, help="Only look and show; change nothing."),
            click.Option(["--break-glass"], metavar="REASON", help="Go on without the approval of others; loudly."),
            click.Option(["--again"], metavar="REASON", help="Although there was a failover within the last hour."),
            click.Option(["--anyway"], metavar="REASON", help="Although what was found says that it will fail."),
            click.Option(
                ["--take-over"], metavar="REASON", help="Although another controller has claimed the service."
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
        )
    ):
        command.params.insert(1, option)
    return command


def move(wanted: Wanted) -> Exit:
    """Lead a service to another host."""
    drorch = app()
    _alone(drorch, wanted.service)
    plan = _plan(drorch, wanted)
    if wanted.yes is not None and wanted.yes != wanted.service:
        raise Refused(
            f"--yes={wanted.yes} does not name the service {wanted.service}; nothing was done",
            hint=f"--yes={wanted.service}",
        )
    _calm(drorch, plan, wanted)
    if not wanted.dry:
        loading = threading.Timer(_HEAD_START, import_module, args=("drorch.engine.durable",))
        loading.daemon = True
        loading.start()
    with (
        _probing(drorch, plan, dry=wanted.dry) as prober,
        drorch.leases.hold(f"moving:{plan.service_name}", purpose=f"moving {plan.service_name}"),
        ExitStack() as stack,
    ):
        box, seen = _look(drorch, plan, wanted, stack)
        plan, box, seen = _from_copy(drorch, plan, (box, seen), wanted, stack)
        _show(plan, seen, wanted)
        if wanted.dry:
            return _looked(seen, as_json=wanted.as_json)
        _refuse(plan, seen, wanted)
        how = _confirmed(plan, wanted)
        run = drorch.runs.begin(plan, said=_said(seen, wanted, how))
        if not wanted.as_json:
            click.echo(f"{run.id}  plan {plan.digest[:16]}", err=True)
        return execute(drorch, run, as_json=wanted.as_json, instead=_glass(wanted), prober=prober, former=box)


def _plan(drorch: "App", wanted: Wanted) -> "Plan":
    from drorch.config.adhoc import runbook_for  # noqa: PLC0415 - help needs none of the models
    from drorch.engine.plan import make_plan  # noqa: PLC0415 - the same

    documents = drorch.documents
    runbook = runbook_for(documents.runbooks, documents.inventory, wanted.kind, wanted.service)
    if wanted.to is not None and wanted.to not in documents.inventory.hosts:
        raise UnknownName(
            f"no host {wanted.to} in the inventory", hint=f"there is {', '.join(documents.inventory.hosts)}"
        )
    return make_plan(
        documents.inventory,
        runbook,
        target=wanted.to,
        store=wanted.store,
        mode=wanted.mode,
        take_over=wanted.take_over or None,
    )


def _alone(drorch: "App", service: str) -> None:
    """Refuse to begin while another move of the service is open: where it lives is not settled until that is over."""
    for run in _moves(drorch, service):
        if not run.state.final:
            raise Refused(
                f"{run.id} is not over: it is {run.state}",
                hint=f"go on with drorch resume {run.id}, or end it with drorch abort {run.id}",
            )


def _moves(drorch: "App", service: str) -> list["Run"]:
    return [run for run in drorch.journal.runs(service=service) if run.kind in MOVING]


def _calm(drorch: "App", plan: "Plan", wanted: Wanted) -> None:
    """Refuse a second failover so soon after one that a person must say why."""
    runs = _moves(drorch, plan.service_name)
    now = drorch.clock.now()
    recent = [run for run in runs if run.kind == "failover" and now - run.started < CALM and _moved(drorch, run)]
    if wanted.kind != "failover" or not recent or wanted.dry:
        return
    if wanted.again:
        return
    minutes = (now - recent[0].started).total_seconds() / 60
    why = f"{plan.service_name} was failed over {minutes:.0f} min ago ({recent[0].id}): moving it to and fro harms more"
    run = drorch.runs.begin(plan, said={"blocked": why})
    hint = f'if it must be: drorch failover {plan.service_name} --again "REASON"'
    drorch.runs.end(run, Ending(RunState.CANCELLED, f"blocked: {why}", hint))
    raise Refused(why, hint=f"{hint}; this attempt is recorded as {run.id}")


def _moved(drorch: "App", run: "Run") -> bool:
    """Whether a run changed something that was not taken back."""
    return any(planned.step.kind not in _HARMLESS for planned in drorch.runs.standing(run))


@contextmanager
def _probing(drorch: "App", plan: "Plan", *, dry: bool) -> Iterator["Prober | None"]:
    """Ask as customers do, from before the look on; a mere look keeps nothing of it."""
    prober = None if dry else drorch.prober(plan)
    try:
        yield prober
    finally:
        if prober is not None:
            prober.close()


def _look(drorch: "App", plan: "Plan", wanted: Wanted, stack: ExitStack) -> tuple["Box", "Preflight"]:
    """What the living world looks like, and the tools that it was looked at with."""
    from drorch.engine.preflight import impatient, preflight  # noqa: PLC0415 - help needs none of this

    if not wanted.as_json:
        click.echo(f"looking at {plan.service_name} …", err=True)
    looking = impatient(plan, hurry=wanted.yes is not None and not wanted.dry)
    box = stack.enter_context(drorch.box(looking))
    return box, preflight(looking, box, digest=plan.digest)


def _from_copy(
    drorch: "App", plan: "Plan", looked: tuple["Box", "Preflight"], wanted: Wanted, stack: ExitStack
) -> tuple["Plan", "Box", "Preflight"]:
    """Where a repository cannot be read, restore from its off-site copy instead, and say so."""
    from drorch.config.offsite import mirrors  # noqa: PLC0415 - help needs none of this
    from drorch.core.finding import Standing  # noqa: PLC0415 - the same

    box, seen = looked
    restores = {planned.id for planned in plan.steps() if planned.step.kind == "restore"}
    lost = [one for one in seen.findings if one.step in restores and one.finding.standing is not Standing.GOOD]
    if plan.store is not None or not lost:
        return plan, box, seen
    documents = drorch.documents
    for store, repository in mirrors(documents.inventory, documents.runbooks):
        if repository != plan.service.repository or not documents.inventory.stores[store].readable:
            continue
        other = _plan(drorch, replace(wanted, store=store))
        if not wanted.as_json:
            why = f"{repository} cannot be read: {lost[0].finding.what}"
            click.secho(f"{why}\nso the off-site copy in {store} is restored instead", fg="yellow", err=True)
        return other, *_look(drorch, other, wanted, stack)
    return plan, box, seen


def _show(plan: "Plan", seen: "Preflight", wanted: Wanted) -> None:
    from drorch.reports.preflight import moving_lines  # noqa: PLC0415 - help needs none of this
    from drorch.reports.text import write  # noqa: PLC0415 - the same

    if not wanted.as_json:
        write(moving_lines(plan, seen), sys.stderr)


def _looked(seen: "Preflight", *, as_json: bool) -> Exit:
    from drorch.core.finding import Standing  # noqa: PLC0415 - help needs none of this

    if as_json:
        say_json({**seen.model_dump(mode="json"), "worst": seen.worst.value})
    return Exit.AT_RISK if seen.worst is Standing.BAD else Exit.OK


def _refuse(plan: "Plan", seen: "Preflight", wanted: Wanted) -> None:
    """Begin nothing that was seen to stop half-way; who takes over finds what another controller did half."""
    from drorch.engine.preflight import refusals  # noqa: PLC0415 - help needs none of this

    found = refusals(seen, plan)
    if not found or wanted.anyway or wanted.take_over:
        return
    first = found[0].finding
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    raise Refused(
        f"nothing was done, because it would stop half-way: {first.about}: {first.what}{more}",
        hint=f'{first.remedy}; or go on all the same with --anyway "REASON"',
    )


def _confirmed(plan: "Plan", wanted: Wanted) -> str:
    """How a person confirmed it."""
    name = plan.service_name
    if wanted.yes is not None:
        return f"--yes={wanted.yes}"
    if wanted.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused("nobody is here to confirm it; nothing was done", hint=f"at a terminal, or with --yes={name}")
    typed = click.prompt(f"Type {name} to go on", default="", show_default=False, err=True)
    if typed.strip() != name:
        raise Refused(f"{typed.strip() or 'nothing'} was typed, not {name}; nothing was done")
    return "typed"


def _said(seen: "Preflight", wanted: Wanted, how: str) -> Mapping[str, Json]:
    """What is kept with the run: what was shown, and what was said to it."""
    said: dict[str, Json] = {
        "confirmed": how,
        "by": operator(),
        "preflight": {
            "at": seen.at.isoformat(),
            "losses": {
                source: {**one.model_dump(mode="json"), "words": one.words} for source, one in seen.losses.items()
            },
            "sights": [one.model_dump(mode="json") for one in seen.sights],
            "findings": [one.model_dump(mode="json") for one in seen.findings if one.finding.standing.value != "good"],
        },
    }
    for key in ("break_glass", "again", "anyway", "take_over"):
        if getattr(wanted, key):
            said[key] = getattr(wanted, key)
    return said


def _glass(wanted: Wanted) -> Asker:
    """Answers every question for approval with the reason why there is none."""
    if not wanted.break_glass:
        return nobody
    note = BreakGlass(break_glass=wanted.break_glass, by=operator()).model_dump_json()
    answer = Answer(verb="approve", by=operator(), note=note)
    return lambda waiting: answer if "approve" in waiting.verbs else None
