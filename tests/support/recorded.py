"""What a real restic answered: each file in tests/repositories/data is one command with all that it gave."""

import json
from pathlib import Path

from drorch.core.host import Command, Completed, Ended

DATA = Path(__file__).resolve().parent.parent / "repositories" / "data"


def recorded(name: str) -> Completed:
    """The end of a recorded command."""
    found = json.loads((DATA / f"{name}.json").read_text())
    return Completed(
        Command(tuple(found["argv"])),
        Ended.EXITED,
        found["exit_code"],
        found["stdout"].encode("utf-8", "surrogateescape"),
        found["stderr"].encode("utf-8", "surrogateescape"),
    )
