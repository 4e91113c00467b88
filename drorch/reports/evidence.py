"""What a run leaves to be believed: its records as one report. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from drorch.core.evidence import ProofLevel
from drorch.core.model import Json
from drorch.engine.journal import Record, Run
from drorch.engine.plan import Plan
from drorch.reports.events import Answered, Attempted, event, mapping, seconds, texts
from drorch.reports.gaps import Attention, asks
from drorch.reports.moved import Moved, moved


@dataclass(frozen=True, slots=True)
class Shown:
    """How far a source's recovery point was proven by this run."""

    source: str
    snapshot: str
    time: str
    reached: str
    """Empty when no level was shown."""
    skipped: tuple[str, ...]
    """Levels below the one reached that nothing in this run showed."""
    open: tuple[str, ...]
    """Levels above the one reached."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run with its evidence."""

    run: str
    runbook: str
    kind: str
    service: str
    state: str
    """A run state, or ``interrupted``: it was cut, and no process works on it."""
    plan: str
    slot: str
    by: str
    version: str
    """Of the drorch that started it."""
    signers: tuple[str, ...]
    """Public keys that signed its records."""
    started: datetime
    ended: datetime | None
    why: str
    hint: str
    exceptions: tuple[str, ...]
    rto: timedelta | None
    """As measured, like `rpo`."""
    rpo: timedelta | None
    rto_objective: timedelta | None
    rpo_objective: timedelta | None
    measured: Mapping[str, Json]
    points: tuple[Shown, ...]
    timeline: tuple[Attempted | Answered, ...]
    never_begun: tuple[str, ...]
    """Steps of the plan without an attempt."""
    attention: Attention | None
    moved: Moved | None
    """Of a failover or failback: what it led where."""
    rehearsed: tuple[str, ...]
    """Of a drill of a failover: the steps that were really done, apart from everything live."""
    looked_at: tuple[str, ...]
    """The same: those of which only was looked whether they could work."""


def run_report(run: Run, records: Sequence[Record], plan: Plan, *, alive: bool, note: Json = None) -> RunReport:
    """The report of a run from its own records, oldest first, and the plan it carries out.

    ``alive``: whether a process works on it now; ``note``: what its probe has seen so far, where it is not over.
    """
    happened = [found for found in map(event, records) if found is not None]
    attempts = [found for found in happened if isinstance(found, Attempted)]
    marked = iter(attempts)
    timeline = tuple(next(marked) if isinstance(found, Attempted) else found for found in happened)
    began = next((record.body for record in records if record.body.get("what") == "started"), {})
    wants = asks(run, alive=alive)
    measured = mapping(run.detail.get("measured"))
    begun = {attempt.step for attempt in attempts}
    return RunReport(
        run=run.id,
        runbook=run.runbook,
        kind=run.kind,
        service=run.service,
        state=wants.state if wants else run.state.value,
        plan=run.plan,
        slot=run.slot,
        by=str(began.get("by") or ""),
        version=str(began.get("drorch") or ""),
        signers=tuple(dict.fromkeys(str(record.body["signer"]) for record in records if "signer" in record.body)),
        started=run.started,
        ended=run.ended,
        why=str(run.detail.get("why") or ""),
        hint=str(run.detail.get("hint") or ""),
        exceptions=texts(run.detail.get("exceptions")),
        rto=seconds(measured.get("rto_seconds")),
        rpo=seconds(measured.get("rpo_seconds")),
        rto_objective=plan.service.objectives.rto,
        rpo_objective=plan.service.objectives.rpo,
        measured=measured,
        points=_points(attempts, measured),
        timeline=timeline,
        never_begun=tuple(planned.id for planned in plan.steps() if planned.id not in begun),
        attention=wants,
        moved=moved(run, records, plan, note),
        rehearsed=tuple(one.step for one in attempts if one.succeeded and one.facts.get("rehearsed")),
        looked_at=tuple(one.step for one in attempts if one.succeeded and one.facts.get("rehearsed") is False),
    )


def altered(run: Run, records: Sequence[Record]) -> str:
    """How the run, as it is listed, differs from its signed records; empty when it does not."""
    bodies = {str(record.body.get("what")): record.body for record in records}
    began, ended = bodies.get("started"), bodies.get("ended")
    if began is None:
        return "no record tells that it started"
    for key, value in (("runbook", run.runbook), ("kind", run.kind), ("service", run.service), ("plan", run.plan)):
        if began.get(key) != value:
            return f"its record says {key} {began.get(key)}, the list {value}"
    if run.state.final and ended is None:
        return f"no record tells that it ended as {run.state.value}"
    if ended is not None:
        signed = {key: value for key, value in ended.items() if key != "signer"}
        if signed.get("state") != run.state.value or signed != dict(run.detail):
            return "how it ended is not what its record says"
    return ""


def _points(attempts: Iterable[Attempted], measured: Mapping[str, Json]) -> tuple[Shown, ...]:
    levels: dict[str, set[str]] = {}
    snapshots: dict[str, tuple[str, str]] = {}
    for attempt in attempts:
        if attempt.source:
            levels.setdefault(attempt.source, set()).update([attempt.level] if attempt.level else [])
            if "snapshot" in attempt.facts:
                time = attempt.facts.get("snapshot_time") or attempt.facts.get("time") or ""
                snapshots[attempt.source] = (str(attempt.facts["snapshot"]), str(time))
    for source, top in mapping(measured.get("levels")).items():
        skipped = texts(mapping(measured.get("skipped")).get(source))
        ladder = [level.value for level in ProofLevel]
        below = ladder[: ladder.index(top)] if top in ladder else []
        levels.setdefault(source, set()).update([str(top), *(level for level in below if level not in skipped)])
    return tuple(_shown(source, *snapshots.get(source, ("", "")), shown) for source, shown in levels.items())


def _shown(source: str, snapshot: str, time: str, shown: set[str]) -> Shown:
    ladder = [level.value for level in ProofLevel]
    height = max((at for at, level in enumerate(ladder) if level in shown), default=-1)
    return Shown(
        source=source,
        snapshot=snapshot,
        time=time,
        reached=ladder[height] if height >= 0 else "",
        skipped=tuple(level for level in ladder[: max(height, 0)] if level not in shown),
        open=tuple(ladder[height + 1 :]),
    )
