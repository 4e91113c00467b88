"""Processes and units of a lab host."""

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.waiting import LabFailed

if TYPE_CHECKING:
    from lab.host import Host


@dataclass(frozen=True)
class Processes:
    """Some processes."""

    what: str
    pids: tuple[int, ...]
    """As this machine counts."""

    def signal(self, number: int) -> None:
        """Send a signal to all of them.

        Raises:
            LabFailed: there are none.
        """
        if not self.pids:
            raise LabFailed(f"{self.what} has no processes")
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End them at once."""
        self.signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop them where they are: they hang, their connections stay open."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self.signal(signal.SIGCONT)


@dataclass(frozen=True)
class Unit:
    """A systemd unit of a host, controlled from nowhere: no network is in between."""

    host: "Host"
    name: str

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return self.host.systemctl("is-active", self.name, check=False) == "active"

    @property
    def masked(self) -> bool:
        """Whether nobody can start it."""
        return self.host.systemctl("is-enabled", self.name, check=False).startswith("masked")

    @property
    def log(self) -> str:
        """What it said since the host was switched on."""
        return self.host.log(self.name)

    @property
    def processes(self) -> Processes:
        """Its processes."""
        folders = [path for path in self.host.group.rglob(self.name) if path.is_dir()]
        pids = [int(pid) for folder in folders for pid in (folder / "cgroup.procs").read_text().split()]
        return Processes(f"{self.host.name}: {self.name}", tuple(pids))

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.host.systemctl("start", self.name)

    def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        self.host.systemctl("stop", self.name)

    def freeze(self) -> None:
        """Let it hang."""
        self.processes.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self.processes.thaw()

    def kill(self) -> None:
        """End its processes as a crash would."""
        self.processes.kill()
