"""A promoted copy of a PostgreSQL standby, apart from everything live: another port, no archive, nobody to follow.

It lies beside the standby's own data, since the account of the server must be able to enter it, under a name that only
this run has; nothing outside that folder is written.
"""

import hashlib
import json
from dataclasses import dataclass

from drorch.core.evidence import Evidence, Failure, Progress
from drorch.core.host import Host
from drorch.core.model import Json
from drorch.core.replication import ReplicaState
from drorch.core.step import Tools
from drorch.sources._postgres_look import find, look
from drorch.sources._postgres_server import Server, shown, time_left

_PORTS, _FIRST, _TRIES = 20_000, 20_000, 20
_SOCKET = 90
"""Characters of a folder that a socket in it leaves room for."""
_LIMIT = 86_400.0
_SPARE = 1.1
_APART = ("pg_cron", "pg_timetable", "pg_partman_bgw", "pglogical", "timescaledb_job", "pg_squeeze", "pg_net", "powa")
"""Libraries that would act by themselves."""

_SETTINGS = r"""
SELECT json_build_object(
  'size', (SELECT sum(pg_database_size(oid))::bigint FROM pg_database),
  'tablespaces', (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')),
  'settings', (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN (
    'max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
    'max_locks_per_transaction', 'shared_preload_libraries', 'track_commit_timestamp')));
"""
_COPY = """
place=$1 binaries=$2 flags='--wal-method=stream --checkpoint=fast --no-password --no-sync'
[ ! -e "$place/drorch.ready" ] || exit 0
[ ! -s "$place/postmaster.pid" ] || "$binaries/pg_ctl" -D "$place" -m immediate -w stop > /dev/null 2>&1
rm -rf -- "$place" || exit 1
if ! "$binaries/pg_basebackup" --pgdata="$place" $flags 2> "$place.log"; then
    cat -- "$place.log" >&2
    grep -q -e 'pg_hba.conf' -e 'authentication failed' -e 'permission denied' "$place.log" || exit 1
    # Its own socket may be closed to copies; where standbys come from it must be open.
    "$binaries/pg_basebackup" --pgdata="$place" $flags --dbname="$3" || exit 1
fi
cd -- "$place" || exit 1
: > postgresql.auto.conf && : > pg_ident.conf && : > standby.signal || exit 1
rm -f recovery.signal drorch.pgpass "$place.log"
printf 'local all all trust\\nhost all all 127.0.0.1/32 md5\\nhost all all ::1/128 md5\\n' > pg_hba.conf || exit 1
: > drorch.ready
"""
_START = """
place=$1 binaries=$2 port=$3
cd -- "$place" || exit 1
"$binaries/pg_ctl" -D "$place" status > /dev/null 2>&1 && { sed -n 4p postmaster.pid; exit 0; }
cat > postgresql.conf || exit 1
tries=0
while [ "$tries" -lt "$4" ]; do
    hex=$(printf '%04X' "$port")
    if ! cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex [0-9A-F]*:0000 0A"; then
        printf 'port = %s\\n' "$port" > postgresql.auto.conf
        if "$binaries/pg_ctl" -D "$place" -l "$place/drorch.log" -w -t 600 start > /dev/null 2>&1; then
            echo "$port"
            exit 0
        fi
        grep -q 'Address already in use' drorch.log || break
    fi
    port=$((port + 1)) tries=$((tries + 1))
done
tail -n 5 drorch.log >&2
exit 1
"""
_PROMOTE = r"""
SELECT pg_is_in_recovery() AS standby \gset
\if :standby
SELECT pg_promote(true, 60) AS promoted \gset
\endif
SELECT pg_logical_emit_message(true, 'drorch', 'is it writable?') AS written \gset
SELECT json_build_object('standby', pg_is_in_recovery(),
  'timeline', ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int,
  'databases', (SELECT count(*) FROM pg_database WHERE NOT datistemplate),
  'bytes', (SELECT sum(pg_database_size(oid))::bigint FROM pg_database));
"""
_FORGET = """
place=$1 binaries=$2
if [ -s "$place/postmaster.pid" ]; then
    "$binaries/pg_ctl" -D "$place" -m immediate -w -t 60 stop > /dev/null 2>&1
    "$binaries/pg_ctl" -D "$place" status > /dev/null 2>&1 && exit 96
fi
rm -rf -- "$place" "$place.log"
"""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A copy of one standby."""

    server: Server
    tools: Tools
    host: Host
    token: str

    def carry_out(self) -> Evidence | Failure:
        """Copy the standby through its own socket, start the copy, promote it, write to it."""
        began = self.tools.clock.monotonic()
        before = look(self.server, self.tools, self.host)
        if isinstance(before, Failure):
            return before
        if before.role != "standby":
            why = f"PostgreSQL on {self.host.name} is no standby ({before.role})"
            return Failure(why=why, hint="see drorch check --live")
        copy = self._copied(before)
        if isinstance(copy, Failure):
            return copy
        port = self._started(copy)
        if isinstance(port, Failure):
            return port
        facts = self._promoted(copy, port, before)
        if isinstance(facts, Failure):
            return facts
        return Evidence(facts={**facts, "seconds": round(self.tools.clock.monotonic() - began, 3)})

    def _copied(self, before: ReplicaState) -> "_Copy | Failure":
        place = find(self.server, self.tools, self.host, data=before.facts["settings"]["data_directory"])
        if isinstance(place, Failure):
            return place
        asked = self.server.sql(self.host, self.tools.secrets, _SETTINGS)
        if not asked.ok:
            return self.server.unanswered(asked, f"asking PostgreSQL on {self.host.name} for its settings")
        said = json.loads(asked.text)
        refusal = self._refused(said, place.free)
        if refusal is not None:
            return refusal
        self.tools.progress(Progress(step=self.tools.step, text=f"copying {said['size']} bytes of the standby"))
        copy = _Copy(f"{place.data}.{self.token}", place.binaries, self.token, said["settings"])
        address = self.tools.scene.addresses.get(self.host.name, "127.0.0.1")
        own = self.server.endpoint(self.host.name, address).conninfo(self.server.replica, dbname=self.server.database)
        password = self.server.replica.password or self.server.password
        done = self.host.run(
            self.server.command(
                *("/bin/sh", "-c", _COPY, "drorch", copy.folder, copy.binaries, own),
                env={**self.server.env(), **({"PGPASSWORD": self.tools.secrets.get(password)} if password else {})},
                timeout=time_left(self.tools, _LIMIT),
            )
        )
        if done.ok:
            return copy
        user = self.server.replica.user
        hint = f"pg_hba.conf of the standby must let {user} in for `replication` from its own address"
        return done.failure(f"copying the standby on {self.host.name}", hint=hint)

    def _refused(self, said: dict[str, Json], free: int | None) -> Failure | None:
        if said["tablespaces"]:
            return Failure(why="a server with tablespaces cannot be copied beside itself", hint="rehearse by a restore")
        if free is not None and said["size"] * _SPARE > free:
            return Failure(
                why=f"{self.host.name} has no room for a copy of {said['size']} bytes: {free} are free",
                hint="make room, or rehearse by a restore",
            )
        return None

    def _started(self, copy: "_Copy") -> int | Failure:
        words = (copy.folder, copy.binaries, str(copy.port), str(_TRIES))
        done = self.host.run(
            self.server.command(
                *("/bin/sh", "-c", _START, "drorch", *words),
                stdin=copy.config.encode(),
                timeout=time_left(self.tools, 3600.0),
            )
        )
        if done.ok:
            return int(done.text.split()[-1])
        return done.failure(f"starting the copy on {self.host.name}", hint=f"see {copy.folder}/drorch.log")

    def _promoted(self, copy: "_Copy", port: int, before: ReplicaState) -> dict[str, Json] | Failure:
        # Through its own socket everybody is trusted whom the folder lets in: the account.
        more = {"address": copy.folder, "port": port, "run_as": self.server.account, "password": None}
        here = self.server.model_copy(update=more)
        done = here.sql(self.host, self.tools.secrets, _PROMOTE, timeout=time_left(self.tools, 90.0))
        if not done.ok:
            return here.unanswered(done, f"promoting the copy on {self.host.name}")
        said = json.loads(done.text)
        if said["standby"] or (before.history is not None and said["timeline"] <= before.history):
            return Failure(
                why=f"the copy on {self.host.name} did not leave recovery", hint=f"see {copy.folder}/drorch.log"
            )
        return {
            "port": port,
            "address": "127.0.0.1",
            "socket": copy.folder,
            "directory": copy.folder,
            "cluster": before.cluster,
            "timeline_before": before.history,
            "timeline": said["timeline"],
            "databases": said["databases"],
            "bytes": said["bytes"],
            "last_commit": before.last_commit.isoformat() if before.last_commit else None,
        }


@dataclass(frozen=True, slots=True)
class _Copy:
    """The copy."""

    folder: str
    binaries: str
    token: str
    settings: dict[str, str]

    @property
    def port(self) -> int:
        """Where the search for a free one begins: another for each run."""
        return _FIRST + int(hashlib.sha256(self.token.encode()).hexdigest()[:8], 16) % _PORTS

    @property
    def config(self) -> str:
        """Its settings: those that replay asks to be no less than the primary's, and nothing that reaches out."""
        libraries = [each.strip() for each in self.settings.get("shared_preload_libraries", "").split(",")]
        own = {
            **self.settings,
            "shared_preload_libraries": ", ".join(each for each in libraries if each and each not in _APART),
            "unix_socket_directories": self.folder if len(self.folder) < _SOCKET else "",
            "cluster_name": self.token,
        }
        return "".join(f"{name} = {shown(value)}\n" for name, value in {**own, **_FIXED}.items())


_FIXED = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "huge_pages": "off",
    "wal_level": "replica",
    "archive_mode": "off",
    "hot_standby": "on",
    "max_logical_replication_workers": "0",
    "logging_collector": "off",
    "fsync": "off",  # it is thrown away, and never outlives its machine
}


def forget(server: Server, tools: Tools, host: Host, token: str) -> Failure | None:
    """Stop the copy by its own process file, and remove it."""
    state = look(server, tools, host)
    data = "" if isinstance(state, Failure) else str(state.facts.get("settings", {}).get("data_directory", ""))
    place = find(server, tools, host, data=data)
    if isinstance(place, Failure):
        return place
    done = server.script(host, _FORGET, f"{place.data}.{token}", place.binaries, timeout=time_left(tools, 3600.0))
    return None if done.ok else done.failure(f"removing the copy {place.data}.{token} on {host.name}", retryable=True)
