"""A real HAProxy on loopback, run by whoever runs the tests. Its servers are frontends of its own, which answer with
their names.
"""

import csv
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest

from drorch import switches
from support.processes import eventually
from support.site import free_port

_CONFIG = """\
global
  stats socket {folder}/admin.sock mode 600 level admin
  stats socket {folder}/looker.sock mode 600 level operator
  {load}
  {more}
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 10s
  {state}
frontend www
  bind 127.0.0.1:{port}
  {hold}
  default_backend shop
backend shop
  server primary unix@{folder}/primary.sock check inter 100ms
  server standby unix@{folder}/standby.sock check inter 100ms disabled
  server third unix@{folder}/third.sock disabled
  server sorry unix@{folder}/third.sock backup
frontend primary
  bind unix@{folder}/primary.sock
  http-request wait-for-body time 10s if {{ path /slow }}
  http-request return status 200 content-type text/plain string primary
frontend standby
  bind unix@{folder}/standby.sock
  http-request return status 200 content-type text/plain string standby
frontend third
  bind unix@{folder}/third.sock
  http-request return status 200 content-type text/plain string third
"""


LUA = Path(switches.__file__).with_name("drorch-hold.lua")


@dataclass
class Edge:
    """An HAProxy and its only backend, ``shop``, behind the frontend ``www``."""

    folder: Path
    program: str
    port: int = field(default_factory=free_port)
    keeping: bool = False
    """Whether it loads the state that was saved."""
    taught: bool = True
    """Whether it can let requests wait."""
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def socket(self) -> str:
        """Of its runtime API."""
        return f"{self.folder}/admin.sock"

    @property
    def state(self) -> Path:
        """Where its state may be saved."""
        return self.folder / "state"

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "haproxy.cfg"

    def start(self) -> None:
        """Start it, and wait until it serves."""
        words = {
            "more": f"server-state-file {self.state}" if self.keeping else "",
            "state": "load-server-state-from-file global" if self.keeping else "",
            "load": f"lua-load {LUA}" if self.taught else "",
            "hold": "http-request lua.drorch_hold shop" if self.taught else "",
        }
        self.config.write_text(_CONFIG.format(folder=self.folder, port=self.port, **words))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-db", "-f", str(self.config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        assert eventually(lambda: self.customer() != "", within=10), (self.folder / "log").read_text()

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def customer(self, timeout: float = 5.0) -> str:
        """Who serves a customer now; empty when nobody does."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read().decode()
        except OSError:
            return ""
        finally:
            connection.close()
        return body if answer.status == 200 else f"status {answer.status}"

    @contextmanager
    def slow_customer(self) -> Iterator[HTTPConnection]:
        """A customer whose request the primary is answering, until its body, ``end``, is sent."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        before = self._requests()
        try:
            connection.putrequest("POST", "/slow")
            connection.putheader("Content-Length", "3")
            connection.endheaders()
            assert eventually(lambda: self._requests() > before)
            yield connection
        finally:
            connection.close()

    def _requests(self) -> int:
        rows = csv.DictReader(self.say("show stat -1 4 -1")[2:].strip().splitlines())
        return next(int(row["stot"]) for row in rows if row["pxname"] == "shop" and row["svname"] == "primary")

    def say(self, words: str) -> str:
        """Say a line to its socket, as an operator would."""
        done = subprocess.run(
            ["perl", "-MIO::Socket::UNIX", "-e", _TALK, self.socket, words], check=True, capture_output=True, text=True
        )
        return done.stdout


_TALK = 'my $s = IO::Socket::UNIX->new($ARGV[0]) or die $!; print $s "$ARGV[1]\\n"; $s->flush; print while <$s>;'


@pytest.fixture
def edge() -> Iterator[Edge]:
    """One that leads to ``primary``."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("needs HAProxy: apt-get install haproxy")
    # Below /tmp itself: a Unix socket's path has little room.
    with tempfile.TemporaryDirectory(prefix="drorch-edge-", dir="/tmp") as folder:
        made = Edge(Path(folder), program)
        try:
            made.start()
            yield made
        finally:
            made.stop()
