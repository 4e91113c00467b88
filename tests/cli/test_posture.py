"""`drorch posture`: what it prints, and with which exit code."""

from datetime import UTC, datetime, timedelta

import pytest

from drorch.config.load import load
from drorch.core.exits import Exit
from drorch.core.step import RunState
from drorch.engine.journal import Run
from drorch.engine.plan import make_plan
from support.place import Place


@pytest.fixture
def backed_up(place: Place) -> Place:
    """A place with a backup of four hours ago, as the engine records it."""
    documents = load(place.folder / "config")
    plan = make_plan(documents.inventory, documents.runbooks["nightly"])
    at = datetime.now(UTC) - timedelta(hours=4)
    run = Run("nightly@1", "nightly", "backup", "shop", "", plan.digest, RunState.PENDING, at, None, {})
    place.journal.begin(run, plan.text, {"what": "started", "service": "shop"})
    (step,) = plan.steps()
    facts = {"snapshot": "c" * 64, "repository": "nas", "time": at.isoformat()}
    body = {
        "what": "attempt",
        "step": step.id,
        "state": "succeeded",
        "started": at.isoformat(),
        "ended": at.isoformat(),
        "evidence": {"facts": facts, "source": "media", "level": "taken"},
    }
    place.journal.append(run.id, f"attempt {step.id}#1", at, body)
    ended = {"what": "ended", "state": "completed"}
    place.journal.append(run.id, "ended", at, ended, state=RunState.COMPLETED, detail=ended)
    return place


def test_nothing_is_claimed_of_nothing(place: Place) -> None:
    """Without a run there is the live data alone; asking creates no state, and can be watched."""
    said = place.json("posture", "--check", expect=Exit.AT_RISK)
    (shop,) = said["services"]
    assert (said["good"], shop["shown"], shop["service"]) == (False, "1-1-0-0-?", "shop")
    assert [digit["name"] for digit in shop["digits"]] == ["copies", "media", "off-site", "immutable", "errors"]
    assert not place.state.exists()


def test_a_backup_is_counted_with_its_run(backed_up: Place) -> None:
    """What the engine recorded is read back: the copy, its age, its run, and that it is on the primary's machine."""
    said = backed_up.drorch("posture", "shop").stdout
    assert "shop  2-1-0-0-?" in said
    assert "repository nas, 4 h old (nightly@1, " in said
    assert "disk of the controller (web1, nas): one machine (the controller)" in said


def test_status_points_to_it(backed_up: Place) -> None:
    """Where a digit fails, status says so in one line that is no risk of its own."""
    (line,) = (line for line in backed_up.drorch("status").stdout.splitlines() if "posture" in line)
    assert line == "  · posture 2-1-0-0-? of 3-2-1-1-0 → drorch posture shop"


def test_a_service_that_is_not_there(place: Place) -> None:
    """An unknown name has its own exit code."""
    assert "there is shop" in place.drorch("posture", "shpo", expect=Exit.UNKNOWN).stderr
