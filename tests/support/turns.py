"""A failover's tools around one way to lead customers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from drorch.core.clock import FakeClock, SystemClock
from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure
from drorch.core.fence import Proof
from drorch.core.finding import Finding
from drorch.core.host import LocalHostSpec
from drorch.core.model import Json
from drorch.core.step import Earlier
from drorch.core.switch import Traffic, Turn, Way
from drorch.fences.attest import Attest, Attesting
from drorch.hosts.fake import Answer, FakeHost
from drorch.hosts.local import LocalHost
from drorch.steps._safe import fence_facts
from drorch.switches import AnyWay
from support.tools import Cut, World, WorldTools

WAY: TypeAdapter[Way] = TypeAdapter(AnyWay)
FENCED: Earlier = {
    "fence": Evidence(
        facts=fence_facts(
            Proof(host="primary", rung="attest", words="a person attests it", attested=True), Attest(attest=Attesting())
        )
    )
}
"""What a fence step left before."""


def failover(root: Path, **addresses: str) -> World:
    """A failover of the shop from ``primary`` to ``standby``, with an ``edge`` and a clock that goes."""
    world = World(root, {}, kind="failover", run="shop-failover@1")
    world.clock = cast("FakeClock", SystemClock(world.halt))  # what is real answers in real time
    (root / "edge").mkdir()
    path = f"/usr/sbin:{os.environ['PATH']}"
    world.hosts["edge"] = LocalHost("edge", LocalHostSpec(home=str(root / "edge"), env={"PATH": path}), halt=world.halt)
    world.scene = world.scene_with(
        hosts=frozenset(world.hosts), work=dict.fromkeys(world.hosts, "~/.drorch"), addresses=addresses
    )
    return world


@dataclass
class Rig:
    """A way with the real thing behind it."""

    world: World
    said: Json
    customers: Callable[[], str]
    """The host that customers are really led to, as they see it themselves; other words for none of the two."""
    astray: Callable[[], object]
    """Somebody leads them elsewhere."""
    spoil: Callable[[Answer], None] | None = None
    """Makes whatever the way asks answer so; unless said that is the host ``edge``."""
    cuts: tuple[int, ...] = ()
    """The effects after which it is worth while to cut it, where every one would take long."""

    @property
    def way(self) -> Way:
        """As read from YAML."""
        return WAY.validate_python(self.said)

    @property
    def turn(self) -> Turn:
        """From the primary to the standby."""
        return Turn("primary", "standby", self.world.scene.addresses)

    def tools(self, cut: Cut | None = None) -> WorldTools:
        """For one attempt."""
        return WorldTools(self.world, "switch", cut or Cut())

    def answer(self, answer: Answer) -> None:
        """From now on everything that the way asks answers so."""
        if self.spoil is not None:
            self.spoil(answer)
        else:
            self.world.hosts["edge"] = FakeHost("edge", answers={(): answer})

    def look(self) -> str:
        """Where the way says that customers are led."""
        found = self.way.look(self.tools(), self.turn)
        assert isinstance(found, Traffic), found
        return found.leads

    def attempt(self) -> Evidence | Failure:
        """Lead them; an error is a failure, as in the engine."""
        try:
            return self.way.lead(self.tools(), self.turn)
        except DrorchError as error:
            return Failure.of(error)

    def findings(self) -> list[Finding]:
        """What the way finds; an error is a finding, as in the engine."""
        try:
            return list(self.way.findings(self.tools(), self.turn))
        except DrorchError as error:
            return [Finding.of(self.way.title, error)]

    def lead(self) -> Evidence:
        """Lead them; it must succeed."""
        return succeeded(self.way.lead(self.tools(), self.turn))


def succeeded(outcome: Evidence | Failure) -> Evidence:
    """The evidence."""
    assert isinstance(outcome, Evidence), outcome
    return outcome
