"""A PostgreSQL primary and its standby, made once per machine and kept: each lab starts from a copy."""

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import paths

BINARIES = max(
    (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    key=lambda folder: float(folder.parent.name),
    default=Path("/usr/lib/postgresql/15/bin"),
)
"""Of the newest server on this machine."""
VERSION = BINARIES.parent.name
SLOT = "web2"
PASSWORDS = {"shop": "shop-password-7a31", "replicator": "replicator-password-c05e"}
"""Of the roles that come through the network."""
_SCHEMA = f"""
CREATE ROLE lab LOGIN SUPERUSER;
ALTER ROLE lab SET log_min_messages = fatal;
CREATE ROLE shop LOGIN PASSWORD '{PASSWORDS["shop"]}';
CREATE ROLE replicator LOGIN REPLICATION PASSWORD '{PASSWORDS["replicator"]}';
GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) TO replicator;
GRANT EXECUTE ON FUNCTION pg_stat_file(text, boolean) TO replicator;
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO replicator;
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO replicator;
CREATE DATABASE shop OWNER shop;
\\connect shop
SET ROLE shop;
CREATE TABLE articles (id int PRIMARY KEY, title text NOT NULL, cents int NOT NULL);
INSERT INTO articles SELECT n, 'article ' || n, 100 * n FROM generate_series(1, 20) n;
CREATE TABLE orders (id uuid PRIMARY KEY, article int NOT NULL REFERENCES articles,
                     placed timestamptz NOT NULL DEFAULT clock_timestamp());
RESET ROLE;
CREATE TABLE witness (id bigserial PRIMARY KEY, host text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
SELECT pg_create_physical_replication_slot('{SLOT}', true);
"""  # noqa: S608 - made of constants
_QUICK = "-c fsync=off -c wal_level=replica -c wal_log_hints=on -c wal_recycle=off -c listen_addresses="
# Without tcp_user_timeout a standby asks a primary that was off for long less and less often.
_STANDBY = """
primary_conninfo = 'host=web1 port=5432 user=replicator passfile=/var/lib/postgresql/.pgpass \
application_name=web2 tcp_user_timeout=2000'
primary_slot_name = 'web2'
"""


@dataclass(frozen=True)
class Pair:
    """Two data directories, stopped, in step with each other."""

    primary: Path
    standby: Path


def pair() -> Pair:
    """The pair, made when this machine has none of this kind yet."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + str(BINARIES.stat().st_mtime).encode()).hexdigest()[:12]
    made = paths.RUN / f"database-{digest}"
    with (paths.RUN / "template").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            others = sorted(paths.RUN.glob("database-*"), key=lambda path: path.stat().st_mtime)
            for old in others[:-1]:  # another checkout may use the newest
                shutil.rmtree(old, ignore_errors=True)
            beside = paths.RUN / f"database-{digest}.new"
            shutil.rmtree(beside, ignore_errors=True)
            _make(beside)
            beside.rename(made)
    return Pair(made / "primary", made / "standby")


def _make(folder: Path) -> None:
    owner = pwd.getpwnam("postgres")
    folder.mkdir(mode=0o711)
    for name in ("primary", "standby", "sockets1", "sockets2"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, owner.pw_uid, owner.pw_gid)
    primary, standby = folder / "primary", folder / "standby"
    _run(BINARIES / "initdb", "-D", primary, "--data-checksums", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
    with _running(primary, folder / "sockets1"):
        _psql(folder / "sockets1", _SCHEMA)
        _run(BINARIES / "pg_basebackup", "-h", folder / "sockets1", "-D", standby, "-c", "fast", "-X", "stream", "-N")
        with (standby / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = 'host={folder / 'sockets1'}'\nprimary_slot_name = '{SLOT}'\n")
        (standby / "standby.signal").touch()
        with _running(standby, folder / "sockets2"):
            # The primary ends first and waits until its last record has arrived there.
            _run(BINARIES / "pg_ctl", "-D", primary, "-w", "-m", "fast", "stop")
    (standby / "postgresql.auto.conf").write_text(_STANDBY)
    os.chown(standby / "standby.signal", owner.pw_uid, owner.pw_gid)
    os.chown(standby / "postgresql.auto.conf", owner.pw_uid, owner.pw_gid)


@contextmanager
def _running(data: Path, sockets: Path) -> Iterator[None]:
    _run(
        BINARIES / "pg_ctl",
        *("-D", data, "-w", "-l", sockets.parent / f"{data.name}/log", "-o", f"{_QUICK} -k {sockets}", "start"),
    )
    try:
        yield
    finally:
        _run(BINARIES / "pg_ctl", "-D", data, "-w", "-m", "fast", "stop", check=not _stopped(data))


def _stopped(data: Path) -> bool:
    return not (data / "postmaster.pid").exists()


def _psql(sockets: Path, statements: str) -> None:
    _run(BINARIES / "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-h", sockets, "-f", "-", text=statements)


def _run(*words: str | Path, text: str = "", check: bool = True) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
