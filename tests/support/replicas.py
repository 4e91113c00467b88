"""A PostgreSQL primary and its streaming standby on loopback, without systemd: made once, copied for each test."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drorch.core.clock import SystemClock
from drorch.core.evidence import Evidence, Failure
from drorch.core.host import Command, Completed, Host, LineSink, LocalHostSpec
from drorch.core.model import Json
from drorch.core.replication import Pair as SidesPair
from drorch.core.replication import ReplicaState, Replication
from drorch.core.scene import RunKind
from drorch.core.step import Tools
from drorch.hosts.local import LocalHost
from drorch.sources import _postgres_shop as shop
from drorch.sources.postgres import Postgres
from support.postgres import SUPERUSER, _account, _as, binaries
from support.tools import Cut, World, WorldTools

_LIMIT = 30.0
_CHANGES = (
    *(shop._MARK, shop._KEEP, shop._WRITE, shop._TAKE_BACK, shop._RECOVER, shop._REWIND),
    *(shop._COPY, shop._SWAP, shop._FOLLOW, shop._LOGIN, shop._DONE),
)
_PLACE = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 1 << 30 else "/tmp"
"""Where syncing costs nothing, if there is room."""
_CONFIG = """
listen_addresses = '127.0.0.1'
shared_buffers = 16MB
max_connections = 30
autovacuum = off
logging_collector = off
dynamic_shared_memory_type = posix
wal_level = replica
wal_keep_size = 16MB
fsync = off
wal_receiver_timeout = 2s
wal_sender_timeout = 2s
wal_retrieve_retry_interval = 50ms
wal_receiver_status_interval = 1s
"""
_ACCESS = """
local all all trust
host all all 127.0.0.1/32 trust
local replication all trust
host replication all 127.0.0.1/32 trust
"""
_SHOP = """
CREATE ROLE replicator LOGIN REPLICATION SUPERUSER;
CREATE TABLE orders (id int PRIMARY KEY);
INSERT INTO orders SELECT generate_series(1, 100);
"""


@dataclass
class Node:
    """One server: its data folder, port and socket folder. It may run or not, started by whomever."""

    folder: Path
    name: str
    port: int
    bin: Path

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / self.name / "data"

    @property
    def env(self) -> dict[str, str]:
        """How it is reached from its host."""
        return {
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PGHOST": str(self.folder / self.name),
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
        }

    def sql(self, text: str, *, timeout: float = 30) -> str:
        """Run statements; the unaligned output without its last newline."""
        done = subprocess.run(
            [self.bin / "psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", "-"],
            input=text.encode(),
            capture_output=True,
            check=False,
            env={**os.environ, **self.env},
            timeout=timeout,
        )
        if done.returncode:
            raise AssertionError(done.stderr.decode(errors="replace"))
        return done.stdout.decode().removesuffix("\n")

    def set(self, **settings: str) -> None:
        """Settings that outlive a restart."""
        with (self.data / "postgresql.auto.conf").open("a") as config:
            config.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def ctl(self, *words: str) -> None:
        """pg_ctl, as the account of the files."""
        done = subprocess.run(
            [*_as(_account()), self.bin / "pg_ctl", "-D", self.data, "-w", "-t", "30", *words],
            capture_output=True,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            timeout=60,
        )
        log = self.data / "log"
        assert not done.returncode, done.stdout + done.stderr + (log.read_bytes() if log.exists() else b"")

    def become_another(self) -> None:
        """Another database than all others, by its system identifier; while it does not run."""
        with (self.data / "global" / "pg_control").open("r+b") as control:
            control.write(b"\1stranger"[:8])
        words = [*_as(_account()), str(self.bin / "pg_resetwal"), "-f", "-D", str(self.data)]
        subprocess.run(words, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"}, cwd="/", timeout=60)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.ctl("-l", str(self.data / "log"), "start")

    def stop(self) -> None:
        """Stop it in order."""
        self.ctl("-m", "fast", "stop")

    @property
    def pid(self) -> int | None:
        """The server's process; None when it does not run."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            if Path(f"/proc/{pid}/cwd").readlink() == self.data:
                return pid
        return None

    def kill(self) -> None:
        """End all its processes at once, as a power failure would."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.processes(), f"{self.name} is gone")
        # Nobody may be there to bury the dead, and PostgreSQL takes a process that is only not buried for alive.
        for lock in (self.data / "postmaster.pid", self.folder / self.name / f".s.PGSQL.{self.port}.lock"):
            lock.unlink(missing_ok=True)

    def processes(self) -> list[int]:
        """All that work in its data folder."""
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (each / "cwd").readlink() == self.data and ") Z " not in (each / "stat").read_text():
                    found.append(int(each.name))
        return found

    def pause(self) -> None:
        """Let it hang: every process stands still."""
        for pid in self.processes():
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):  # ended meanwhile
                os.kill(pid, signal.SIGCONT)

    def follow(self, leader: "Node", **more: str) -> None:
        """Settings of a standby; while it does not run."""
        (self.data / "standby.signal").touch()
        info = f"host=127.0.0.1 port={leader.port} user=replicator application_name={self.name}"
        self.set(primary_conninfo=info, **more)
        _own(self.data)


@dataclass
class Pair:
    """Two servers and how steps reach them."""

    folder: Path
    primary: Node
    standby: Node
    world: World
    more: dict[str, Json] = field(default_factory=dict)

    @property
    def source(self) -> Postgres:
        """As a user would write it."""
        replica = {
            "user": "replicator",
            "account": _owner(),
            "addresses": {node.name: f"127.0.0.1:{node.port}" for node in (self.primary, self.standby)},
            **self.more,
        }
        said: dict[str, Any] = {"kind": "postgres", "database": "postgres", "run_as": None, "replica": replica}
        return Postgres.model_validate(said)

    def replication(self, node: Node) -> Replication:
        """Of the source, with the data folder of that node: the two lie on one machine."""
        self.more["data"] = str(node.data)
        found = self.source.replication()
        assert found is not None
        return found

    def host(self, node: Node) -> Host:
        """Where it runs."""
        return self.world.hosts[node.name]

    def tools(self, *, seconds: float = 30.0) -> Tools:
        """For one attempt."""
        return WorldTools(self.world, "step", Cut(), repeated=False, length=timedelta(seconds=seconds))

    def promoted(self, *, seconds: float = 30.0) -> Evidence | Failure:
        """Promote the standby."""
        replication, tools = self.replication(self.standby), self.tools(seconds=seconds)
        host = tools.host(self.standby.name)
        before = replication.look(tools, host)
        assert isinstance(before, ReplicaState), before
        return replication.promote(tools, host, before, former=self.primary.name)

    def rejoined(
        self,
        follower: Node | None = None,
        leader: Node | None = None,
        *,
        cut: int = 0,
        **more: Any,  # noqa: ANN401
    ) -> Evidence | Failure:
        """Make one follow the other: the old primary the promoted standby unless said."""
        follower, leader = follower or self.primary, leader or self.standby
        tools = self.tools(seconds=more.pop("seconds", 60.0))
        counting: Any = Changing(tools.host(follower.name), Cut(cut))
        way = SidesPair(counting, tools.host(leader.name), "127.0.0.1")
        return self.replication(follower).follow(tools, way, keep=more.pop("keep", "run-1"), **more)

    def look(self, node: Node) -> ReplicaState:
        """How it stands; it must answer."""
        state = self.replication(node).look(self.tools(), self.host(node))
        assert isinstance(state, ReplicaState), state
        return state

    def own(self) -> None:
        """Give what a test made to the servers' account."""
        _own(self.folder)

    def end(self) -> None:
        """Leave no process."""
        for node in (self.primary, self.standby):
            node.go_on()
            node.kill()


@dataclass
class Changing:
    """A host on which whatever changes files or processes counts; the rest may be asked as often as one likes."""

    inner: Host
    cut: Cut

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it stands before
        return getattr(self.inner, name)

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        """Execute; the cut comes after."""
        done = self.inner.run(command, on_line=on_line)
        if "pg_ctl" in command.argv or any(script in command.argv for script in _CHANGES):
            self.cut.effect()
        return done


def until(truth: Callable[[], bool], what: str, *, within: float = _LIMIT) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + within
    while not truth():
        assert time.monotonic() < end, f"not within {within:.0f} s: {what}"
        time.sleep(0.01)


def streams(pair: Pair) -> bool:
    """Whether the standby receives, as its primary says."""
    return pair.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1"


@pytest.fixture(scope="session")
def replica_template() -> Iterator[Path]:
    """A data folder of a server that was stopped in order: a primary and a standby begin as copies of it."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="drorch-pair-", dir=_PLACE))
    node = Node(folder, "template", _port(), found)
    (folder / "template").mkdir()
    _own(folder)
    subprocess.run(
        [
            *_as(_account()),
            found / "initdb",
            *("--pgdata", node.data, "--auth", "trust", "--username", SUPERUSER),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--data-checksums"),
        ],
        check=True,
        capture_output=True,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        timeout=120,
    )
    _settle(node)
    node.start()
    node.sql(_SHOP)
    node.stop()
    yield node.data
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_pair(replica_template: Path, tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Pairs of a primary and a standby that streams from it; nothing of them is left after the test."""
    with _making(replica_template, tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def make_pairs(replica_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Pair]]:
    """The same, for the tests of a module together."""
    with _making(replica_template, tmp_path_factory.mktemp("pairs")) as make:
        yield make


@contextlib.contextmanager
def _making(template: Path, root: Path) -> Iterator[Callable[..., Pair]]:
    made: list[Pair] = []

    def make(*, settings: Mapping[str, str] | None = None, standby: Mapping[str, str] | None = None) -> Pair:
        pair = _pair(Path(tempfile.mkdtemp(prefix="drorch-pair-", dir=_PLACE)), template, root / f"world{len(made)}")
        made.append(pair)
        pair.primary.set(**(settings or {}))
        pair.standby.set(**(settings or {}), **(standby or {}))
        pair.primary.start()
        pair.primary.sql("SELECT pg_create_physical_replication_slot('first', true)")
        pair.standby.follow(pair.primary, primary_slot_name="first")
        pair.standby.start()
        until(lambda: streams(pair), "the standby streams")
        return pair

    try:
        yield make
    finally:
        for pair in made:
            pair.end()
            shutil.rmtree(pair.folder, ignore_errors=True)


@pytest.fixture
def pair(make_pair: Callable[..., Pair]) -> Pair:
    """A primary and a standby that streams from it."""
    return make_pair()


def _pair(folder: Path, template: Path, root: Path, kind: RunKind = "failover") -> Pair:
    found = binaries()
    assert found is not None
    primary, standby = (Node(folder, name, _port(), found) for name in ("primary", "standby"))
    root.mkdir(parents=True)
    world = World(root, {}, kind=kind)
    world.clock = SystemClock()  # type: ignore[assignment]  # real servers take real time
    for node in (primary, standby):
        (folder / node.name).mkdir(parents=True)
        subprocess.run(["cp", "-a", template, node.data], check=True)
        _settle(node)
        spec = LocalHostSpec(home=str(root / node.name), env=node.env)
        world.hosts[node.name] = LocalHost(node.name, spec, halt=world.halt)
    pair = Pair(folder, primary, standby, world)
    _own(folder)
    world.scene = world.scene_with(sources={"database": pair.source})
    return pair


def _port() -> int:
    """One that nobody is given by chance: a stopped primary's port must stay its own, or its standby would follow a
    stranger with the same system identifier.
    """
    while True:
        port = random.randint(10_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _settle(node: Node) -> None:
    node.data.joinpath("pg_hba.conf").write_text(_ACCESS)
    place = f"port = {node.port}\nunix_socket_directories = '{node.folder / node.name}'\ncluster_name = '{node.name}'\n"
    with (node.data / "postgresql.conf").open("a") as config:
        config.write(_CONFIG + place)


def _owner() -> str:
    account = _account()
    return account.pw_name if account else subprocess.check_output(["id", "-un"], text=True).strip()


def _own(folder: Path) -> None:
    """Give it to the account that the servers run as."""
    account = _account()
    if account is None:
        return
    if folder.name != "data":
        folder.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
