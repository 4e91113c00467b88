"""Cutting a server off at HAProxy."""

from datetime import timedelta
from typing import Annotated

from pydantic import StringConstraints

from drorch.core.clock import Deadline
from drorch.core.evidence import Failure
from drorch.core.model import Frozen, HostName, Json
from drorch.core.step import Planned, Tools
from drorch.switches._runtime import Line, Socket

SERVERS = "show stat -1 4 -1"
"""All servers and nothing else."""
PAUSE = 0.2
"""Seconds between two looks."""
PATIENCE = timedelta(seconds=10)
"""How long the last session's end is waited for."""

BalancerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]+$")]


class BalancerCut(Frozen):
    """A server that HAProxy sends nobody to any more."""

    host: HostName
    """The host on which HAProxy runs."""
    socket: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9_./@+-]+$")] = "/run/haproxy/admin.sock"
    """Its ``stats socket … level admin``."""
    backend: BalancerName
    """The backend."""
    server: BalancerName
    """The server there that is the fenced host."""

    @property
    def name(self) -> str:
        """As HAProxy says it."""
        return f"{self.backend}/{self.server}"

    @property
    def order(self) -> str:
        """Into maintenance, and everybody out."""
        return f"set server {self.name} state maint; shutdown sessions server {self.name}"

    @property
    def words(self) -> str:
        """What is so once it is cut."""
        return f"HAProxy on {self.host} sends nobody to {self.name}, and has no session open there"

    def describe(self, host: str) -> str:
        """The plan's line."""
        return f"cut {host} off at HAProxy on {self.host}"

    def preview(self, host: str) -> tuple[Planned, ...]:
        """The order."""
        return (Planned(self.host, ("haproxy-socket", self.socket, self.order), note="one line to the socket"),)

    def cut(self, tools: Tools, host: str) -> dict[str, Json] | Failure:
        """Into maintenance, then wait until no session is left; what was seen."""
        found = self._line(tools, self.order)
        deadline = Deadline.after(PATIENCE, tools.clock)
        while not isinstance(found, Failure) and not _is_cut(found) and deadline.remaining() > PAUSE:
            tools.clock.sleep(PAUSE)
            found = self._line(tools, f"shutdown sessions server {self.name}")
        return found if isinstance(found, Failure) else self._judged(found)

    def look(self, tools: Tools, host: str) -> dict[str, Json] | Failure:
        """What is seen while it is cut; a failure when it is not, or that is not known."""
        found = self._line(tools)
        return found if isinstance(found, Failure) else self._judged(found)

    def lift(self, tools: Tools, host: str) -> Failure | None:
        """Ready again."""
        found = self._line(tools, f"set server {self.name} state ready")
        if isinstance(found, Failure):
            return found
        return None if found.told_to_serve else Failure(why=f"{self.name} was set ready, and is {found.status}")

    def ready(self, tools: Tools, host: str) -> str | Failure:
        """Whether it could be cut: what to say of it."""
        found = self._line(tools)
        if isinstance(found, Failure):
            return found
        if not found.address:
            return Failure(
                why=f"the socket {self.socket} on {self.host} may only look",
                hint="say `level admin` behind it, and reload",
            )
        return f"HAProxy on {self.host} knows {self.name}: {found.status}"

    def _judged(self, line: Line) -> dict[str, Json] | Failure:
        if _is_cut(line):
            return {"server": self.name, "status": line.status, "sessions": line.sessions}
        return Failure(
            why=f"HAProxy on {self.host} has {self.name} in {line.status} with {line.sessions} sessions",
            hint="does a `track` or an agent keep the server in its state? look at `show servers state`",
        )

    def _line(self, tools: Tools, order: str = "") -> Line | Failure:
        rows = Socket(tools.host(self.host), self.socket).table(SERVERS, after=order)
        if isinstance(rows, Failure):
            return rows
        for backend, line in rows:
            if (backend, line.name) == (self.backend, self.server):
                return line
        return Failure(
            why=f"HAProxy on {self.host} has no server {self.name}",
            hint=f"it has {', '.join(f'{backend}/{line.name}' for backend, line in rows) or 'none'}",
        )


def _is_cut(line: Line) -> bool:
    return line.status.startswith("MAINT") and not line.sessions and not line.queued
