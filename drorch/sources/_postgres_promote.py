"""A standby of PostgreSQL becomes the primary, and proves it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from drorch.core.evidence import Evidence, Failure, Progress
from drorch.core.host import Completed, Host
from drorch.core.model import Json
from drorch.core.replication import ReplicaState
from drorch.core.step import Tools
from drorch.sources._postgres_findings import how_to_start
from drorch.sources._postgres_look import position, written
from drorch.sources._postgres_server import Server, no_connection, time_left

PROMOTE = r"""
SET synchronous_commit = local;
SELECT (SELECT system_identifier::text FROM pg_control_system()) = :'cluster' AS same,
  pg_is_in_recovery() AS standby,
  current_setting('synchronous_standby_names') AS names,
  current_setting('synchronous_standby_names') <> '' AND
    (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming') < :needed AS lonely,
  CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS paused,
  extract(epoch FROM clock_timestamp())::float AS began \gset
\if :same
\else
\echo '{"other": true}'
\q
\endif
\if :lonely
SET drorch.synchronous_standby_names = '';
ALTER SYSTEM SET drorch.synchronous_standby_names = :'names';
ALTER SYSTEM SET synchronous_standby_names = '';
SELECT pg_reload_conf() AS told \gset
\endif
\if :paused
SELECT pg_wal_replay_resume() IS NULL AS resumed \gset
\endif
\if :standby
SELECT pg_promote(false) AS asked \gset
DO $$
DECLARE until timestamptz := clock_timestamp() + interval '5 s';
BEGIN
  WHILE pg_is_in_recovery() AND clock_timestamp() < until LOOP PERFORM pg_sleep(0.003); END LOOP;
END $$;
\endif
SELECT pg_is_in_recovery() AS waiting \gset
\if :waiting
SELECT json_build_object('waiting', true, 'replayed', (pg_last_wal_replay_lsn() - '0/0')::bigint,
  'received', (pg_last_wal_receive_lsn() - '0/0')::bigint);
\q
\endif
SELECT pg_logical_emit_message(true, 'drorch', 'is it writable?') AS written \gset
SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline \gset
SELECT json_build_object(
  'timeline', :timeline,
  'history', pg_read_file('pg_wal/' || lpad(upper(to_hex(:timeline)), 8, '0') || '.history', 0, 1000000, true),
  'flushed', (pg_current_wal_flush_lsn() - '0/0')::bigint,
  'written', (:'written'::pg_lsn - '0/0')::bigint,
  'read_only', current_setting('default_transaction_read_only') = 'on',
  'names', current_setting('synchronous_standby_names'),
  'note', CASE WHEN :'lonely' THEN :'names' ELSE current_setting('drorch.synchronous_standby_names', true) END,
  'followers', (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')),
  'seconds', extract(epoch FROM clock_timestamp())::float - :began);
\set ON_ERROR_STOP 0
SELECT json_build_object('slot', pg_create_physical_replication_slot(:'slot', true))
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot');
SELECT json_build_object('slots', count(*)) FROM pg_replication_slots WHERE slot_name = :'slot';
"""
"""Nothing waits: not for a paused or delayed replay, which a promotion ends, nor for a synchronous standby that is
gone: the setting ``drorch.synchronous_standby_names`` keeps what that was. What is written leaves only its record."""

EMPTY = r"""
SET synchronous_commit = local;
SET drorch.synchronous_standby_names = '';
ALTER SYSTEM SET drorch.synchronous_standby_names = :'names';
ALTER SYSTEM SET synchronous_standby_names = '';
SELECT pg_reload_conf();
"""
SHOWN = r"""
SELECT json_build_object('names', current_setting('synchronous_standby_names'),
  'followers', (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')));
"""

_PAUSE = 0.2
_SCRIPT_LIMIT = 30.0
_NUMBER = re.compile(r"^\s*(?:(?:FIRST|ANY)\s+)?(\d+)\s*\(", re.IGNORECASE)


def needed(names: str) -> int:
    """How many standbys a commit waits for under this `synchronous_standby_names`."""
    if not names.strip():
        return 0
    found = _NUMBER.match(names)
    return int(found[1]) if found else 1


@dataclass(frozen=True, slots=True)
class Promotion:
    """One standby, on its way to being the primary."""

    server: Server
    tools: Tools
    host: Host
    before: ReplicaState
    slot: str
    """Of the former primary, for its way back."""

    def carry_out(self) -> Evidence | Failure:
        """Promote, wait until it has left recovery, and assert that it is a primary that takes writes."""
        refused = self._refused()
        if refused is not None:
            return refused
        names = str(self.before.facts.get("settings", {}).get("synchronous_standby_names", ""))
        values = {"cluster": self.before.cluster, "slot": self.slot, "needed": str(needed(names))}
        began = self.tools.clock.monotonic()
        while True:
            done = self._sql(PROMOTE, values)
            said = _said(done.text)
            if "timeline" in said:
                return self._judged(said, round(self.tools.clock.monotonic() - began, 3))
            if "other" in said:
                return _another(self.host, self.before.cluster)
            over = self.tools.deadline.remaining() <= _PAUSE
            if "waiting" in said and over:
                return _unfinished(self.host, said)
            if over or not ("waiting" in said or (no_connection(done) and "FATAL" in done.errors)):
                return self.server.unanswered(done, f"promoting PostgreSQL on {self.host.name}")
            text = f"replaying what was received, {_left(said)} bytes are left"
            self.tools.progress(Progress(step=self.tools.step, text=text))
            self.tools.clock.sleep(_PAUSE)

    def _sql(self, text: str, values: Mapping[str, str]) -> Completed:
        return self.server.sql(
            self.host, self.tools.secrets, text, values=values, timeout=time_left(self.tools, _SCRIPT_LIMIT)
        )

    def _refused(self) -> Failure | None:
        if self.before.role == "stopped":
            return Failure(
                why=f"PostgreSQL on {self.host.name} does not run ({self.before.facts.get('phase', 'stopped')})",
                hint=f"{how_to_start(self.before)}; once it has replayed what it has, retry",
            )
        pinned = self.server.replica.cluster
        if pinned and self.before.cluster != pinned:
            return _another(self.host, pinned, self.before.cluster)
        return None

    def _judged(self, said: dict[str, Json], seconds: float) -> Evidence | Failure:
        facts = self._facts(said, seconds)
        was = facts["timeline_before"]
        if was is not None and facts["timeline"] <= was:
            return Failure(
                why=f"PostgreSQL on {self.host.name} left recovery, yet is still on timeline {facts['timeline']}",
                hint="let nobody write there: see its log",
                facts=facts,
            )
        if int(said["flushed"]) < int(said["written"]) or said["read_only"]:
            return Failure(
                why=f"PostgreSQL on {self.host.name} is the primary, but takes no writes",
                hint="is default_transaction_read_only on? ALTER SYSTEM RESET it, reload, then retry",
                facts=facts,
            )
        emptied = self._emptied(said)
        if isinstance(emptied, Failure):
            return emptied.model_copy(update={"facts": facts})
        facts["synchronous_standby_names"] = facts["synchronous_standby_names"] or emptied or None
        lacks = f"no replication slot {self.slot} on {self.host.name}: a rejoin may need a fresh copy"
        return Evidence(facts=facts, exceptions=() if said.get("slots") else (lacks,))

    def _facts(self, said: dict[str, Json], seconds: float) -> dict[str, Json]:
        before = self.before
        already = before.role == "primary"
        parent, fork = _last(str(said.get("history") or ""))
        return {
            "host": self.host.name,
            "cluster": before.cluster,
            "already": already,
            "timeline_before": parent if already else before.history,
            "timeline": int(said["timeline"]),
            "received": None if already else before.position,
            "replayed": None if already else before.applied,
            "promoted_at": fork,
            "promoted_at_lsn": written(fork) if fork is not None else None,
            "last_commit": before.last_commit.isoformat() if before.last_commit else None,
            "slot": self.slot if said.get("slots") else None,
            "synchronous_standby_names": said.get("note") or None,
            "promotion_seconds": round(float(said["seconds"]), 3),
            "seconds": seconds,
            "version": before.version,
        }

    def _emptied(self, said: dict[str, Json]) -> str | Failure:
        """Take care that no commit waits for a standby that is not there; the setting that was emptied, if any."""
        names = str(said["names"] or "")
        if not names or int(said["followers"]) >= needed(names):
            return ""
        done = self._sql(EMPTY, {"names": names})
        asked = self._sql(SHOWN, {}) if done.ok else done
        if not asked.ok:
            return self.server.unanswered(asked, f"emptying synchronous_standby_names on {self.host.name}")
        now = _said(asked.text)
        if now["names"] and int(now["followers"]) < needed(str(now["names"])):
            return Failure(
                why=f"every commit on {self.host.name} waits for {now['names']}, which is not there",
                hint="synchronous_standby_names is set on the server's command line: take it out, restart, then retry",
            )
        return names


def _another(host: Host, wanted: str, found: str = "another one") -> Failure:
    return Failure(
        why=f"PostgreSQL on {host.name} holds another database: system identifier {found} instead of {wanted}",
        hint=f"is this the right host behind the address of {host.name}? nothing was promoted",
    )


def _unfinished(host: Host, said: dict[str, Json]) -> Failure:
    return Failure(
        why=f"PostgreSQL on {host.name} was told to promote, and still replays: {_left(said)} bytes are left",
        hint="a long query there may hold it up: end it, then retry; nothing is promoted twice",
        retryable=True,
        timed_out=True,
        facts=said,
    )


def _left(said: dict[str, Json]) -> int:
    return max(0, int(said.get("received") or 0) - int(said.get("replayed") or 0))


def _said(text: str) -> dict[str, Json]:
    """All that a script's lines say."""
    said: dict[str, Json] = {}
    for line in text.splitlines():
        if line.startswith("{"):
            said.update(json.loads(line))
    return said


def _last(history: str) -> tuple[int | None, int | None]:
    """The timeline that the newest one came from, and where it left it."""
    lines = [line.split() for line in history.splitlines() if line.strip() and not line.startswith("#")]
    return (int(lines[-1][0]), position(lines[-1][1])) if lines else (None, None)
