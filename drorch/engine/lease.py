"""Leases: a name held by one process of a state folder at a time.

A lease is a lock of the operating system on a file, so it ends with the process, however that dies. It holds among the
processes of one machine; the state folder must not lie on a network disk.
"""

import errno
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from drorch.core.clock import Clock, Deadline
from drorch.core.errors import Busy, SettingsError
from drorch.core.scene import slug

_POLL_SECONDS = 0.2


class Leases:
    """The leases of one state folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    @contextmanager
    def hold(self, name: str, *, wait: float = 0.0, purpose: str = "") -> Iterator[None]:
        """Hold a name; at most ``wait`` seconds are spent on getting it.

        Raises:
            Busy: another process, or another thread of this one, held it all that time.
            SettingsError: the state folder cannot be written.
        """
        with _usable(self._folder):
            file = os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(file, name, wait)
            with _usable(self._folder):
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps({"pid": os.getpid(), "purpose": purpose}).encode(), 0)
            yield
        finally:
            os.close(file)

    def held(self, name: str) -> bool:
        """Whether some process holds it at this moment."""
        path = self._path(name)
        if not path.exists():
            return False
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return not self._try(file)
        finally:
            os.close(file)

    def ask_to_stop(self, name: str, *, wait: float) -> None:
        """Ask the process that holds it to stop, and wait until it is free; nothing when nobody holds it.

        Raises:
            Busy: it was still held after ``wait`` seconds.
        """
        if not self.held(name):
            return
        with suppress(
            OSError, ValueError, KeyError, TypeError
        ):  # it ended meanwhile, or is another user's: waiting tells
            os.kill(int(json.loads(self._path(name).read_text())["pid"]), signal.SIGTERM)
        deadline = Deadline(self._clock.monotonic() + wait, self._clock)
        while self.held(name):
            if deadline.passed:
                raise Busy(f"{name} is still held by {self.holder(name)}", hint="end that process, then try again")
            self._clock.sleep(_POLL_SECONDS)

    def holder(self, name: str) -> str:
        """Who holds it, in words for a message."""
        try:
            said = json.loads(self._path(name).read_text())
            return f"process {said['pid']}" + (f", {said['purpose']}" if said.get("purpose") else "")
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _lock(self, file: int, name: str, wait: float) -> None:
        deadline = Deadline(self._clock.monotonic() + wait, self._clock)
        while not self._try(file):
            if deadline.passed:
                raise Busy(f"{name} is held by {self.holder(name)}", hint="wait for it, or end that process")
            self._clock.sleep(min(_POLL_SECONDS, max(deadline.remaining(), 0.01)))

    @staticmethod
    def _try(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise SettingsError(f"the state folder's file system knows no locks: {error.strerror}") from error
        return True

    def _path(self, name: str) -> Path:
        for folder in (self._folder.parent, self._folder):  # mkdir gives its mode to the last one only
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder / slug(name)


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Tell a folder that cannot be written (a full disk, another user's) from a defect."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"the state folder {folder.parent} cannot be used: {error.strerror}",
            hint="check its owner, free space and file system",
        ) from error
