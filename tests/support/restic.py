"""The restic that all tests share, found or fetched as the product does it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import ResticUnusable
from drorch.core.host import LocalHostSpec
from drorch.hosts.local import LocalHost
from drorch.repositories.restic.binary import ensure_here, path_here

TOOLS = Path(__file__).resolve().parent.parent.parent / ".tools"


@pytest.fixture(scope="session")
def restic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The path of a restic that is new enough; it is on the PATH while tests run, for drorch and for bare use."""
    machine = LocalHost("controller", LocalHostSpec(work=str(TOOLS)), halt=Halt())
    try:
        found = Path(path_here(ensure_here(machine, TOOLS, lambda _: None)))
    except ResticUnusable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("bin")
    (folder / "restic").symlink_to(found)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{before}"
    yield folder / "restic"
    os.environ["PATH"] = before
