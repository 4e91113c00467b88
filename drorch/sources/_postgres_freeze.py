"""A PostgreSQL server that accepts no writes from anybody, also after a restart, and can be given back.

``default_transaction_read_only`` would be no fence: every session may switch it off. A server in recovery refuses
writes to everybody, its superuser included, and goes on being one when it is restarted. Restarting it in order
also sends its standby all that it acknowledged; its timeline stays, so `thaw` gives back the very same server.
"""

from drorch.core.evidence import Failure
from drorch.core.host import Host
from drorch.core.replication import ReplicaState
from drorch.core.step import Tools
from drorch.sources import _postgres_control as control
from drorch.sources._postgres_look import Place, find, look
from drorch.sources._postgres_server import Server

_MARK = """
cd -- "$1" || exit 1
: > drorch.frozen && : > standby.signal && sync drorch.frozen standby.signal .
"""
_MARKED = '[ -e "$1/drorch.frozen" ] || exit 95'
_UNMARK = """
cd -- "$1" || exit 1
rm -f standby.signal && rm -f drorch.frozen && sync .
"""
_FROZEN = '[ -e "$1/standby.signal" ] || exit 95'
_ABSENT = 95
_TRY = r"""
\set ON_ERROR_STOP 0
CREATE TEMP TABLE drorch_frozen (x int);
\echo :SQLSTATE
"""
_READ_ONLY = "25006"
_TARGETS = (
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
)


def freeze(server: Server, tools: Tools, host: Host) -> Failure | None:
    """Start it again as a standby of nobody, or let it be one when it is started next."""
    state = look(server, tools, host)
    if isinstance(state, Failure):
        return state
    if state.role == "standby":
        return None
    aims = [name for name in _TARGETS if state.facts.get("settings", {}).get(name)]
    if aims:
        return Failure(
            why=f"PostgreSQL on {host.name} would leave recovery by itself: {aims[0]} is set",
            hint=f"ALTER SYSTEM RESET {aims[0]}, reload, then retry",
        )
    place = _place(server, tools, host, state)
    if isinstance(place, Failure):
        return place
    marked = server.script(host, _MARK, place.data)
    if not marked.ok:
        return marked.failure(f"writing standby.signal into {place.data} on {host.name}", hint="is the disk full?")
    return None if state.role == "stopped" else _again(server, tools, host, place, "standby")


def _place(server: Server, tools: Tools, host: Host, state: ReplicaState) -> Place | Failure:
    settings = state.facts.get("settings", {})
    return find(server, tools, host, data=settings.get("data_directory", ""), config=settings.get("config_file", ""))


def _again(server: Server, tools: Tools, host: Host, place: Place, role: str) -> Failure | None:
    failure = control.stop(server, tools, host, place) or control.start(server, tools, host, place)
    return failure or control.until_answers(server, tools, host, role)


def frozen(server: Server, tools: Tools, host: Host) -> bool | Failure:
    """Try to write."""
    state = look(server, tools, host)
    if isinstance(state, Failure):
        return state
    if state.role == "stopped":
        return bool(state.facts.get("standby"))
    done = server.sql(host, tools.secrets, _TRY)
    said = done.text.strip()
    if not done.ok or not said:
        return server.unanswered(done, f"trying to write to PostgreSQL on {host.name}")
    if said != _READ_ONLY:
        return False
    found = server.script(host, _FROZEN, state.facts["settings"]["data_directory"])
    return found.ok or (found.exit_code != _ABSENT and found.failure(f"looking for standby.signal on {host.name}"))


def thaw(server: Server, tools: Tools, host: Host) -> Failure | None:
    """Make it the primary that it was. A standby that was not frozen is never touched."""
    state = look(server, tools, host)
    if isinstance(state, Failure):
        return state
    if state.role == "primary":
        return None
    place = _place(server, tools, host, state)
    if isinstance(place, Failure):
        return place
    failure = _unmarked(server, tools, host, place)
    return failure or _again(server, tools, host, place, "primary")


def _unmarked(server: Server, tools: Tools, host: Host, place: Place) -> Failure | None:
    """Take the signal file away, where drorch put it."""
    marked = server.script(host, _MARKED, place.data)
    if marked.ok:
        # Stopped first: a running standby without its signal file would go on being one.
        failure = control.stop(server, tools, host, place)
        if failure is not None:
            return failure
        done = server.script(host, _UNMARK, place.data)
        return None if done.ok else done.failure(f"removing standby.signal on {host.name}")
    if marked.exit_code != _ABSENT:
        return marked.failure(f"looking for what was frozen in {place.data} on {host.name}")
    if not place.signal:
        return None
    return Failure(
        why=f"PostgreSQL on {host.name} is a standby that was not set read-only by drorch: left as it is",
        hint="promote it by a failover, if it is to be the primary",
    )
