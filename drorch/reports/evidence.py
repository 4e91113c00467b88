"""What a run leaves to be believed: its records as one report. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from drorch.core.approval import note_words
from drorch.core.evidence import ProofLevel
from drorch.core.model import Json
from drorch.engine.journal import Record, Run
from drorch.engine.plan import Plan
from drorch.reports.gaps import Attention, attention


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt of a step."""

    step: str
    number: int
    state: str
    started: datetime
    ended: datetime
    took: timedelta
    facts: Mapping[str, Json]
    source: str = ""
    level: str = ""
    exceptions: tuple[str, ...] = ()
    why: str = ""
    hint: str = ""
    unknown: bool = False
    """Whether even the failure is not certain."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a person said."""

    at: datetime
    step: str
    verb: str
    by: str
    note: str


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


def run_report(run: Run, records: Sequence[Record], plan: Plan, *, alive: bool) -> RunReport:
    """The report of a run from its own records, oldest first, and the plan it carries out.

    ``alive``: whether a process works on it now.
    """
    timeline = tuple(_event(record) for record in records if record.body.get("what") in ("attempt", "answer"))
    attempts = [event for event in timeline if isinstance(event, Attempted)]
    began = next((record.body for record in records if record.body.get("what") == "started"), {})
    wants = None if run.state.final or (alive and "topic" not in run.detail) else attention(run)
    measured = _mapping(run.detail.get("measured"))
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
        exceptions=_texts(run.detail.get("exceptions")),
        rto=_length(measured.get("rto_seconds")),
        rpo=_length(measured.get("rpo_seconds")),
        rto_objective=plan.service.objectives.rto,
        rpo_objective=plan.service.objectives.rpo,
        measured=measured,
        points=_points(attempts, measured),
        timeline=timeline,
        never_begun=tuple(planned.id for planned in plan.steps() if planned.id not in begun),
        attention=wants,
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


def _event(record: Record) -> Attempted | Answered:
    body = record.body
    if body["what"] == "answer":
        return Answered(
            at=record.at,
            step=str(body.get("step") or ""),
            verb=str(body.get("verb") or ""),
            by=str(body.get("by") or ""),
            note=note_words(str(body.get("note") or "")),
        )
    evidence, failure = _mapping(body.get("evidence")), _mapping(body.get("failure"))
    started, ended = datetime.fromisoformat(str(body["started"])), datetime.fromisoformat(str(body["ended"]))
    aborted = body.get("aborted_by")
    return Attempted(
        step=str(body["step"]),
        number=int(body["number"]),
        state=str(body.get("state") or ""),
        started=started,
        ended=ended,
        took=ended - started,
        facts=_mapping(evidence.get("facts") or failure.get("facts")),
        source=str(evidence.get("source") or ""),
        level=str(evidence.get("level") or ""),
        exceptions=_texts(evidence.get("exceptions")),
        why=str(failure.get("why") or (f"not begun: {aborted} ended the run" if aborted else "")),
        hint=str(failure.get("hint") or ""),
        unknown=bool(failure.get("unknown")),
    )


def _points(attempts: Iterable[Attempted], measured: Mapping[str, Json]) -> tuple[Shown, ...]:
    levels: dict[str, set[str]] = {}
    snapshots: dict[str, tuple[str, str]] = {}
    for attempt in attempts:
        if attempt.source:
            levels.setdefault(attempt.source, set()).update([attempt.level] if attempt.level else [])
            if "snapshot" in attempt.facts:
                time = attempt.facts.get("snapshot_time") or attempt.facts.get("time") or ""
                snapshots[attempt.source] = (str(attempt.facts["snapshot"]), str(time))
    for source, top in _mapping(measured.get("levels")).items():
        skipped = _texts(_mapping(measured.get("skipped")).get(source))
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


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _length(value: Json) -> timedelta | None:
    return timedelta(seconds=value) if isinstance(value, int | float) else None
