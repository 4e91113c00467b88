"""``cleanup``: leave nothing of a drill behind."""

from datetime import timedelta
from typing import Literal

from drorch.core.evidence import Failure, Outcome
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools


class Cleanup(Step):
    """Remove everything that this drill put on its hosts. Stands at the end of every drill by itself."""

    kind: Literal["cleanup"]
    always: bool = True
    """Run it whatever happened before."""

    @property
    def default_timeout(self) -> timedelta:
        """Removing a large tree takes a while."""
        return timedelta(hours=1)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return f"remove everything this drill put on {', '.join(sorted(scene.hosts - {scene.primary}))}"

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """Only a drill has something of its own to remove."""
        if scene.drill:
            return ()
        return (("kind", f"a {scene.kind} run leaves nothing to clean up", "cleanup is for drills"),)

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about."""
        return Failure(why="not built yet")
