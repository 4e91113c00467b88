"""``backup``: take a recovery point of a source."""

from typing import Literal

from drorch.core.evidence import Failure, Outcome
from drorch.core.model import RepositoryName, SourceName
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools


class Backup(Step):
    """Back up one source: a snapshot of each of its parts, all of them together one recovery point."""

    kind: Literal["backup"]
    source: SourceName
    """What to back up."""
    repository: RepositoryName | None = None
    """Where to; the service's own repository unless said."""

    @property
    def subject(self) -> str:
        """The source."""
        return self.source

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        what = scene.sources[self.source].describe()
        return f"back up {what} of {scene.home_of(self.source)} to {self.repository or scene.repository}"

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about."""
        return Failure(why="not built yet")
