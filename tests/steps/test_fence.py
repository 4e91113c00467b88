"""The ladder of a fence, in a world that answers from memory."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Standing
from drorch.core.model import Json
from drorch.sources.files import Files
from drorch.steps._safe import unsafe
from support.ladders import POWER, UNITS, Place, fence
from support.rungs import world_of
from support.tools import Cut, WorldTools

ATTESTED = Evidence(
    facts={"attested_by": "anna@laptop", "note": "I see it", "at": "2026-03-01T02:31:00Z", "tried": None}
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where it happens."""
    return Place(tmp_path)


def test_the_first_proof_ends_the_ladder(place: Place) -> None:
    """What is stopped and masked needs no power-off."""
    facts = place.fenced(UNITS, POWER, "attest").facts
    assert (facts["fenced"], facts["proof"]["rung"], facts["tried"]) == ("primary", "stop", [])
    assert place.provider.power == "on"


def test_a_rung_without_a_proof_leads_to_the_next(place: Place) -> None:
    """What hangs is masked all the same; what was tried is told, and taken back with the rest."""
    place.unit("postgresql").hangs = True
    step = fence(UNITS, POWER, "attest")
    evidence = place.fenced(UNITS, POWER, "attest")
    assert evidence.facts["proof"]["rung"] == "power_off"
    (tried,) = evidence.facts["tried"]
    assert "postgresql on primary is deactivating" in tried["why"]
    assert {unit.masked for unit in place.systemd.units.values()} == {"masked"}
    place.unit("postgresql").active = "inactive"  # as after a boot
    assert isinstance(place.world.undo(step, evidence), Evidence)
    assert place.provider.power == "on"
    assert {(unit.masked, unit.active) for unit in place.systemd.units.values()} == {("", "active")}


def test_an_undo_after_a_cut_knows_what_was_begun(place: Place) -> None:
    """A fence that stands already when the cut attempt is taken up does not hide what that attempt did."""
    place.unit("postgresql").hangs = True
    place.fenced(UNITS, POWER)
    again = place.fenced(UNITS, POWER, again=True)
    place.unit("postgresql").active = "inactive"
    assert isinstance(place.world.undo(fence(UNITS, POWER), again), Evidence)
    assert {unit.masked for unit in place.systemd.units.values()} == {""}


def test_a_host_that_is_off_already_is_fenced_at_once(place: Place) -> None:
    """Nobody waits for a silent host when the provider says that it is off."""
    place.provider.power, place.primary.reachable = "off", False
    assert place.fenced(UNITS, POWER).facts["proof"]["rung"] == "power_off"
    assert place.systemd.orders == []


def test_silence_is_no_proof(place: Place) -> None:
    """A host that does not answer is not fenced; a person's word is asked for, with all that was tried."""
    place.primary.reachable = False
    failure = place.unfenced(UNITS, "attest")
    assert "unreachable is not fenced" in failure.why
    assert "drorch attest shop-failover@1" in failure.hint
    assert failure.facts["attest"]
    assert [one["rung"] for one in failure.facts["tried"]] == ["stop"]
    assert "Unreachable is not fenced" in failure.facts["question"]


def test_a_persons_word_is_kept_with_the_name(place: Place) -> None:
    """It is a proof that says whose it is, an exception of the run, and never more than a word."""
    place.primary.reachable = False
    evidence = place.fenced(UNITS, "attest", word=ATTESTED, again=True)
    proof = evidence.facts["proof"]
    assert (proof["attested"], proof["rung"], proof["facts"]["by"]) == (True, "attest", "anna@laptop")
    assert evidence.exceptions == ("primary is fenced only by the word of anna@laptop",)
    assert unsafe(place.tools(), {"fence": evidence}) is None
    assert isinstance(place.world.undo(fence(UNITS, "attest"), evidence), Evidence)


@pytest.mark.parametrize("mode", ["planned", "unplanned"])
def test_a_word_counts_only_where_it_was_asked_for(place: Place, mode: str) -> None:
    """Neither in a planned switchover nor where the ladder has no such rung."""
    place.primary.reachable = False
    place.world.scene = place.world.scene_with(mode=mode)
    ladder = (UNITS, "attest") if mode == "planned" else (UNITS,)
    assert not place.unfenced(*ladder, word=ATTESTED).facts["attest"]


def test_a_planned_switchover_forces_nothing(place: Place) -> None:
    """Only rungs that lose nothing count, and the way out is named."""
    place.world.scene = place.world.scene_with(mode="planned")
    place.unit("shop").hangs = True
    failure = place.unfenced(UNITS, POWER, "attest")
    assert place.provider.power == "on"
    assert "drorch unplanned shop-failover@1" in failure.hint
    assert "power" not in fence(UNITS, POWER, "attest").describe(place.world.scene)


def test_a_unit_that_does_not_exist_is_no_proof(place: Place) -> None:
    """A misspelt unit is as inactive as a stopped one."""
    failure = place.unfenced({"stop": "postgres"})
    assert "primary has no unit postgres" in failure.why
    assert place.systemd.orders == []


def test_processes_that_a_stop_leaves_are_no_proof(place: Place) -> None:
    """The unit is dead, and something of it still writes."""
    place.unit("postgresql").leaves = (4711,)
    failure = place.unfenced(UNITS)
    assert "1 process of it lives" in failure.why
    assert "kill 4711" in failure.hint


def test_a_drill_fences_nothing(place: Place) -> None:
    """Neither as a step nor in a rehearsal, which only looks."""
    drill = place.world.as_run("drill", "shop-drill@1")
    assert isinstance(drill.perform(fence(UNITS)), Failure)
    assert fence(UNITS).problems(drill.scene)
    looked = fence(UNITS, POWER).rehearse(WorldTools(drill, "fence", Cut()), {})
    assert isinstance(looked, Evidence)
    assert len(looked.facts["looked_at"]) == 2
    assert not looked.exceptions
    assert place.systemd.orders == []
    assert place.provider.power == "on"


# --- what is wrong or doubtful ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rung", "told"),
    [
        ({"power_off": {"command": ["cloud", "off"]}}, "can never prove"),
        ({"power_off": {"command": ["cloud", "off"], "status": ["cloud", "status"]}}, "can never prove"),
        ({"power_off": {**POWER["power_off"], "host": "primary"}}, "cannot tell that its own power"),
        ({"edge": {"haproxy": {"host": "edge", "backend": "shop", "server": "web1"}}}, "proves nothing"),
        ({"edge": {"firewall": {"host": "edge", "ports": [5432]}}}, "proves nothing"),
        ({"edge": {"firewall": {"host": "primary", "ports": [5432]}}}, "lock itself out"),
        (
            {"edge": {"firewall": {"host": "primary", "ports": [1], "allow": ["::1"], "from": "primary"}}},
            "from primary",
        ),
        ({"read_only": "ledger"}, "cannot be set read-only"),
    ],
    ids=str,
)
def test_a_rung_that_could_prove_nothing_is_told(place: Place, rung: Json, told: str) -> None:
    """Before anything runs, with what to do."""
    place.world.scene = place.world.scene_with(sources={"ledger": Files(kind="files", paths=("/srv",))})
    found = fence(rung).problems(place.world.scene)
    assert any(told in message and hint for _, message, hint in found), found


def test_a_stop_that_leaves_the_database_running_is_told(tmp_path: Path) -> None:
    """The application's end is not the database's."""
    world, _, _ = world_of(tmp_path)
    assert "leaves ledger accepting writes" in str(fence({"stop": "shop"}).problems(world.scene))
    assert fence(UNITS).problems(world.scene) == ()


def test_a_ladder_is_in_order(place: Place) -> None:
    """It has a rung, and a person's word is the last."""
    with pytest.raises(ValidationError):
        fence()
    assert "nothing after attest" in str(fence("attest", UNITS).problems(place.world.scene))


def test_doubts_about_a_ladder_are_told(place: Place) -> None:
    """One that needs the host itself, one for another host, one without time."""
    assert "nothing but a person's word" in str(fence(UNITS, "attest").doubts(place.world.scene))
    assert "lives on primary" in str(fence(POWER, host="standby").doubts(place.world.scene))
    assert "may take" in str(fence(UNITS, POWER, timeout="1m").doubts(place.world.scene))
    assert fence(UNITS, POWER).doubts(place.world.scene) == ()


# --- before it is needed ----------------------------------------------------------------------------------------------


def test_a_look_says_what_could_fence(place: Place) -> None:
    """Every rung is good; nothing has changed."""
    found = list(fence(UNITS, POWER, "attest").preflight(place.tools()))
    assert [one.standing for one in found] == [Standing.GOOD, Standing.GOOD]
    assert place.systemd.orders == []


@pytest.mark.parametrize(("ladder", "standing"), [((UNITS, "attest"), Standing.DOUBTFUL), ((UNITS,), Standing.BAD)])
def test_a_ladder_that_only_a_person_can_climb_is_told(place: Place, ladder: Json, standing: Standing) -> None:
    """A silent host leaves no rung but a person's word, or none."""
    place.primary.reachable = False
    found = list(fence(*ladder).preflight(place.tools()))
    assert found[0].standing is Standing.UNKNOWN
    assert (found[-1].standing, "nothing can fence primary" in found[-1].what) == (standing, True)


def test_a_status_that_matches_what_is_on_is_found(place: Place) -> None:
    """An expression that says off of a host that answers would prove anything."""
    wrong = {"power_off": {**POWER["power_off"], "off": "status"}}
    (found, *_) = fence(wrong).preflight(place.tools())
    assert found.standing is Standing.BAD
    assert "matches what it must not" in found.what


@pytest.mark.parametrize(
    ("change", "told", "standing"),
    [
        (lambda place: setattr(place.unit("shop"), "active", "inactive"), "does not run now", Standing.DOUBTFUL),
        (lambda place: place.systemd.units.pop("shop.service"), "has no unit shop", Standing.BAD),
        (lambda place: setattr(place.primary, "user", "shop"), "is not root", Standing.BAD),
    ],
)
def test_units_that_could_not_be_stopped_are_found(place: Place, change: Json, told: str, standing: Standing) -> None:
    """Stopped already, unknown, or out of reach."""
    change(place)
    found = [one for one in fence(UNITS).preflight(place.tools()) if one.standing is not Standing.GOOD]
    assert told in found[0].what
    assert found[0].standing is standing
    assert found[0].remedy
