"""Services that start and stop, behind a fence where that matters, in a world that answers from memory."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from drorch.core.evidence import Evidence, Failure
from drorch.core.model import Json
from support.ladders import Place, service
from support.turns import FENCED
from support.units import FakeUnit


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where it happens."""
    return Place(tmp_path)


def test_nothing_starts_in_a_failover_without_a_fence(place: Place) -> None:
    """Two shops that take orders are two primaries."""
    outcome = place.world.perform(service(start="shop"))
    assert isinstance(outcome, Failure)
    assert "no proof that primary is fenced" in outcome.why
    assert place.there.orders == []


def test_nothing_starts_on_what_was_fenced(place: Place) -> None:
    """A step that names the wrong host would undo the fence."""
    outcome = place.world.perform(service(host="primary", start="shop"), FENCED)
    assert isinstance(outcome, Failure)
    assert "fenced in this very run" in outcome.why
    assert service(host="primary", start="shop").problems(place.world.scene)


def test_a_drill_starts_nothing_where_the_service_lives(place: Place) -> None:
    """Its primary is left alone."""
    drill = place.world.as_run("drill", "shop-drill@1")
    assert service(host="primary", stop="shop").problems(drill.scene)
    assert isinstance(drill.perform(service(host="primary", stop="shop")), Failure)
    assert place.systemd.orders == []


def test_a_start_tells_what_was_before(place: Place) -> None:
    """And an undo stops what did not run, and masks what was masked."""
    unit = place.there.units["shop.service"]
    unit.masked = "masked-runtime"
    step = service(start="shop")
    evidence = place.world.evidence(step, FENCED)
    assert evidence.facts["start"]["shop.service"] == {
        "before": "inactive (dead)",
        "now": "active (running)",
        "pid": 200,
    }
    assert (unit.masked, unit.active) == ("", "active")
    assert isinstance(place.world.undo(step, evidence), Evidence)
    assert unit.active == "inactive"


def test_a_start_of_what_runs_changes_nothing(place: Place) -> None:
    """A warm standby's application is neither started anew nor stopped by the undo."""
    place.there.units["shop.service"].start()
    step = service(start="shop")
    evidence = place.world.evidence(step, FENCED)
    assert isinstance(place.world.undo(step, evidence), Evidence)
    assert place.there.orders == []


def test_a_start_after_a_fence_brings_the_parts_back(place: Place) -> None:
    """What a fence masked along with a unit may start again with it."""
    place.systemd.units["db@15.service"] = FakeUnit()
    place.unit("postgresql").parts = ("db@15.service",)
    place.fenced({"stop": "postgresql"})
    assert place.systemd.units["db@15.service"].masked
    home = place.world.as_run("maintenance", "shop-repair@1")
    home.evidence(service(host="primary", start="postgresql"))
    assert not place.systemd.units["db@15.service"].masked


def test_a_start_that_fails_says_what_the_unit_said(place: Place) -> None:
    """A tired person reads the reason, not systemd's words about it."""
    place.there.units["shop.service"].breaks = True
    outcome = place.world.perform(service(start="shop"), FENCED)
    assert isinstance(outcome, Failure)
    assert outcome.why.endswith("it said: the disk is full")
    assert "journalctl -u shop.service on standby" in outcome.hint


def test_what_does_not_go_on_running_is_a_failure(place: Place) -> None:
    """A program that ends a moment after its start did not start."""
    place.world.clock.slept = Dying(place)
    outcome = place.world.perform(service(start="shop", **{"for": "5s"}), FENCED)
    assert isinstance(outcome, Failure)
    assert "shop on standby is failed" in outcome.why


class Dying(list[float]):
    """The shop dies while anybody waits."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def append(self, seconds: float) -> None:
        """A wait."""
        super().append(seconds)
        unit = self._place.there.units["shop.service"]
        unit.active, unit.pid, unit.processes = "failed", 0, ()


def test_a_stop_waits_for_the_parts(place: Place) -> None:
    """The cluster behind an umbrella unit has ended, too; the undo starts both again."""
    place.systemd.units["db@15.service"] = FakeUnit()
    place.unit("postgresql").parts = ("db@15.service",)
    home = place.world.as_run("maintenance", "shop-repair@1")
    step = service(host="primary", stop="postgresql")
    evidence = home.evidence(step)
    assert set(evidence.facts["changed"]) == {"postgresql.service", "db@15.service"}
    assert {place.systemd.units[name].active for name in evidence.facts["changed"]} == {"inactive"}
    assert isinstance(home.undo(step, evidence), Evidence)
    assert {place.systemd.units[name].active for name in evidence.facts["changed"]} == {"active"}


@pytest.mark.parametrize("said", [{}, {"start": "shop", "stop": "shop"}, {"start": []}, {"start": "-f"}])
def test_a_service_step_says_one_thing(said: Json) -> None:
    """Start or stop, of at least one unit, whose name is no option."""
    with pytest.raises(ValidationError):
        service(**said)
