"""How a PostgreSQL server stands: asked of it, or read from the files of one that does not run."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field

from drorch.core.evidence import Failure
from drorch.core.host import Completed, Host
from drorch.core.model import Frozen, Json
from drorch.core.replication import ReplicaState
from drorch.core.step import Tools
from drorch.hosts.units import full
from drorch.sources._postgres_server import Server, no_connection, time_left

ASK = r"""
SET statement_timeout = '10s';
SELECT row_to_json(found) FROM (
  SELECT
    pg_is_in_recovery() AS standby,
    current_setting('server_version') AS version,
    (SELECT system_identifier::text FROM pg_control_system()) AS cluster,
    CASE WHEN pg_is_in_recovery()
      THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline, w.received_tli)
            FROM pg_control_checkpoint() c, pg_control_recovery() r)
      ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END AS timeline,
    (SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline,
    CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_flush_lsn() - '0/0')::bigint END AS flushed,
    CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_insert_lsn() - '0/0')::bigint END AS inserted,
    (pg_last_wal_receive_lsn() - '0/0')::bigint AS received,
    CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::bigint END AS replayed,
    coalesce(w.status = 'streaming', false) AS receiving,
    (w.latest_end_lsn - '0/0')::bigint AS told,
    extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time)::float AS heard,
    w.sender_host, w.sender_port, w.slot_name AS uses_slot,
    CASE WHEN pg_is_in_recovery() THEN extract(epoch FROM pg_last_xact_replay_timestamp())::float
         WHEN current_setting('track_commit_timestamp') = 'on'
         THEN (SELECT extract(epoch FROM timestamp)::float FROM pg_last_committed_xact()) END AS committed,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
    extract(epoch FROM clock_timestamp())::float AS clock,
    CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS paused,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
    EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c
            WHERE c IN ('synchronous_commit=off', 'synchronous_commit=local')) AS weakened,
    (SELECT coalesce(json_agg(row_to_json(f)), '[]') FROM (
      SELECT application_name AS name, host(client_addr) AS address, state, sync_state AS sync,
        (flush_lsn - '0/0')::bigint AS flushed, (replay_lsn - '0/0')::bigint AS replayed
      FROM pg_stat_replication WHERE state IN ('streaming', 'catchup') ORDER BY application_name, pid) f) AS followers,
    (SELECT coalesce(json_agg(row_to_json(s)), '[]') FROM (
      SELECT slot_name AS name, active, wal_status AS status, (restart_lsn - '0/0')::bigint AS keeps
      FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary ORDER BY slot_name) s) AS slots,
    (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN (
      'data_directory', 'config_file', 'hba_file', 'data_checksums', 'wal_log_hints', 'full_page_writes', 'hot_standby',
      'wal_level', 'max_wal_senders', 'max_replication_slots', 'max_slot_wal_keep_size', 'synchronous_commit',
      'synchronous_standby_names', 'recovery_target', 'recovery_target_lsn', 'recovery_target_name',
      'recovery_target_time', 'recovery_target_xid', 'recovery_target_timeline', 'recovery_min_apply_delay',
      'default_transaction_read_only', 'primary_slot_name', 'port', 'unix_socket_directories',
      'wal_segment_size')) AS settings
  FROM (SELECT 1) one LEFT JOIN pg_stat_wal_receiver w ON true
) found;
"""
"""One line of JSON: `Answer`. Positions are bytes of log; ages are reckoned on the server, so no two clocks mix."""


class Answer(BaseModel):
    """What a running server says of itself."""

    standby: bool
    version: str
    cluster: str
    timeline: int
    checkpoint_timeline: int
    flushed: int | None = None
    inserted: int | None = None
    received: int | None = None
    replayed: int | None = None
    receiving: bool = False
    told: int | None = None
    heard: float | None = None
    sender_host: str | None = None
    sender_port: int | None = None
    uses_slot: str | None = None
    committed: float | None = None
    next: int
    clock: float
    paused: bool = False
    superuser: bool = False
    weakened: bool = False
    followers: list[dict[str, Any]] = Field(default_factory=list)
    slots: list[dict[str, Any]] = Field(default_factory=list)
    settings: dict[str, str] = Field(default_factory=dict)

    @property
    def position(self) -> int | None:
        """What is safe on its disk. A receiver that has just begun counts from where its file begins."""
        if not self.standby:
            return self.flushed
        return max((at for at in (self.received, self.replayed) if at is not None), default=None)

    @property
    def synchronous(self) -> bool:
        """Whether every commit waits for a standby that is there."""
        waits = bool(self.settings.get("synchronous_standby_names")) and not self.weakened
        level = self.settings.get("synchronous_commit") in {"on", "remote_apply", "remote_write"}
        return waits and level and any(each.get("sync") in {"sync", "quorum"} for each in self.followers)

    def state(self, host: str, at: datetime) -> ReplicaState:
        """In the words that all databases share."""
        complete = self.told is not None and self.position is not None and self.position >= self.told
        heard = at - timedelta(seconds=max(0.0, self.heard)) if self.heard is not None and complete else None
        facts: dict[str, Json] = {
            "clock_ahead_seconds": round(self.clock - at.timestamp(), 3),
            "inserted": self.inserted,
            "checkpoint_timeline": self.checkpoint_timeline,
            "paused": self.paused,
            "superuser": self.superuser,
            "followers": self.followers,
            "slots": self.slots,
            "settings": self.settings,
            "follows": f"{self.sender_host}:{self.sender_port}" if self.sender_host else None,
            "slot": self.uses_slot,
        }
        return ReplicaState(
            host=host,
            role="standby" if self.standby else "primary",
            at=at,
            version=self.version,
            cluster=self.cluster,
            history=self.timeline,
            position=self.position,
            applied=self.replayed,
            receiving=self.receiving,
            last_commit=datetime.fromtimestamp(self.committed, UTC) if self.committed is not None else None,
            last_heard=heard,
            next_transaction=self.next,
            synchronous=None if self.standby else self.synchronous,
            followers=tuple(f"{each['name']} ({each.get('sync') or each['state']})" for each in self.followers),
            facts={key: value for key, value in facts.items() if value is not None},
        )


def look(server: Server, tools: Tools, host: Host) -> ReplicaState | Failure:
    """Ask the server; where nobody listens, look at its files."""
    at = tools.clock.now()
    done = server.sql(host, tools.secrets, ASK, timeout=time_left(tools, 15.0))
    if done.ok:
        return read(done, host.name, at)
    if not no_connection(done) or "FATAL" in done.errors:
        return server.unanswered(done, f"asking PostgreSQL on {host.name} how it stands")
    place = find(server, tools, host)
    if isinstance(place, Failure):
        return place.model_copy(
            update={"why": f"PostgreSQL on {host.name} takes no connection, and {place.why}", "unknown": True}
        )
    if place.alive:
        return Failure(
            why=f"PostgreSQL on {host.name} runs (process {place.alive}), but takes no connection: {done.errors}",
            hint="does it listen where the inventory says? is it only starting? see its log",
            retryable=True,
            unknown=True,
        )
    return place.state(host.name, at)


def read(done: Completed, host: str, at: datetime) -> ReplicaState | Failure:
    """The state that a server's answer means."""
    try:
        return Answer.model_validate_json(done.stdout).state(host, at)
    except ValueError:
        return Failure(why=f"PostgreSQL on {host} gave an answer that is not understood", hint="please report it")


_FIND = r"""
unit=$1 data=$2 config=$3
if [ -z "$config" ] && [ -n "$unit" ]; then
    instance=${unit#postgresql@}
    instance=${instance%.service}
    if [ "$unit" = "postgresql@$instance.service" ]; then
        config=/etc/postgresql/${instance%%-*}/${instance#*-}/postgresql.conf
        [ -f "$config" ] || config=
    fi
fi
if [ -z "$data" ] && [ -n "$config" ]; then
    data=$(sed -n "s/^ *data_directory *=\{0,1\} *'\([^']*\)'.*/\1/p" "$config" | tail -n 1)
fi
if [ -z "$data" ] && [ -n "$unit" ]; then
    data=$(systemctl show -p Environment "$unit" 2>/dev/null | tr ' ' '\n' | sed -n 's/^\(Environment=\)*PGDATA=//p')
fi
[ -n "$data" ] || exit 90
real=$(readlink -f -- "$data") && [ -n "$real" ] && data=$real
[ -n "$config" ] || config=$data/postgresql.conf
echo "data=$data"
echo "config=$config"
[ ! -d "$data" ] || [ -r "$data" ] || exit 91
[ ! -d "$data" ] || echo "free=$(df --output=avail -B1 -- "$data" 2>/dev/null | tail -n 1 | tr -d ' ')"
find /proc -mindepth 2 -maxdepth 2 -name cwd -printf '%h %l\n' 2>/dev/null | while read -r each where; do
    [ "$where" = "$data" ] || continue
    case $(cat "$each/comm" 2>/dev/null) in postgres | postmaster) ;; *) continue ;; esac
    case $(cat "$each/stat" 2>/dev/null) in *") Z "*) continue ;; esac
    echo "alive=${each#/proc/}"
    break
done
if [ -s "$data/postmaster.pid" ]; then
    read -r pid < "$data/postmaster.pid"
    # Of another account's process it cannot be seen where it works: then it may be the server.
    case $(cat "/proc/$pid/stat" 2>/dev/null) in
    "" | *") Z "*) ;;
    *) readlink "/proc/$pid/cwd" > /dev/null 2>&1 || echo "alive=$pid" ;;
    esac
fi
[ ! -e "$data/standby.signal" ] || echo "signal=1"
version=$5
[ ! -s "$data/PG_VERSION" ] || version=$(cat "$data/PG_VERSION")
for folder in "$4" "/usr/lib/postgresql/$version/bin" "/usr/pgsql-$version/bin"; do
    [ -x "$folder/pg_controldata" ] && break
done
if [ ! -x "$folder/pg_controldata" ]; then folder=$(dirname -- "$(readlink -f -- "$(command -v pg_controldata)")"); fi
[ -x "$folder/pg_controldata" ] || exit 92
echo "binaries=$folder"
[ -s "$data/PG_VERSION" ] || exit 0
echo "version=$version"
text=$("$folder/pg_controldata" -D "$data") || exit 93
echo "$text" | sed 's/^/c:/'
field() { echo "$text" | sed -n "s/^$1: *//p"; }
if [ "$(field 'Database cluster state')" = 'shut down' ]; then
    # With the file named: else it learns the files' size from any of them, also from one that is not written yet.
    "$folder/pg_waldump" --path="$data/pg_wal" --start="$(field 'Latest checkpoint location')" --limit=1 \
        "$(field "Latest checkpoint's REDO WAL file")" 2>/dev/null | sed 's/^/w:/'
fi
exit 0
"""
"""Where the server's files are, whether a process works there, and what they say. Arguments: unit, data folder,
settings, programs, major version; each may be empty. Run as the account that they belong to."""

_NOT_FOUND = {
    90: ("its data folder is not known", "say `data:` under `replica`"),
    91: ("its data folder cannot be read", "say `account:` under `replica`: the one that the server runs as"),
    92: ("pg_controldata is not found", "say `binaries:` of the source"),
    93: ("pg_controldata cannot read its files", "is the data folder whole? see what pg_controldata says there"),
}
_LENGTH = re.compile(r"len \(rec/tot\):\s*\d+/\s*(\d+).*desc: CHECKPOINT_SHUTDOWN")


class Place(Frozen):
    """The files of a server, and whether it runs."""

    data: str
    config: str
    free: int | None = None
    """Bytes free on its disk."""
    alive: int | None = None
    """A process that works there."""
    signal: bool = False
    """Whether it will be a standby when it is started."""
    version: str = ""
    """The major version; empty when there is no database."""
    binaries: str = ""
    control: dict[str, str] = Field(default_factory=dict)
    """What pg_controldata prints."""
    last: int | None = None
    """The length of the last record of one that was shut down in order."""

    @property
    def cluster(self) -> str:
        """The system identifier."""
        return self.control.get("Database system identifier", "")

    @property
    def timeline(self) -> int:
        """The timeline that it is on."""
        found = [
            self.control.get(key, "0")
            for key in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")
        ]
        return max(int(each) for each in found)

    @property
    def phase(self) -> str:
        """Such as ``shut down`` or ``in production``."""
        return self.control.get("Database cluster state", "")

    @property
    def clean(self) -> bool:
        """Whether it was stopped in order."""
        return self.phase in {"shut down", "shut down in recovery"}

    @property
    def rewindable(self) -> bool:
        """Whether pg_rewind can know what was changed in it."""
        sums = self.control.get("Data page checksum version", "0") != "0"
        return sums or self.control.get("wal_log_hints setting") == "on"

    def at(self, field: str) -> int:
        """A position of the control file, in bytes."""
        return position(self.control.get(field, "0/0"))

    @property
    def end(self) -> int | None:
        """Where its log ends, if that is certain."""
        if self.phase == "shut down" and self.last is not None:
            segment = int(self.control.get("Bytes per WAL segment", str(16 << 20)))
            return record_end(self.at("Latest checkpoint location"), self.last, segment)
        return self.at("Minimum recovery ending location") or None if self.phase == "shut down in recovery" else None

    def state(self, host: str, at: datetime) -> ReplicaState:
        """In the words that all databases share."""
        return ReplicaState(
            host=host,
            role="stopped",
            at=at,
            version=self.version,
            cluster=self.cluster,
            history=self.timeline or None,
            position=self.end,
            clean=self.clean,
            facts={"phase": self.phase, "data": self.data, "standby": self.signal, "checksums": self.rewindable},
        )


def find(
    server: Server, tools: Tools, host: Host, *, data: str = "", config: str = "", version: str = ""
) -> Place | Failure:
    """Where the server's files are, whether it runs, and what they say."""
    replica = server.replica
    said = (
        full(replica.unit) if replica.unit else "",
        data or replica.data or "",
        config or replica.config or "",
        server.binaries or "",
        version,
    )
    done = server.script(host, _FIND, *said, timeout=time_left(tools, 15.0))
    if not done.ok:
        why, hint = _NOT_FOUND.get(done.exit_code or 0, ("", ""))
        if why:
            return Failure(why=f"of PostgreSQL on {host.name} {why}", hint=hint)
        return done.failure(f"looking at the files of PostgreSQL on {host.name}")
    return _place(done.text)


def _place(text: str) -> Place:
    said: dict[str, str] = {}
    control: dict[str, str] = {}
    last = None
    for line in text.splitlines():
        if line.startswith("c:"):
            key, _, value = line[2:].partition(":")
            control[key] = value.strip()
        elif line.startswith("w:"):
            last = _LENGTH.search(line) or last
        else:
            key, _, value = line.partition("=")
            said.setdefault(key, value)
    return Place(
        data=said["data"],
        config=said["config"],
        free=int(said["free"]) if said.get("free", "").isdigit() else None,
        alive=int(said["alive"]) if "alive" in said else None,
        signal="signal" in said,
        version=said.get("version", ""),
        binaries=said.get("binaries", ""),
        control=control,
        last=int(last[1]) if last else None,
    )


def position(text: str) -> int:
    """``0/3000148`` in bytes."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def written(at: int) -> str:
    """Bytes as PostgreSQL writes them: ``0/3000148``."""
    return f"{at >> 32:X}/{at & 0xFFFFFFFF:X}"


_PAGE, _SHORT, _LONG, _ALIGNED = 8192, 24, 40, 8


def record_end(start: int, length: int, segment: int) -> int:
    """Where a record of the log ends that begins at ``start``: each page has a header, the first a long one."""
    at, left = start, -(-length // _ALIGNED) * _ALIGNED
    while left > (room := _PAGE - at % _PAGE):
        left -= room
        at += room
        at += _LONG if at % segment == 0 else _SHORT
    return at + left
