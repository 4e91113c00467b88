"""Real PostgreSQL clusters: private folders, loopback ports, no syncing; each stopped by its process id."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SUPERUSER = "postgres"
LOCKED = "locked"
"""A role of this name must give a password, on every address; others are trusted."""

_START_LIMIT = 60.0
_CONFIG = """
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = replica
shared_buffers = 16MB
max_connections = 30
autovacuum = off
logging_collector = off
dynamic_shared_memory_type = posix
"""
_ACCESS = f"""local all {LOCKED} scram-sha-256
host all {LOCKED} 127.0.0.1/32 scram-sha-256
local all all trust
host all all 127.0.0.1/32 trust
local replication all trust
host replication all 127.0.0.1/32 trust
"""


@dataclass(frozen=True)
class Cluster:
    """One running server."""

    binaries: Path
    folder: Path
    """Holds ``data``, ``sockets`` and ``log``."""
    port: int
    process: subprocess.Popen[bytes]

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def sockets(self) -> Path:
        """The folder of its Unix socket; a value for PGHOST."""
        return self.folder / "sockets"

    @property
    def env(self) -> dict[str, str]:
        """What a host's ``env`` must hold for its commands to find this server."""
        return {
            "PATH": f"{self.binaries}:/usr/local/bin:/usr/bin:/bin",
            "PGHOST": str(self.sockets),
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
        }

    def sql(self, statements: str, *, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Run statements; gives the unaligned output, columns parted by ``|``, without its last newline."""
        done = subprocess.run(
            [self.binaries / "psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            input=statements.encode(),
            capture_output=True,
            check=False,
            env={**os.environ, **self.env, "PGUSER": user, "PGDATABASE": database, "PGCLIENTENCODING": "UTF8"},
            timeout=60,
        )
        if done.returncode:
            raise AssertionError(done.stderr.decode(errors="replace"))
        return done.stdout.decode().removesuffix("\n")

    def create_database(self, name: str) -> str:
        """An empty database of exactly that name, replacing a former one."""
        quoted = '"' + name.replace('"', '""') + '"'
        self.sql(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE);\nCREATE DATABASE {quoted} TEMPLATE template0;")
        return name

    def databases(self) -> set[str]:
        """The names of all databases that are no templates."""
        listed = self.sql("SELECT encode(convert_to(datname, 'UTF8'), 'hex') FROM pg_database WHERE NOT datistemplate")
        return {bytes.fromhex(line).decode() for line in listed.splitlines()}

    def stop(self) -> None:
        """End it by its process id, at once when it will not go."""
        if self.process.poll() is None:
            self.process.terminate()  # SIGTERM waits for clients; the next signal does not
            self.process.send_signal(2)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)


def binaries() -> Path | None:
    """The folder of the newest server binaries on this machine."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def start_cluster() -> Cluster:
    """A new cluster in a temporary folder; the caller calls `Cluster.stop` and removes ``folder``."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="drorch-pg-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "sockets").mkdir(mode=0o755)
    (folder / "data").mkdir(mode=0o700)
    account = _account()
    if account is not None:
        for path in (folder, folder / "sockets", folder / "data"):
            os.chown(path, account.pw_uid, account.pw_gid)
    subprocess.run(
        [
            *_as(account),
            found / "initdb",
            *("--pgdata", folder / "data", "--auth", "trust", "--username", SUPERUSER),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--data-checksums"),
        ],
        check=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        timeout=120,
    )
    with (folder / "data" / "postgresql.conf").open("a") as config:
        config.write(_CONFIG)
    (folder / "data" / "pg_hba.conf").write_text(_ACCESS)
    for _ in range(5):  # another process may take the port between the asking and the binding
        port = _free_port()
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *_as(account),
                    found / "postgres",
                    *("-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder / "sockets"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
            )
        cluster = Cluster(found, folder, port, process)
        if _answers(cluster):
            return cluster
        cluster.stop()
    raise AssertionError((folder / "log").read_text(errors="replace")[-4000:])


@pytest.fixture(scope="session")
def make_cluster() -> Iterator[Callable[[], Cluster]]:
    """Starts further clusters; all of them end with the session."""
    started: list[Cluster] = []

    def make() -> Cluster:
        started.append(start_cluster())
        return started[-1]

    yield make
    for cluster in started:
        cluster.stop()
        shutil.rmtree(cluster.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(make_cluster: Callable[[], Cluster]) -> Cluster:
    """The primary's cluster."""
    return make_cluster()


@pytest.fixture(scope="session")
def postgres_standby(make_cluster: Callable[[], Cluster]) -> Cluster:
    """The standby's own cluster: another port, another data directory, nothing replicated."""
    return make_cluster()


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as, since it refuses root; None when this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    msg = "root has no other account to run PostgreSQL as"
    raise AssertionError(msg)


def _as(account: pwd.struct_passwd | None) -> list[str]:
    """Words that run a program as that account, and end it when this process dies without ending it."""
    words = ["setpriv", "--pdeathsig", "INT"]
    if account is not None:
        words += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return words


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(cluster: Cluster) -> bool:
    end = time.monotonic() + _START_LIMIT
    while time.monotonic() < end and cluster.process.poll() is None:
        ready = subprocess.run(
            [cluster.binaries / "pg_isready", "-q", "-h", cluster.sockets, "-p", str(cluster.port)], check=False
        )
        if ready.returncode == 0:
            return True
        time.sleep(0.05)
    return False
