"""Restoring from the mirror in a store: where from is told, and what is proven is the same point."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.model import Json
from drorch.core.step import Step
from drorch.repositories.memory import MemoryRepository
from drorch.sources.files import Files
from drorch.steps import AnyStep
from drorch.steps import _proven as proven
from support.tools import START, Cut, World, WorldTools, step_name

ADAPTER: TypeAdapter[Step] = TypeAdapter(AnyStep)


def step(said: Json) -> Step:
    """A step as a user writes it."""
    return ADAPTER.validate_python(said)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A service that was backed up and mirrored, and whose repository is gone."""
    world = World(tmp_path, {"media": Files(kind="files", paths=("~/media",))})
    (tmp_path / "primary" / "media").mkdir()
    (tmp_path / "primary" / "media" / "one").write_text("one")
    nightly = world.as_run("backup", "shop-nightly@1", START - timedelta(hours=1))
    nightly.evidence(step({"kind": "backup", "source": "media"}))
    world.repositories["nas@offsite"] = world.repositories.pop("nas")
    return world


@pytest.mark.parametrize("by", ["step", "runbook"])
def test_a_drill_from_the_store_needs_no_repository(world: World, by: str) -> None:
    """Restore and verify read the mirror alone, and both tell from where; the proven point is the repository's own."""
    if by == "runbook":
        world.scene = world.scene_with(store="offsite")
    restore = step({"kind": "restore", "source": "media", **({"store": "offsite"} if by == "step" else {})})
    verify = step({"kind": "verify", "source": "media"})
    restored = world.evidence(restore)
    verified = world.evidence(verify, {step_name(restore): restored})
    for evidence in (restored, verified):
        assert (evidence.facts["repository"], evidence.facts["store"]) == ("nas", "offsite")
    assert verified.level is ProofLevel.RESTORED
    remembered = proven.snapshots(WorldTools(world, "x", Cut()).memory, "shop", "media")
    assert remembered == (restored.facts["snapshot"],)
    assert world.values["proven:shop:media"]["repository"] == "nas"


def test_from_the_repository_no_store_is_told(world: World) -> None:
    """Evidence of a restore from the repository is what it was."""
    world.repositories["nas"] = world.repositories["nas@offsite"]
    assert "store" not in world.evidence(step({"kind": "restore", "source": "media"})).facts


def test_an_empty_mirror_says_what_to_do(world: World) -> None:
    """A store that holds nothing of the service is told by its name."""
    world.repositories["nas@offsite"] = MemoryRepository("nas@offsite")
    world.repositories["nas@offsite"].create(world.at)
    outcome = world.perform(step({"kind": "restore", "source": "media", "store": "offsite"}))
    assert isinstance(outcome, Failure)
    assert "offsite holds no snapshot of shop" in outcome.why
    assert "mirror" in outcome.hint


def test_swapping_from_the_store_proves_it_against_the_store(world: World) -> None:
    """Even in the live thing's place, what is restored is compared with the mirror."""
    maintenance = world.as_run("maintenance", "shop-restore@1")
    done = maintenance.evidence(step({"kind": "restore", "source": "media", "store": "offsite", "swap": True}))
    assert isinstance(done, Evidence)
    assert (done.facts["store"], done.level) == ("offsite", ProofLevel.RESTORED)
