"""PostgreSQL on a lab host: its settings as Debian lays them, and hands that reach it whatever the network does."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg.rows import TupleRow

from lab.host import Host
from lab.layer import enable, write
from lab.template import BINARIES, PASSWORDS, VERSION
from lab.waiting import until

UNIT = f"postgresql@{VERSION}-main.service"
"""As on Debian; ``postgresql.service`` stands before all such units and does nothing itself."""
DATA = f"/var/lib/postgresql/{VERSION}/main"
SETTINGS = f"/etc/postgresql/{VERSION}/main"
VOLUME = "/var/lib/postgresql"
"""The disk that holds the data."""

_UNIT = f"""\
[Unit]
Description=PostgreSQL Cluster {VERSION}-main
PartOf=postgresql.service
Before=postgresql.service
After=network.target

[Service]
Type=notify
User=postgres
RuntimeDirectory=postgresql
ExecStart={BINARIES}/postgres -D {DATA} -c config_file={SETTINGS}/postgresql.conf
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
KillSignal=SIGINT
TimeoutStopSec=10
SyslogIdentifier=postgresql@{VERSION}-main

[Install]
WantedBy=multi-user.target
"""
_UMBRELLA = """\
[Unit]
Description=PostgreSQL RDBMS

[Service]
Type=oneshot
ExecStart=/bin/true
ExecReload=/bin/true
RemainAfterExit=on

[Install]
WantedBy=multi-user.target
"""
_SETTINGS = f"""\
data_directory = '{DATA}'
hba_file = '{SETTINGS}/pg_hba.conf'
ident_file = '{SETTINGS}/pg_ident.conf'
cluster_name = '{{name}}'
listen_addresses = '*'
unix_socket_directories = '/run/postgresql'
shared_buffers = 32MB
max_connections = 100
wal_level = replica
wal_log_hints = on
wal_keep_size = 128MB
max_wal_senders = 10
max_replication_slots = 10
hot_standby = on
wal_sender_timeout = 2s
wal_receiver_timeout = 2s
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 200ms
jit = off
"""
_ACCESS = """\
local all lab trust
local all all peer map=admin
local replication all peer map=admin
host all all 127.0.0.1/32 scram-sha-256
host all all samenet scram-sha-256
host replication replicator samenet scram-sha-256
"""
_IDENT = "admin root postgres\nadmin /^(.*)$ \\1\n"
"""Whoever logs in as root is PostgreSQL's administrator, too."""


@dataclass(frozen=True)
class Database:
    """The PostgreSQL of one host."""

    host: Host

    def lay(self, data: Path) -> None:
        """Settings, the unit, and a copy of a data directory, on a host that is off; it starts at boot."""
        root = self.host.disk.root
        write(root / f"etc/systemd/system/{UNIT}", _UNIT)
        write(root / "etc/systemd/system/postgresql.service", _UMBRELLA)
        for name, text in (
            ("postgresql.conf", _SETTINGS.format(name=self.host.name)),
            ("pg_hba.conf", _ACCESS),
            ("pg_ident.conf", _IDENT),
        ):
            self.host.disk.write(f"{SETTINGS}/{name}", text, owner="postgres")
        place = root / DATA.lstrip("/")
        place.parent.mkdir()
        subprocess.run(["cp", "--archive", data, place], check=True)
        passwords = f"*:*:*:replicator:{PASSWORDS['replicator']}\n"
        self.host.disk.write(f"{VOLUME}/.pgpass", passwords, mode=0o600, owner="postgres")
        for folder in (root / VOLUME.lstrip("/"), place.parent):
            shutil.chown(folder, "postgres", "postgres")
        enable(root, UNIT)
        enable(root, "postgresql.service")

    def connect(self) -> psycopg.Connection[TupleRow]:
        """A superuser's connection through the host's socket: no network is in between."""
        sockets = self.host.inside / "run/postgresql"
        return psycopg.connect(host=str(sockets), user="lab", dbname="shop", autocommit=True, connect_timeout=3)

    def sql(self, statement: LiteralString, *values: object) -> list[TupleRow]:
        """The rows that a statement gives."""
        with self.connect() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: LiteralString, *values: object) -> object:
        """The one value that it gives."""
        ((found,),) = self.sql(statement, *values)
        return found

    @property
    def in_recovery(self) -> bool:
        """Whether it is a standby."""
        return bool(self.value("SELECT pg_is_in_recovery()"))

    @property
    def receives(self) -> bool:
        """Whether it is a standby that receives changes."""
        return self.value("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == 1

    def orders(self) -> set[str]:
        """The ids of all orders in it."""
        return {str(order) for (order,) in self.sql("SELECT id FROM orders")}

    def streams_to(self, standby: str) -> bool:
        """Whether a standby receives its changes, as the sender sees it."""
        try:
            asked = "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
            return self.value(asked, standby) == 1
        except psycopg.OperationalError:
            return False

    def synchronous(self, standby: str | None = "web2") -> None:
        """Confirm a commit only when that standby has it on disk; None makes the replication asynchronous again."""
        with self.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby or ''}'".encode())
            connection.execute("SELECT pg_reload_conf()")
        if standby:
            asked = "SELECT sync_state FROM pg_stat_replication WHERE application_name = %s"
            until(lambda: self.sql(asked, standby) == [("sync",)], f"{standby} is synchronous")
        else:
            until(lambda: self.value("SHOW synchronous_standby_names") == "", "the replication is asynchronous")
