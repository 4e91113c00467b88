"""The steps that move a replicated database, around one that is two small files."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from drorch.core.evidence import Evidence, Failure
from drorch.core.fence import Proof
from drorch.core.model import Json
from drorch.core.replication import ReplicaState
from drorch.core.step import Step
from drorch.fences.stop import Stop, Stopping
from drorch.hosts.fake import FakeHost
from drorch.sources.command import Custom
from drorch.steps import AnyStep
from drorch.steps._replicas import seen_key
from drorch.steps._safe import fence_facts
from support.tools import START, Cut, World, WorldTools
from support.turns import FENCED
from support.twins import twinned

ADAPTER: TypeAdapter[Step] = TypeAdapter(AnyStep)


def step(**said: Json) -> Step:
    """As a user writes it."""
    return ADAPTER.validate_python({"source": "database", **said})


PROMOTE = step(kind="promote")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A failover of a service with a replicated database."""
    made = World(tmp_path, {}, kind="failover", run="shop-failover@1")
    twinned(made)
    return made


def stand(world: World, host: str, **state: Any) -> None:  # noqa: ANN401 - any of its fields
    """Let a server stand so."""
    file = world.root / host / "twin"
    file.write_text(json.dumps({**json.loads(file.read_text()), **state}))


def remembered(world: World, **state: Any) -> None:  # noqa: ANN401 - any of its fields
    """How the primary stood when it was last looked at."""
    known = ReplicaState(host="primary", role="primary", at=START, cluster="7", **state)
    world.values[seen_key("shop", "database")] = known.model_dump(mode="json")


def planned(world: World) -> None:
    """A switchover with the old primary's help."""
    world.scene = world.scene_with(mode="planned")


def failed(world: World, what: Step = PROMOTE, earlier: dict[str, Evidence] | None = None) -> Failure:
    """It must fail."""
    outcome = world.perform(what, dict(FENCED) if earlier is None else earlier)
    assert isinstance(outcome, Failure), outcome
    return outcome


def test_nothing_is_promoted_without_a_proof(world: World) -> None:
    """Unreachable is not fenced; and the standby is not even asked."""
    assert "no proof" in failed(world, earlier={}).why
    assert world.commands == []


def test_a_planned_switchover_waits_for_the_last_word(world: World) -> None:
    """What the standby lacks is said in bytes, and nothing is promoted."""
    planned(world)
    stand(world, "standby", position=60)
    refused = failed(world)
    assert "last 40 bytes of primary" in refused.why
    assert "drorch unplanned" in refused.hint
    assert refused.facts["missing_bytes"] == 40
    stand(world, "standby", position=100)
    assert world.evidence(PROMOTE, FENCED).facts["loss"]["none"]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"role": "primary"}, "still accepts writes"),
        ({"clean": False, "position": None}, "its last word is not known"),
    ],
)
def test_a_planned_switchover_needs_a_primary_stopped_in_order(world: World, state: dict[str, Any], why: str) -> None:
    """Anything else may lose what was acknowledged."""
    planned(world)
    stand(world, "primary", **state)
    assert why in failed(world).why


def test_another_database_than_was_last_seen_is_refused(world: World) -> None:
    """It may be the wrong host behind the right address."""
    remembered(world)
    world.values[seen_key("shop", "database")]["cluster"] = "8"
    assert "another database" in failed(world).why


def test_the_loss_is_reckoned_from_what_was_last_seen(world: World) -> None:
    """A primary that is gone is not waited for."""
    world.hosts["primary"] = FakeHost("primary", reachable=False)
    remembered(world, position=150, next_transaction=17, synchronous=False)
    stand(world, "standby", next_transaction=5, last_commit=START.isoformat())
    done = world.evidence(PROMOTE, FENCED)
    assert (done.facts["loss"]["bytes"], done.facts["loss"]["transactions"]) == (50, 12)
    assert done.facts["loss_words"].endswith("12 transactions seen but not received")
    assert world.values["home:shop"]["host"] == "standby"


def test_a_primary_fenced_by_its_own_hand_is_asked(world: World) -> None:
    """It says to the byte what is lost."""
    proof = Proof(host="primary", rung="stop", words="it is stopped", facts={"units": []})
    rung = Stop(stop=Stopping(units=("twin",)))
    fenced = {"fence": Evidence(facts=fence_facts(proof, rung))}
    stand(world, "standby", position=70)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stop, "holds", lambda *_: None)
        done = world.evidence(PROMOTE, fenced)
    assert done.facts["loss"]["bytes"] == 30


def test_what_somebody_promoted_by_hand_is_verified(world: World) -> None:
    """If it is further than the old primary; else it may be a second primary on the same timeline."""
    remembered(world, history=1, position=100)
    stand(world, "standby", role="primary", history=2)
    done = world.evidence(PROMOTE, FENCED)
    assert "already" in done.facts["loss"]["basis"]
    stand(world, "standby", role="primary", history=1)
    assert "no further than the old one" in failed(world).why


def test_a_drill_promotes_a_copy_only(tmp_path: Path) -> None:
    """What is live is refused by name."""
    world = World(tmp_path, {}, kind="drill")
    twinned(world)
    assert "promotes nothing" in failed(world).why


def test_a_rehearsal_says_where_the_copy_is(tmp_path: Path) -> None:
    """Later steps ask it on its own port."""
    world = World(tmp_path, {}, kind="drill")
    twinned(world)
    tools = WorldTools(world, "promote-database", Cut())
    done = PROMOTE.rehearse(tools, {})
    assert isinstance(done, Evidence)
    assert (done.facts["rehearsed"], done.facts["host"], done.facts["port"]) == (True, "standby", 5433)
    assert PROMOTE.forget(tools) is None


def test_a_switchover_waits_until_the_standby_has_all(world: World) -> None:
    """Received and replayed; a standby that stays behind is told in bytes, with what may be in the way."""
    wait = step(kind="caught_up", timeout="2s")
    assert world.evidence(wait).facts["lag_bytes"] == 0
    stand(world, "standby", applied=90)
    late = failed(world, wait)
    assert (late.facts["lag_bytes"], late.timed_out, late.retryable) == (10, True, True)
    assert isinstance(world.perform(step(kind="caught_up", within=10)), Evidence)
    stand(world, "standby", facts={"paused": True})
    assert "pg_wal_replay_resume" in failed(world, wait).hint
    stand(world, "standby", role="primary")
    assert "accepts writes" in failed(world, wait).why


def test_a_rejoin_follows_the_other_one_of_the_two(world: World) -> None:
    """Unless told otherwise; it needs to know where that is reached."""
    rejoin = step(kind="rejoin", host="primary")
    done = world.evidence(rejoin)
    assert (done.facts["follows"], done.facts["leader"], done.facts["kept"]) == (
        "standby",
        "10.0.0.2",
        "shop-failover-1",
    )
    world.scene = world.scene_with(addresses={})
    assert rejoin.problems(world.scene)[0][0] == "leader"
    assert step(kind="rejoin", host="primary", leader="primary").problems(world.scene)[0][0] == "leader"


@pytest.mark.parametrize("kind", ["promote", "caught_up"])
def test_a_database_that_nobody_follows_is_no_case_for_it(world: World, kind: str) -> None:
    """It is told when it is written."""
    assert step(kind=kind).problems(world.scene) == ()
    assert step(kind=kind, host="primary").problems(world.scene)[0][0] == "host"
    alone = Custom(kind="command", backup=("true",), filename="database")
    world.scene = world.scene_with(sources={"database": alone})
    assert "replica:" in step(kind=kind).problems(world.scene)[0][2]
