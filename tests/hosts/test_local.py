"""What is true of the controller alone: programs that run beside drorch, folders that play machines."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import HostError, Interrupted
from drorch.core.host import Command, LocalHostSpec
from drorch.core.secret import Secret
from drorch.hosts.local import LocalHost
from support.processes import alive, eventually, kill, running_with

from .conftest import GRACE


@pytest.fixture
def here() -> LocalHost:
    """The controller."""
    return LocalHost("here", LocalHostSpec(), halt=Halt(), grace=GRACE)


def test_background(here: LocalHost) -> None:
    """A program runs beside drorch with an empty input, is heard, and ends with the context, its children too."""
    mark = f"91{uuid.uuid4().int % 10**8}"
    script = f"cat; printf '%s' \"$WORD\" >&2; sleep {mark} & sleep {mark}"
    with here.spawn(Command(("sh", "-c", script), env={"WORD": Secret("word", "heard")})) as process:
        assert eventually(lambda: process.stderr == b"heard")
        assert eventually(lambda: len(running_with(f"sleep\0{mark}")) == 2)
        assert process.poll() is None
    assert not running_with(mark)
    assert process.poll() is not None


def test_background_end_is_polite(here: LocalHost, tmp_path: Path) -> None:
    """A program beside drorch is asked to end before it is ended."""
    script = f"trap 'echo bye >{tmp_path}/said; exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done"
    with here.spawn(Command(("sh", "-c", script))) as process:
        assert eventually(lambda: b"ready" in process.stderr)
    assert (tmp_path / "said").read_text() == "bye\n"


@pytest.mark.parametrize(("argv", "code"), [(("sh", "-c", "exit 7"), 7), (("no-such-program-anywhere",), 127)])
def test_background_that_ends_itself(here: LocalHost, argv: tuple[str, ...], code: int) -> None:
    """The exit code of a program beside drorch is its own."""
    with here.spawn(Command(argv)) as process:
        assert eventually(lambda: process.poll() is not None)
        assert process.poll() == code


def test_background_flood(here: LocalHost) -> None:
    """What a program beside drorch says is bounded and never blocks it."""
    with here.spawn(
        Command(("sh", "-c", "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2; echo end >&2; sleep 60"))
    ) as process:
        assert eventually(lambda: process.stderr.endswith(b"end\n"))
        assert len(process.stderr) <= 65536


def test_background_dies_with_drorch() -> None:
    """A program beside drorch is gone soon after drorch was killed by a signal that nobody can catch."""
    mark = f"90{uuid.uuid4().int % 10**8}"
    child = f"""
import time
from drorch.core.clock import Halt
from drorch.core.host import Command, LocalHostSpec
from drorch.hosts.local import LocalHost
with LocalHost("here", LocalHostSpec(), halt=Halt()).spawn(Command(("sh", "-c", "sleep {mark} & sleep {mark}"))):
    time.sleep(100)
"""
    drorch = subprocess.Popen([sys.executable, "-c", child], cwd=Path(__file__).parents[2])
    try:
        assert eventually(lambda: len(running_with(f"sleep\0{mark}")) == 2, within=20)
    finally:
        kill(drorch.pid, signal.SIGKILL)
        drorch.wait()
    assert eventually(lambda: not running_with(mark), within=10)


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "])
def test_commands_die_with_drorch(stubborn: str) -> None:
    """Nothing that a command started goes on after drorch was killed; what had ended by then is left alone."""
    mark = f"91{uuid.uuid4().int % 10**8}"
    child = f"""
from drorch.core.clock import Halt
from drorch.core.host import Command, LocalHostSpec
from drorch.hosts import local
local.WATCH_GRACE = 0.5
here = local.LocalHost("here", LocalHostSpec(), halt=Halt())
for _ in range(3):
    here.run(Command(("true",)))
here.run(Command(("sh", "-c", "{stubborn}sleep {mark} & sleep {mark}; sleep {mark}")))
"""
    drorch = subprocess.Popen([sys.executable, "-c", child], cwd=Path(__file__).parents[2])
    try:
        assert eventually(lambda: len(running_with(f"sleep\0{mark}")) == 2, within=20)
    finally:
        kill(drorch.pid, signal.SIGKILL)
        drorch.wait()
    assert eventually(lambda: not running_with(mark), within=10)


def test_background_survives_the_thread_that_began_it(here: LocalHost) -> None:
    """A program beside drorch does not end with the thread in which it was started."""
    opened = []
    context = here.spawn(Command(("sleep", "60")))
    thread = threading.Thread(target=lambda: opened.append(context.__enter__()))
    thread.start()
    thread.join()
    assert opened[0].poll() is None
    assert alive(opened[0].pid)
    context.__exit__(None, None, None)
    assert not alive(opened[0].pid)


def test_background_needs_a_folder(here: LocalHost) -> None:
    """A program that cannot be started beside drorch is an error at once."""
    with pytest.raises(HostError), here.spawn(Command(("true",), cwd="/nowhere/at/all")):
        pass


def test_halted_host_starts_nothing() -> None:
    """After a request to stop no program is started beside drorch."""
    halt = Halt()
    halt.request()
    with pytest.raises(Interrupted), LocalHost("here", LocalHostSpec(), halt=halt).spawn(Command(("true",))):
        pass


def test_folders_are_machines(tmp_path: Path) -> None:
    """Two local hosts with homes of their own are two machines, and each is itself."""
    specs = [LocalHostSpec(home=str(tmp_path / name)) for name in "ab"] + [LocalHostSpec()]
    identities = [LocalHost("x", spec, halt=Halt()).identity() for spec in specs]
    for one in range(3):
        for other in range(3):
            assert identities[one].same_machine(identities[other]) is (one == other)
    assert identities[0].home == str(tmp_path / "a")


def test_host_words_reach_commands(tmp_path: Path) -> None:
    """The environment of a host's entry reaches its commands; a command's own comes before it."""
    spec = LocalHostSpec(home=str(tmp_path), env={"PGPORT": "5433", "MODE": "host"})
    done = LocalHost("x", spec, halt=Halt()).run(
        Command(("sh", "-c", "echo $HOME $PGPORT $MODE"), env={"MODE": "command"})
    )
    assert done.text == f"{tmp_path} 5433 command\n"


def test_no_zombie_and_no_descriptor_is_left(here: LocalHost) -> None:
    """A hundred commands leave neither processes nor open files behind."""
    here.run(Command(("true",)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for n in range(100):
        here.run(Command(("true",), stdin=b"x" if n % 2 else None))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert not [pid for pid in Path("/proc").glob("[0-9]*/stat") if _zombie_of_mine(pid)]


def _zombie_of_mine(stat: Path) -> bool:
    with suppress(OSError):
        state, parent = stat.read_bytes().rpartition(b") ")[2].split()[:2]
        return state == b"Z" and int(parent) == os.getpid()
    return False
