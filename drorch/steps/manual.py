"""``manual``: something that only a person can do."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import StringConstraints

from drorch.core.evidence import Failure, Outcome
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools


class Manual(Step):
    """Show instructions to a person, go on when they confirm; no answer within the timeout (24 h unless said) is a no."""

    kind: Literal["manual"]
    instructions: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    """What to do, and how to see that it is done. ``{{ restore.SOURCE.path }}`` and the like are filled."""

    @property
    def default_timeout(self) -> timedelta:
        """How long a person has."""
        return timedelta(hours=24)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return f"a person confirms: {self.instructions.strip().splitlines()[0][:100]}"

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about."""
        return Failure(why="not built yet")
