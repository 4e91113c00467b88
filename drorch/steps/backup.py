"""``backup``: take a recovery point of a source."""

from typing import Literal

from drorch.core.errors import StreamFailed
from drorch.core.evidence import Evidence, Failure, Outcome, ProofLevel
from drorch.core.model import RepositoryName, SourceName
from drorch.core.repository import BackedUp, Tags
from drorch.core.scene import Scene
from drorch.core.source import Part, Tree
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.repositories.restic import argv


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

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """One restic per part, on the source's own host."""
        host = scene.home_of(self.source)
        return tuple(
            Planned(
                host,
                argv.backup(
                    argv.Common(),
                    part,
                    host=host,
                    tags=_tags(scene, self.source, part, run, "<plan>").words(),
                    time="<start of the run>",
                ),
                note=f"{part.name} of {self.source}",
            )
            for part in scene.sources[self.source].parts()
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """A snapshot of each part. A part that a former attempt of this run has backed up is not taken again."""
        scene = tools.scene
        host = tools.host(scene.home_of(self.source))
        repository = tools.repository(self.repository)
        identity = host.identity()
        taken: dict[str, BackedUp] = {}
        exceptions: list[str] = []
        source = scene.sources[self.source]
        for part in source.parts():
            tags = _tags(scene, self.source, part, tools.run.id, tools.run.plan)
            try:
                done = repository.backup(
                    host, part, tags, time=tools.run.started, progress=tools.progress, repeated=tools.repeated
                )
            except StreamFailed as error:
                return Failure(why=error.message, hint=source.remedy(error.errors) or error.hint)
            taken[part.name] = done
            exceptions += (f"{part.name}: {line}" for line in done.unreadable)
            if isinstance(part, Tree) and done.files == 0:
                exceptions.append(f"{part.name}: no file in {', '.join(part.paths)}; is a disk not mounted?")
        return Evidence(
            facts={
                "snapshot": list(taken.values())[-1].snapshot,
                "snapshots": {name: done.snapshot for name, done in taken.items()},
                "time": tools.run.started.isoformat(),
                "bytes": sum(done.bytes_processed for done in taken.values()),
                "bytes_added": sum(done.bytes_added for done in taken.values()),
                "bytes_stored": sum(done.bytes_stored for done in taken.values()),
                "files": sum(done.files for done in taken.values()),
                "seconds": round(sum(done.seconds for done in taken.values()), 3),
                "repository": repository.name,
                "host": host.name,
                "hostname": identity.hostname,
                "machine_id": identity.machine_id,
                "host_key": identity.host_key,
            },
            source=self.source,
            level=ProofLevel.TAKEN,
            exceptions=tuple(exceptions),
        )


def _tags(scene: Scene, source: str, part: Part, run: str, plan: str) -> Tags:
    return Tags(service=scene.service, source=source, part=part.name, run=run, plan=plan[:16])
