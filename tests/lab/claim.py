"""Claims of numbers: a lab's number is its own as long as it lives, and is free again when it is gone."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab import paths, raze
from lab.waiting import LabFailed

AT_ONCE = 2
"""Labs of tests that run at the same time."""
_WAIT = 10.0
"""Seconds that a test waits for its turn."""


@dataclass(frozen=True)
class Claim:
    """A number, its lock, and the keeper that razes the lab when this process lets go or dies."""

    number: int
    lock: IO[str]
    keeper: subprocess.Popen[bytes]

    def release(self) -> None:
        """Have the lab razed.

        Raises:
            LabFailed: something is left.
        """
        if self.keeper.stdin is not None:
            self.keeper.stdin.close()
        code = self.keeper.wait(60)
        self.lock.close()
        if code:
            raise LabFailed(f"lab {self.number} could not be taken down: its keeper ended with {code}")


def claim() -> Claim:
    """A number of one's own; what dead owners left anywhere is razed first."""
    paths.RUN.mkdir(mode=0o711, exist_ok=True)
    raze.sweep()
    for number in range(1, paths.HIGHEST + 1):
        lock = paths.lock(number).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        keeper = subprocess.Popen(
            [sys.executable, "-m", "lab.keeper", str(number)],
            stdin=subprocess.PIPE,
            cwd="/",
            env={"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "PYTHONPATH": str(paths.HERE.parent)},
            pass_fds=[lock.fileno()],
            start_new_session=True,  # a ctrl-C at the terminal is for the owner, who then lets go
        )
        return Claim(number, lock, keeper)
    raise LabFailed(f"there are {paths.HIGHEST} labs already")


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """One of the few turns to have hosts running, for test processes that share a folder; waits for it.

    Whoever waits is served in order. After a while he goes on without a turn: a machine that is busy is better than a
    test that never begins.
    """
    with ExitStack() as holding:
        with (folder / "lab.queue").open("a") as queue:
            fcntl.flock(queue, fcntl.LOCK_EX)
            limit = time.monotonic() + _WAIT
            while time.monotonic() < limit and not any(
                _take(folder / f"lab.turn{number}", holding) for number in range(AT_ONCE)
            ):
                time.sleep(0.02)
        yield


def _take(file: Path, holding: ExitStack) -> bool:
    lock = file.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    holding.enter_context(lock)
    return True
