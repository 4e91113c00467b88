"""Leases: one holder at a time, whatever happens to it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drorch.core.clock import SystemClock
from drorch.core.errors import Busy
from drorch.engine.lease import Leases

HOLD = """
import sys
from pathlib import Path
from drorch.core.clock import SystemClock
from drorch.engine.lease import Leases
with Leases(Path(sys.argv[1]), SystemClock()).hold("run:a@1", purpose="holding"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    """The leases of an empty state folder."""
    return Leases(tmp_path / "leases", SystemClock())


def test_a_held_name_is_refused_to_a_second_holder(leases: Leases) -> None:
    """Two holders of one name never work at once."""
    with leases.hold("repository:nas"), pytest.raises(Busy, match="repository:nas"), leases.hold("repository:nas"):
        pass


def test_another_name_is_free(leases: Leases) -> None:
    """A lease holds its own name only."""
    with leases.hold("repository:nas"), leases.hold("repository:other"):
        assert leases.held("repository:nas")


def test_a_name_is_free_again_afterwards(leases: Leases) -> None:
    """Leaving the context gives the name back."""
    with leases.hold("run:a@1"):
        pass
    assert not leases.held("run:a@1")


def test_a_killed_holder_holds_nothing(leases: Leases, tmp_path: Path) -> None:
    """A lease ends with its process, even by SIGKILL, and names the holder before."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "leases")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert leases.held("run:a@1")
            assert str(holder.pid) in leases.holder("run:a@1")
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
    with leases.hold("run:a@1", wait=5):
        pass


def test_a_holder_that_is_asked_to_stop_gives_way(leases: Leases, tmp_path: Path) -> None:
    """Asking to stop ends the holding process and waits for it."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "leases")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        leases.ask_to_stop("run:a@1", wait=10)
        assert not leases.held("run:a@1")
        assert holder.wait(timeout=10) == -signal.SIGTERM
