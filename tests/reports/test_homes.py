"""Where a service lives by now: status says it, and whether anything follows it there."""

import sqlite3
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drorch.core.replication import ReplicaState
from drorch.engine.preflight import seen_key
from drorch.reports.gaps import Gap
from drorch.reports.homes import home_gaps
from support.moves import NOTHING, Moves, Told, promoted, proof

UNPROTECTED = "web1 does not follow web2 yet (database): another failure now has no standby"


@pytest.fixture
def moves(tmp_path: Path) -> Moves:
    """An empty journal."""
    return Moves(tmp_path)


@pytest.fixture
def failed_over(moves: Moves) -> Told:
    """A shop that a failover led to web2."""
    run = moves.completed()
    moves.moved_home(run, "web2")
    return run


def gaps(moves: Moves, *, home: str = "web2", written: str = "web1") -> list[Gap]:
    """What status says of it; ``home`` is the primary of the settled inventory."""
    service = moves.inventory.services["shop"].model_copy(update={"primary": home})
    runs = moves.journal.runs(service="shop")
    return list(home_gaps("shop", service, moves.journal, runs=runs, written=written, zone=ZoneInfo("UTC")))


def test_a_service_that_never_moved_has_no_gap(moves: Moves) -> None:
    """Nothing is said of what never was."""
    assert gaps(moves, home="web1") == []


def test_a_moved_service_says_since_when_and_that_nothing_follows(moves: Moves, failed_over: Told) -> None:
    """The risk has its command, which only looks; where it lives is worth knowing, and no risk."""
    risk, lives = gaps(moves)
    assert (risk.what, risk.do, risk.risk) == (UNPROTECTED, "drorch failback shop --look", True)
    assert lives.what == f"it lives on web2 since 2026-11-20 03:00 ({failed_over.id}); the inventory says web1"
    assert lives.do == "drorch failback shop; or if it stays: services.shop.primary in drorch.yaml"
    assert not lives.risk


def test_an_edited_inventory_leaves_the_risk_alone(moves: Moves, failed_over: Told) -> None:
    """To write down where it lives makes nothing follow it."""
    assert failed_over.run.state.good
    assert [gap.what for gap in gaps(moves, written="web2")] == [UNPROTECTED]


def test_a_rejoin_in_a_later_run_ends_the_risk(moves: Moves, failed_over: Told) -> None:
    """Even of a failback that got no further; a failed one does not."""
    back = moves.failback().begin().did("rejoin-web1", 1, 2, failure={"why": "no"})
    assert gaps(moves)[0].what == UNPROTECTED
    back.did("rejoin-web1", 3, 4, number=2, how="rewound")
    assert [gap.risk for gap in gaps(moves)] == [False]
    assert failed_over.id in gaps(moves)[0].what


def test_home_again_the_other_one_must_follow(moves: Moves, failed_over: Told) -> None:
    """A failback without its last rejoin leaves the service without a standby, too; one before it is none."""
    assert failed_over.run.state.good
    back = moves.failback().begin().did("rejoin-web1", 1, 2).did("fence-web2", 3, 4, **proof("web2"))
    back.did("promote-database", 5, 6, **promoted("web1", NOTHING)).did("switch", 7, 8)
    moves.moved_home(back, "web1")
    (risk,) = gaps(moves, home="web1")
    assert risk.what.startswith("web2 does not follow web1 yet (database)")
    assert risk.do == "drorch check --live shop"
    back.did("rejoin-web2", 9, 10)
    assert gaps(moves, home="web1") == []


@pytest.mark.parametrize(
    ("hours", "followers", "left"), [(1, ("web1 (async)",), 1), (1, (), 2), (-1, ("web1 (sync)",), 2)]
)
def test_a_later_look_that_saw_a_follower_ends_the_risk(
    moves: Moves, failed_over: Told, hours: int, followers: tuple[str, ...], left: int
) -> None:
    """A rejoin by hand is seen by the next look at the new primary; an older look says nothing."""
    at = failed_over.at(0) + timedelta(hours=hours)
    state = ReplicaState(host="web2", role="primary", at=at, followers=followers)
    moves.journal.put(seen_key("shop", "database"), state.model_dump(mode="json"))
    assert len(gaps(moves)) == left


def test_a_home_set_by_hand_says_by_whom(moves: Moves) -> None:
    """Nothing is known of a move that no run made, so nothing else is claimed."""
    moves.journal.put("home:shop", {"host": "web2", "since": "2026-11-20T03:00:00+00:00", "run": "", "by": "ada@x"})
    (lives,) = gaps(moves)
    assert "(set by ada@x)" in lives.what


def test_an_altered_plan_is_no_all_clear(moves: Moves, failed_over: Told) -> None:
    """What cannot be read is not known, which is a risk."""
    assert failed_over.run.state.good
    with sqlite3.connect(moves.folder / "journal.sqlite") as db:
        db.execute("UPDATE plans SET text = text || ' '")
    assert gaps(moves)[0].what.startswith("whether anything follows shop on web2 is not known")
    assert gaps(moves)[0].risk
