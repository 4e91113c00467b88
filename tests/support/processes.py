"""Looking at processes through /proc, for tests that must know what runs and what is gone."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def eventually(truth: Callable[[], bool], *, within: float = 10.0) -> bool:
    """Whether it becomes true in time; asked every 20 ms."""
    deadline = time.monotonic() + within
    while not truth():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def children(pid: int) -> tuple[int, ...]:
    """Process ids whose parent it is, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == pid and fields[0] not in (b"Z", b"X"):
                found.append(int(entry.name))
    return tuple(sorted(found))


def running_with(mark: str) -> tuple[int, ...]:
    """Process ids, this one left out, whose argument list contains the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if mark.encode() in (entry / "cmdline").read_bytes() and alive(int(entry.name)):
                found.append(int(entry.name))
    return tuple(sorted(found))


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that is gone is fine."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
