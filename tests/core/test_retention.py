"""Retention: restic's rules, the safety around them, and restic itself as the judge."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from drorch.core.errors import Refused
from drorch.core.repository import Snapshot, Tags
from drorch.core.retention import Decision, Guard, Keep, Point, decide, points

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def point(name: int, time: datetime, *, complete: bool = True) -> Point:
    """A recovery point of one snapshot."""
    return Point(f"nightly@{name}", time, (f"{name:064x}",), complete)


def nights(count: int) -> list[Point]:
    """So many nightly points, the newest of last night."""
    return [point(number, NOW - timedelta(days=count - number)) for number in range(count)]


def keep(**rules: int | str) -> Keep:
    """A policy as a user writes it."""
    return Keep.model_validate(rules)


def kept(decision: Decision) -> list[int]:
    """The numbers of the points that stay."""
    return [int(each.run.removeprefix("nightly@")) for each in decision.points_kept]


POLICIES = [
    (keep(last=3), [7, 8, 9]),
    (keep(daily=2, weekly=2), [2, 8, 9]),
    (keep(within="3d"), [7, 8, 9]),
    (keep(monthly=5), [0, 9]),
    (keep(last=1, yearly=1), [9]),
]


@pytest.mark.parametrize(("policy", "stay"), POLICIES)
def test_rules_keep_what_they_say(policy: Keep, stay: list[int]) -> None:
    """Each rule keeps the newest of its period, and the oldest point while it is not used up."""
    assert kept(decide(nights(10), policy, NOW)) == stay


def test_every_snapshot_has_its_reasons() -> None:
    """A decision tells of each snapshot why it stays or goes."""
    decision = decide(nights(10), keep(last=1, daily=2, monthly=3), NOW)
    assert decision.kept == {
        f"{9:064x}": ("newest", "last 1", "daily 1", "monthly 1"),
        f"{8:064x}": ("daily 2",),
        f"{0:064x}": ("oldest monthly",),
    }
    assert decision.removed == {
        f"{name:064x}": ("none of last 1, daily 2, monthly 3 keeps it",) for name in range(1, 8)
    }


@pytest.mark.parametrize("policy", [keep(), keep(last=0, within="0s")])
def test_an_empty_policy_removes_nothing(policy: Keep) -> None:
    """Saying nothing about what to keep means keeping all."""
    assert kept(decide(nights(40), policy, NOW)) == list(range(40))


def test_the_last_proven_point_stays() -> None:
    """A protected snapshot keeps its point, whatever the policy says, and says so."""
    decision = decide(nights(10), keep(last=1), NOW, protected={f"{2:064x}", "of another source"})
    assert kept(decision) == [2, 9]
    assert decision.kept[f"{2:064x}"] == ("protected",)


def test_an_incomplete_point_takes_no_complete_ones_place() -> None:
    """Runs that took only a part count for themselves: the complete points are kept as if there were no others."""
    broken = [point(number, NOW - timedelta(hours=14 - number), complete=False) for number in range(10, 14)]
    decision = decide([*nights(10), *broken], keep(last=2), NOW)
    assert kept(decision) == [8, 9, 12, 13]


def test_a_source_that_got_another_part_loses_nothing_for_it() -> None:
    """Points that became incomplete by an edit of the source are kept by the rules as before."""
    old = [point(number, NOW - timedelta(days=9 - number), complete=number > 7) for number in range(9)]
    assert kept(decide(old, keep(daily=5), NOW)) == [4, 5, 6, 7, 8]


def test_a_point_from_the_future_stops_everything() -> None:
    """Forged times can push out real points, so nothing is decided; a slightly fast clock is tolerated."""
    with pytest.raises(Refused, match="1 of 11 recovery points lie in the future"):
        decide([*nights(10), point(10, NOW + timedelta(hours=2))], keep(last=1), NOW)
    assert kept(decide([*nights(3), point(3, NOW + timedelta(minutes=50))], keep(last=1), NOW)) == [3]


def test_removing_nearly_everything_needs_a_person() -> None:
    """A decision that removes most of many points is refused, unless the guard is told or taken away."""
    with pytest.raises(Refused, match="would remove 99 of 100"):
        decide(nights(100), keep(last=1), NOW)
    assert kept(decide(nights(100), keep(last=1), NOW, guard=None)) == [99]
    assert kept(decide(nights(100), keep(last=1), NOW, guard=Guard(share=0.99))) == [99]
    assert kept(decide(nights(11), keep(last=1), NOW)) == [10]


def test_a_snapshot_in_two_points_stops_everything() -> None:
    """Tags that contradict each other are no ground for removing."""
    with pytest.raises(Refused, match="in two recovery points"):
        decide([*nights(2), Point("other", NOW, (f"{1:064x}",))], keep(last=1), NOW)


def test_days_begin_where_the_business_is() -> None:
    """A day's last point is the last one of the local day."""
    evening = [point(hour, datetime(2026, 11, 20, 20 + hour, 30, tzinfo=UTC)) for hour in range(4)]
    assert kept(decide(evening, keep(daily=1), NOW, zone=BERLIN)) == [3]
    assert kept(decide(evening, keep(daily=2), NOW, zone=BERLIN)) == [2, 3]
    assert kept(decide(evening, keep(daily=2), NOW, zone=UTC)) == [0, 3]


def snapshot(name: int, source: str, part: str, run: str, time: datetime) -> Snapshot:
    """A snapshot as drorch makes it."""
    tags = Tags(service="shop", source=source, part=part, run=run, plan="0" * 16)
    return Snapshot(id=f"{name:064x}", time=time, host="web1", tags=tags.words())


def test_parts_of_one_run_are_one_point() -> None:
    """Snapshots group into points by service, source and run; what drorch did not make is in none."""
    later = NOW + timedelta(minutes=1)
    found = points(
        [
            snapshot(3, "database", "dump", "b", later),
            snapshot(1, "database", "globals", "a", NOW),
            snapshot(2, "database", "globals", "b", NOW),
            snapshot(4, "media", "tree", "b", later),
            Snapshot(id=f"{9:064x}", time=NOW, host="web1", tags=("by-hand",)),
        ],
        {("shop", "database"): ("globals", "dump")},
    )
    assert found == {
        ("shop", "database"): (
            Point("a", NOW, (f"{1:064x}",), complete=False),
            Point("b", later, (f"{2:064x}", f"{3:064x}")),
        ),
        ("shop", "media"): (Point("b", later, (f"{4:064x}",)),),
    }


TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2026, 11, 23)).map(lambda naive: naive.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
POINTS = st.lists(st.tuples(TIMES, st.booleans(), st.integers(1, 3)), max_size=60).map(
    lambda drawn: [
        Point(f"nightly@{number}", time, tuple(f"{number:032x}{part:032x}" for part in range(parts)), complete)
        for number, (time, complete, parts) in enumerate(drawn)
    ]
)
POLICY = st.builds(
    Keep,
    **{name: st.integers(0, 12) for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")},
    within=st.none() | st.integers(0, 500).map(lambda days: timedelta(days=days)),
)


@given(POINTS, POLICY, st.randoms(use_true_random=False))
def test_a_decision_is_whole_and_safe(candidates: list[Point], policy: Keep, random: Random) -> None:
    """Each snapshot stays or goes, in whole points; the newest, complete and proven ones stay; order means nothing."""
    shuffled = list(candidates)
    random.shuffle(shuffled)
    proven = shuffled[0].snapshots[:1] if shuffled else ()
    decision = decide(shuffled, policy, NOW, protected=proven, guard=None)
    assert decision == decide(candidates, policy, NOW, protected=proven, guard=None)
    assert sorted([*decision.kept, *decision.removed]) == sorted(id_ for each in candidates for id_ in each.snapshots)
    for each in candidates:
        assert set(each.snapshots) <= set(decision.kept) or set(each.snapshots) <= set(decision.removed)
    assert set(proven) <= set(decision.kept)
    for whole in (candidates, [each for each in candidates if each.complete]):
        if whole:
            assert set(max(whole, key=lambda each: each.time).snapshots) & set(decision.kept) or len(
                {each.time for each in whole}
            ) < len(whole)
    again = decide(decision.points_kept, policy, NOW, protected=proven, guard=None)
    if not policy.empty:
        assert set(again.kept) <= set(decision.kept)


MOMENTS = [
    "2024-02-29 02:30:00",
    "2024-12-29 23:30:00",
    "2024-12-30 00:30:00",
    "2025-01-01 00:10:00",
    "2025-12-31 23:59:59",
    "2026-01-01 00:00:00",
    "2026-03-29 01:59:00",
    "2026-03-29 03:01:00",
    "2026-10-24 02:30:00",
    "2026-10-25 02:30:00",
    "2026-10-25 03:30:00",
    "2026-11-15 02:30:00",
    "2026-11-16 02:30:00",
    "2026-11-21 02:30:00",
    "2026-11-21 02:45:00",
    "2026-11-22 02:30:00",
]
ORACLE = [
    keep(last=4),
    keep(hourly=5),
    keep(daily=7),
    keep(daily=100),
    keep(weekly=6),
    keep(monthly=3),
    keep(monthly=100),
    keep(yearly=2),
    keep(yearly=10),
    keep(within="24h"),
    keep(within="240d"),
    keep(last=1, hourly=2, daily=3, weekly=4, monthly=5, yearly=1, within="1d"),
]


def restic(words: Sequence[str], folder: Path) -> str:
    """What restic prints, in a repository of the test's own and in Berlin's time."""
    program = shutil.which("restic")
    assert program
    env = {
        "RESTIC_REPOSITORY": str(folder / "repository"),
        "RESTIC_PASSWORD": "of the test",
        "RESTIC_CACHE_DIR": str(folder / "cache"),
        "TZ": "Europe/Berlin",
        "HOME": str(folder),
        "PATH": os.defpath,
    }
    ended = subprocess.run([program, *words], env=env, cwd=folder, capture_output=True, text=True, check=True)
    return ended.stdout


@pytest.mark.skipif(shutil.which("restic") is None, reason="no restic on PATH to compare with")
def test_restic_itself_keeps_the_same(tmp_path: Path) -> None:
    """`restic forget` with the same numbers keeps the same snapshots, over years, clock changes and ISO weeks."""
    restic(["init"], tmp_path)
    (tmp_path / "file").write_text("content")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda time: restic(["backup", "--quiet", "--time", time, "file"], tmp_path), MOMENTS))
        reader = TypeAdapter(list[dict[str, object]])
        listed = reader.validate_json(restic(["snapshots", "--json"], tmp_path))
        candidates = [
            Point(str(each["id"]), datetime.fromisoformat(str(each["time"])), (str(each["id"]),)) for each in listed
        ]
        assert len(candidates) == len(MOMENTS)
        answers = list(pool.map(lambda policy: restic(forget(policy), tmp_path), ORACLE))
    for policy, answer in zip(ORACLE, answers, strict=True):
        (group,) = TypeAdapter(list[dict[str, list[dict[str, object]] | object]]).validate_json(answer)
        theirs = {str(each["id"]) for each in TypeAdapter(list[dict[str, object]]).validate_python(group["keep"])}
        ours = decide(candidates, policy, NOW, zone=BERLIN, guard=None)
        assert set(ours.kept) == theirs, policy.rules


def forget(policy: Keep) -> list[str]:
    """The policy as restic takes it."""
    words = [f"--keep-{rule.replace(' ', '=')}" for rule in policy.rules]
    return ["forget", "--no-lock", "--dry-run", "--json", "--group-by=", *words]
