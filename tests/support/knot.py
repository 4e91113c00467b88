"""Real Knot name servers on loopback, run by whoever runs the tests: a zone that takes signed updates, its secondary;
and a dnsmasq, the cache between them and customers.
"""

import getpass
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.update
import pytest

from support.processes import eventually
from support.site import free_port

ZONE = "shop.test"
PROGRAMS = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
SECRET = "bm90LWEtc2VjcmV0LW9mLWFueWJvZHktYXQtYWxsLTE="
OTHER_SECRET = "YW5vdGhlci1zZWNyZXQtdGhhdC1pcy1ub3QtdGhlLW9uZQ=="

_PRIMARY = """\
server:
    rundir: {folder}
    listen: 127.0.0.1@{port}
database:
    storage: {folder}
key:
  - id: drorch
    algorithm: hmac-sha256
    secret: {secret}
  - id: reader
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: second
    address: 127.0.0.1@{second}
acl:
  - id: update
    key: drorch
    action: update
  - id: transfer
    address: 127.0.0.1
    action: transfer
zone:
  - domain: {zone}
    storage: {folder}
    file: zone
    acl: [update, transfer]
    notify: second
"""
_SECONDARY = """\
server:
    rundir: {folder}/second
    listen: 127.0.0.1@{second}
database:
    storage: {folder}/second
remote:
  - id: first
    address: 127.0.0.1@{port}
acl:
  - id: notify
    address: 127.0.0.1
    action: notify
zone:
  - domain: {zone}
    storage: {folder}/second
    file: zone
    master: first
    acl: notify
"""
_ZONE = """\
$ORIGIN {zone}.
@ 300 SOA ns hostmaster 1 60 10 3600 60
@ 300 NS ns
ns 300 A 127.0.0.1
www 60 A 198.51.100.10
slow 3600 A 198.51.100.10
six 60 AAAA 2001:db8::10
alias 60 CNAME web1.example.
"""


@dataclass
class Knot:
    """The zone's primary, and its secondary when that is started."""

    folder: Path
    program: str
    port: int = field(default_factory=free_port)
    second: int = field(default_factory=free_port)
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self) -> None:
        """The primary, until it answers."""
        (self.folder / "zone").write_text(_ZONE.format(zone=ZONE))
        self._run("primary", _PRIMARY, self.port)

    def start_second(self) -> None:
        """The secondary, until it has the zone."""
        (self.folder / "second").mkdir()
        self._run("secondary", _SECONDARY, self.second)

    def _run(self, name: str, text: str, port: int) -> None:
        config = self.folder / f"{name}.conf"
        config.write_text(text.format(folder=self.folder, port=self.port, second=self.second, zone=ZONE, secret=SECRET))
        with (self.folder / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(
                [self.program, "-m", "16", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.processes.append(started)
        assert eventually(lambda: bool(self.says("www", port=port))), (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        """End them."""
        for each in self.processes:
            each.kill()
            each.wait()

    def says(self, name: str, kind: str = "A", *, port: int = 0) -> str:
        """What a server says of a name, as any customer would be told; empty for nothing."""
        query = dns.message.make_query(f"{name}.{ZONE}", kind)
        try:
            reply = dns.query.tcp(query, "127.0.0.1", port=port or self.port, timeout=1)
        except (OSError, EOFError):
            return ""
        found = [each for rrset in reply.answer for each in rrset]
        return " ".join(sorted(each.to_text() for each in found))

    def put(self, name: str, *values: str, kind: str = "A") -> None:
        """Somebody else changes a record."""
        key = dns.tsig.Key("drorch", SECRET, "hmac-sha256")
        message = dns.update.UpdateMessage(ZONE, keyring={key.name: key}, keyname=key.name)
        message.delete(name, kind)
        for value in values:
            message.add(name, 60, kind, value)
        assert dns.query.tcp(message, "127.0.0.1", port=self.port, timeout=5).rcode() == dns.rcode.NOERROR


@pytest.fixture
def knot() -> Iterator[Knot]:
    """The primary."""
    program = shutil.which("knotd", path=PROGRAMS)
    if program is None:
        pytest.skip("needs Knot DNS: apt-get install knot")
    with tempfile.TemporaryDirectory(prefix="drorch-knot-", dir="/tmp") as folder:
        made = Knot(Path(folder), program)
        try:
            made.start()
            yield made
        finally:
            made.stop()


@dataclass
class Cache:
    """A resolver that customers use: a real dnsmasq, which keeps what it heard for as long as it was told."""

    process: "subprocess.Popen[bytes]"
    port: int

    def hear(self, name: str) -> None:
        """A customer asks, so that it keeps the answer."""
        query = dns.message.make_query(f"{name}.{ZONE}", "A")
        assert eventually(lambda: self._answers(query)), "dnsmasq does not answer"

    def _answers(self, query: dns.message.Message) -> bool:
        try:
            return bool(dns.query.udp(query, "127.0.0.1", port=self.port, timeout=1).answer)
        except (OSError, dns.exception.Timeout):
            return False

    def forget(self) -> None:
        """Empty it, as if the time were over."""
        self.process.send_signal(signal.SIGHUP)


@pytest.fixture
def cache(knot: Knot) -> Iterator[Cache]:
    """One on a loopback port, that asks the zone's primary."""
    program = shutil.which("dnsmasq", path=PROGRAMS)
    if program is None:
        pytest.skip("needs dnsmasq: apt-get install dnsmasq-base")
    port = free_port()
    words = [
        *("--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", f"--user={getpass.getuser()}"),
        *("--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1"),
        *(f"--port={port}", f"--server=127.0.0.1#{knot.port}"),
    ]
    with (knot.folder / "cache.log").open("wb") as log:
        process = subprocess.Popen([program, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield Cache(process, port)
    finally:
        process.kill()
        process.wait()
