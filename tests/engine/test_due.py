"""Due-ness: clock changes, calendars, catching up, and what holds for every sequence of ticks."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drorch.core.schedule import Schedule
from drorch.engine.due import MISSED_SHOWN, PUNCTUAL, Due, due, next_slot, slot_id, slots, start_of

BERLIN = ZoneInfo("Europe/Berlin")
UTC_ZONE = ZoneInfo("UTC")


def at(text: str) -> datetime:
    """An instant written in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(**spec: object) -> Schedule:
    """A schedule as a user writes it."""
    return Schedule.model_validate(spec)


def ids(spec: dict[str, Any], zone: str, after: str, until: str) -> str:
    """The slots between two instants, as run ids name them."""
    return " ".join(slot_id(slot) for slot in slots(schedule(**spec), ZoneInfo(zone), at(after), at(until)))


NIGHTS = [
    # spring: a skipped time has its slot at the first instant after the gap
    (
        "Europe/Berlin",
        {"daily": "02:30"},
        "2026-03-28T12:00",
        "2026-03-30T12:00",
        "2026-03-29T01:00Z 2026-03-30T00:30Z",
    ),
    ("Europe/Berlin", {"daily": "02:00"}, "2026-03-28T12:00", "2026-03-29T12:00", "2026-03-29T01:00Z"),
    ("Europe/Berlin", {"daily": "03:00"}, "2026-03-28T12:00", "2026-03-29T12:00", "2026-03-29T01:00Z"),
    ("Europe/Berlin", {"daily": "01:59"}, "2026-03-28T12:00", "2026-03-29T12:00", "2026-03-29T00:59Z"),
    (
        "America/New_York",
        {"daily": "02:30"},
        "2026-03-07T12:00",
        "2026-03-09T12:00",
        "2026-03-08T07:00Z 2026-03-09T06:30Z",
    ),
    (
        "Australia/Lord_Howe",
        {"daily": "02:15"},
        "2026-10-02T18:00",
        "2026-10-04T18:00",
        "2026-10-03T15:30Z 2026-10-04T15:15Z",
    ),
    # a gap at midnight: the day begins at 01:00
    (
        "America/Sao_Paulo",
        {"daily": "00:30"},
        "2018-11-03T12:00",
        "2018-11-05T12:00",
        "2018-11-04T03:00Z 2018-11-05T02:30Z",
    ),
    ("Asia/Beirut", {"daily": "00:00"}, "2026-03-28T12:00", "2026-03-30T12:00", "2026-03-28T22:00Z 2026-03-29T21:00Z"),
    (
        "Asia/Beirut",
        {"weekly": {"day": "sunday", "at": "00:15"}},
        "2026-03-28T12:00",
        "2026-03-30T12:00",
        "2026-03-28T22:00Z",
    ),
    # Morocco goes an hour back for Ramadan and forward after it
    (
        "Africa/Casablanca",
        {"daily": "02:30"},
        "2026-02-14T12:00",
        "2026-02-16T12:00",
        "2026-02-15T01:30Z 2026-02-16T02:30Z",
    ),
    (
        "Africa/Casablanca",
        {"daily": "02:30"},
        "2026-03-21T12:00",
        "2026-03-23T12:00",
        "2026-03-22T02:00Z 2026-03-23T01:30Z",
    ),
    # Samoa skipped a whole day: its slot is the first instant of the next one
    (
        "Pacific/Apia",
        {"daily": "02:30"},
        "2011-12-29T00:00",
        "2011-12-31T00:00",
        "2011-12-29T12:30Z 2011-12-30T10:00Z 2011-12-30T12:30Z",
    ),
    # autumn: a time shown twice has its slot at the first
    (
        "Europe/Berlin",
        {"daily": "02:30"},
        "2026-10-24T12:00",
        "2026-10-26T12:00",
        "2026-10-25T00:30Z 2026-10-26T01:30Z",
    ),
    ("Europe/Berlin", {"daily": "03:00"}, "2026-10-24T12:00", "2026-10-25T12:00", "2026-10-25T02:00Z"),
    ("America/New_York", {"daily": "01:30"}, "2026-10-31T12:00", "2026-11-01T12:00", "2026-11-01T05:30Z"),
    (
        "Australia/Lord_Howe",
        {"daily": "01:45"},
        "2026-04-03T18:00",
        "2026-04-05T18:00",
        "2026-04-04T14:45Z 2026-04-05T15:15Z",
    ),
    (
        "America/Sao_Paulo",
        {"daily": "23:30"},
        "2018-02-17T12:00",
        "2018-02-19T12:00",
        "2018-02-18T01:30Z 2018-02-19T02:30Z",
    ),
    # no clock changes at all
    ("UTC", {"daily": "02:30"}, "2026-03-28T12:00", "2026-03-30T12:00", "2026-03-29T02:30Z 2026-03-30T02:30Z"),
    # cron at wall-clock times: skipped ones share one slot, those shown twice count once
    ("Europe/Berlin", {"cron": "*/15 2 * * *"}, "2026-03-28T12:00", "2026-03-29T12:00", "2026-03-29T01:00Z"),
    (
        "Europe/Berlin",
        {"cron": "30 2,3 * * *"},
        "2026-03-28T12:00",
        "2026-03-29T12:00",
        "2026-03-29T01:00Z 2026-03-29T01:30Z",
    ),
    (
        "Europe/Berlin",
        {"cron": "0,30 2 * * *"},
        "2026-10-24T12:00",
        "2026-10-25T12:00",
        "2026-10-25T00:00Z 2026-10-25T00:30Z",
    ),
    # cron with every hour counts the hours that pass
    (
        "Europe/Berlin",
        {"cron": "30 * * * *"},
        "2026-03-29T00:00",
        "2026-03-29T02:00",
        "2026-03-29T00:30Z 2026-03-29T01:30Z",
    ),
    (
        "Europe/Berlin",
        {"cron": "30 * * * *"},
        "2026-10-25T00:00",
        "2026-10-25T03:00",
        "2026-10-25T00:30Z 2026-10-25T01:30Z 2026-10-25T02:30Z",
    ),
    (
        "Australia/Lord_Howe",
        {"cron": "45 0-23 * * *"},
        "2026-04-04T14:00",
        "2026-04-04T17:00",
        "2026-04-04T14:45Z 2026-04-04T15:15Z 2026-04-04T16:15Z",
    ),
]


@pytest.mark.parametrize(("zone", "spec", "after", "until", "expected"), NIGHTS)
def test_a_wall_clock_time_runs_once_whatever_the_clock_does(
    zone: str, spec: dict[str, Any], after: str, until: str, expected: str
) -> None:
    """A skipped time has one slot, after the gap; one shown twice has the first; every hour means every hour."""
    assert ids(spec, zone, after, until) == expected


CALENDARS = [
    (
        {"monthly": {"day": 31, "at": "02:30"}},
        "2028-01-01T00:00",
        "2028-05-01T00:00",
        "2028-01-31T02:30Z 2028-02-29T02:30Z 2028-03-31T02:30Z 2028-04-30T02:30Z",
    ),
    ({"monthly": {"day": 30, "at": "02:30"}}, "2027-02-01T00:00", "2027-03-01T00:00", "2027-02-28T02:30Z"),
    ({"monthly": {"day": 29, "at": "02:30"}}, "2100-02-01T00:00", "2100-03-01T00:00", "2100-02-28T02:30Z"),
    ({"monthly": {"at": "00:00"}}, "2026-12-31T00:00", "2027-01-31T00:00", "2027-01-01T00:00Z"),
    (
        {"quarterly": {"at": "09:00"}},
        "2026-01-01T09:00",
        "2027-01-01T09:00",
        "2026-04-01T09:00Z 2026-07-01T09:00Z 2026-10-01T09:00Z 2027-01-01T09:00Z",
    ),
    (
        {"quarterly": {"day": 31, "month": 2, "at": "09:00"}},
        "2028-01-01T00:00",
        "2029-01-01T00:00",
        "2028-02-29T09:00Z 2028-05-31T09:00Z 2028-08-31T09:00Z 2028-11-30T09:00Z",
    ),
    (
        {"quarterly": {"day": 31, "month": 3, "at": "09:00"}},
        "2026-04-01T00:00",
        "2026-07-01T00:00",
        "2026-06-30T09:00Z",
    ),
    (
        {"weekly": {"day": "monday", "at": "05:00"}},
        "2026-11-23T05:00",
        "2026-12-07T05:00",
        "2026-11-30T05:00Z 2026-12-07T05:00Z",
    ),
    ({"weekly": {"day": "sunday", "at": "23:59"}}, "2026-12-31T00:00", "2027-01-04T00:00", "2027-01-03T23:59Z"),
    ({"cron": "30 2 29 2 *"}, "2026-01-01T00:00", "2032-12-31T00:00", "2028-02-29T02:30Z 2032-02-29T02:30Z"),
    ({"cron": "0 4 L * *"}, "2028-02-01T00:00", "2028-03-31T23:00", "2028-02-29T04:00Z 2028-03-31T04:00Z"),
    ({"cron": "0 4 * * 7"}, "2026-11-23T00:00", "2026-11-30T00:00", "2026-11-29T04:00Z"),
    ({"daily": "02:30", "timezone": "Asia/Tokyo"}, "2026-11-23T00:00", "2026-11-24T00:00", "2026-11-23T17:30Z"),
]


@pytest.mark.parametrize(("spec", "after", "until", "expected"), CALENDARS)
def test_calendars_are_followed(spec: dict[str, Any], after: str, until: str, expected: str) -> None:
    """Month ends clamp, leap days exist, quarters and weeks fall where calendars put them; `after` is excluded."""
    assert ids(spec, "UTC", after, until) == expected


def test_a_slot_keeps_its_seconds_only_where_it_has_some() -> None:
    """A slot's name is short, in UTC, and never names two slots."""
    assert slot_id(datetime(2026, 11, 23, 3, 30, tzinfo=BERLIN)) == "2026-11-23T02:30Z"
    assert slot_id(at("2026-11-23T02:30:15")) == "2026-11-23T02:30:15Z"


def one(spec: Schedule, *, past: str | None, now: str, since: str = "2026-01-01T00:00") -> Due | None:
    """What one runbook is due for, in UTC."""
    found = due({"nightly": spec}, UTC_ZONE, {"nightly": at(past) if past else None}, {"nightly": at(since)}, at(now))
    return found[0] if found else None


NIGHTLY = schedule(daily="02:30", catch_up="12h")
TAKES = [
    # past, now, slot to run, missed
    ("2026-11-22T02:30", "2026-11-23T02:29:59", None, None),
    ("2026-11-22T02:30", "2026-11-23T02:30", "2026-11-23T02:30", ()),
    ("2026-11-22T02:30", "2026-11-23T14:30", "2026-11-23T02:30", ()),
    ("2026-11-22T02:30", "2026-11-23T14:30:01", None, ("2026-11-23T02:30",)),
    ("2026-11-20T02:30", "2026-11-23T03:00", "2026-11-23T02:30", ("2026-11-21T02:30", "2026-11-22T02:30")),
    ("2026-11-20T02:30", "2026-11-22T23:00", None, ("2026-11-21T02:30", "2026-11-22T02:30")),
    ("2026-11-23T02:30", "2026-11-23T02:30", None, None),
    ("2026-11-23T02:30", "2026-11-22T04:00", None, None),
]


@pytest.mark.parametrize(("past", "now", "slot", "missed"), TAKES)
def test_a_missed_slot_runs_once_within_its_window(
    past: str, now: str, slot: str | None, missed: tuple[str, ...] | None
) -> None:
    """The newest slot that has come runs if it is not too late; all others are shown; a clock put back repeats none."""
    found = one(NIGHTLY, past=past, now=now)
    if missed is None:
        assert found is None
    else:
        assert found is not None
        assert (found.slot, found.missed) == (at(slot) if slot else None, tuple(map(at, missed)))
        assert found.missed_count == len(missed)


def test_a_runbook_owes_nothing_from_before_it_was_seen() -> None:
    """A runbook first seen now runs no older slot, and a slot exactly then belongs to it."""
    assert one(NIGHTLY, past=None, since="2026-11-23T03:00", now="2026-11-23T03:00") is None
    assert due({"nightly": NIGHTLY}, UTC_ZONE, {}, {}, at("2026-11-23T03:00")) == ()
    (found,) = due({"nightly": NIGHTLY}, UTC_ZONE, {}, {}, at("2026-11-23T02:30"))
    assert found.slot == at("2026-11-23T02:30")


def test_without_a_window_a_slot_is_still_run_on_time() -> None:
    """A daemon that looks a little after the slot is on time even with no catching up; later it is not."""
    strict = schedule(daily="02:30", catch_up="0s")
    on_time, late = (
        one(strict, past="2026-11-22T02:30", now=(at("2026-11-23T02:30") + delay).replace(tzinfo=None).isoformat())
        for delay in (PUNCTUAL, PUNCTUAL + timedelta(seconds=1))
    )
    assert on_time is not None
    assert on_time.slot is not None
    assert late is not None
    assert late.slot is None


def test_a_long_absence_lists_the_newest_and_counts_all() -> None:
    """What is shown of a year without a daemon is bounded, what is counted is exact."""
    found = one(schedule(cron="0 * * * *"), past="2026-01-01T00:00", now="2026-11-01T00:30")
    assert found is not None
    assert len(found.missed) == MISSED_SHOWN
    assert found.missed_count == 304 * 24 - 1
    assert found.missed[-1] == at("2026-10-31T23:00")


def test_jitter_is_a_runbooks_own_and_the_same_each_day() -> None:
    """Runbooks spread over the jitter, each with the same delay on each day."""
    spread = schedule(daily="02:30", jitter="10m")
    days = [at("2026-11-23T02:30"), at("2026-11-24T02:30")]
    delays = {
        name: {start_of(name, spread, UTC_ZONE, day) - day for day in days}
        for name in map("runbook-{}".format, range(50))
    }
    assert all(len(delay) == 1 for delay in delays.values())
    assert len({delay for (delay,) in delays.values()}) > 40
    assert all(timedelta(0) <= delay < timedelta(minutes=10) for (delay,) in delays.values())


def test_a_jitter_longer_than_the_interval_starves_nothing() -> None:
    """A slot always starts before the next one comes."""
    spread = schedule(cron="*/5 * * * *", jitter="6h")
    for slot in islice(slots(spread, BERLIN, at("2026-10-24T00:00"), at("2026-10-26T00:00")), 600):
        following = next_slot(spread, BERLIN, slot)
        assert following is not None
        assert slot <= start_of("nightly", spread, BERLIN, slot) < following


def test_what_starts_first_comes_first() -> None:
    """The answer is in the order of starts, whatever the order of the runbooks."""
    past = at("2026-11-22T12:00")
    late, early = schedule(daily="02:40"), schedule(daily="02:30")
    found = due(
        {"a": late, "b": early}, UTC_ZONE, {"a": past, "b": past}, {"a": past, "b": past}, at("2026-11-23T03:00")
    )
    assert [each.runbook for each in found] == ["b", "a"]


def test_no_slot_for_fifty_years_is_said() -> None:
    """A schedule without a further slot gives None, not a hang."""
    assert next_slot(schedule(daily="02:30"), UTC_ZONE, at("9999-12-30T00:00")) == at("9999-12-30T02:30")


ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Pacific/Apia",
    "America/St_Johns",
]
TIMES = st.times().map(lambda time: time.strftime("%H:%M"))
SPECS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"daily": TIMES}),
    st.fixed_dictionaries(
        {"weekly": st.fixed_dictionaries({"day": st.sampled_from(["monday", "sunday"]), "at": TIMES})}
    ),
    st.fixed_dictionaries({"monthly": st.fixed_dictionaries({"day": st.integers(1, 31), "at": TIMES})}),
    st.fixed_dictionaries(
        {"quarterly": st.fixed_dictionaries({"day": st.integers(1, 31), "month": st.integers(1, 3), "at": TIMES})}
    ),
    st.fixed_dictionaries(
        {
            "cron": st.sampled_from(
                ["0 * * * *", "*/20 * * * *", "30 2 * * *", "15 */3 * * 1-5", "0 0 1,15 * *", "*/7 1-2 * * *"]
            )
        }
    ),
)
SCHEDULES = st.tuples(SPECS, st.sampled_from(["0s", "10m", "5h"]), st.sampled_from(["0s", "1h", "12h", "9d"])).map(
    lambda drawn: schedule(**drawn[0], jitter=drawn[1], catch_up=drawn[2])
)
BEGINNINGS = st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


@given(SCHEDULES, st.sampled_from(ZONES), BEGINNINGS, st.integers(0, 72), st.integers(1, 72))
@example(schedule(cron="*/20 * * * *"), "America/St_Johns", at("2006-10-28T20:00"), 7, 20)
def test_slots_do_not_depend_on_where_one_starts_to_look(
    spec: Schedule, zone_name: str, begin: datetime, first: int, second: int
) -> None:
    """Slots rise strictly, and looking in two parts finds exactly what looking at once finds."""
    zone = ZoneInfo(zone_name)
    middle = begin + timedelta(hours=first)
    end = middle + timedelta(hours=second)
    whole = list(slots(spec, zone, begin, end))
    assert whole == [*slots(spec, zone, begin, middle), *slots(spec, zone, middle, end)]
    assert all(early < late for early, late in pairwise(whole))
    assert all(begin < slot <= end and slot.tzinfo is UTC for slot in whole)
    if whole:
        assert next_slot(spec, zone, begin) == whole[0]


@given(st.sampled_from(ZONES), TIMES, st.dates(date(2012, 1, 2), date(2030, 1, 1)))
def test_every_day_has_its_daily_slot(zone_name: str, time: str, day: date) -> None:
    """Between a day's first instant and the next day's lies exactly one daily slot, clock changes or not."""
    zone = ZoneInfo(zone_name)
    found = list(
        slots(
            schedule(daily=time),
            zone,
            *(datetime(each.year, each.month, each.day, 12, tzinfo=zone) for each in (day, day + timedelta(days=1))),
        )
    )
    assert len(found) == 1


def ticks(steps: list[int], begin: datetime) -> Iterator[datetime]:
    """Instants at which a daemon looks; the clock sometimes goes back."""
    now = begin
    for step in steps:
        now += timedelta(minutes=step)
        yield now


@given(
    SCHEDULES,
    st.sampled_from(ZONES),
    BEGINNINGS,
    st.lists(st.integers(-200, 3000), min_size=1, max_size=40),
    st.sampled_from(["", "noted"]),
)
def test_every_slot_is_run_or_missed_exactly_once(
    spec: Schedule, zone_name: str, begin: datetime, steps: list[int], notes: str
) -> None:
    """Whatever the ticks, clocks that go back too, and whether misses are noted: what is settled is settled once."""
    zone = ZoneInfo(zone_name)
    past: datetime | None = None
    run: list[datetime] = []
    missed: list[datetime] = []
    latest = begin
    for now in ticks(steps, begin):
        latest = max(latest, now)
        found = due({"nightly": spec}, zone, {"nightly": past}, {"nightly": begin}, now)
        assert found == due({"nightly": spec}, zone, {"nightly": past}, {"nightly": begin}, now)
        for one_due in found:
            assert one_due.missed_count == len(one_due.missed)
            if one_due.slot is not None and one_due.start_at <= now:
                assert now - one_due.start_at <= max(spec.catch_up, PUNCTUAL)
                run.append(one_due.slot)
                missed += one_due.missed
                past = one_due.slot
            elif one_due.slot is None and notes:
                missed += one_due.missed
                past = one_due.missed[-1]
    settled = [] if past is None else list(slots(spec, zone, begin - timedelta(microseconds=1), past))
    assert sorted(run + missed) == settled
    assert run == sorted(set(run))
    assert past is None or past <= latest
