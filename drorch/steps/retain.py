"""``retain``: remove the recovery points that the policy no longer keeps."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator

from drorch.core.evidence import Failure, Outcome
from drorch.core.model import RepositoryName, SourceName
from drorch.core.retention import Keep
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools


def _keeps_something(keep: Keep) -> Keep:
    if keep == Keep():
        raise ValueError("keeps nothing; say for example {daily: 14, weekly: 8, monthly: 12}")
    return keep


class Retain(Step):
    """Remove recovery points that no rule keeps. The last one and the last proven one of each source always stay."""

    kind: Literal["retain"]
    keep: Annotated[Keep, AfterValidator(_keeps_something)]
    """The policy: a recovery point stays when any of its rules keeps it."""
    sources: tuple[SourceName, ...] = ()
    """Which sources' recovery points; all of the service unless said."""
    repository: RepositoryName | None = None
    """Where; the service's own repository unless said."""

    @property
    def default_timeout(self) -> timedelta:
        """Freeing space rewrites packs, which may take long."""
        return timedelta(hours=12)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        rules = ", ".join(f"{key} {value}" for key, value in self.keep.model_dump(mode="json").items() if value)
        what = ", ".join(self.sources or scene.sources)
        return f"keep {rules} of {what} in {self.repository or scene.repository}, remove the others"

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about."""
        return Failure(why="not built yet")
