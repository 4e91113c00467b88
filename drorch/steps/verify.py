"""``verify``: prove that what was restored is whole."""

from datetime import timedelta
from typing import Literal

from drorch.core.evidence import Evidence, Outcome
from drorch.core.model import SourceName
from drorch.core.scene import Scene
from drorch.core.source import Expectation
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.repositories.restic import argv
from drorch.steps._apart import refuse_live
from drorch.steps._proof import prove, restored_before
from drorch.steps._proven import remember


class Verify(Step):
    """Prove a restored source: every byte equals the snapshot's, and the restored thing's own checks pass."""

    kind: Literal["verify"]
    source: SourceName
    """What a `restore` step before this one restored."""
    expect: Expectation = Expectation()
    """What it must hold at least, such as ``{tables: {orders: 1000}}`` or ``{files: 50}``."""

    @property
    def default_timeout(self) -> timedelta:
        """Reading all bytes of a large tree takes hours."""
        return timedelta(hours=12)

    @property
    def subject(self) -> str:
        """The source."""
        return self.source

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        rules = [f"at least {least} rows in {table}" for table, least in self.expect.tables.items()]
        rules += [f"at least {self.expect.files} files"] if self.expect.files is not None else []
        what = scene.sources[self.source].describe()
        return ", ".join([f"compare the restored {what} with its snapshot and run its own checks", *rules])

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The comparison of each part, where it was restored."""
        source = scene.sources[self.source]
        host = scene.target or scene.home_of(self.source)
        directory = scene.destination(run, self.source, host).directory
        common = argv.Common(reading=scene.store is not None)
        return tuple(
            Planned(
                host,
                argv.compare(common, "<snapshot>", f"{directory}/{part.name}"),
                note=f"{part.name} of {self.source}, and the checks of {source.describe()} itself",
            )
            for part in source.parts()
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Prove it, and remember the point as proven."""
        facts = restored_before(earlier, self.source)
        refuse_live(tools.scene, facts.host, "verifies")
        outcome = prove(tools, self.source, facts, self.expect)
        if isinstance(outcome, Evidence):
            remember(tools, facts.repository, outcome)
        return outcome
