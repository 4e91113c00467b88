"""A replicated database that is two small files: for the contract of steps. Real ones are in `support.replicas`."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding
from drorch.core.host import Command, Host
from drorch.core.replication import Pair, ReplicaState, Replication
from drorch.core.step import Planned, Tools
from drorch.sources.command import Custom
from support.tools import World

_AT = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
_WRITE = 'printf "%s" "$1" > twin.new && mv twin.new twin'


class Twins(Replication):
    """Each host's file ``twin`` is its server's state."""

    def units(self) -> tuple[str, ...]:
        return ("twin.service",)

    def look(self, tools: Tools, host: Host) -> ReplicaState | Failure:
        done = host.run(Command(("cat", "twin")))
        if not done.ok:
            return done.failure(f"asking {host.name}")
        return ReplicaState(host=host.name, at=_AT, cluster="7", version="1", **json.loads(done.text))

    def promote(self, tools: Tools, host: Host, before: ReplicaState, *, former: str) -> Evidence | Failure:
        _write(host, role="primary", history=2, position=101)
        return Evidence(facts={"host": host.name, "timeline_before": before.history, "timeline": 2, "slot": former})

    def follow(self, tools: Tools, pair: Pair, *, keep: str, fresh: bool = False) -> Evidence | Failure:
        leader = self.look(tools, pair.leader)
        if isinstance(leader, Failure):
            return leader
        _write(pair.follower, role="standby", history=leader.history, position=leader.position, receiving=True)
        return Evidence(facts={"how": "copied" if fresh else "rewound", "kept": keep, "leader": pair.leader_address})

    def preview(self, host: str, action: Literal["promote", "follow"]) -> tuple[Planned, ...]:
        return (Planned(host, ("twin", action)),)

    def findings(self, tools: Tools, primary: Host, standby: Host) -> Iterable[Finding]:
        return ()

    def freeze(self, tools: Tools, host: Host) -> Failure | None:
        _write(host, role="stopped", history=1, position=100, clean=True)
        return None

    def frozen(self, tools: Tools, host: Host) -> bool | Failure:
        state = self.look(tools, host)
        return state if isinstance(state, Failure) else state.role == "stopped"

    def thaw(self, tools: Tools, host: Host) -> Failure | None:
        _write(host, role="primary", history=1, position=100)
        return None

    def rehearse(self, tools: Tools, host: Host, folder: str, token: str) -> Evidence | Failure:
        return Evidence(facts={"port": 5433, "directory": folder})

    def forget(self, tools: Tools, host: Host, folder: str, token: str) -> Failure | None:
        return None


class Twin(Custom):
    """A source with a standby."""

    def replication(self) -> Replication:
        return Twins()


def twinned(world: World) -> None:
    """The service has a replicated database, whose primary was stopped in order; its standby has all of it."""
    database = Twin(kind="command", backup=("true",), filename="database")
    world.scene = world.scene_with(
        sources={**world.scene.sources, "database": database}, addresses={"primary": "10.0.0.1", "standby": "10.0.0.2"}
    )
    _put(world, "primary", role="stopped", history=1, position=100, clean=True)
    _put(world, "standby", role="standby", history=1, position=100, applied=100, receiving=True)


def _put(world: World, host: str, **state: Any) -> None:  # noqa: ANN401 - any of its fields
    (world.root / host / "twin").write_text(json.dumps(state))


def _write(host: Host, **state: Any) -> None:  # noqa: ANN401 - any of its fields
    done = host.run(Command(("sh", "-c", _WRITE, "sh", json.dumps(state))))
    assert done.ok, done.errors
