"""Readiness: nothing is claimed that no drill has shown."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drorch.config.inventory import Service
from drorch.core.model import Json
from drorch.core.schedule import Schedule
from drorch.core.step import RunState
from drorch.engine.journal import Run
from drorch.reports.proof import Today
from drorch.reports.readiness import Readiness, readiness

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
PLAN, EDITED = "a" * 64, "b" * 64
DAY = timedelta(days=1)


def service(**changes: Json) -> Service:
    """The shop: two sources, an RPO of a day, an RTO of an hour."""
    fields: dict[str, Json] = {
        "objectives": {"rpo": "24h", "rto": "1h"},
        "primary": "web1",
        "standbys": ["web2"],
        "repository": "nas",
        "sources": {
            "database": {"kind": "sqlite", "path": "/srv/shop.db"},
            "media": {"kind": "files", "paths": ["/srv/media"]},
        },
    }
    return Service.model_validate({**fields, **changes})


def run(runbook: str, ago: timedelta, **changes: object) -> Run:
    """A run that began so long ago and took 12 minutes."""
    kind = "drill" if "drill" in runbook else "backup"
    started = NOW - ago
    state = changes.pop("state", RunState.COMPLETED)
    assert isinstance(state, RunState)
    fields: dict[str, object] = {
        "id": f"{runbook}@{started:%Y-%m-%dT%H:%MZ}",
        "runbook": runbook,
        "kind": kind,
        "service": "shop",
        "slot": "",
        "plan": PLAN,
        "state": state,
        "started": started,
        "ended": started + timedelta(minutes=12) if state.final else None,
        "detail": {},
    }
    return Run(**{**fields, **changes})  # type: ignore[arg-type]  # a table of fields


def points(snapshot: str, at: datetime, level: str = "taken", *sources: str) -> dict[str, Json]:
    """What `engine.runs` writes about recovery points."""
    return {
        source: {"snapshot": snapshot, "time": at.isoformat(), "level": level}
        for source in sources or ("database", "media")
    }


def backup(ago: timedelta, snapshot: str = "new", *sources: str) -> Run:
    """A good backup."""
    return run("shop-nightly", ago, detail={"points": points(snapshot, NOW - ago, "taken", *sources)})


def drill(ago: timedelta, snapshot: str = "old", *sources: str, level: str = "restored", **changes: object) -> Run:
    """A good drill of a point that was four hours old; it was back in 12 minutes."""
    took = NOW - ago - timedelta(hours=4)
    detail = {
        "points": points(snapshot, took, level, *sources),
        "measured": {"rto_seconds": 700.0, "rpo_seconds": 14400.0},
    }
    return run("shop-drill", ago, **{"detail": detail, **changes})


DRILL = Today("shop-drill", "drill", PLAN)
NIGHTLY = Today("shop-nightly", "backup", PLAN)


def judge(runs: Sequence[Run], *today: Today, of: Service | None = None, daemon: bool = True) -> Readiness:
    """The shop's readiness; nobody works on any run."""
    newest_first = sorted(runs, key=lambda one: one.started, reverse=True)
    return readiness(
        "shop",
        of or service(),
        today or (NIGHTLY, DRILL),
        runs=newest_first,
        alive=frozenset(),
        now=NOW,
        zone=ZONE,
        daemon=daemon,
    )


PROVEN = [drill(3 * DAY), backup(timedelta(hours=4, minutes=9, seconds=30))]


def test_the_sentence() -> None:
    """What a drill has shown is said with figures, date and run."""
    ready = judge(PROVEN)
    assert ready.verdict == "proven"
    assert ready.headline == (
        "If web1 died now, you would lose at most 4 h 10 min and be back in about 12 min, "
        "proven on 2026-11-17 (drill shop-drill@2026-11-17T14:00Z)."
    )


@pytest.mark.parametrize(
    ("runs", "verdict", "words"),
    [
        ([], "unprotected", "no backup of shop was ever taken"),
        ([backup(DAY / 2, "new", "database")], "unprotected", "no backup of media of shop was ever taken"),
        ([backup(DAY / 2)], "unproven", "no drill has restored a backup of shop"),
        ([*PROVEN, drill(DAY, state=RunState.FAILED, detail={"why": "disk full"})], "unproven", "failed: disk full"),
        ([*PROVEN, drill(DAY, state=RunState.TIMED_OUT, detail={})], "unproven", "failed: timed_out"),
        ([*PROVEN, drill(DAY, state=RunState.CANCELLED, detail={})], "proven", "proven on 2026-11-17"),
        ([drill(3 * DAY, plan=EDITED), backup(DAY / 2)], "unproven", "its plan was edited since"),
        ([*PROVEN, drill(DAY, plan=EDITED)], "proven", "proven on 2026-11-17"),
        ([drill(3 * DAY, "old", "database"), backup(DAY / 2)], "unproven", "it did not restore media"),
        ([drill(3 * DAY, level="taken"), backup(DAY / 2)], "unproven", "it did not restore database, media"),
        (
            [drill(3 * DAY, detail={"points": points("old", NOW, "restored")}), backup(DAY / 2)],
            "unproven",
            "it measured no time to recovery",
        ),
        ([drill(99 * DAY), backup(DAY / 2)], "proven", "proven on 2026-08-13"),
        ([drill(101 * DAY), backup(DAY / 2)], "unproven", "overdue"),
        ([drill(3 * DAY), backup(2 * DAY)], "at_risk", "lose at most 2 d and"),
        (
            [*PROVEN, drill(5 * DAY, state=RunState.FAILED, detail={"why": "disk full"})],
            "proven",
            "proven on 2026-11-17",
        ),
    ],
)
def test_the_verdict(runs: list[Run], verdict: str, words: str) -> None:
    """A claim falls with a missing source, a newer failure, an edit, age, and nothing else."""
    ready = judge(runs)
    assert (ready.verdict, words in ready.headline) == (verdict, True), ready.headline


def test_the_oldest_source_decides_what_is_lost() -> None:
    """A service is back at the moment of its oldest newest point."""
    ready = judge([*PROVEN, backup(timedelta(hours=1), "newer", "media")])
    assert ready.loss == timedelta(hours=4, minutes=9, seconds=30)


@pytest.mark.parametrize(
    ("ago", "objective", "standing"),
    [
        (timedelta(hours=24), "24h", "ok"),
        (timedelta(hours=24, seconds=1), "24h", "missed"),
        (timedelta(days=900), None, "no objective"),
    ],
)
def test_a_source_stands_against_its_objective(ago: timedelta, objective: str | None, standing: str) -> None:
    """The age of the newest point is held against the RPO, to the second."""
    objectives = {"rto": "1h", **({"rpo": objective} if objective else {})}
    ready = judge([backup(ago)], of=service(objectives=objectives))
    assert {source.rpo for source in ready.sources} == {standing}


def test_the_newest_proven_point_is_told_from_the_newest() -> None:
    """A backup is unproven until that very snapshot was restored."""
    (database, _) = judge([*PROVEN]).sources
    assert database.newest is not None
    assert database.proven is not None
    assert (database.newest.snapshot, database.newest.level.value) == ("new", "taken")
    assert (database.proven.snapshot, database.proven.level.value) == ("old", "restored")


def test_a_drill_lifts_the_point_that_it_restored() -> None:
    """The level of a snapshot is the highest that any run showed, and its run the one that took it."""
    (database, _) = judge([backup(DAY, "same"), drill(DAY / 2, "same", level="consistent")]).sources
    assert database.newest is not None
    assert database.newest == database.proven
    assert (database.newest.level.value, database.newest.run.partition("@")[0]) == ("consistent", "shop-nightly")


def test_a_level_measured_for_the_service_counts_for_its_sources() -> None:
    """What `engine.measure` found higher than the single steps is taken."""
    detail = {**drill(DAY).detail, "measured": {"rto_seconds": 5, "levels": {"database": "serving"}}}
    (database, media) = judge([backup(DAY / 2), drill(DAY, detail=detail)]).sources
    assert database.proven is not None
    assert media.proven is not None
    assert (database.proven.level.value, media.proven.level.value) == ("serving", "restored")


@pytest.mark.parametrize(
    "detail",
    [
        {"points": None},
        {"points": {"database": None, "media": {"snapshot": 5}}},
        {"points": {"database": {"snapshot": "", "time": "then", "level": "taken"}}},
        {"points": []},
    ],
)
def test_what_cannot_be_read_is_no_evidence(detail: dict[str, Json]) -> None:
    """A record of another shape is never a recovery point."""
    assert judge([run("shop-nightly", DAY / 2, detail=detail)]).verdict == "unprotected"


def test_a_followed_database_is_not_all_gone() -> None:
    """Without a backup, what a standby received is left, and no more is promised; of the rest nothing is."""
    database = {"kind": "postgres", "database": "shop", "replica": {"unit": "postgresql", "user": "follower"}}
    alone = service(sources={"database": database})
    left = "no backup of shop was ever taken; if web1 died now, only what its standby received would be left."
    assert left in judge([], of=alone).headline
    assert "it would be gone" in judge([], of=service()).headline


def test_a_point_without_a_time_is_as_old_as_its_run() -> None:
    """Of an unknown time the start of the run is believed: it is never younger than that."""
    detail = {"points": {"database": {"snapshot": "x", "time": None}, "media": {"snapshot": "y", "time": "2026"}}}
    assert judge([run("shop-nightly", DAY / 2, detail=detail)]).loss == DAY / 2


def test_a_scheduled_drill_holds_until_the_next_is_late() -> None:
    """Its proof lasts until the next slot and its catch-up have passed."""
    weekly = Schedule.model_validate({"weekly": {"day": "friday", "at": "14:00"}, "catch_up": "2h"})
    today = Today("shop-drill", "drill", PLAN, schedule=weekly)
    assert judge([backup(DAY / 2), drill(3 * DAY)], today).verdict == "proven"
    assert judge([backup(DAY / 2), drill(8 * DAY)], today).verdict == "unproven"


def test_every_risk_names_a_command() -> None:
    """What is not as it should be comes with what to do about it."""
    ready = judge([drill(200 * DAY, state=RunState.FAILED, detail={"why": "x"}), backup(5 * DAY)])
    assert {gap.do for gap in ready.gaps if gap.risk} == {
        "drorch backup shop",
        f"drorch show shop-drill@{NOW - 200 * DAY:%Y-%m-%dT%H:%MZ}",
    }


@pytest.mark.parametrize(
    ("standbys", "what"), [([], "no drill is possible: it has no standby"), (["web2"], "it has no drill")]
)
def test_a_service_without_a_drill_is_told(standbys: list[str], what: str) -> None:
    """That nothing is ever rehearsed is a risk of its own."""
    ready = judge([backup(DAY / 2)], NIGHTLY, of=service(standbys=standbys))
    assert any(gap.what == what and gap.risk for gap in ready.gaps)


def test_a_slow_drill_is_a_risk() -> None:
    """A measured RTO over the objective is said, and the service is at risk."""
    detail = {**drill(DAY).detail, "measured": {"rto_seconds": 4000.0}}
    ready = judge([backup(DAY / 2), drill(DAY, detail=detail)])
    assert ready.verdict == "at_risk"
    assert [gap.what for gap in ready.gaps] == ["the drill took 1 h 6 min, the objective is 1 h"]


@pytest.mark.parametrize(
    ("state", "detail", "shown", "commands"),
    [
        (RunState.RUNNING, {}, "interrupted", ("resume", "abort")),
        (RunState.PENDING, {}, "interrupted", ("resume", "abort")),
        (
            RunState.PAUSED_FAILED,
            {"step": "promote", "topic": "t", "failure": {"why": "no"}, "verbs": ["retry", "skip", "abort"]},
            "paused_failed",
            ("retry", "skip", "abort"),
        ),
        (
            RunState.WAITING_APPROVAL,
            {"step": "ask", "topic": "t", "question": "ready?", "verbs": ["confirm", "refuse"]},
            "waiting_approval",
            ("confirm", "refuse", "abort"),
        ),
    ],
)
def test_a_run_that_needs_a_person_is_shown(
    state: RunState, detail: dict[str, Json], shown: str, commands: tuple[str, ...]
) -> None:
    """Waiting, paused and cut runs put the service at risk and name every answer."""
    stuck = run("shop-nightly", timedelta(hours=1), state=state, detail=detail)
    ready = judge([*PROVEN, stuck])
    assert ready.verdict == "at_risk"
    assert [(wants.state, wants.commands) for wants in ready.attention] == [
        (shown, tuple(f"drorch {verb} {stuck.id}" for verb in commands))
    ]


def test_a_run_in_progress_needs_nobody() -> None:
    """A run on which a process works is shown as running."""
    busy = run("shop-nightly", timedelta(hours=1), state=RunState.RUNNING)
    ready = readiness(
        "shop", service(), (DRILL,), runs=[busy, *reversed(PROVEN)], alive=frozenset({busy.id}), now=NOW, zone=ZONE
    )
    assert (ready.attention, ready.running) == ((), (busy.id,))


def test_a_failed_backup_is_told_while_older_points_are_fresh() -> None:
    """The objective being met does not hide that the last attempt failed."""
    failed = run("shop-nightly", timedelta(hours=1), state=RunState.FAILED, detail={"why": "host unreachable"})
    ready = judge([*PROVEN, failed])
    assert ready.verdict == "at_risk"
    assert ready.gaps[0].what == "the last shop-nightly failed: host unreachable"


@pytest.mark.parametrize(
    ("today", "daemon", "risk", "words"),
    [
        (Today("shop-nightly", "backup", PLAN, overdue=NOW), False, True, "is due and no daemon runs"),
        (Today("shop-nightly", "backup", PLAN, missed=(NOW,)), True, False, "was missed once"),
        (Today("shop-nightly", "backup", PLAN, missed=(NOW, NOW)), True, False, "was missed 2 times"),
    ],
)
def test_a_schedule_that_does_nothing_is_told(today: Today, daemon: bool, risk: bool, words: str) -> None:  # noqa: FBT001 - cases
    """Missed slots and a missing daemon are shown; due work that nobody will do is a risk."""
    ready = judge(PROVEN, today, DRILL, daemon=daemon)
    assert [(gap.risk, words in gap.what) for gap in ready.gaps] == [(risk, True)]
