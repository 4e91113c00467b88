"""A lab: three hosts with what runs on them, a customer's place, and the network between."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from lab import database, layer, network, paths, template, web
from lab.claim import Claim, claim
from lab.customer import Customer
from lab.database import Database
from lab.dns import Resolver
from lab.exposed import exposed
from lab.haproxy import HAProxy
from lab.host import Host
from lab.keys import write_key
from lab.needs import missing
from lab.network import Network
from lab.s3 import S3
from lab.waiting import LabFailed, until
from lab.witness import Witness
from lab.zone import Zone
from support.ceph_daemons import missing as no_ceph

PowerFault = Literal["lie", "hang", "fail", "slow"]
"""What the provider's power command may do instead of its work: say *off* and do nothing; never end; fail; be late."""


@dataclass
class Lab:
    """A lab. `start` makes one, `reset` makes it new, `close` leaves nothing of it."""

    claimed: Claim
    hosts: dict[str, Host] = field(default_factory=dict)
    """By name: ``web1``, ``web2``, ``edge``, and those added since the last reset."""
    _s3: S3 | None = None
    _exposed: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    @classmethod
    def start(cls, say: Callable[[str], None] = lambda _: None) -> "Lab":
        """A new lab, all of it up: orders are taken, the standby is in step.

        Raises:
            LabFailed: it does not come up; nothing is left of it.
        """
        lab = cls.prepare()
        try:
            say("two databases")
            template.pair()
            say("three hosts and what runs on them")
            lab.reset()
        except BaseException:
            lab.close()
            raise
        return lab

    @classmethod
    def prepare(cls) -> "Lab":
        """A new lab without hosts, which `reset` brings.

        Raises:
            LabFailed: this machine cannot carry one.
        """
        reason = missing()
        if reason:
            raise LabFailed(reason)
        lab = cls(claim())
        try:
            lab._furnish()
        except BaseException:
            lab.close()
            raise
        return lab

    def close(self) -> None:
        """Leave nothing of it."""
        self._exposed.close()
        self.claimed.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What there is

    @property
    def number(self) -> int:
        """Which lab this is; the third number of its addresses."""
        return self.claimed.number

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
    def front(self) -> HAProxy:
        """The load balancer on the edge."""
        return HAProxy(self.edge)

    @property
    def zone(self) -> Zone:
        """The name servers on the edge."""
        return Zone(self.edge)

    @property
    def s3(self) -> S3:
        """An S3 with locks, on a host that no reset touches: it is there from the first asking on, with its objects.

        Raises:
            LabFailed: this machine has no Ceph.
        """
        if self._s3 is None:
            if reason := no_ceph():
                raise LabFailed(reason)
            host = Host("s3", self.network, network.S3)
            self._make(host)
            made = S3(host)
            self._s3 = made
            made.lay()
            host.power_on()
            made.await_up()
        return self._s3

    def database(self, host: Host | str) -> Database:
        """The database of web1 or web2."""
        return Database(self.hosts[host] if isinstance(host, str) else host)

    @property
    def key(self) -> Path:
        """The private SSH key that is root on all hosts."""
        return self.folder / "keys" / "drorch"

    @property
    def floating(self) -> str:
        """The floating address; web1 has it at first, and takes it at each boot (unit ``floating-ip``)."""
        return self.network.address(network.FLOATING)

    @property
    def power(self) -> Path:
        """The provider's command, as ``… off|on|status HOST``; *status* says ``running`` or ``off``."""
        return self.folder / "bin" / "lab-power"

    def power_fault(self, fault: PowerFault | None) -> None:
        """Let that command misbehave; None lets it do its work again."""
        (self.folder / "power-fault").write_text(fault or "")

    def customer(self, url: str | None = None, *, pace: float = 50.0, patience: float = 2.0) -> Customer:
        """A customer at a place of its own, not begun yet; buys at the edge unless said otherwise."""
        space = paths.space(self.number, "customer")
        return Customer(url or self.front.url, space, pace, patience, Resolver(self.zone.servers))

    def witness(self, *, local: bool = True) -> Witness:
        """A writer at both databases, not begun yet; ``local``: a commit counts although no standby has it."""
        return Witness({name: self.database(name) for name in ("web1", "web2")}, local=local)

    # What may be asked of it

    def reset(self) -> None:
        """As at first: every disk, process, address, cable and state. Host keys and machine ids are the same again."""
        self.clear()
        volumes = {database.VOLUME: "8g"}
        self.hosts = {
            "edge": Host("edge", self.network, network.EDGE, (network.SECOND_DNS,)),
            "web1": Host("web1", self.network, network.WEB1, (), volumes),
            "web2": Host("web2", self.network, network.WEB2, (), volumes),
        }
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            list(pool.map(self._build, self.hosts.values()))
        try:
            until(lambda: self.database("web1").streams_to("web2"), "web2 receives what web1 sends")
            self.await_serving()
        except LabFailed as error:
            raise LabFailed(f"{error}\n{self.said()}") from error

    def clear(self) -> None:
        """No hosts, no faults."""
        self._exposed.close()
        self.power_fault(None)
        self.network.heal()
        if self._s3 is not None:
            self._s3.host.mend()
        with ThreadPoolExecutor() as pool:
            list(pool.map(_scrap, self.hosts.values()))
        self.hosts.clear()

    def add_host(self, name: str, last: int) -> Host:
        """A further host with nothing but SSH, at the address that ends with ``last``; gone with the next `reset`."""
        host = Host(name, self.network, last)
        self._make(host)
        self.hosts[name] = host
        host.power_on()
        return host

    def exchange(self, host: Host, *, host_key: bool = True, machine_id: bool = True) -> None:
        """Put another machine in a host's place: same name, same address, same data, another identity."""
        host.power_off()
        if host_key:
            write_key(host.disk.root / "etc/ssh/ssh_host_ed25519_key")
        if machine_id:
            host.disk.write("/etc/machine-id", f"{os.urandom(16).hex()}\n")
        host.power_on()

    def expose(self, port: int) -> str:
        """Let hosts reach a loopback port of this machine, until the next reset; gives ``address:port`` for them."""
        return self._exposed.enter_context(exposed(self.network.controller, port))

    def await_serving(self, address: str | None = None, port: int = 80) -> None:
        """Wait until the shop is healthy, as seen through the edge unless said otherwise."""
        until(lambda: _healthy(address or self.edge.address, port), "the shop is healthy")

    def said(self) -> str:
        """The ends of all journals, for a reader who wonders."""
        parts = []
        for host in (*self.hosts.values(), *([self._s3.host] if self._s3 else ())):
            text = host.log().splitlines()[-20:] if host.running else ["is off"]
            parts.append("\n".join((f"--- {host.name}", *text)))
        return "\n".join(parts)

    # How it is made

    def _furnish(self) -> None:
        """All that a reset keeps."""
        self.folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", self.folder], check=True)
        layer.make(self.folder / "layer", write_key(self.key))
        words = f'PYTHONPATH={paths.HERE.parent} exec {sys.executable} -m lab.power {self.number} "$@"'
        layer.write(self.power, f"#!/bin/sh\n{words}\n", mode=0o755)
        self.network.make()
        self.network.plug("customer", self.network.address(network.CUSTOMER))

    def _build(self, host: Host) -> None:
        self._make(host)
        if host.name == "edge":
            self.front.lay()
            self.zone.lay()
        else:
            primary = host.name == "web1"
            pair = template.pair()
            self.database(host).lay(pair.primary if primary else pair.standby)
            web.lay(host, after=database.UNIT, at_boot=primary)
            web.lay_floating(host, self.floating, at_boot=primary)
        host.power_on()

    def _make(self, host: Host) -> None:
        """A disk with the identity that this host has had since the lab began."""
        host.disk.make(self.folder / "layer")
        identity = self.folder / "keys" / host.name
        if not identity.exists():
            write_key(identity)
            identity.with_suffix(".machine-id").write_text(f"{os.urandom(16).hex()}\n")
        host.disk.write("/etc/hostname", f"{host.name}\n")
        host.disk.write("/etc/machine-id", identity.with_suffix(".machine-id").read_text())
        for suffix, mode in (("", 0o600), (".pub", 0o644)):
            content = identity.with_name(f"{host.name}{suffix}").read_text()
            host.disk.write(f"/etc/ssh/ssh_host_ed25519_key{suffix}", content, mode=mode)
        numbers = {name: getattr(network, name.upper()) for name in ("controller", "edge", "web1", "web2")}
        names = {**numbers, host.name: host.last}
        lines = ["127.0.0.1 localhost", *(f"{self.network.address(last)} {name}" for name, last in names.items())]
        host.disk.write("/etc/hosts", "\n".join(lines) + "\n")
        known = {"last": host.last, "more": host.more, "volumes": dict(host.volumes)}
        (host.folder / "host.json").write_text(json.dumps(known))


def _scrap(host: Host) -> None:
    host.power_off()
    host.disk.remove()


def _healthy(address: str, port: int) -> bool:
    asking = http.client.HTTPConnection(address, port, timeout=1)
    try:
        asking.request("GET", "/health")
        return asking.getresponse().status == 200
    except OSError:
        return False
    finally:
        asking.close()
