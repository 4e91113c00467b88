"""A machine of the lab: its own disk over this machine's, its own network, real systemd as its first process."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lab import paths
from lab.network import Network
from lab.raze import end_processes, unmount_below

PATIENCE = 30.0
"""Seconds that anything in the lab may take; more is a failure of the lab."""
_ALL_SPACES = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


class LabFailed(Exception):
    """A part of the lab does not do what it must; the text says what it said."""


def until(truth: Callable[[], bool], what: str, *, within: float = PATIENCE) -> None:
    """Wait for something to become true.

    Raises:
        LabFailed: it does not in time.
    """
    limit = time.monotonic() + within
    while not truth():
        if time.monotonic() > limit:
            raise LabFailed(f"not within {within:.0f} s: {what}")
        time.sleep(0.005)


@dataclass(frozen=True)
class Host:
    """A machine. What is true of it lives in the kernel and on its disk: any process may hold such an object.

    Commands given by `run` come from nowhere: no network is in between, and they run while the machine hangs.
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
    def root(self) -> Path:
        """Its disk as seen from outside, also while it is off; what it mounts while it runs is `inside`."""
        return self.folder / "disk" / "root"

    @property
    def inside(self) -> Path:
        """Its root folder as its own processes see it, with ``/run`` and all; only while it runs."""
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
        return (self.root / "etc/machine-id").read_text().strip()

    @property
    def host_key(self) -> str:
        """Its SSH host key, as ``ssh-ed25519 AAAA…``."""
        kind, key, *_ = (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        return f"{kind} {key}"

    # Its disk

    def make_disk(self, layer: Path, size: str = "256m") -> None:
        """An empty disk over a layer over this machine's own files; then its identity."""
        disk = self.folder / "disk"
        disk.mkdir(parents=True)
        _mount("tmpfs", "tmpfs", disk, f"size={size},mode=755")
        for name in ("upper", "work", "root"):
            (disk / name).mkdir()
        _mount("overlay", "overlay", self.root, f"lowerdir={layer}:/,upperdir={disk}/upper,workdir={disk}/work")
        for where, limit in self.volumes.items():
            volume = self.root / where.lstrip("/")
            volume.mkdir(parents=True, exist_ok=True)
            _mount("tmpfs", "tmpfs", volume, f"size={limit},mode=755")
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/machine-id", f"{secrets.token_hex(16)}\n")

    def scrap(self) -> None:
        """Power off and throw the disk away."""
        self.power_off()
        unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644, owner: str = "root") -> None:
        """A file of its disk, with its folders; works while it is off, too."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        shutil.chown(file, owner, owner)

    def read(self, path: str) -> str:
        """The text of a file of its disk."""
        return (self.root / path.lstrip("/")).read_text()

    def fill_disk(self, where: str = "/") -> Path:
        """Leave no byte free on a disk: ``/`` or one of `volumes`. Gives the file that does it; remove it to end it."""
        file = self.root / where.lstrip("/") / ".filling"
        with file.open("wb") as filling, contextlib.suppress(OSError):
            while True:
                free = os.statvfs(file)
                os.posix_fallocate(filling.fileno(), os.fstat(filling.fileno()).st_size, free.f_bavail * free.f_frsize)
        return file

    # Power

    def power_on(self, *, wait: bool = True) -> None:
        """Boot from its disk, with the addresses that it had at first; waits until its services are up."""
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
                    *("bash", paths.HERE / "boot.sh", self.root, self.name, pid),
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
        self,
        *argv: str,
        text: str | None = None,
        check: bool = True,
        timeout: float = PATIENCE,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root; ``text`` is its standard input.

        Raises:
            LabFailed: it failed, unless ``check`` is false.
        """
        done = subprocess.run(
            self._enter(argv),
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
        return subprocess.Popen(self._enter(argv), stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=_ENV)

    def systemctl(self, *words: str, check: bool = True) -> str:
        """What systemctl says, without its last newline."""
        return self.run("systemctl", *words, check=check).stdout.rstrip("\n")

    def active(self, unit: str) -> bool:
        """Whether a unit runs."""
        return self.systemctl("is-active", unit, check=False) == "active"

    def log(self, unit: str = "") -> str:
        """The journal, or a unit's part of it."""
        return self.run("journalctl", "--no-pager", "-o", "cat", *(("-u", unit) if unit else ())).stdout

    def processes(self, unit: str) -> tuple[int, ...]:
        """The process ids of a unit, as this machine counts."""
        folders = [path for path in self.group.rglob(unit) if path.is_dir()]
        return tuple(int(pid) for folder in folders for pid in (folder / "cgroup.procs").read_text().split())

    def kill(self, unit: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to all processes of a unit.

        Raises:
            LabFailed: it has none.
        """
        found = self.processes(unit)
        if not found:
            raise LabFailed(f"{self.name}: {unit} has no processes")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self, unit: str) -> None:
        """Stop a unit's processes where they are: it hangs, its connections stay open."""
        self.kill(unit, signal.SIGSTOP)

    def thaw(self, unit: str) -> None:
        """Let them go on."""
        self.kill(unit, signal.SIGCONT)

    def hang(self) -> None:
        """Let nothing run any more: the kernel still answers pings and takes connections, nobody serves them."""
        (self.group / "cgroup.freeze").write_text("1")
        until(lambda: "frozen 1" in (self.group / "cgroup.events").read_text(), f"{self.name} hangs", within=5)

    def unhang(self) -> None:
        """Let everything go on, as if no time had passed."""
        (self.group / "cgroup.freeze").write_text("0")

    def _enter(self, argv: tuple[str, ...]) -> list[str]:
        return ["nsenter", "-t", str(self.pid), *_ALL_SPACES, "--", *argv]


def _mount(kind: str, what: str, where: Path, options: str) -> None:
    done = subprocess.run(
        ["mount", "-t", kind, "-o", options, what, where], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabFailed(f"{' '.join(map(str, done.args))}: {done.stderr.strip()}")
