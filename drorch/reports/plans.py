"""The printed plan. Pure: nothing connects."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from drorch.core.model import format_duration
from drorch.core.step import Planned, Retries
from drorch.engine.plan import Plan, PlannedStep
from drorch.reports.text import Line, Span, length, line
from drorch.steps.restore import Restore

_PLACEHOLDER = re.compile(r"<[a-z0-9 _-]+>")


@dataclass(frozen=True, slots=True)
class StepReport:
    """A step as it would run."""

    id: str
    kind: str
    does: str
    beside: tuple[str, ...]
    """Ids of the steps that start together with it."""
    afterwards: bool
    """Whether it runs whatever happened, after everything else."""
    timeout: timedelta
    retries: int
    on_failure: str
    can_undo: bool
    irreversible: bool
    """Whether it is a point of no return."""
    when: str | None
    """``planned`` or ``unplanned`` for a step of such a move only."""
    commands: tuple[Planned, ...]


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan for people and scripts."""

    runbook: str
    kind: str
    service: str
    digest: str
    primary: str
    target: str | None
    snapshot: str | None
    """The recovery point that is restored; None where nothing is."""
    store: str | None
    """The store whose mirror is restored from; None for the repository itself."""
    hosts: tuple[str, ...]
    repositories: tuple[str, ...]
    secrets: tuple[str, ...]
    """Names only."""
    tells: str | None
    steps: tuple[StepReport, ...]


def plan_report(plan: Plan) -> PlanReport:
    """What running the plan would do."""
    beside = {
        planned.id: tuple(other.id for other in block.steps if other.id != planned.id)
        for block in plan.blocks
        for planned in block.steps
    }
    afterwards = {planned.id for planned in plan.afterwards}
    return PlanReport(
        runbook=plan.runbook,
        kind=plan.kind,
        service=plan.service_name,
        digest=plan.digest,
        primary=plan.service.primary,
        target=plan.target,
        snapshot=plan.snapshot if any(isinstance(planned.step, Restore) for planned in plan.steps()) else None,
        store=plan.store,
        hosts=tuple(plan.hosts),
        repositories=tuple(plan.repositories),
        secrets=tuple(plan.secrets),
        tells=plan.tell,
        steps=tuple(
            _step(plan, planned, does, commands, beside.get(planned.id, ()), afterwards=planned.id in afterwards)
            for planned, does, commands in plan.preview()
        ),
    )


def _step(
    plan: Plan,
    planned: PlannedStep,
    does: str,
    commands: tuple[Planned, ...],
    beside: tuple[str, ...],
    *,
    afterwards: bool,
) -> StepReport:
    step = planned.step
    return StepReport(
        id=planned.id,
        kind=step.kind,
        does=does,
        beside=beside,
        afterwards=afterwards,
        timeout=step.timeout or step.default_timeout,
        retries=step.retries.max,
        on_failure=plan.answer_to_failure(step),
        can_undo=step.can_undo,
        irreversible=step.irreversible,
        when=step.when,
        commands=commands,
    )


def plan_lines(report: PlanReport, plan: Plan) -> list[Line]:
    """The plan as text."""
    return [*_head(report), *_steps(report, plan)]


def _head(report: PlanReport) -> Iterator[Line]:
    yield line(Span(report.runbook, "bold"), f"  {report.kind} of {report.service}  plan {report.digest[:16]}")
    store = f" in {report.store}" if report.store else ""
    point = f", from the {report.snapshot} recovery point{store}" if report.snapshot else ""
    where = f"on {report.target}{point}; " if report.target else ""
    touched = f"hosts: {', '.join(report.hosts)}; repositories: {', '.join(report.repositories) or 'none'}"
    yield line(f"  {where}{touched}", hanging=2)
    if report.kind == "drill":
        yield line(f"  {report.primary} is the primary: nothing of this touches it", hanging=2)
    if report.secrets:
        yield line(f"  secrets it may ask for: {', '.join(report.secrets)}", hanging=2)
    if report.tells:
        yield line(f"  if it fails or waits, {report.tells} is told", hanging=2)


def _steps(report: PlanReport, plan: Plan) -> Iterator[Line]:
    last: tuple[str, ...] = ()
    said = False
    for number, step in enumerate(report.steps, 1):
        group = tuple(sorted((step.id, *step.beside)))
        if step.afterwards and not said:
            said = True
            yield line("")
            yield line(Span("  afterwards, whatever happened:", "bold"))
        elif not step.afterwards and group != last:
            yield line("")
            if step.beside:
                yield line(Span(f"  side by side, {len(group)} at once:", "bold"))
        last = group
        yield line(f"  {number:>2}  ", Span(step.id, "bold"), f"  {step.does}", hanging=6)
        yield line(Span(f"      {_rules(step, plan.step(step.id).step.retries)}", "dim"), hanging=6)
        for command in step.commands:
            note = Span(f"  # {command.note}", "dim") if command.note else Span("")
            yield line(f"      {command.host} $ {shell(command.argv)}", note, hanging=10)


def _rules(step: StepReport, retries: Retries) -> str:
    words = [f"at most {length(step.timeout)}"]
    if retries.max:
        times = f"{retries.max} time{'' if retries.max == 1 else 's'}"
        words.append(f"retried {times}, first after {format_duration(retries.delay)}")
    words.append(f"on failure: {step.on_failure}")
    words += ["can be undone"] if step.can_undo else []
    words += ["point of no return: nothing before it is undone any more"] if step.irreversible else []
    words += [f"only when {step.when}"] if step.when else []
    return "; ".join(words)


def shell(argv: tuple[str, ...]) -> str:
    """Words as a shell would want them typed, on one line; what is known only later stays ``<in brackets>``."""
    words = (word if _PLACEHOLDER.fullmatch(word) else shlex.quote(word.strip("\n")) for word in argv)
    return " ".join(words).replace("\n", " ⏎ ")
