"""A failover around a ladder, in a world that answers from memory."""

from pathlib import Path

from pydantic import TypeAdapter

from drorch.core.evidence import Evidence, Failure
from drorch.core.model import Json
from drorch.core.step import Step
from drorch.hosts.fake import FakeHost
from drorch.steps import AnyStep
from support.rungs import Provider, world_of
from support.tools import Cut, World, WorldTools
from support.units import FakeSystemd, FakeUnit, machine

STEP: TypeAdapter[Step] = TypeAdapter(AnyStep)
POWER = {
    "power_off": {"command": ["cloud", "off"], "status": ["cloud", "status"], "off": "off$", "on": ["cloud", "on"]}
}
UNITS = {"stop": ["shop", "postgresql"]}


class Place:
    """A primary with two services, and a provider that can take its power."""

    def __init__(self, root: Path) -> None:
        units = {"shop": FakeUnit(own=True), "postgresql": FakeUnit()}
        self.world: World
        self.primary: FakeHost
        self.systemd: FakeSystemd
        self.world, self.primary, self.systemd = world_of(root, **units)
        self.provider = Provider(self.primary)
        self.world.at = FakeHost("controller", answers=self.provider, is_controller=True)  # type: ignore[assignment]  # it runs commands
        self.world.scene = self.world.scene_with(sources={}, mode="unplanned")
        self.standby, self.there = machine("standby", shop=FakeUnit(active="inactive", pid=0, processes=()))
        self.world.hosts["standby"] = self.standby

    def unit(self, name: str) -> FakeUnit:
        """A unit of the primary."""
        return self.systemd.units[f"{name}.service"]

    def fence(self, *ladder: Json, again: bool = False, word: Evidence | None = None) -> Evidence | Failure:
        """Climb."""
        earlier = {"fence-primary": word} if word else {}
        return self.world.perform(fence(*ladder), earlier, again=again)

    def fenced(self, *ladder: Json, again: bool = False, word: Evidence | None = None) -> Evidence:
        """Climb it; it must succeed."""
        outcome = self.fence(*ladder, again=again, word=word)
        assert isinstance(outcome, Evidence), outcome
        return outcome

    def unfenced(self, *ladder: Json, again: bool = False, word: Evidence | None = None) -> Failure:
        """Climb it in vain."""
        outcome = self.fence(*ladder, again=again, word=word)
        assert isinstance(outcome, Failure), outcome
        return outcome

    def tools(self) -> WorldTools:
        """Of a look."""
        return WorldTools(self.world, "fence-primary", Cut())


def fence(*ladder: Json, **more: Json) -> Step:
    """The step."""
    return STEP.validate_python({"kind": "fence", "host": "primary", "ladder": list(ladder), **more})


def service(**said: Json) -> Step:
    """The step."""
    return STEP.validate_python({"kind": "service", "host": "standby", **said})
