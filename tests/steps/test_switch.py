"""The steps about traffic, with a way that is a file."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from drorch.core.evidence import Failure
from drorch.core.finding import Standing
from drorch.core.model import Json
from drorch.core.step import Step
from drorch.steps import AnyStep
from support.tools import Cut, World, WorldTools
from support.turns import FENCED, failover, succeeded

ADAPTER: TypeAdapter[Step] = TypeAdapter(AnyStep)


def _via(**more: Json) -> Json:
    run = ["sh", "-c", 'echo "$1" >leads', "sh", "{{ to }}"]
    return {"command": {"host": "edge", "run": run, "check": ["cat", "leads"], **more}}


def _step(kind: str = "switch", via: Json = None, **more: Json) -> Step:
    return ADAPTER.validate_python({"kind": kind, "via": via or _via(), **more})


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A failover; customers are led to the primary."""
    made = failover(tmp_path)
    _lead(made, "primary")
    return made


def _lead(world: World, to: str) -> None:
    (world.root / "edge" / "leads").write_text(f"{to}\n")


def _led(world: World) -> str:
    return (world.root / "edge" / "leads").read_text().strip()


def test_a_switch_tells_what_it_found_and_did(world: World) -> None:
    """Its evidence names the way, both hosts, what was before, and how long it took."""
    facts = world.evidence(_step(), FENCED).facts
    assert (facts["way"], facts["old"], facts["new"]) == ("command", "primary", "standby")
    assert (facts["before"], facts["leads"], facts["residual"]) == ("old", "new", {})
    assert facts["seconds"] >= 0
    assert _led(world) == "standby"


def test_nobody_is_led_while_the_old_host_is_not_fenced(world: World) -> None:
    """Without a proof that holds, customers stay where they are."""
    outcome = world.perform(_step(), {})
    assert isinstance(outcome, Failure)
    assert "unreachable is not fenced" in outcome.why
    assert _led(world) == "primary"


def test_what_leads_elsewhere_is_named_and_left(world: World) -> None:
    """Somebody's own change is not overwritten, neither by the step nor by its undo."""
    evidence = world.evidence(_step(), FENCED)
    _lead(world, "third")
    for outcome in (world.perform(_step(), FENCED), world.undo(_step(), evidence)):
        assert isinstance(outcome, Failure)
        assert "third" in outcome.why
    assert _led(world) == "third"


def test_the_service_lives_where_customers_are_led(world: World) -> None:
    """The new home is remembered since its first moment, which a second attempt keeps; an undo takes it back."""
    evidence = world.evidence(_step(), FENCED)
    home = world.values["home:shop"]
    assert (home["host"], home["run"]) == ("standby", world.run.id)
    world.evidence(_step(), FENCED, again=True)
    assert world.values["home:shop"] == home
    succeeded(world.undo(_step(), evidence))
    assert world.values["home:shop"]["host"] == "primary"
    assert _led(world) == "primary"


def test_a_switch_that_failed_moves_no_home(world: World) -> None:
    """What is not certain is not remembered."""
    via = _via(run=["true"])
    outcome = world.perform(_step(via=via), FENCED)
    assert isinstance(outcome, Failure)
    assert "ended well, and yet its check says 'primary'" in outcome.why
    assert "home:shop" not in world.values


def test_an_undo_that_is_not_wanted_is_none(world: World) -> None:
    """``undo: false`` keeps customers where the failover led them."""
    step = _step(undo=False)
    evidence = world.evidence(step, FENCED)
    assert not step.can_undo
    assert isinstance(world.undo(step, evidence), Failure)
    assert _led(world) == "standby"


def test_an_undo_may_have_a_program_of_its_own(world: World) -> None:
    """Its words mean the hosts as the runbook does."""
    step = _step(via=_via(undo=["sh", "-c", 'echo "$1" >leads', "sh", "{{ from }}"]))
    evidence = succeeded(world.undo(step, world.evidence(step, FENCED)))
    assert (evidence.facts["leads"], _led(world)) == ("old", "primary")


@pytest.mark.parametrize(
    ("leads", "standing"),
    [("primary", Standing.GOOD), ("standby", Standing.DOUBTFUL), ("third", Standing.BAD)],
)
def test_a_preflight_says_where_customers_are_led(world: World, leads: str, standing: Standing) -> None:
    """Only what leads to the old host is good before a failover; everything else has a remedy."""
    _lead(world, leads)
    findings = list(_step().preflight(WorldTools(world, "switch", Cut())))
    assert max(findings, key=lambda each: each.standing.height).standing is standing
    assert all(each.remedy for each in findings if each.standing is not Standing.GOOD)


def test_a_drill_only_looks(world: World) -> None:
    """A rehearsal says where customers are led, and leads nobody."""
    drill = world.as_run("drill", "shop-drill@1")
    evidence = succeeded(_step().rehearse(WorldTools(drill, "switch", Cut()), {}))
    assert (evidence.facts["rehearsed"], evidence.facts["leads"]) == (False, "old")
    assert isinstance(drill.perform(_step(), FENCED), Failure)
    assert _led(world) == "primary"


def test_a_switch_lets_go_what_waits(world: World) -> None:
    """Requests that a hold lets wait go on once they are led to the new host; an undo of the hold lets them go, too."""
    via = _via(hold=["touch", "held"], release=["rm", "-f", "held"])
    held = world.root / "edge" / "held"
    hold = _step("hold", via)
    evidence = world.evidence(hold)
    assert held.exists()
    world.evidence(_step(via=via), FENCED)
    assert not held.exists()
    world.evidence(hold)
    succeeded(world.undo(hold, evidence))
    assert not held.exists()


def test_a_hold_that_fails_holds_nobody(world: World) -> None:
    """What was half held is let go at once."""
    via = _via(hold=["sh", "-c", "touch held; exit 1"], release=["rm", "-f", "held"])
    assert isinstance(world.perform(_step("hold", via)), Failure)
    assert not (world.root / "edge" / "held").exists()


def test_a_way_that_cannot_hold_is_a_mistake(world: World) -> None:
    """The check of the documents says so, and what to say."""
    haproxy = {"haproxy": {"host": "edge", "backend": "shop"}}
    ((key, message, hint),) = _step("hold", haproxy).problems(world.scene)
    assert (key, message) == ("via", "backend shop of HAProxy on edge cannot let requests wait")
    assert "hold: true" in hint


def test_only_what_moves_a_service_switches(world: World) -> None:
    """In a backup or maintenance the steps are mistakes."""
    scene = world.scene_with(kind="maintenance", target=None)
    for step in (_step(), _step("hold", _via(hold=["true"], release=["true"]))):
        assert [key for key, _, _ in step.problems(scene)] == ["kind"]
