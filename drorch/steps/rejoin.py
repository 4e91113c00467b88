"""``rejoin``: make a server that once was the primary a standby again."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Literal

from drorch.core.errors import Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.finding import Finding, Standing
from drorch.core.model import HostName, SourceName
from drorch.core.replication import Pair, ReplicaState
from drorch.core.scene import Scene, slug
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.steps._apart import identified
from drorch.steps._replicas import replication_of, standing, unreplicated


class Rejoin(Step):
    """Make a server a standby of the one that is the primary now. What only it had is reported, and kept beside its
    data; it is rewound where that is possible, and copied afresh otherwise.

    What its fence masked is unmasked: it starts as a standby. Put it after everything that asks whether that host is
    fenced.
    """

    kind: Literal["rejoin"]
    source: SourceName
    """The database."""
    host: HostName
    """The server that is to follow."""
    leader: HostName | None = None
    """The primary that it is to follow; the other one of the two that the service moves between unless said."""
    fresh: bool = False
    """Copy everything anew, also in the place of another database: a machine that was installed anew has one of its
    own. What lay there is kept beside it."""

    @property
    def subject(self) -> str:
        """The host."""
        return self.host

    @property
    def default_timeout(self) -> timedelta:
        """A large database is kept, and may have to be copied."""
        return timedelta(hours=24)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return f"make {self.host} a standby of {self._leader(scene)} for {scene.sources[self.source].describe()}"

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """There must be two servers that reach each other."""
        found = unreplicated(scene, self.source, self.kind)
        if found:
            return found
        leader = self._leader(scene)
        if leader == self.host:
            return (("leader", f"{self.host} cannot follow itself", "say `leader:`"),)
        if self._address(scene, leader) is None:
            hint = f"say `addresses: {{{leader}: …}}` under `replica:` of {self.source}"
            return (("leader", f"where {self.host} reaches {leader} is not known", hint),)
        return ()

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The server's own commands."""
        return replication_of(scene, self.source).preview(self.host, "follow")

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Only behind a leader that certainly is the primary; nothing is overwritten that is not kept."""
        scene = tools.scene
        if scene.drill:
            raise Refused(f"a drill makes no standby of {self.host}", hint="rehearse the failover instead")
        leader = self._leader(scene)
        address = self._address(scene, leader)
        if address is None or leader == self.host:
            raise Refused(f"where {self.host} reaches its leader is not known", hint="see drorch check")
        for name in (self.host, leader):
            identified(tools, name, "rejoins")
        pair = Pair(follower=tools.host(self.host), leader=tools.host(leader), leader_address=address)
        done = replication_of(scene, self.source).follow(tools, pair, keep=slug(tools.run.id), fresh=self.fresh)
        if isinstance(done, Failure):
            return done
        return done.model_copy(update={"facts": {**done.facts, "host": self.host, "follows": leader}})

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """Whether the leader answers, as a primary, and the only one."""
        scene = tools.scene
        leader = self._leader(scene)
        state = standing(tools, replication_of(scene, self.source), leader)
        if isinstance(state, Failure):
            yield Finding(
                about=leader, what=state.why, standing=Standing.UNKNOWN, remedy=state.hint or f"see to {leader}"
            )
        else:
            yield Finding(about=leader, what=f"{self.source} on {leader} answers as a {state.role}")
            yield from self._second_primary(tools, state)

    def _second_primary(self, tools: Tools, leader: ReplicaState) -> Iterable[Finding]:
        """Whether the server that is to follow takes writes as well."""
        if self.host == tools.scene.primary:
            return  # it is where the service lives: it becomes a standby once that is elsewhere
        own = standing(tools, replication_of(tools.scene, self.source), self.host)
        if leader.role == "primary" and not isinstance(own, Failure) and own.role == "primary":
            yield Finding(
                about=self.host,
                what=f"two primaries: {self.source} on {self.host} takes writes, too, which customers will lose",
                standing=Standing.BAD,
                remedy=f"let nothing write on {self.host}, then: drorch failback {tools.scene.service};"
                f" it keeps and reports what only {self.host} has",
            )

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Look; no server is made a standby in a drill."""
        found = tuple(self.preflight(tools))
        return Evidence(facts={"rehearsed": False, "looked_at": [finding.what for finding in found]})

    def _leader(self, scene: Scene) -> str:
        if self.leader is not None:
            return self.leader
        return scene.primary if self.host != scene.primary else scene.target or scene.primary

    def _address(self, scene: Scene, leader: str) -> str | None:
        return replication_of(scene, self.source).address(leader) or scene.addresses.get(leader)
