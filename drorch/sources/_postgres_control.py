"""Stopping and starting a PostgreSQL server: by systemd, or by ``pg_ctl`` where no unit is said."""

from drorch.core.evidence import Failure
from drorch.core.host import Command, Host
from drorch.core.step import Tools
from drorch.hosts.systemd import Systemd
from drorch.sources._postgres_look import Place, find, look
from drorch.sources._postgres_server import Server, time_left

_STOP_LIMIT = 3600.0
_UMBRELLA = "postgresql.service"
_PAUSE = 0.1


def _systemd(host: Host) -> Systemd:
    return Systemd(host, sudo=host.identity().user != "root")


def stop(server: Server, tools: Tools, host: Host, place: Place) -> Failure | None:
    """Stop it in order, so that its standby gets its last word; what does not run is left alone."""
    if place.alive is None and server.replica.unit is None:
        return None
    limit = time_left(tools, _STOP_LIMIT)
    if server.replica.unit:
        done = _systemd(host).change("stop", (server.replica.unit,), timeout=limit)
    else:
        words = ("-D", place.data, "-m", "fast", "-w", "-t", str(int(limit)), "stop")
        done = host.run(server.command("pg_ctl", *words, timeout=limit + 5, binaries=place.binaries))
    found = find(server, tools, host, data=place.data, config=place.config)
    if isinstance(found, Failure):
        return found
    if found.alive is not None:
        return done.failure(f"stopping PostgreSQL on {host.name}", hint="it still runs: see its log", retryable=True)
    return None


def start(server: Server, tools: Tools, host: Host, place: Place) -> Failure | None:
    """Start it, unmasked; success only means that it was told to."""
    limit = time_left(tools, _STOP_LIMIT)
    if server.replica.unit:
        failure = _freed(host, server.replica.unit)
        if failure is not None:
            return failure
        done = _systemd(host).change("start", (server.replica.unit,), timeout=limit)
    else:
        done = host.run(_pg_ctl(server, place, limit))
    if done.ok:
        return None
    found = find(server, tools, host, data=place.data, config=place.config)
    if isinstance(found, Place) and found.alive is not None:
        return None  # a server with much to replay is not ready in time, and goes on
    return done.failure(
        f"starting PostgreSQL on {host.name}", hint="see its log: journalctl -u UNIT, or its own", retryable=True
    )


def _freed(host: Host, unit: str) -> Failure | None:
    """Whoever masked it, as a fence does; Debian's umbrella over all servers starts it at boot."""
    systemd = _systemd(host)
    seen = systemd.look((unit, _UMBRELLA) if unit.startswith("postgresql@") else (unit,))
    if isinstance(seen, Failure):
        return seen
    masked = [each for each in seen.units if each.masked or each.load == "masked"]
    return systemd.unmask(masked) if masked else None


def hold(server: Server, host: Host) -> Failure | None:
    """Let it not start by itself, also not after a reboot, until `start`."""
    if server.replica.unit is None:
        return None
    systemd = _systemd(host)
    seen = systemd.look((server.replica.unit,))
    return seen if isinstance(seen, Failure) else systemd.mask([each for each in seen.units if not each.masked])


def _pg_ctl(server: Server, place: Place, limit: float) -> Command:
    options = () if place.config == f"{place.data}/postgresql.conf" else ("-o", f"-c config_file={_word(place.config)}")
    words = ("-D", place.data, "-l", f"{place.data}/drorch-start.log", "-w", "-t", str(int(min(limit, 60))), *options)
    return server.command("pg_ctl", *words, "start", timeout=limit + 5, binaries=place.binaries)


def _word(text: str) -> str:
    """A word for the shell by which pg_ctl starts the server."""
    return "'" + text.replace("'", "'\\''") + "'"


def until_answers(server: Server, tools: Tools, host: Host, role: str) -> Failure | None:
    """Wait until it answers, in that role."""
    while True:
        state = look(server, tools, host)
        if not isinstance(state, Failure) and state.role == role:
            return None
        if tools.deadline.remaining() <= _PAUSE:
            if isinstance(state, Failure):
                return state
            return Failure(
                why=f"PostgreSQL on {host.name} is {state.role}, not {role}", hint="see its log", retryable=True
            )
        tools.clock.sleep(_PAUSE)
