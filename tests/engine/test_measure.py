"""What a drill's records measure: no world."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.model import Json
from drorch.engine.interpret import Attempt
from drorch.engine.measure import Measured, measure
from drorch.engine.plan import make_plan
from support.moves import Moves

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
INVENTORY = Inventory.model_validate(
    {
        "site": "acme",
        "hosts": {"web1": {}, "web2": {"home": "/srv/standby"}},
        "repositories": {"nas": {"url": "/srv/nas", "password": {"secret": "nas"}}},
        "secrets": {"nas": {"env": "NAS"}},
        "services": {
            "shop": {
                "primary": "web1",
                "standbys": "web2",
                "repository": "nas",
                "sources": {
                    "database": {"kind": "postgres", "database": "shop"},
                    "media": {"kind": "files", "paths": ["/srv/media"]},
                },
            }
        },
    }
)
RUNBOOK = Runbook.model_validate(
    {
        "runbook": "shop-drill",
        "kind": "drill",
        "service": "shop",
        "steps": [
            {"parallel": [{"kind": "restore", "source": "database"}, {"kind": "restore", "source": "media"}]},
            {"kind": "verify", "source": "database"},
            {"kind": "verify", "source": "media"},
            {"kind": "http", "url": "http://127.0.0.1:18080/"},
        ],
    }
)
PLAN = make_plan(INVENTORY, RUNBOOK)


def _attempt(step: str, minute: int, evidence: Evidence | None, number: int = 1) -> Attempt:
    ended = (START + timedelta(minutes=minute)).isoformat()
    failure = None if evidence else Failure(why="broken")
    return Attempt(step=step, number=number, started=ended, ended=ended, evidence=evidence, failure=failure)


def _restored(source: str, hours: int) -> Evidence:
    facts: dict[str, Json] = {"snapshot_time": (START - timedelta(hours=hours)).isoformat()}
    return Evidence(facts=facts, source=source)


GOOD = (
    _attempt("restore-database", 2, _restored("database", 8)),
    _attempt("restore-media", 3, _restored("media", 9)),
    _attempt("verify-database", 4, Evidence(facts={}, source="database", level=ProofLevel.CONSISTENT)),
    _attempt("verify-media", 5, Evidence(facts={}, source="media", level=ProofLevel.RESTORED)),
    _attempt("http", 6, Evidence(facts={}, level=ProofLevel.SERVING)),
    _attempt("cleanup", 9, Evidence(facts={})),
)


def _measured(*instead: Attempt, without: str = "") -> Measured:
    changed = {attempt.step: attempt for attempt in (*GOOD, *instead)}
    return measure(START, PLAN, [attempt for step, attempt in changed.items() if step != without])


def test_back_is_when_the_last_check_passed() -> None:
    """The RTO ends with the last verifying step; the clean-up does not count."""
    assert _measured().rto_seconds == 6 * 60


def test_the_oldest_point_is_what_would_be_lost() -> None:
    """The RPO is the age, at the run's start, of the oldest recovery point that was restored."""
    assert _measured().rpo_seconds == 9 * 3600


def test_levels_are_told_with_what_was_skipped() -> None:
    """Each source has the highest level shown, and the levels below it that were not."""
    measured = _measured()
    assert measured.levels == {"database": ProofLevel.SERVING, "media": ProofLevel.SERVING}
    assert measured.skipped == {
        "database": (ProofLevel.COPIED, ProofLevel.INTACT),
        "media": (ProofLevel.COPIED, ProofLevel.INTACT, ProofLevel.CONSISTENT),
    }


@pytest.mark.parametrize("step", ["verify-media", "http", "restore-media"])
@pytest.mark.parametrize("missing", [True, False], ids=["missing", "failed"])
def test_a_gap_leaves_no_time_to_be_back(step: str, missing: bool) -> None:  # noqa: FBT001 - a case
    """A step that failed or never ran leaves no RTO: being back was not shown."""
    measured = _measured(without=step) if missing else _measured(_attempt(step, 7, None))
    assert measured.rto_seconds is None


def test_a_missing_restore_leaves_no_loss() -> None:
    """What was not restored may be lost whole, so there is no RPO."""
    assert _measured(without="restore-media").rpo_seconds is None


def test_a_source_that_was_not_verified_serves_nothing() -> None:
    """An answering application lifts only the sources that were verified."""
    assert _measured(without="verify-media").levels["media"] is ProofLevel.TAKEN


def test_the_last_attempt_counts() -> None:
    """A step that succeeded when tried again has succeeded, and at that later time."""
    again = _attempt("http", 8, Evidence(facts={}, level=ProofLevel.SERVING), number=2)
    measured = measure(START, PLAN, [*GOOD[:4], _attempt("http", 6, None), again])
    assert measured.rto_seconds == 8 * 60


def test_nothing_measured_is_nothing() -> None:
    """A run without a restore measures nothing, and above all not zero."""
    assert measure(START, PLAN, []) == Measured()


def test_a_loss_is_told_of_its_source(tmp_path: Path) -> None:
    """What a promotion lost stands under the source that was promoted, not under the name of the step."""
    plan = Moves(tmp_path).failover().plan
    lost = Evidence(facts={"loss": {"seconds": 4.0}})
    assert measure(START, plan, (_attempt("promote-database", 1, lost),)).loss["database"].seconds == 4.0
