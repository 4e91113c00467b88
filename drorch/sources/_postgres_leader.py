"""The PostgreSQL server that another one is to follow."""

import json
import re
from dataclasses import dataclass
from typing import NamedTuple

from drorch.core.evidence import Failure
from drorch.core.host import Completed
from drorch.core.replication import Pair, ReplicaState
from drorch.core.step import Tools
from drorch.sources._postgres_fork import Fork, branches
from drorch.sources._postgres_look import look
from drorch.sources._postgres_promote import needed
from drorch.sources._postgres_server import Endpoint, Server, time_left

_ASK = r"""
SELECT json_build_object(
  'history', pg_read_file('pg_wal/' || lpad(upper(to_hex(:timeline)), 8, '0') || '.history', 0, 1000000, true),
  'oldest', (SELECT min(substr(name, 9)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'),
  'names', current_setting('synchronous_standby_names'),
  'note', current_setting('drorch.synchronous_standby_names', true),
  'tablespaces', (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')));
"""
_READY = r"""
SET statement_timeout = 0;
SELECT json_build_object('made', pg_create_physical_replication_slot(:'slot', true))
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot');
SELECT timeline_id <> :timeline AS stale FROM pg_control_checkpoint() \gset
\if :stale
CHECKPOINT;
\endif
"""
"""pg_rewind reads the leader's timeline from its last checkpoint, which after a promotion may be of before."""
_SIZE = "SET statement_timeout = 0; SELECT sum(pg_database_size(oid))::bigint FROM pg_database;"
_RESTORE = r"""
SET drorch.synchronous_standby_names = '';
ALTER SYSTEM SET synchronous_standby_names = :'names';
SELECT pg_reload_conf();
"""
_EMPTY = r"""
SET synchronous_commit = local;
ALTER SYSTEM SET synchronous_standby_names = '';
SELECT pg_reload_conf();
"""
_FORGET_NOTE = r"""
SET drorch.synchronous_standby_names = '';
ALTER SYSTEM RESET drorch.synchronous_standby_names;
SELECT pg_reload_conf();
"""
_SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum');"
_DROP = r"""
SELECT slot_name, pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_type = 'physical' AND NOT active AND slot_name IN (:'one', :'other');
"""
_SEGMENT = 16 << 20
_WAITS = 3.0
_PAUSE = 0.05
_NAME = re.compile(r'"((?:[^"]|"")*)"|([A-Za-z_*][A-Za-z0-9_$-]*|\*)')


def names_in(setting: str) -> tuple[str, ...]:
    """The standbys that a `synchronous_standby_names` names."""
    inner = re.sub(r"^\s*(?:(?:FIRST|ANY)\s+)?\d+\s*\((.*)\)\s*$", r"\1", setting, flags=re.IGNORECASE | re.DOTALL)
    return tuple((quoted or plain).replace('""', '"') for quoted, plain in _NAME.findall(inner))


class Completion(NamedTuple):
    """What the leader waits for now."""

    names: str
    exceptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leader:
    """It, as it said itself when all began."""

    server: Server
    tools: Tools
    pair: Pair
    state: ReplicaState
    branches: tuple[Fork, ...]
    oldest: str
    """The name, without its timeline, of the oldest piece of log that it has."""
    names: str
    note: str
    tablespaces: bool

    @classmethod
    def of(cls, server: Server, tools: Tools, pair: Pair) -> "Leader | Failure":
        """Ask it, and reach it from the follower: both must find the same primary."""
        state = look(server, tools, pair.leader)
        if isinstance(state, Failure):
            return state
        name = pair.leader.name
        if state.role != "primary" or state.history is None:
            return Failure(
                why=f"PostgreSQL on {name} is no primary ({state.role}), so nothing can follow it",
                hint=f"promote {name} first, or say `leader:`",
            )
        pinned = server.replica.cluster
        if pinned and state.cluster != pinned:
            return Failure(
                why=f"PostgreSQL on {name} holds another database: system identifier {state.cluster}, not {pinned}",
                hint=f"is this the right host behind the address of {name}?",
            )
        done = server.sql(pair.leader, tools.secrets, _ASK, values={"timeline": str(state.history)})
        if not done.ok:
            return server.unanswered(done, f"asking PostgreSQL on {name} for its history")
        said = json.loads(done.text)
        leader = cls(
            server=server,
            tools=tools,
            pair=pair,
            state=state,
            branches=branches(said["history"] or "", state.history),
            oldest=said["oldest"] or "",
            names=said["names"] or "",
            note=said["note"] or "",
            tablespaces=bool(said["tablespaces"]),
        )
        return leader._greeted() or leader

    def leads(self, state: ReplicaState) -> bool:
        """Whether that server is its standby, and receives."""
        same = state.cluster == self.state.cluster and state.history == self.state.history
        return same and state.role == "standby" and state.receiving

    @property
    def endpoint(self) -> Endpoint:
        """Where the follower reaches it."""
        return self.server.endpoint(self.pair.leader.name, self.pair.leader_address)

    def conninfo(self, **more: str) -> str:
        """For pg_rewind and pg_basebackup; no password."""
        return self.endpoint.conninfo(self.server.replica, **{"dbname": self.server.database, **more})

    def settings(self, data: str, name: str) -> dict[str, str]:
        """What a standby of it must have set."""
        replica = self.server.replica
        more = {"application_name": self._application(name)}
        if replica.password is not None:
            more["passfile"] = f"{data}/drorch.pgpass"
        return {
            "primary_conninfo": self.endpoint.conninfo(replica, **more),
            "primary_slot_name": replica.slot_of(name),
            "recovery_target_timeline": "latest",
        }

    def _application(self, name: str) -> str:
        """Its name in pg_stat_replication: one that commits will wait for again, if they did."""
        wanted = names_in(self.note or self.names)
        return name if not wanted or "*" in wanted or name in wanted else wanted[0]

    def has(self, at: int) -> bool:
        """Whether it has the log from that position on."""
        if not self.oldest:
            return False
        size = int(self.state.facts.get("settings", {}).get("wal_segment_size", _SEGMENT))
        each = (1 << 32) // size
        oldest = int(self.oldest[:8], 16) * each + int(self.oldest[8:], 16)
        return at // size >= oldest

    def ready(self, slot: str) -> Failure | None:
        """Let it keep the log for the follower from now on, and let pg_rewind know its timeline."""
        values = {"slot": slot, "timeline": str(self.state.history)}
        limit = time_left(self.tools, 3600.0)
        done = self.server.sql(self.pair.leader, self.tools.secrets, _READY, values=values, timeout=limit)
        return None if done.ok else self.server.unanswered(done, f"preparing {self.pair.leader.name} for a standby")

    def size(self) -> int | Failure:
        """Bytes of all its databases."""
        done = self.server.sql(self.pair.leader, self.tools.secrets, _SIZE, timeout=time_left(self.tools, 600.0))
        return (
            int(done.text) if done.ok else self.server.unanswered(done, f"asking {self.pair.leader.name} for its size")
        )

    def unreached(self, done: Completed, what: str) -> Failure:
        """Why the follower could not use it."""
        user, name = self.server.replica.user, self.pair.leader.name
        hint = f"can {user} reach {self.endpoint.address}:{self.endpoint.port} from {self.pair.follower.name}?"
        if "no pg_hba.conf entry" in done.errors:
            hint = f"let {user} in, also for `replication`, with a line in pg_hba.conf of {name}"
        elif "authentication failed" in done.errors or "no password supplied" in done.errors:
            hint = f"say the password of {user} under `replica`, or put it into ~/.pgpass of the account"
        elif "permission denied" in done.errors or "must be superuser" in done.errors:
            hint = f"give {user} on {name} the rights that `replica.user` needs"
        return done.failure(what, hint=hint, retryable=True)

    def _greeted(self) -> Failure | None:
        """Reach it from the follower, as the standby will, and see that it is the same server."""
        command = self.server.command(
            "psql",
            *("--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--command=IDENTIFY_SYSTEM"),
            f"--dbname={self.conninfo(replication='true')}",
            env=self.server.leader_env(self.tools.secrets),
        )
        follower, leader = self.pair.follower.name, self.pair.leader.name
        done = self.pair.follower.run(command)
        if not done.ok:
            return self.unreached(done, f"reaching PostgreSQL on {leader} from {follower}")
        found, _, rest = done.text.strip().partition("|")
        if found != self.state.cluster or rest.partition("|")[0] != str(self.state.history):
            return Failure(
                why=f"at {self.endpoint.address}:{self.endpoint.port} {follower} finds another server than {leader}: "
                f"system identifier {found} instead of {self.state.cluster}",
                hint=f"correct `addresses:` of {leader} under `replica`; nothing was changed",
            )
        return None

    def complete(self) -> Completion | Failure:
        """Let commits wait for the follower again, if they did before; never for one that is not there."""
        if not self.note:
            return Completion(self.names)
        failure = self._sql(_RESTORE, names=self.note)
        if failure is not None:
            return failure
        until = self.tools.clock.monotonic() + _WAITS
        while self.tools.clock.monotonic() < until:
            done = self.server.sql(self.pair.leader, self.tools.secrets, _SYNCHRONOUS)
            if done.ok and int(done.text) >= needed(self.note):
                failure = self._sql(_FORGET_NOTE)
                return failure or Completion(self.note)
            self.tools.clock.sleep(_PAUSE)
        failure = self._sql(_EMPTY)
        late = f"commits on {self.pair.leader.name} wait for no standby: {self.note} was not there in time"
        return failure or Completion("", (late,))

    def forget_slots(self, follower: ReplicaState) -> tuple[str, ...]:
        """On the follower, what kept log for the leader while that one followed: it would fill the disk."""
        replica, leader = self.server.replica, self.pair.leader.name
        values = {
            "one": str(self.state.facts.get("settings", {}).get("primary_slot_name", "")),
            "other": replica.slot_of(leader),
        }
        if not any(slot["name"] in values.values() for slot in follower.facts.get("slots", ())):
            return ()
        done = self.server.sql(self.pair.follower, self.tools.secrets, _DROP, values=values)
        if done.ok:
            return ()
        return (f"{self.pair.follower.name} keeps log for {leader}, which no longer follows it: drop its slots",)

    def _sql(self, text: str, **values: str) -> Failure | None:
        done = self.server.sql(self.pair.leader, self.tools.secrets, text, values=values)
        return None if done.ok else self.server.unanswered(done, f"setting PostgreSQL on {self.pair.leader.name}")
