"""``retain``: remove the recovery points that the policy no longer keeps."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator

from drorch.core import retention
from drorch.core.evidence import Evidence, Outcome
from drorch.core.model import RepositoryName, SourceName
from drorch.core.repository import Snapshot
from drorch.core.retention import Keep
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.repositories.restic import argv
from drorch.steps import _proven as proven
from drorch.steps._intent import note, noted

LEASE_PATIENCE = timedelta(hours=1)
"""How long another process may hold the repository before this attempt gives up; a retry may help."""


def _keeps_something(keep: Keep) -> Keep:
    if keep.empty:
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
    guard: bool = True
    """Refuse to remove more than ten recovery points at once that are more than nine tenths of a source's."""

    @property
    def default_timeout(self) -> timedelta:
        """Freeing space rewrites packs, which may take long."""
        return timedelta(hours=12)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        rules = ", ".join(self.keep.rules)
        what = ", ".join(self.sources or scene.sources)
        return f"keep {rules} of {what} in {self.repository or scene.repository}, remove the others"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """What it lists and removes, on the controller."""
        common = argv.Common()
        return (
            Planned("controller", argv.snapshots(common, (f"service={scene.service}",))),
            Planned("controller", argv.forget(common, ("<snapshots>",), prune=True), note="only when there are any"),
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Decide and remove while nobody else works on the repository exclusively."""
        scene = tools.scene
        repository = tools.repository(self.repository)
        at = tools.controller()
        sources = self.sources or tuple(scene.sources)
        parts = {(scene.service, name): tuple(part.name for part in scene.sources[name].parts()) for name in sources}
        key = f"retain:{repository.name}:{scene.service}"
        freed: int | None = None
        with tools.lease(f"repository:{repository.name}", wait=LEASE_PATIENCE):
            snapshots = repository.snapshots(at, tags={"service": scene.service})
            points = retention.points(snapshots, parts)
            decisions = {
                source: retention.decide(
                    points.get((scene.service, source), ()),
                    self.keep,
                    tools.clock.now(),
                    protected=_with_copies(proven.snapshots(tools.memory, scene.service, source), snapshots),
                    guard=retention.Guard() if self.guard else None,
                )
                for source in sources
            }
            # What a cut attempt removed is no longer there to be listed.
            removed: dict[str, dict[str, list[str]]] = {source: {} for source in sources} | (noted(tools, key) or {})
            for source, decision in decisions.items():
                removed[source] |= {id_: list(why) for id_, why in decision.removed.items()}
            doomed = [id_ for decision in decisions.values() for id_ in decision.removed]
            if doomed:
                note(tools, key, removed)
                freed = repository.forget(at, doomed, prune=True).bytes_freed
        return Evidence(
            facts={
                "repository": repository.name,
                "rules": list(self.keep.rules),
                "kept": {
                    source: {id_: list(why) for id_, why in decision.kept.items()}
                    for source, decision in decisions.items()
                },
                "removed": removed,
                "kept_points": sum(len(decision.points_kept) for decision in decisions.values()),
                "removed_snapshots": sum(len(ids) for ids in removed.values()),
                "bytes_freed": freed,
            }
        )


def _with_copies(ids: Collection[str], snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    """These snapshots and their copies: what was proven in one repository is proven of its copy in this one."""
    return (*ids, *(snapshot.id for snapshot in snapshots if snapshot.original in ids))
