"""``verify``: prove that what was restored is whole."""

from datetime import timedelta
from typing import Literal

from drorch.core.evidence import Failure, Outcome
from drorch.core.model import SourceName
from drorch.core.scene import Scene
from drorch.core.source import Expectation
from drorch.core.step import Earlier, Step, Tools


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

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about."""
        return Failure(why="not built yet")
