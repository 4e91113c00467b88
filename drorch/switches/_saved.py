"""Keeping what HAProxy was told at run time through its next start."""

from drorch.core.errors import HostError
from drorch.core.evidence import Failure
from drorch.core.finding import Standing
from drorch.core.host import Host
from drorch.switches._runtime import Socket

LIMIT = 4 << 20
"""Bytes of a haproxy.cfg that are read."""


def save(socket: Socket, path: str) -> str:
    """Write its state to a file there; why that was not possible, empty when it was."""
    said = socket.say("show servers state")
    if isinstance(said, Failure):
        return said.why
    if not said.startswith("1\n# be_id"):
        return f"HAProxy on {socket.host.name} gives a state of another version than 1"
    try:
        socket.host.put(path, said.encode(), mode=0o644)
    except HostError as error:
        return error.message
    return ""


def lasting(host: Host, path: str | None, config: str, old: str) -> tuple[str, Standing, str]:
    """What becomes of a switch when HAProxy starts again: what is found, how good that is, its remedy."""
    away = f"a reload of HAProxy would lead customers back to {old} after a failover"
    if path is None:
        return (
            f"{away}: what is said to its socket is not kept",
            Standing.DOUBTFUL,
            "say `save:`, and load that file in haproxy.cfg; or move `disabled` there by hand after a failover",
        )
    lines = ("load-server-state-from-file global", f"server-state-file {path}")
    try:
        text = host.get(config, limit=LIMIT).decode("utf-8", "replace")
    except HostError as error:
        return (
            f"whether a reload of HAProxy keeps a switch is not known: {error.message}",
            Standing.DOUBTFUL,
            f"see that haproxy.cfg has `{lines[0]}` and `{lines[1]}`",
        )
    said = {" ".join(line.split()) for line in text.splitlines()}
    missing = " and ".join(f"`{line}`" for line in lines if line not in said)
    if missing:
        return f"{away}: {config} lacks {missing}", Standing.DOUBTFUL, f"add {missing}"
    return f"a reload keeps what was switched, in {path}", Standing.GOOD, ""
