"""A lab: three hosts with what runs on them, a customer's place, and the network between."""

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Self

from lab import database, layer, network, paths, raze, template, web
from lab.customer import Customer
from lab.database import Database
from lab.dns import Resolver
from lab.edge import Edge
from lab.host import Host, LabFailed, until
from lab.keys import write_key
from lab.network import Network

PowerFault = Literal["lie", "hang", "fail", "slow"]
"""What the provider's power command may do instead of its work: say *off* and do nothing; never end; fail; be late."""
_PROGRAMS = (
    *("ip", "tc", "nft", "unshare", "nsenter", "setpriv", "setsid", "haproxy", "knotd", "sshd", "runuser"),
    "/lib/systemd/systemd",
    str(template.BINARIES / "postgres"),
)
_PACKAGES = "openssh-server postgresql haproxy knot nftables arping iproute2 systemd util-linux"


def missing() -> str:
    """Why there can be no lab here, as a reason to skip; empty when there can."""
    if os.geteuid() != 0:
        return "the lab needs root: its hosts are namespaces with disks and a network of their own"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [Path(name).name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"the lab needs {', '.join(absent)}: apt-get install {_PACKAGES}"
    if paths.groups() is None:
        return "the lab needs control groups of version 2: none are mounted"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "the lab needs overlayfs: this kernel has none"
    return ""


@dataclass
class Lab:
    """A running lab. `start` makes one, `close` leaves nothing of it."""

    number: int
    hosts: dict[str, Host] = field(default_factory=dict)
    fresh: bool = False
    """Whether nobody has touched it since it began; whoever does says so."""
    _lock: IO[str] | None = field(default=None, repr=False)
    _keeper: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def start(cls, say: Callable[[str], None] = lambda _: None) -> "Lab":
        """A new lab, all of it up: orders are taken, the standby is in step.

        Raises:
            LabFailed: it does not come up; nothing is left of it.
        """
        lab = cls._claim()
        try:
            say("the databases' template")
            template.pair()
            say("the network")
            lab._furnish()
            say("three hosts")
            lab._build()
        except BaseException:
            lab.close()
            raise
        return lab

    def close(self) -> None:
        """Leave nothing of it."""
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            code = self._keeper.wait(60)
            if code:
                raise LabFailed(f"lab {self.number} could not be taken down: its keeper ended with {code}")
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What there is

    @property
    def folder(self) -> Path:
        """A file system in memory that ends with the lab."""
        return paths.folder(self.number)

    @property
    def network(self) -> Network:
        """Cables and their faults."""
        return Network(self.number)

    @property
    def web1(self) -> Host:
        """The primary, at first."""
        return self.hosts["web1"]

    @property
    def web2(self) -> Host:
        """The standby, at first."""
        return self.hosts["web2"]

    @property
    def edge(self) -> Host:
        """The host that customers meet first."""
        return self.hosts["edge"]

    @property
    def front(self) -> Edge:
        """What runs on the edge."""
        return Edge(self.edge)

    def database(self, host: str) -> Database:
        """The database of web1 or web2."""
        return Database(self.hosts[host])

    @property
    def key(self) -> Path:
        """The private SSH key that is root on all hosts."""
        return self.folder / "keys" / "drorch"

    @property
    def floating(self) -> str:
        """The floating address; web1 has it at first."""
        return self.network.address(network.FLOATING)

    @property
    def power(self) -> Path:
        """The provider's command, as ``power off|on|status HOST``; *status* says ``running`` or ``off``."""
        return self.folder / "bin" / "lab-power"

    def power_fault(self, fault: PowerFault | None) -> None:
        """Let that command misbehave; None lets it do its work again."""
        (self.folder / "power-fault").write_text(fault or "")

    def customer(self, url: str | None = None, *, pace: float = 50.0, patience: float = 2.0) -> Customer:
        """A customer at a place of its own, not begun yet; buys at the edge unless said otherwise."""
        space = paths.space(self.number, "customer")
        return Customer(url or self.front.url, space, pace, patience, Resolver(self.front.name_servers))

    # What may be asked of it

    def reset(self) -> None:
        """As at first: every disk, process, address, cable and state; host keys and machine ids are the same again."""
        self.power_fault(None)
        self.network.unblock_all()
        self.network.lose_nothing()
        for name in [name for name in self.hosts if name not in ("web1", "web2", "edge")]:
            self.hosts.pop(name).scrap()
        for machine in ("controller", "customer", *self.hosts):
            self.network.mend(machine)
        self._build()

    def add_host(self, name: str, last: int) -> Host:
        """A further host with nothing but SSH, at the address that ends with ``last``; gone with the next `reset`."""
        host = Host(name, self.network, last)
        self._make(host)
        self.hosts[name] = host
        host.power_on()
        return host

    def await_serving(self, address: str | None = None, port: int = 80) -> None:
        """Wait until the shop is healthy, as customers see it through the edge unless said otherwise."""
        until(lambda: _healthy(address or self.edge.address, port), "the shop is healthy")

    def exchange(self, host: Host, *, host_key: bool = True, machine_id: bool = True) -> None:
        """Put another machine in a host's place: same name, same address, same data, another identity."""
        host.power_off()
        if host_key:
            write_key(host.root / "etc/ssh/ssh_host_ed25519_key")
        if machine_id:
            host.write("/etc/machine-id", f"{os.urandom(16).hex()}\n")
        host.power_on()

    # How it is made

    @classmethod
    def _claim(cls) -> "Lab":
        reason = missing()
        if reason:
            raise LabFailed(reason)
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
                start_new_session=True,
            )
            return cls(number, _lock=lock, _keeper=keeper)
        raise LabFailed(f"there are {paths.HIGHEST} labs already")

    def _furnish(self) -> None:
        """All that a reset keeps."""
        self.folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", self.folder], check=True)
        layer.make(self.folder / "layer", write_key(self.key))
        write = layer.write
        words = f'PYTHONPATH={paths.HERE.parent} exec {sys.executable} -m lab.power {self.number} "$@"'
        write(self.power, f"#!/bin/sh\n{words}\n", mode=0o755)
        self.network.make()
        self.network.plug("customer", self.network.address(network.CUSTOMER))

    def _build(self) -> None:
        volumes = {database.VOLUME: "384m"}
        self.hosts = {
            "edge": Host("edge", self.network, network.EDGE, (network.SECOND_DNS,)),
            "web1": Host("web1", self.network, network.WEB1, (), volumes),
            "web2": Host("web2", self.network, network.WEB2, (), volumes),
        }
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            list(pool.map(self._rebuild, self.hosts.values()))
        until(self.database("web1").streaming, "web2 receives what web1 sends")
        self.await_serving()

    def _rebuild(self, host: Host) -> None:
        host.scrap()
        self._make(host)
        if host.name == "edge":
            self.front.lay()
        else:
            primary = host.name == "web1"
            pair = template.pair()
            self.database(host.name).lay(pair.primary if primary else pair.standby)
            self.database(host.name).enable()
            web.lay(host, after=database.UNIT, at_boot=primary)
            web.lay_floating(host, self.floating, at_boot=primary)
        host.power_on()

    def _make(self, host: Host) -> None:
        """A disk with the identity that this host has had since the lab began."""
        host.make_disk(self.folder / "layer")
        identity = self.folder / "keys" / host.name
        if not identity.exists():
            write_key(identity)
            identity.with_suffix(".machine-id").write_text(host.machine_id)
        host.write("/etc/machine-id", f"{identity.with_suffix('.machine-id').read_text()}\n")
        for suffix, mode in (("", 0o600), (".pub", 0o644)):
            content = identity.with_name(f"{host.name}{suffix}").read_text()
            host.write(f"/etc/ssh/ssh_host_ed25519_key{suffix}", content, mode=mode)
        numbers = {name: getattr(network, name.upper()) for name in ("controller", "edge", "web1", "web2")}
        names = {**numbers, host.name: host.last}
        lines = ["127.0.0.1 localhost", *(f"{self.network.address(last)} {name}" for name, last in names.items())]
        host.write("/etc/hosts", "\n".join(lines) + "\n")
        known = {"last": host.last, "more": host.more, "volumes": dict(host.volumes)}
        (host.folder / "host.json").write_text(json.dumps(known))


@contextlib.contextmanager
def running_lab() -> Iterator[Lab]:
    """A lab for the context's length.

    Raises:
        LabFailed: it does not come up, or not down.
    """
    with Lab.start() as lab:
        yield lab


def _healthy(address: str, port: int) -> bool:
    asking = http.client.HTTPConnection(address, port, timeout=1)
    try:
        asking.request("GET", "/health")
        return asking.getresponse().status == 200
    except OSError:
        return False
    finally:
        asking.close()
