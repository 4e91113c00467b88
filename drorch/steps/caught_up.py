"""``caught_up``: wait until the standby has all that its primary has."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from drorch.core.evidence import Evidence, Failure, Outcome, Progress
from drorch.core.finding import Finding
from drorch.core.model import HostName, Json, SourceName
from drorch.core.replication import ReplicaState, Replication
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.steps._apart import identified
from drorch.steps._replicas import replication_of, standing, unreplicated

_PAUSE = 0.1


class CaughtUp(Step):
    """Wait until a standby has received and replayed all that its primary had when this step began."""

    kind: Literal["caught_up"]
    source: SourceName
    """The database."""
    host: HostName | None = None
    """The standby; where the failover or failback leads to unless said."""
    within: Annotated[int, Field(ge=0)] = 0
    """Bytes of log that it may still lack."""

    @property
    def subject(self) -> str:
        """The database."""
        return self.source

    @property
    def default_timeout(self) -> timedelta:
        """A standby that is further behind than this would make a switchover long."""
        return timedelta(minutes=5)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        spare = f" but {self.within} bytes" if self.within else ""
        return f"wait until {self._place(scene)} has all{spare} that {scene.primary} has of {self.source}"

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """There must be a standby, elsewhere."""
        if self.host == scene.primary:
            return (("host", f"{self.host} is where {scene.service} lives", "name the standby"),)
        return unreplicated(scene, self.source, self.kind)

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """Both are asked."""
        return tuple(
            Planned(host, ("psql", "--file=-"), note="asks for its position")
            for host in (scene.primary, self._place(scene))
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Ask the primary once, then the standby until it is there."""
        scene = tools.scene
        name = self._place(scene)
        identified(tools, name, "waits for replication")
        replication = replication_of(scene, self.source)
        began = tools.clock.monotonic()
        primary = standing(tools, replication, scene.primary)
        if isinstance(primary, Failure):
            return primary
        if primary.position is None:
            return Failure(why=f"how far {scene.primary} is, is not known: it was not stopped in order")
        return self._caught(tools, replication, primary, primary.position, began)

    def _caught(
        self, tools: Tools, replication: Replication, primary: ReplicaState, wanted: int, began: float
    ) -> Outcome:
        """Wait; a last look that has no time left to be answered does not hide what was seen before it."""
        name, last = self._place(tools.scene), None
        while True:
            state = standing(tools, replication, name)
            if isinstance(state, ReplicaState):
                last = state
                if (refusal := _unfit(state, primary)) is not None:
                    return refusal
                if (left := _left(state, wanted)) <= self.within:
                    seconds = round(tools.clock.monotonic() - began, 3)
                    return Evidence(facts={**_facts(state, primary), "lag_bytes": left, "seconds": seconds})
                tools.progress(Progress(step=tools.step, text=f"{name} lacks {left} bytes of {primary.host}"))
            elif not (state.retryable or (last is not None and state.timed_out)):
                return state
            over = tools.deadline.remaining() <= _PAUSE
            if over and last is not None:
                return _late(last, primary)
            if over and isinstance(state, Failure):
                return state
            tools.clock.sleep(_PAUSE)

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """What `promote` finds is enough."""
        return ()

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Look at both; nothing is waited for in a drill."""
        scene = tools.scene
        replication = replication_of(scene, self.source)
        standby = standing(tools, replication, self._place(scene))
        if isinstance(standby, Failure):
            return standby
        primary = standing(tools, replication, scene.primary)
        looked = f"{self._place(scene)} is a {standby.role}, {'' if standby.receiving else 'not '}receiving"
        known = {} if isinstance(primary, Failure) else _facts(standby, primary)
        return Evidence(facts={"rehearsed": False, "looked_at": looked, **known})

    def _place(self, scene: Scene) -> str:
        return self.host or scene.destination_host


def _left(state: ReplicaState, wanted: int) -> int:
    """Bytes that it has not received or not replayed."""
    has = [at for at in (state.position, state.applied) if at is not None]
    return max(0, wanted - min(has)) if has else wanted


def _facts(state: ReplicaState, primary: ReplicaState) -> dict[str, Json]:
    return {
        "primary": primary.host,
        "standby": state.host,
        "timeline": state.history,
        "receiving": state.receiving,
    }


def _unfit(state: ReplicaState, primary: ReplicaState) -> Failure | None:
    if state.role == "stopped":
        return Failure(why=f"{state.host} does not run", hint="start it, then retry")
    if primary.cluster and state.cluster and state.cluster != primary.cluster:
        return Failure(
            why=f"{state.host} holds another database than {primary.host}",
            hint="is this the right host behind its address?",
        )
    if state.role == "primary":
        return Failure(why=f"{state.host} is no standby: it accepts writes", hint="rejoin it, or correct the runbook")
    return None


def _late(state: ReplicaState, primary: ReplicaState) -> Failure:
    left = _left(state, primary.position or 0)
    if state.facts.get("paused"):
        hint = f"its replay is paused: SELECT pg_wal_replay_resume() on {state.host}"
    elif not state.receiving:
        hint = f"it is not connected to {primary.host}: see its log; a log that is gone there needs a rejoin"
    else:
        hint = "wait for a quieter hour, or see what holds its replay up"
    return Failure(
        why=f"{state.host} still lacks {left} bytes of {primary.host}",
        hint=hint,
        retryable=True,
        timed_out=True,
        facts={"lag_bytes": left},
    )
