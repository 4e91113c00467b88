"""What is not as it should be: each gap and each waiting run with the command that does something about it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drorch.config.inventory import Service
from drorch.core.step import RunState
from drorch.engine.journal import Run
from drorch.reports.proof import DrillReadiness, SourceReadiness, Today
from drorch.reports.text import length


@dataclass(frozen=True, slots=True)
class Attention:
    """A run that goes on only when a person acts."""

    run: str
    state: str
    """A run state, or ``interrupted``: it was cut, and no process works on it."""
    step: str
    why: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is not as it should be, and what to do about it."""

    what: str
    do: str
    risk: bool = True
    """Whether it puts the service at risk; otherwise it is only worth knowing."""


def waits(run: Run, alive: frozenset[str]) -> bool:
    """Whether a run goes on only when a person acts; ``alive`` are the runs on which a process works now."""
    working = run.id in alive and run.state in (RunState.PENDING, RunState.RUNNING)
    return not run.state.final and not working


def asks(run: Run, *, alive: bool) -> Attention | None:
    """What a run wants of a person; None when it is over, or a process works on it that does not ask."""
    return None if run.state.final or (alive and "topic" not in run.detail) else attention(run)


def attention(run: Run) -> Attention:
    """What an unfinished run wants of a person."""
    detail = run.detail
    step = str(detail.get("step") or "")
    if run.state in (RunState.PENDING, RunState.RUNNING) or "topic" not in detail:
        return Attention(
            run.id,
            "interrupted",
            step,
            "it was cut, and no process works on it",
            (f"drorch resume {run.id}", f"drorch abort {run.id}"),
        )
    failure = detail.get("failure")
    why = str(failure.get("why")) if isinstance(failure, Mapping) else str(detail.get("question") or "")
    said = detail.get("verbs")
    verbs = [str(verb) for verb in said] if isinstance(said, list | tuple) else []
    verbs += [] if "abort" in verbs else ["abort"]
    return Attention(run.id, run.state.value, step, why, tuple(f"drorch {verb} {run.id}" for verb in verbs))


def _source_gaps(name: str, service: Service, sources: Sequence[SourceReadiness]) -> list[Gap]:
    gaps = []
    for source in sources:
        if source.rpo == "never backed up":
            gaps.append(Gap(f"{source.source} was never backed up", f"drorch backup {name}"))
        elif source.rpo == "missed" and source.age and service.objectives.rpo:
            over = f"{length(source.age)} old, the objective is {length(service.objectives.rpo)}"
            gaps.append(Gap(f"the newest backup of {source.source} is {over}", f"drorch backup {name}"))
    if service.objectives.rpo is None or service.objectives.rto is None:
        missing = " and no ".join(word for word in ("rpo", "rto") if getattr(service.objectives, word) is None)
        gaps.append(Gap(f"no {missing} is set", f"services.{name}.objectives in drorch.yaml", risk=False))
    return gaps


def _drill_gaps(
    name: str, service: Service, drills: Sequence[DrillReadiness], proof: DrillReadiness | None
) -> list[Gap]:
    if not drills:
        if not service.standbys:
            return [Gap("no drill is possible: it has no standby", f"services.{name}.standbys in drorch.yaml")]
        return [Gap("it has no drill", f"drorch drill {name}")]
    gaps = []
    for drill in drills:
        again = f"drorch run {drill.runbook}" if drill.written else f"drorch drill {name}"
        if drill.lacks and drill.state is None:
            gaps.append(Gap(f"{drill.runbook} was never carried out", again, risk=proof is None))
        elif drill.lacks and drill.state is not None and not drill.state.good:
            gaps.append(Gap(f"{drill.runbook} proves nothing: {drill.lacks}", f"drorch show {drill.run}"))
        elif drill.lacks:
            gaps.append(Gap(f"{drill.runbook} proves nothing: {drill.lacks}", again, risk=proof is None))
        elif proof is drill:
            gaps += _missed_objectives(drill, service)
    return gaps


def _missed_objectives(drill: DrillReadiness, service: Service) -> list[Gap]:
    gaps = []
    if drill.rto_met is False and drill.rto and service.objectives.rto:
        took = f"{length(drill.rto)}, the objective is {length(service.objectives.rto)}"
        gaps.append(Gap(f"the drill took {took}", f"drorch show {drill.run}"))
    if drill.rpo_met is False and drill.rpo and service.objectives.rpo:
        lost = f"{length(drill.rpo)} of data, the objective is {length(service.objectives.rpo)}"
        gaps.append(Gap(f"the drill would have lost {lost}", f"drorch show {drill.run}", risk=False))
    return gaps


def _run_gaps(today: Sequence[Today], runs: Sequence[Run]) -> list[Gap]:
    """The newest run of each runbook that is no drill, where it did not reach its purpose."""
    gaps = []
    for one in today:
        newest = next((run for run in runs if run.runbook == one.runbook and run.state.final), None)
        if newest is None or one.kind == "drill":
            continue
        if not newest.state.good and newest.state is not RunState.CANCELLED:
            why = newest.detail.get("why") or newest.state.value
            gaps.append(Gap(f"the last {one.runbook} failed: {why}", f"drorch show {newest.id}"))
        elif newest.state is RunState.COMPLETED_WITH_EXCEPTIONS:
            said = newest.detail.get("exceptions")
            count = len(said) if isinstance(said, list | tuple) else 0
            words = f"{count} exception{'' if count == 1 else 's'}"
            gaps.append(Gap(f"the last {one.runbook} had {words}", f"drorch show {newest.id}", risk=False))
    return gaps


def _schedule_gaps(today: Sequence[Today], *, daemon: bool) -> list[Gap]:
    gaps = []
    for one in today:
        if one.overdue is not None and not daemon:
            gaps.append(Gap(f"{one.runbook} is due and no daemon runs", f"drorch daemon, or drorch run {one.runbook}"))
        elif one.missed:
            times = "once" if len(one.missed) == 1 else f"{len(one.missed)} times"
            gaps.append(Gap(f"{one.runbook} was missed {times}", f"drorch run {one.runbook}", risk=False))
    return gaps


def gaps_of(
    name: str,
    service: Service,
    sources: Sequence[SourceReadiness],
    drills: Sequence[DrillReadiness],
    proof: DrillReadiness | None,
    *,
    today: Sequence[Today],
    runs: Sequence[Run],
    daemon: bool,
) -> tuple[Gap, ...]:
    """Every gap, the data first. ``proof`` is the drill that holds; runs come newest first."""
    return (
        *_source_gaps(name, service, sources),
        *_drill_gaps(name, service, drills, proof),
        *_run_gaps(today, runs),
        *_schedule_gaps(today, daemon=daemon),
    )
