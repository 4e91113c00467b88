"""Which runbooks are due: pure. Schedules, what was started and now go in; what to start and what was missed come out.

A *slot* is an instant at which a schedule nominally wants its runbook to start, always in UTC. A schedule names
wall-clock times, so a zone's clock changes decide where its slots lie:

- a time that the clock skips has its slot at the first instant after the gap; several such times share that one slot;
- a time that the clock shows twice has its slot at the first of the two;
- a cron expression with ``*`` for the hour means *every hour that passes*: nothing is added in a gap, nothing left out
  when the clock is put back.
"""

import hashlib
import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim

from drorch.core.schedule import Schedule

PUNCTUAL = timedelta(minutes=2)
"""A slot this late is still on time, whatever its ``catch_up``: nothing looks at the clock all the time."""

MISSED_SHOWN = 1000
"""At most so many missed slots are listed; `Due.missed_count` counts all."""

_CLOCK_CHANGE = timedelta(hours=26)
"""No zone's clock ever jumped further, in either direction, than this (Samoa and the Philippines skipped a day)."""

_HOURS_OF_A_DAY = 24
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done about a runbook now."""

    runbook: str
    slot: datetime | None
    """The slot to run: the newest one that has come. None when even that is too late to catch up."""
    start_at: datetime
    """When the newest slot starts, jitter included; before the next slot. Not to be started earlier."""
    missed: tuple[datetime, ...] = ()
    """Slots that will not run, oldest first: overtaken by a newer one, or too late. The newest `MISSED_SHOWN`."""
    missed_count: int = 0


def slots(schedule: Schedule, default_zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Every slot later than ``after`` and not later than ``until``, in order, in UTC."""
    for slot in _from(schedule, schedule.zone or default_zone, after):
        if slot > until:
            return
        yield slot


def next_slot(schedule: Schedule, default_zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first slot later than ``after``, in UTC; None when there is none within 50 years."""
    return next(_from(schedule, schedule.zone or default_zone, after), None)


def start_of(runbook: str, schedule: Schedule, default_zone: ZoneInfo, slot: datetime) -> datetime:
    """When a slot starts: delayed by a share of the jitter that is the runbook's own, the same on each day.

    The delay stays shorter than the way to the next slot, so slots never overtake each other.
    """
    room = schedule.jitter
    if room and (following := next_slot(schedule, default_zone, slot)) is not None:
        room = min(room, following - slot)
    share = int.from_bytes(hashlib.sha256(runbook.encode()).digest()[:8]) / 2**64
    return slot + timedelta(seconds=int(room.total_seconds() * share))


def due(
    schedules: Mapping[str, Schedule],
    default_zone: ZoneInfo,
    past: Mapping[str, datetime | None],
    since: Mapping[str, datetime],
    now: datetime,
) -> tuple[Due, ...]:
    """What each runbook with a slot that has come and is not settled wants, in the order of their starts.

    ``past`` holds the newest slot of each runbook that is settled: started, or noted as missed. ``since`` is when each
    runbook was first seen (now, for one not in it): earlier slots are nobody's. A slot exactly at ``now`` has come.
    """
    found = (
        _due(runbook, schedule, default_zone, past.get(runbook), since=since.get(runbook, now), now=now)
        for runbook, schedule in schedules.items()
    )
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.start_at, one.runbook)))


def slot_id(slot: datetime) -> str:
    """A slot as run ids name it, such as ``2026-11-23T02:30Z``."""
    utc = slot.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%SZ}" if utc.second else f"{utc:%Y-%m-%dT%H:%MZ}"


def _due(
    runbook: str, schedule: Schedule, zone: ZoneInfo, past: datetime | None, *, since: datetime, now: datetime
) -> Due | None:
    just_before = since - timedelta(microseconds=1)
    after = just_before if past is None else max(past, just_before)
    newest: datetime | None = None
    missed: deque[datetime] = deque(maxlen=MISSED_SHOWN)
    count = 0
    for slot in slots(schedule, zone, after, now):
        if newest is not None:
            missed.append(newest)
            count += 1
        newest = slot
    if newest is None:
        return None
    start_at = start_of(runbook, schedule, zone, newest)
    if now - start_at > max(schedule.catch_up, PUNCTUAL):
        missed.append(newest)
        return Due(runbook, None, start_at, tuple(missed), count + 1)
    return Due(runbook, newest, start_at, tuple(missed), count)


def _from(schedule: Schedule, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """All slots later than ``after``, for as long as calendars last."""
    after = after.astimezone(UTC)
    begin = after.astimezone(zone).replace(tzinfo=None, fold=0, microsecond=0) - _CLOCK_CHANGE
    if schedule.cron is not None and len((sim := CronSim(schedule.cron, begin)).hours) == _HOURS_OF_A_DAY:
        candidates = _elapsed(sim, zone)
    else:
        candidates = (_instant(wall, zone) for wall in _walls(schedule, begin))
    newest = after
    for slot in candidates:
        if slot > newest:
            newest = slot
            yield slot


def _walls(schedule: Schedule, begin: datetime) -> Iterator[datetime]:
    """The schedule's wall-clock times from the day of ``begin`` on, without a zone, in order."""
    if schedule.cron is not None:
        return CronSim(schedule.cron, begin)  # without a zone cronsim knows nothing of clock changes
    if schedule.daily is not None:
        return _days(begin.date(), schedule.daily)
    if schedule.weekly is not None:
        weekday = _WEEKDAYS.index(schedule.weekly.day)
        first = begin.date() + timedelta(days=(weekday - begin.weekday()) % 7)
        return _days(first, schedule.weekly.at, step=7)
    if schedule.monthly is not None:
        return _months(begin.date(), schedule.monthly.day, schedule.monthly.at)
    if schedule.quarterly is not None:
        every = schedule.quarterly
        return _months(begin.date(), every.day, every.at, only=frozenset(range(every.month, 13, 3)))
    return iter(())


def _days(first: date, at: time, *, step: int = 1) -> Iterator[datetime]:
    day = first
    while True:
        yield datetime.combine(day, at)
        try:
            day += timedelta(days=step)
        except OverflowError:
            return


def _months(first: date, day: int, at: time, *, only: frozenset[int] = frozenset(range(1, 13))) -> Iterator[datetime]:
    """The day in each of those months from the month of ``first`` on; in shorter months the last one."""
    firsts = (date(year, month, 1) for year in range(first.year, date.max.year) for month in range(1, 13))
    for month, following in pairwise(firsts):
        if month.month in only and following > first:
            last = (following - timedelta(days=1)).day
            yield datetime.combine(month.replace(day=min(day, last)), at)


def _elapsed(walls: Iterator[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Every instant at which a clock there shows one of these times: none in a gap, two for a time shown twice."""
    second: list[datetime] = []
    for wall in walls:
        first = _utc(wall, zone, fold=0)
        if first.astimezone(zone).replace(tzinfo=None) != wall:
            continue
        while second and second[0] <= first:
            yield heapq.heappop(second)
        yield first
        if (again := _utc(wall, zone, fold=1)) > first:
            heapq.heappush(second, again)
    yield from sorted(second)


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When a clock there first shows this time; when it never does, the first instant after the gap."""
    early, late = _utc(wall, zone, fold=1), _utc(wall, zone, fold=0)
    if early >= late:
        return late
    # In a gap the offsets before and after it give two instants around the change of the clock: close in on it.
    low, high = early, late
    after = late.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        low, high = (low, middle) if middle.astimezone(zone).utcoffset() == after else (middle, high)
    return high


def _utc(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
