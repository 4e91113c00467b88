"""A machine of the lab: its own disk over this machine's, its own network, real systemd as its first process."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lab import paths
from lab.disk import Disk
from lab.network import Network
from lab.processes import Processes, Unit
from lab.raze import end_processes
from lab.waiting import PATIENCE, LabFailed, until

_ALL_SPACES = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Host:
    """A machine. What is true of it lives in the kernel and on its disk: any process may hold such an object.

    What tests do to it comes from nowhere: no network is in between, and `run` works while the machine hangs.
    """

    name: str
    network: Network
    last: int
    """The last number of its address."""
    more: tuple[int, ...] = ()
    """Of further addresses."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Further disks: where they are mounted, and how large they are."""

    @property
    def address(self) -> str:
        """Its address in the lab's network."""
        return self.network.address(self.last)

    @property
    def folder(self) -> Path:
        """Where this machine keeps it."""
        return paths.folder(self.network.number) / "hosts" / self.name

    @property
    def disk(self) -> Disk:
        """Its disk, which outlives the power."""
        return Disk(self.folder / "disk", self.volumes)

    @property
    def made(self) -> int:
        """Tells this machine from those that stood in its place before a reset."""
        return (self.folder / "host.json").stat().st_mtime_ns

    @property
    def inside(self) -> Path:
        """Its root folder as its own processes see it, with ``/run`` and all; only while it is on."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def pid(self) -> int:
        """The process id of its first process, as this machine counts.

        Raises:
            LabFailed: it is off.
        """
        if not self.running:
            raise LabFailed(f"{self.name} is off")
        return int((self.folder / "pid").read_text())

    @property
    def group(self) -> Path:
        """The control group that holds all its processes."""
        return paths.group(self.network.number) / self.name

    @property
    def running(self) -> bool:
        """Whether the power is on."""
        try:
            return "populated 1" in (self.group / "cgroup.events").read_text() and (self.folder / "pid").exists()
        except OSError:
            return False

    @property
    def machine_id(self) -> str:
        """What ``/etc/machine-id`` says."""
        return self.disk.read("/etc/machine-id").strip()

    @property
    def host_key(self) -> str:
        """Its SSH host key, as ``ssh-ed25519 AAAA…``."""
        return " ".join(self.disk.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[:2])

    # Power

    def power_on(self, *, wait: bool = True) -> None:
        """Boot from its disk, with the addresses that it had at first; waits until its services have been started."""
        if self.running:
            return
        end_processes(self.group)
        self.network.unplug(self.name)
        self.network.plug(self.name, *(self.network.address(last) for last in (self.last, *self.more)))
        self.group.mkdir(parents=True)
        pid = self.folder / "pid"
        pid.unlink(missing_ok=True)
        with (self.folder / "console").open("ab") as console:
            subprocess.run(
                [
                    *("setsid", "--fork", "bash", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', self.group),
                    *("ip", "netns", "exec", paths.space(self.network.number, self.name)),
                    *("unshare", "--mount", "--uts", "--ipc", "--cgroup", "--pid", "--fork", "--propagation=private"),
                    *("bash", paths.HERE / "boot.sh", self.disk.root, self.name, pid),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                check=True,
                cwd="/",
            )
        if wait:
            self.await_up()

    def await_up(self) -> None:
        """Wait until all services that start at boot have been started.

        Raises:
            LabFailed: they have not in time; the text holds what the console says.
        """
        try:
            until(lambda: self.running and (self.inside / "run/lab-up").exists(), f"{self.name} is up")
        except LabFailed as error:
            said = (self.folder / "console").read_text(errors="replace")[-2000:]
            raise LabFailed(f"{error}\n{said}") from error

    def power_off(self) -> None:
        """Cut the power: all processes end at once, and nobody hears a farewell."""
        self.network.unplug(self.name)
        end_processes(self.group)
        (self.folder / "pid").unlink(missing_ok=True)

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Off within the context, on again after it."""
        self.power_off()
        yield
        self.power_on()

    def hang(self) -> None:
        """Let nothing run any more: the kernel still answers pings and takes connections, nobody serves them."""
        (self.group / "cgroup.freeze").write_text("1")
        until(lambda: "frozen 1" in (self.group / "cgroup.events").read_text(), f"{self.name} hangs")

    @property
    def hangs(self) -> bool:
        """Whether `hang` was the last word."""
        return self.running and (self.group / "cgroup.freeze").read_text().strip() == "1"

    def unhang(self) -> None:
        """Let everything go on, as if no time had passed."""
        (self.group / "cgroup.freeze").write_text("0")

    # Cable

    def cut(self) -> None:
        """Pull the cable: nothing comes or goes, and nobody is told."""
        self.network.cut(self.name)

    def mend(self) -> None:
        """Plug it in again."""
        self.network.mend(self.name)

    def isolate(self, *, from_: "Host | str", ways: Literal["both", "out", "in"] = "both") -> None:
        """Let nothing pass between this machine and another, which may be ``controller`` or ``customer``.

        ``out``: what it sends gets lost, what the other sends arrives; ``in``: the other way round.
        """
        other = from_ if isinstance(from_, str) else from_.name
        if ways in ("both", "out"):
            self.network.block(self.name, other)
        if ways in ("both", "in"):
            self.network.block(other, self.name)

    def lose(self, percent: float) -> None:
        """Lose so many of its packets, both ways."""
        self.network.lose(self.name, percent)

    def slow(self, rate: str | None) -> None:
        """Let its cable carry no more than, say, ``1mbit``; None ends it."""
        self.network.slow(self.name, rate)

    # Processes

    def run(
        self, *argv: str, text: str | None = None, check: bool = True, timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root; ``text`` is its standard input.

        Raises:
            LabFailed: it failed, unless ``check`` is false.
        """
        done = subprocess.run(
            self.entering(*argv),
            **({"input": text} if text is not None else {"stdin": subprocess.DEVNULL}),
            capture_output=True,
            text=True,
            env=_ENV,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode:
            raise LabFailed(f"{self.name}: {' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """A command in it that is not waited for; it ends with the machine."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.entering(*argv), stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=_ENV)

    def entering(self, *argv: str) -> list[str]:
        """The words that run a command in it."""
        return ["nsenter", "-t", str(self.pid), *_ALL_SPACES, "--", *argv]

    def systemctl(self, *words: str, check: bool = True) -> str:
        """What systemctl says, without its last newline."""
        return self.run("systemctl", *words, check=check).stdout.rstrip("\n")

    def unit(self, name: str) -> Unit:
        """One of its units, such as `database.UNIT`, `web.UNIT`, `edge.HAPROXY`."""
        return Unit(self, name)

    def processes(self, containing: str) -> Processes:
        """Those whose command line contains a text, such as ``walreceiver``."""
        found = []
        for file in self.group.rglob("cgroup.procs"):
            for pid in file.read_text().split():
                with contextlib.suppress(OSError):
                    if containing.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(int(pid))
        return Processes(f"{self.name}: {containing}", tuple(found))

    def log(self, unit: str = "") -> str:
        """The journal since it was switched on, or a unit's part of it."""
        return self.run("journalctl", "--no-pager", "-o", "cat", *(("-u", unit) if unit else ())).stdout
