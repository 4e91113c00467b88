"""Runs and recovery points as lists. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from drorch.core.repository import Snapshot
from drorch.engine.journal import Run
from drorch.reports.show import mark
from drorch.reports.text import Line, Span, columns, line, moment, precise, size


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in a list."""

    run: str
    runbook: str
    kind: str
    service: str
    state: str
    """A run state, or ``interrupted``: it is not over, waits for nobody, and no process works on it."""
    started: datetime
    ended: datetime | None
    took: timedelta | None
    plan: str
    why: str


def listed(run: Run, *, alive: bool) -> Listed:
    """A run as a list shows it; ``alive``: whether a process works on it now."""
    waits = run.state.final or alive or "topic" in run.detail
    return Listed(
        run=run.id,
        runbook=run.runbook,
        kind=run.kind,
        service=run.service,
        state=run.state.value if waits else "interrupted",
        started=run.started,
        ended=run.ended,
        took=run.ended - run.started if run.ended else None,
        plan=run.plan,
        why=str(run.detail.get("why") or run.detail.get("step") or ""),
    )


def run_lines(runs: Sequence[Listed], zone: ZoneInfo) -> list[Line]:
    """One row per run."""
    rows: list[Sequence[str | Span]] = []
    for run in runs:
        sign, style = mark(run.state)
        state = Span(f"{sign} {run.state.replace('_', ' ')}", style)
        took = precise(run.took.total_seconds()) if run.took is not None else ""
        rows.append((run.run, moment(run.started, zone), state, took, Span(run.why, "dim")))
    return columns(rows, indent=0)


@dataclass(frozen=True, slots=True)
class PointListed:
    """A recovery point in a repository: what one run took of one source."""

    service: str
    source: str
    run: str
    time: datetime
    snapshots: tuple[str, ...]
    """Ids, the newest last."""
    bytes: int | None
    """Size of what was backed up; None where a snapshot does not say."""


def points(snapshots: Sequence[Snapshot]) -> tuple[tuple[PointListed, ...], tuple[Snapshot, ...]]:
    """The recovery points, by service and source, oldest first; and the snapshots that drorch did not make."""
    groups: dict[tuple[str, str, str], list[Snapshot]] = {}
    foreign = []
    for snapshot in snapshots:
        origin = snapshot.origin
        if origin is None:
            foreign.append(snapshot)
        else:
            groups.setdefault((origin.service, origin.source, origin.run), []).append(snapshot)
    found = [_point(*key, sorted(group, key=lambda one: one.time)) for key, group in groups.items()]
    return tuple(sorted(found, key=lambda one: (one.service, one.source, one.time))), tuple(foreign)


def _point(service: str, source: str, run: str, group: Sequence[Snapshot]) -> PointListed:
    sizes = [snapshot.bytes_processed for snapshot in group]
    return PointListed(
        service=service,
        source=source,
        run=run,
        time=group[-1].time,
        snapshots=tuple(snapshot.id for snapshot in group),
        bytes=None if None in sizes else sum(one for one in sizes if one is not None),
    )


def point_lines(name: str, found: Sequence[PointListed], foreign: Sequence[Snapshot], zone: ZoneInfo) -> list[Line]:
    """A repository's recovery points, one row each, under their service and source."""
    lines = [line(Span(name, "bold"), f"  {len(found)} recovery point{'' if len(found) == 1 else 's'}")]
    for key in dict.fromkeys((one.service, one.source) for one in found):
        mine = [one for one in found if (one.service, one.source) == key]
        lines.append(line(f"  {key[0]} {key[1]}"))
        lines.extend(
            columns(
                [
                    (moment(one.time, zone), one.snapshots[-1][:8], _size(one.bytes), Span(one.run, "dim"))
                    for one in mine
                ],
                indent=4,
            )
        )
    if foreign:
        lines.append(line(f"  {len(foreign)} snapshots were not made by drorch; it leaves them alone", hanging=2))
    return lines


def _size(count: int | None) -> str:
    return "size unknown" if count is None else size(count)
