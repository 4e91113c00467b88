"""What a failed backup tells a person to do."""

from pathlib import Path

from drorch.core.evidence import Failure
from drorch.sources.command import Custom
from drorch.sources.sqlite import Sqlite
from drorch.steps.backup import Backup
from support.tools import World


def test_a_failed_dump_carries_its_sources_remedy(tmp_path: Path) -> None:
    """The source knows what its own command's errors ask for; a source that has no idea leaves the plain advice."""
    sources = {
        "base": Sqlite(kind="sqlite", path="~/gone.db"),
        "mine": Custom.model_validate({"kind": "command", "backup": ["false"]}),
    }
    world = World(tmp_path, sources, kind="backup")
    known = world.perform(Backup(kind="backup", source="base"))
    assert isinstance(known, Failure)
    assert known.hint == "is the path right? a missing database is never backed up as an empty one"
    unknown = world.perform(Backup(kind="backup", source="mine"))
    assert isinstance(unknown, Failure)
    assert unknown.hint == "run the command by hand on that host"
