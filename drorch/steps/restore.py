"""``restore``: bring a recovery point back, beside the live thing or on a standby."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from drorch.core.errors import Refused
from drorch.core.evidence import Failure, Outcome
from drorch.core.model import HostName, RepositoryName, SourceName
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools


def _real_time(selection: str) -> str:
    if selection.startswith("before:") and datetime.fromisoformat(selection.removeprefix("before:")).tzinfo is None:
        raise ValueError("the time needs a zone, as in before:2026-10-01T00:00:00Z")
    return selection


Selection = Annotated[
    str,
    StringConstraints(pattern=r"^(latest|random|before:\S+|[0-9a-f]{8,64})$"),
    AfterValidator(_real_time),
    Field(examples=["latest", "random", "before:2026-10-01T00:00:00Z", "4f2a91c0"]),
]
"""Which recovery point."""


class Restore(Step):
    """Restore one source's recovery point into a fresh folder or database of the run's own."""

    kind: Literal["restore"]
    source: SourceName
    """What to restore."""
    host: HostName | None = None
    """Where to; in a drill its standby, else the source's own host, beside the live thing, unless said."""
    snapshot: Selection | None = None
    """Which recovery point: ``latest``, ``random``, ``before:2026-10-01T00:00:00Z`` or a snapshot id; the runbook's own
    choice unless said. Only complete ones (a snapshot of every part of the source) are taken."""
    repository: RepositoryName | None = None
    """Where from; the service's own repository unless said."""
    swap: bool = False
    """Put the restored thing in the live one's place once it is proven whole; the live one is kept beside it.
    Never in a drill."""

    @property
    def subject(self) -> str:
        """The source."""
        return self.source

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        what = scene.sources[self.source].describe()
        place = "in the place of the live one" if self.swap else "beside whatever is there"
        host = self.host or scene.target or scene.home_of(self.source)
        return f"restore {what} ({self.snapshot or scene.snapshot}) on {host}, {place}"

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """A drill must not touch what is live."""
        found: list[tuple[str, str, str]] = []
        if scene.drill and self.swap:
            found.append(("swap", "a drill never replaces what is live", "leave swap out"))
        if self.source in scene.sources:
            try:
                scene.restore_host(self.source, self.host)
            except Refused as refused:
                found.append(("host", refused.message, refused.hint))
        return tuple(found)

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about."""
        return Failure(why="not built yet")
