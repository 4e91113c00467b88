"""Which recovery points to keep: pure. Points, policy and now go in; what to keep and remove, with reasons, comes out.

The rules are restic's (`restic forget` with the same numbers keeps the same snapshots), applied to recovery points:
all snapshots of one run stay or go together. What differs is meant to be safer: an empty policy removes nothing, the
newest point and every protected one always stay, and a decision that looks wrong is refused rather than taken.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated

from pydantic import Field

from drorch.core.errors import Refused
from drorch.core.model import Duration, Frozen, format_duration
from drorch.core.repository import Snapshot

Count = Annotated[int, Field(ge=0, le=10_000)]


class Keep(Frozen):
    """A retention policy: a snapshot is kept when any of its rules keeps it."""

    last: Count = 0
    hourly: Count = 0
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    within: Duration | None = None
    """Everything younger than this, counted from the newest point: nothing ages away while backups fail."""

    @property
    def empty(self) -> bool:
        """Whether it says nothing; then everything stays."""
        return not self.rules

    @property
    def rules(self) -> tuple[str, ...]:
        """Its rules in words, such as ``("daily 14", "weekly 8")``."""
        counted = [f"{name} {count}" for name in _BUCKETS if (count := getattr(self, name))]
        return (*counted, *([f"within {format_duration(self.within)}"] if self.within else []))


_BUCKETS: Mapping[str, Callable[[datetime, int], object]] = {
    "last": lambda _, position: position,
    "hourly": lambda time, _: (time.date(), time.hour),
    "daily": lambda time, _: time.date(),
    "weekly": lambda time, _: time.isocalendar()[:2],
    "monthly": lambda time, _: (time.year, time.month),
    "yearly": lambda time, _: time.year,
}
"""What two points have in common that count once for a rule: from local time and position, newest first."""


Reasons = Mapping[str, tuple[str, ...]]
"""Snapshot id → why it is kept, such as ``("newest", "last 1", "daily 3", "oldest weekly")``, or why it is not."""

Group = tuple[str, str]
"""Service and source."""


@dataclass(frozen=True, slots=True)
class Point:
    """A recovery point: what one run took of one source."""

    run: str
    time: datetime
    """Of its newest snapshot; aware."""
    snapshots: tuple[str, ...]
    """Snapshot ids, oldest first; at least one."""
    complete: bool = True
    """Whether no part of the source is missing. An incomplete point never takes a complete one's place."""


@dataclass(frozen=True, slots=True)
class Guard:
    """How much one decision may remove: more than ``least`` points that are more than ``share`` of all is refused."""

    share: float = 0.9
    least: int = 10


@dataclass(frozen=True, slots=True)
class Decision:
    """What stays and what goes; both mention snapshots by id, oldest first."""

    kept: Reasons
    removed: Reasons
    points_kept: tuple[Point, ...]
    """Oldest first."""
    points_removed: tuple[Point, ...]
    """Oldest first."""


def points(
    snapshots: Iterable[Snapshot], parts: Mapping[Group, Collection[str]] | None = None
) -> dict[Group, tuple[Point, ...]]:
    """The recovery points among the snapshots, by service and source, oldest first.

    Snapshots that drorch did not make are in none of them, so no decision is ever taken about these. ``parts`` names
    the parts that a source has; a point without one of them is incomplete.
    """
    runs: dict[tuple[Group, str], list[tuple[Snapshot, str]]] = {}
    for snapshot in sorted(snapshots, key=lambda each: (each.time, each.id)):
        if (origin := snapshot.origin) is not None:
            runs.setdefault(((origin.service, origin.source), origin.run), []).append((snapshot, origin.part))
    found: dict[Group, list[Point]] = {}
    for (group, run), taken in runs.items():
        there = {part for _, part in taken}
        complete = there.issuperset((parts or {}).get(group, ()))
        ids = tuple(snapshot.id for snapshot, _ in taken)
        found.setdefault(group, []).append(Point(run, taken[-1][0].time, ids, complete))
    return {group: tuple(sorted(each, key=_age)) for group, each in found.items()}


def decide(
    candidates: Sequence[Point],
    keep: Keep,
    now: datetime,
    *,
    zone: tzinfo = UTC,
    protected: Collection[str] = (),
    guard: Guard | None = Guard(),
    skew: timedelta = timedelta(hours=1),
) -> Decision:
    """What of one source's points to keep.

    ``zone`` is where days, weeks and years begin. ``protected`` holds snapshot ids (the last proven ones): their points
    stay. ``guard`` None overrides the guard.

    Raises:
        Refused: a point lies more than ``skew`` after ``now`` (a forged or wrong clock can push out real points), one
            snapshot is in two points, or more would go than the guard allows.
    """
    ordered = sorted(candidates, key=_age)
    _check_times(ordered, now, skew)
    _check_ids(ordered)
    reasons: dict[Point, dict[str, None]] = {point: {} for point in ordered}
    for standing in _standings(ordered):
        _apply(standing, keep, zone, reasons)
    shielded = frozenset(protected)
    for point in ordered:
        if not shielded.isdisjoint(point.snapshots):
            reasons[point]["protected"] = None
    kept = tuple(point for point in ordered if reasons[point])
    removed = tuple(point for point in ordered if not reasons[point])
    if guard is not None and len(removed) > guard.least and len(removed) > guard.share * len(ordered):
        raise Refused(
            f"retention would remove {len(removed)} of {len(ordered)} recovery points",
            hint="look at the policy and the snapshots' times; confirm explicitly if this is meant",
        )
    why_not = (f"none of {', '.join(keep.rules)} keeps it",)
    return Decision(
        kept={id_: tuple(reasons[point]) for point in kept for id_ in point.snapshots},
        removed={id_: why_not for point in removed for id_ in point.snapshots},
        points_kept=kept,
        points_removed=removed,
    )


def _age(point: Point) -> tuple[datetime, str, tuple[str, ...]]:
    return point.time, point.run, point.snapshots


def _check_times(ordered: Sequence[Point], now: datetime, skew: timedelta) -> None:
    ahead = [point for point in ordered if point.time > now + skew]
    if ahead:
        raise Refused(
            f"{len(ahead)} of {len(ordered)} recovery points lie in the future, such as "
            f"{ahead[-1].snapshots[-1][:12]} of {ahead[-1].time.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            hint="a wrong clock or a forged snapshot can push out real ones: find out which, and remove it by hand",
        )


def _check_ids(ordered: Sequence[Point]) -> None:
    seen: set[str] = set()
    for point in ordered:
        for id_ in point.snapshots:
            if id_ in seen:
                raise Refused(f"snapshot {id_[:12]} is in two recovery points", hint="look at the snapshots' tags")
            seen.add(id_)


def _standings(ordered: Sequence[Point]) -> list[Sequence[Point]]:
    """The lists that the rules are applied to, each for itself: the complete points alone, and all together.

    So no incomplete point takes a complete one's place, and none is lost just because a source got another part.
    """
    complete = [point for point in ordered if point.complete]
    return [each for each in (complete, ordered) if each] if len(complete) < len(ordered) else [ordered]


def _apply(standing: Sequence[Point], keep: Keep, zone: tzinfo, reasons: Mapping[Point, dict[str, None]]) -> None:
    if not standing:
        return
    newest = standing[-1]
    reasons[newest]["newest"] = None
    if keep.empty:
        for point in standing:
            reasons[point]["the policy is empty"] = None
    for name in _BUCKETS:
        for point, word in _counted(standing, name, getattr(keep, name), zone):
            reasons[point][word] = None
    if keep.within:
        for point in standing:
            if point.time > newest.time - keep.within:
                reasons[point][f"within {format_duration(keep.within)}"] = None


def _counted(standing: Sequence[Point], rule: str, count: int, zone: tzinfo) -> Iterator[tuple[Point, str]]:
    """The points that a counting rule keeps: the newest of each hour, day, …; the oldest while it is not used up."""
    taken: object = None
    kept = 0
    for position, point in enumerate(reversed(standing)):
        if kept == count:
            return
        this = _BUCKETS[rule](point.time.astimezone(zone), position)
        if this != taken:
            kept, taken = kept + 1, this
            yield point, f"{rule} {kept}"
        elif point is standing[0]:
            yield point, f"oldest {rule}"
