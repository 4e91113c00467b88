"""Whether a PostgreSQL standby could be promoted now, and its old primary rejoined afterwards."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from drorch.core.errors import DrorchError
from drorch.core.evidence import Failure
from drorch.core.finding import Finding, Standing
from drorch.core.host import Host
from drorch.core.replication import ReplicaState
from drorch.core.step import Tools
from drorch.sources._postgres_look import find, look
from drorch.sources._postgres_server import Server

LAG = 64 << 20
"""Bytes behind from which a standby is no longer near its primary."""
SKEW = 5.0
"""Seconds between clocks from which times cannot be compared."""
SPARE = 1 << 30
"""Bytes that should be free for log while nobody follows."""
_AIMS = (
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
)
_FREE = 'df --output=avail -B1 -- "$1" | tail -n 1'


def findings(server: Server, tools: Tools, primary: Host, standby: Host) -> Iterator[Finding]:
    """Everything that can be seen from both; the primary may be gone."""
    there = _state(server, tools, standby)
    other = _state(server, tools, primary)
    if isinstance(there, Failure):
        # It is the one that will have to lead: what cannot be asked cannot be promoted either.
        yield _unknown(standby.name, there).model_copy(update={"standing": Standing.BAD})
        with suppress(DrorchError):
            place = find(server, tools, standby)
            yield from _disk(server, standby, "" if isinstance(place, Failure) else place.data)
    else:
        alone = isinstance(other, Failure) or other.role == "stopped"
        yield from _standby(server, there, alone=alone)
        data = there.facts.get("settings", {}).get("data_directory") or there.facts.get("data")
        yield from _disk(server, standby, str(data or ""))
    if isinstance(other, Failure):
        yield _unknown(primary.name, other)
        return
    yield from _primary(other, standby.name)
    if isinstance(there, ReplicaState):
        yield from Both(other, there).findings()


def _state(server: Server, tools: Tools, host: Host) -> ReplicaState | Failure:
    try:
        return look(server, tools, host)
    except DrorchError as error:
        return Failure.of(error)


def _unknown(host: str, failure: Failure) -> Finding:
    remedy = failure.hint or f"see whether {host} answers"
    return Finding(about=host, what=failure.why.removeprefix(f"{host}: "), standing=Standing.UNKNOWN, remedy=remedy)


def _bad(about: str, what: str, remedy: str) -> Finding:
    return Finding(about=about, what=what, standing=Standing.BAD, remedy=remedy)


def _doubt(about: str, what: str, remedy: str) -> Finding:
    return Finding(about=about, what=what, standing=Standing.DOUBTFUL, remedy=remedy)


def _standby(server: Server, state: ReplicaState, *, alone: bool) -> Iterator[Finding]:
    """What it says of itself."""
    name, settings = state.host, state.facts.get("settings", {})
    pinned = server.replica.cluster
    if pinned and state.cluster != pinned:
        yield _bad(
            name,
            f"PostgreSQL holds another database: system identifier {state.cluster} instead of {pinned}",
            f"is this the right host behind the address of {name}?",
        )
    if state.role == "stopped":
        yield _bad(name, f"PostgreSQL does not run ({state.facts.get('phase')})", how_to_start(state))
        return
    if state.role == "primary":
        yield _bad(name, "PostgreSQL is a primary, not a standby", f"rejoin it: it would not get what {name} lacks")
        return
    yield from _replay(state, alone=alone)
    if not state.facts.get("superuser"):
        yield _bad(
            name,
            "the role that drorch uses there is no superuser, so it cannot promote",
            "say `admin:` under `replica`",
        )
    if settings.get("default_transaction_read_only") == "on":
        yield _bad(
            name,
            "default_transaction_read_only is on, so it would take no writes once promoted",
            "ALTER SYSTEM RESET default_transaction_read_only, then reload",
        )
    if settings.get("max_slot_wal_keep_size") == "-1":
        yield _doubt(
            name,
            "once promoted it keeps log for the old primary without a limit (max_slot_wal_keep_size)",
            "set max_slot_wal_keep_size to what the disk can spare: a primary that stays away fills it otherwise",
        )
    yield from _clock(state)


def how_to_start(state: ReplicaState) -> str:
    """What to do about a standby that does not run; one that was a primary would start as a second one."""
    if state.facts.get("standby"):
        return f"start it on {state.host}"
    return "do not start it: it would be a second primary; {kind: rejoin, …} makes a standby of it"


def _replay(state: ReplicaState, *, alone: bool) -> Iterator[Finding]:
    """Whether it receives, and replays to the end; where the primary does not answer drorch either, it cannot."""
    name, settings = state.host, state.facts.get("settings", {})
    if not state.receiving:
        say = _doubt if alone else _bad
        yield say(
            name,
            "the standby does not receive from its primary",
            f"see its log on {name}: the primary may be gone, refuse it, or no longer have the log that it needs",
        )
    if state.facts.get("paused"):
        yield _doubt(name, "its replay is paused", "SELECT pg_wal_replay_resume(); a promotion resumes it by itself")
    delay = settings.get("recovery_min_apply_delay", "0")
    if delay not in {"", "0"}:
        yield _doubt(name, f"it replays {delay} ms late", "a promotion replays all at once, which takes its time")
    aims = [aim for aim in _AIMS if settings.get(aim)]
    if aims:
        yield _bad(name, f"it stops at {aims[0]} = {settings[aims[0]]}", f"ALTER SYSTEM RESET {aims[0]}, then restart")


def _clock(state: ReplicaState) -> Iterator[Finding]:
    ahead = float(state.facts.get("clock_ahead_seconds", 0))
    if abs(ahead) > SKEW:
        yield _doubt(
            state.host,
            f"its clock is {ahead:+.0f} s from drorch's, so ages cannot be trusted",
            "let NTP set both clocks",
        )


def _disk(server: Server, host: Host, data: str) -> Iterator[Finding]:
    if not data:
        return
    done = server.script(host, _FREE, data)
    if not done.ok or not done.text.strip().isdigit():
        yield _unknown(host.name, done.failure(f"looking at the disk of {data}"))
        return
    free = int(done.text)
    facts = {"free_bytes": free}
    if free < SPARE:
        yield Finding(
            about=host.name,
            what=f"{free >> 20} MiB are free on the disk of {data}",
            standing=Standing.BAD if free < SPARE >> 3 else Standing.DOUBTFUL,
            remedy="make room: a primary whose disk is full stops",
            facts=facts,
        )
    else:
        yield Finding(about=host.name, what=f"{free >> 30} GiB are free on the disk of {data}", facts=facts)


def _primary(state: ReplicaState, standby: str) -> Iterator[Finding]:
    """What the primary says of itself and of who follows it."""
    name, settings = state.host, state.facts.get("settings", {})
    if state.role == "stopped":
        yield _bad(name, f"PostgreSQL does not run ({state.facts.get('phase')})", f"start it on {name}, or fail over")
        return
    if state.role == "standby":
        yield _bad(
            name, "PostgreSQL is a standby, not the primary", f"where does it live? drorch home SERVICE {standby}"
        )
        return
    if settings.get("data_checksums") != "on" and settings.get("wal_log_hints") != "on":
        yield _doubt(
            name,
            "it could not be rewound after a failover: neither data checksums nor wal_log_hints are on",
            "ALTER SYSTEM SET wal_log_hints = on, then restart; else it must be copied afresh",
        )
    if settings.get("full_page_writes") == "off":
        yield _doubt(name, "full_page_writes is off: no copy can be made from its standby", "switch it on")
    yield from _slots(state, standby)
    yield from _clock(state)
    yield from _mode(state)


def _slots(state: ReplicaState, standby: str) -> Iterator[Finding]:
    slots = state.facts.get("slots", [])
    for slot in slots:
        if slot.get("status") in {"lost", "unreserved"}:
            yield _bad(
                state.host,
                f"slot {slot['name']} has lost log that its standby needs ({slot['status']})",
                f"rejoin {standby}: it must be copied afresh, unless its log is archived",
            )
        elif not slot.get("active"):
            yield _doubt(
                state.host,
                f"nobody uses slot {slot['name']}, for which log is kept",
                "drop it if its standby is gone for good: pg_drop_replication_slot",
            )
    if not slots:
        yield _doubt(
            state.host,
            "no replication slot keeps log for the standby while it is away",
            "create one and name it in primary_slot_name of the standby",
        )


def _mode(state: ReplicaState) -> Iterator[Finding]:
    names = state.facts.get("settings", {}).get("synchronous_standby_names", "")
    if state.synchronous:
        yield Finding(about=state.host, what=f"replication is synchronous: {', '.join(state.followers)}")
    elif names:
        yield _doubt(
            state.host,
            f"commits are to wait for {names}, but not all do"
            if state.facts.get("followers")
            else f"every commit waits for {names}, which is not there",
            "let the standby connect again; sessions or roles with synchronous_commit = off do not wait",
        )
    else:
        followers = ", ".join(state.followers) or "nobody"
        yield Finding(
            about=state.host,
            what=f"replication is asynchronous ({followers}): a failover may lose what was not received",
            standing=Standing.DOUBTFUL,
            remedy="set synchronous_standby_names, if losing nothing is worth waiting for each commit",
        )


@dataclass(frozen=True, slots=True)
class Both:
    """A primary and its standby."""

    primary: ReplicaState
    standby: ReplicaState

    def findings(self) -> Iterable[Finding]:
        """What only both together show."""
        one, other = self.primary, self.standby
        if one.cluster and other.cluster and one.cluster != other.cluster:
            yield _bad(
                other.host,
                f"it holds another database than {one.host}: system identifier {other.cluster}, not {one.cluster}",
                f"is this the right host behind the address of {other.host}?",
            )
            return
        if one.version.split(".")[0] != other.version.split(".")[0]:
            yield _bad(other.host, f"PostgreSQL {other.version} follows {one.version} nowhere", "install one version")
        if other.role == "standby" and one.role == "primary":
            yield from self._apart()

    def _apart(self) -> Iterable[Finding]:
        one, other = self.primary, self.standby
        if one.history != other.history:
            yield _bad(
                other.host,
                f"it is on timeline {other.history}, its primary on {one.history}",
                f"rejoin {other.host}: it does not receive what {one.host} writes",
            )
            return
        if one.position is None or other.position is None:
            return
        behind = max(0, one.position - other.position)
        unplayed = max(0, other.position - (other.applied or other.position))
        facts = {"lag_bytes": behind, "unreplayed_bytes": unplayed}
        words = f"the standby has received all but {behind} bytes of {one.host}, and replayed all but {unplayed}"
        if behind > LAG or unplayed > LAG:
            yield Finding(
                about=other.host,
                what=words,
                standing=Standing.BAD if behind > LAG << 4 else Standing.DOUBTFUL,
                remedy="is the line too slow, or a long query on the standby in the way?",
                facts=facts,
            )
        else:
            yield Finding(about=other.host, what=words, facts=facts)
