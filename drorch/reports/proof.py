"""What is proven: the recovery points of each source, and the drills that hold. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from drorch.config.inventory import Service
from drorch.core.evidence import ProofLevel
from drorch.core.model import Json
from drorch.core.scene import RunKind
from drorch.core.schedule import Schedule
from drorch.core.step import RunState
from drorch.engine.due import PUNCTUAL, next_slot
from drorch.engine.journal import Run

PROOF_LASTS = timedelta(days=100)
"""How long a drill without a schedule counts: a quarter and some days. One with a schedule counts until it is late."""

TodayKind = RunKind | Literal["rehearsal"]
RpoStanding = Literal["ok", "missed", "no objective", "never backed up"]


@dataclass(frozen=True, slots=True)
class Today:
    """A runbook as it is today, with what its schedule wants."""

    runbook: str
    kind: TodayKind
    """Its own, but for the rehearsal of a failover: that is a drill which restores nothing."""
    plan: str
    """The digest of its plan."""
    elsewhere: tuple[str, ...] = ()
    """The digests of the same plan, restoring from an off-site copy: such a drill proves no less."""
    written: bool = True
    """Whether somebody wrote it; otherwise it is what `drorch backup` and `drill` do without one."""
    schedule: Schedule | None = None
    next_slot: datetime | None = None
    missed: tuple[datetime, ...] = ()
    """Slots that did not run and will not, since its newest run began; oldest first."""
    overdue: datetime | None = None
    """A slot that has come, should have started by now, and has not."""


@dataclass(frozen=True, slots=True)
class Point:
    """A recovery point of one source."""

    snapshot: str
    time: datetime
    run: str
    """The run that took it, or the earliest one known to have worked on it."""
    level: ProofLevel
    """The highest level that any run has shown for it."""


@dataclass(frozen=True, slots=True)
class SourceReadiness:
    """How a source stands."""

    source: str
    what: str
    newest: Point | None
    age: timedelta | None
    """Of the newest point: what would be lost."""
    rpo: RpoStanding
    proven: Point | None
    """The newest point that a run restored and found equal to its snapshot."""
    proven_age: timedelta | None


@dataclass(frozen=True, slots=True)
class DrillReadiness:
    """How a drill runbook stands."""

    runbook: str
    written: bool
    run: str = ""
    """Its newest drill that is over and was not called off; empty for none."""
    ended: datetime | None = None
    state: RunState | None = None
    why: str = ""
    rto: timedelta | None = None
    """What that drill measured, as `rpo`."""
    rpo: timedelta | None = None
    rto_met: bool | None = None
    """None without an objective or a measurement, as `rpo_met`."""
    rpo_met: bool | None = None
    same_plan: bool = False
    """Whether that drill ran today's plan."""
    proof: str = ""
    """The run that still proves today's plan; empty for none."""
    proof_ended: datetime | None = None
    proof_rto: timedelta | None = None
    lacks: str = ""
    """Why nothing proves it."""


@dataclass(slots=True)
class _Points:
    """The points of one source, by snapshot."""

    known: dict[str, Point] = field(default_factory=dict)

    def add(self, run: Run, said: Mapping[str, Json]) -> None:
        """Take what a run says of a point; runs come newest first. What cannot be read is no evidence."""
        snapshot = said.get("snapshot")
        if not isinstance(snapshot, str) or not snapshot:
            return
        level = ProofLevel(said["level"])
        before = self.known.get(snapshot)
        if before is not None and before.level.height > level.height:
            level = before.level
        self.known[snapshot] = Point(snapshot, _moment(said.get("time")) or run.started, run.id, level)

    def newest(self, least: ProofLevel = ProofLevel.TAKEN) -> Point | None:
        """The newest point that reached a level."""
        fitting = [point for point in self.known.values() if point.level.height >= least.height]
        return max(fitting, key=lambda point: (point.time, point.snapshot), default=None)


# -- recovery points ---------------------------------------------------------------------------------------------------


def sources_of(service: Service, runs: Sequence[Run], now: datetime) -> tuple[SourceReadiness, ...]:
    """How each source stands; runs come newest first."""
    points = {source: _Points() for source in service.sources}
    for run in runs:
        for source, point in points_of(run).items():
            if source in points:
                points[source].add(run, point)
    return tuple(
        _source(name, source.describe(), points[name], service.objectives.rpo, now)
        for name, source in service.sources.items()
    )


def _source(name: str, what: str, points: _Points, rpo: timedelta | None, now: datetime) -> SourceReadiness:
    newest, proven = points.newest(), points.newest(ProofLevel.RESTORED)
    age = max(now - newest.time, timedelta()) if newest else None
    standing: RpoStanding = "never backed up"
    if age is not None:
        standing = "no objective" if rpo is None else "ok" if age <= rpo else "missed"
    proven_age = max(now - proven.time, timedelta()) if proven else None
    return SourceReadiness(name, what, newest, age, standing, proven, proven_age)


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


# -- drills ------------------------------------------------------------------------------------------------------------


def drill_of(today: Today, service: Service, runs: Sequence[Run], now: datetime, zone: ZoneInfo) -> DrillReadiness:
    """How a drill runbook stands; runs come newest first."""
    over = [
        run
        for run in runs
        if run.runbook == today.runbook
        and run.kind == "drill"
        and run.state.final
        and run.state is not RunState.CANCELLED
    ]
    if not over:
        return DrillReadiness(today.runbook, today.written, lacks="it was never carried out")
    newest = over[0]
    rto, rpo = _seconds(newest, "rto_seconds"), _seconds(newest, "rpo_seconds")
    proof, lacks = _proof(today, service, over, now, zone)
    return DrillReadiness(
        runbook=today.runbook,
        written=today.written,
        run=newest.id,
        ended=newest.ended,
        state=newest.state,
        why=str(newest.detail.get("why") or ""),
        rto=rto,
        rpo=rpo,
        rto_met=_met(rto, service.objectives.rto),
        rpo_met=_met(rpo, service.objectives.rpo),
        same_plan=newest.plan in {today.plan, *today.elsewhere},
        proof=proof.id if proof else "",
        proof_ended=proof.ended if proof else None,
        proof_rto=_seconds(proof, "rto_seconds") if proof else None,
        lacks=lacks,
    )


def _proof(
    today: Today, service: Service, over: Sequence[Run], now: datetime, zone: ZoneInfo
) -> tuple[Run | None, str]:
    """The drill that proves today's plan, or why none does."""
    newest = over[0]
    if not newest.state.good:
        return None, f"the last one failed: {newest.detail.get('why') or newest.state.value}"
    good_since = next((at for at, run in enumerate(over) if not run.state.good), len(over))
    same = next((run for run in over[:good_since] if run.plan in {today.plan, *today.elsewhere}), None)
    if same is None:
        return None, "its plan was edited since, or another standby or snapshot was drilled"
    restored = {source for source, point in points_of(same).items() if _restored(point)}
    if missing := [source for source in service.sources if source not in restored]:
        return None, f"it did not restore {', '.join(missing)}"
    if _seconds(same, "rto_seconds") is None:
        return None, "it measured no time to recovery"
    ended = same.ended or same.started
    until = ended + PROOF_LASTS
    if today.schedule is not None and (slot := next_slot(today.schedule, zone, ended)) is not None:
        until = slot + max(today.schedule.catch_up, PUNCTUAL) + today.schedule.jitter
    if now > until:
        return None, "the next one is overdue"
    return same, ""


def points_of(run: Run) -> Mapping[str, Mapping[str, Json]]:
    """The recovery point that a run took or worked on, by source, with the highest level that it showed."""
    levels = _mapping(_mapping(run.detail.get("measured")).get("levels"))
    found = {}
    for source, said in _mapping(run.detail.get("points")).items():
        point = _mapping(said)
        shown = [level for level in ProofLevel if level.value in (point.get("level"), levels.get(source))]
        found[source] = {**point, "level": shown[-1].value if shown else ProofLevel.TAKEN.value}
    return found


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _restored(point: Mapping[str, Json]) -> bool:
    return ProofLevel(point["level"]).height >= ProofLevel.RESTORED.height


def _seconds(run: Run, key: str) -> timedelta | None:
    value = _mapping(run.detail.get("measured")).get(key)
    return timedelta(seconds=value) if isinstance(value, int | float) and value >= 0 else None


def _met(measured: timedelta | None, objective: timedelta | None) -> bool | None:
    return None if measured is None or objective is None else measured <= objective
