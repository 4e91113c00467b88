"""``edge``: nothing reaches the host any more."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Self

from pydantic import model_validator

from drorch.core.errors import DrorchError
from drorch.core.evidence import Failure
from drorch.core.fence import Proof, Rung
from drorch.core.finding import Finding
from drorch.core.model import Frozen
from drorch.core.scene import Scene
from drorch.core.step import Planned, Tools
from drorch.fences._balancer import BalancerCut
from drorch.fences._firewall import FirewallCut
from drorch.fences._reach import finding


class Cutting(Frozen):
    """Where a host is cut off: exactly one of `haproxy` and `firewall`."""

    haproxy: BalancerCut | None = None
    """At a load balancer that everything passes."""
    firewall: FirewallCut | None = None
    """At a firewall: of a router that everything passes, or of the fenced host itself."""
    complete: bool = False
    """That everything that can write to the host passes there: no other way in, no jobs of its own. Nobody but you can
    know that, and without it this is no fence; a firewall on the host itself needs it not."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.haproxy is None) == (self.firewall is None):
            raise ValueError("must have exactly one of haproxy, firewall")
        return self

    @property
    def place(self) -> BalancerCut | FirewallCut:
        """The one that is said."""
        place = self.haproxy or self.firewall
        if place is None:  # the validator sees to it
            raise DrorchError("must have exactly one of haproxy, firewall")
        return place


class Edge(Rung):
    """Cut a host off where its traffic passes; it goes on running, and nobody reaches it.

    That is a fence only where nothing else can write to it, which you must say: `complete`. It is looked at again
    before each step that cannot be taken back; a restart of the load balancer or of the router may undo it.
    """

    edge: Cutting
    """Where."""

    @property
    def lasting(self) -> bool:
        """It ends with the next restart of what cuts."""
        return False

    @property
    def longest(self) -> timedelta:
        """A few questions."""
        return timedelta(minutes=1)

    def describe(self, host: str) -> str:
        """The plan's line."""
        return self.edge.place.describe(host)

    def preview(self, host: str) -> tuple[Planned, ...]:
        """What is done there."""
        return self.edge.place.preview(host)

    def problems(self, scene: Scene, host: str) -> tuple[tuple[str, str, str], ...]:
        """Only a person can say that nothing goes around it."""
        place = self.edge.place
        found = place.problems(scene, host) if isinstance(place, FirewallCut) else ()
        if not self.edge.complete and not (isinstance(place, FirewallCut) and place.host == host):
            message = f"nobody says that all that writes to {host} passes {place.host}, so this proves nothing"
            hint = f"say `complete: true` if there is no way around, no job on {host} itself; else take it out"
            found = (*found, ("complete", message, hint))
        return found

    def stands(self, tools: Tools, host: str) -> Proof | None:
        """Whether it is cut off already, as the edge says."""
        if self._proves_nothing(host) or self.edge.place.host == host:
            return None
        try:
            seen = self.edge.place.look(tools, host)
        except DrorchError:
            return None
        return None if isinstance(seen, Failure) else self._proof(host, seen)

    def fence(self, tools: Tools, host: str) -> Proof | Failure:
        """Cut, and see that it is cut."""
        if self._proves_nothing(host):
            return Failure(
                why=f"whether all that writes to {host} passes {self.edge.place.host} is not known",
                hint="say `complete: true`",
            )
        try:
            tools.host(self.edge.place.host).identity()
            seen = self.edge.place.cut(tools, host)
        except DrorchError as error:
            return Failure.of(error)
        if isinstance(seen, Failure):
            return seen.model_copy(update={"facts": {**seen.facts, "acted": True}})
        return self._proof(host, seen)

    def holds(self, tools: Tools, proof: Proof) -> Failure | None:
        """Looked at again; an edge that cannot be asked may have been restarted."""
        try:
            seen = self.edge.place.look(tools, proof.host)
        except DrorchError as error:
            return Failure.of(error)
        return seen if isinstance(seen, Failure) else None

    def lift(self, tools: Tools, proof: Proof) -> Failure | None:
        """Let it through again."""
        return self.edge.place.lift(tools, proof.host)

    def findings(self, tools: Tools, host: str) -> Iterable[Finding]:
        """The edge answers, and could cut."""
        about = f"edge of {host}"
        try:
            ready = self.edge.place.ready(tools, host)
        except DrorchError as error:
            ready = Failure.of(error)
        yield finding(about, ready) if isinstance(ready, Failure) else Finding(about=about, what=ready)

    def _proves_nothing(self, host: str) -> bool:
        place = self.edge.place
        return not self.edge.complete and not (isinstance(place, FirewallCut) and place.host == host)

    def _proof(self, host: str, seen: dict[str, object]) -> Proof:
        return Proof(host=host, rung=self.word, words=f"{host} is cut off: {self.edge.place.words}", facts=dict(seen))
