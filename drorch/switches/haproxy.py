"""``haproxy``: lead a backend to another server by HAProxy's runtime API."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding, Standing
from drorch.core.host import printable
from drorch.core.model import Duration, Frozen, HostName, Json, format_duration, parse_duration
from drorch.core.step import Planned, Tools
from drorch.core.switch import Traffic, Turn, Way
from drorch.switches._runtime import Line, Socket
from drorch.switches._saved import lasting, save

PAUSE = 0.05
"""Seconds between two looks."""

HaproxyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]+$")]
HostPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9_./@+-]+$")]


class HaproxyBackend(Frozen):
    """A backend of an HAProxy whose other server is in maintenance (``disabled`` in haproxy.cfg)."""

    host: HostName
    """The host on which HAProxy runs."""
    socket: HostPath = "/run/haproxy/admin.sock"
    """Its ``stats socket … level admin``."""
    backend: HaproxyName
    """The backend (or listen section) with a server for each of the two hosts."""
    to: HaproxyName | None = None
    """The server there that is the new host; the host's name unless said."""
    from_: Annotated[HaproxyName | None, Field(alias="from")] = None
    """The server there that is the old host; the host's name unless said."""
    hold: bool = False
    """Whether a `hold` step can let requests wait there: HAProxy loads ``drorch-hold.lua``, which comes with drorch,
    and the frontend says ``http-request lua.drorch_hold BACKEND``. HAProxy's own ``set maxconn frontend`` is not used
    for it: to raise a limit while customers wait deadlocks the version that Debian 12 has."""
    drain: Duration = parse_duration("10s")
    """How long a hold waits until the requests that are being answered are."""
    at_most: Duration = parse_duration("60s")
    """After so long the edge itself ends a hold, should drorch have died."""
    within: Duration = parse_duration("15s")
    """How long the new server is waited for while HAProxy has not checked it yet, or holds it for down: of its own,
    HAProxy needs two checks 2 s apart for one that was down, and more where many customers waited for it."""
    save: HostPath | None = None
    """A file on that host in which HAProxy's state is kept after the switch, so that a reload or a restart of HAProxy
    keeps it, too; haproxy.cfg needs ``server-state-file`` with it and ``load-server-state-from-file global``."""
    config: HostPath = "/etc/haproxy/haproxy.cfg"
    """Where haproxy.cfg lies, to see that it loads the saved state."""


class Haproxy(Way):
    """One write to HAProxy's socket: the new server gets ready, the old one goes into maintenance, and the sessions
    that are open there end.
    """

    haproxy: HaproxyBackend
    """Where and what."""

    def problems(self, turn: Turn) -> tuple[tuple[str, str], ...]:
        """Two hosts cannot be one server."""
        old, new = self._names(turn)
        return ((f"server {new} cannot be both hosts", "correct `to:` or `from:`"),) if old == new else ()

    @property
    def title(self) -> str:
        """The backend and its host."""
        return f"backend {self.haproxy.backend} of HAProxy on {self.haproxy.host}"

    def describe(self, turn: Turn) -> str:
        """The plan's line."""
        return f"lead {self.title} to {self._names(turn)[1]}"

    def preview(self, turn: Turn) -> tuple[Planned, ...]:
        """The line that is said to the socket."""
        argv = ("haproxy-socket", self.haproxy.socket, self._order(turn))
        return (Planned(self.haproxy.host, argv, note="one line to the socket"),)

    def look(self, tools: Tools, turn: Turn) -> Traffic | Failure:
        """Which server HAProxy was told to use."""
        found = self._backend(tools, turn)
        return found if isinstance(found, Failure) else found.traffic()

    def lead(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """One line does it, and asks what became of it."""
        began = tools.clock.monotonic()
        before = self._backend(tools, turn)
        if isinstance(before, Failure):
            return before
        if before.leads == "elsewhere":
            return Failure(
                why=f"{self.title} leads to {', '.join(before.others)}, which is neither host",
                hint="if that is not wanted: set server … state maint on its socket, then retry",
                facts=before.traffic().facts,
            )
        after = self._backend(tools, turn, order=self._order(turn))
        if isinstance(after, Failure):
            return after
        if after.leads != "new":
            return Failure(
                why=f"{self.title} was told to lead to {after.new.name}, and leads to {after.leads} still",
                hint="does a `track` or an agent keep a server in its state? look at `show servers state`",
                facts=after.traffic().facts,
            )
        self.release(tools, turn)  # those who wait need not wait for the health check as well; the step asks again
        failure = self._risen(tools, turn, after)
        if failure is not None:
            return failure
        unsaved = save(self._socket(tools), self.haproxy.save) if self.haproxy.save else ""
        return Evidence(
            facts={
                "before": before.leads,
                "leads": "new",
                "server": after.new.name,
                "address": after.new.address,
                "old_requests": after.old.requests,
                "seconds": round(tools.clock.monotonic() - began, 3),
            },
            exceptions=(f"a reload of HAProxy would undo the switch: {unsaved}",) if unsaved else (),
        )

    def back(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """The same with the two servers in each other's place."""
        turned = self.haproxy.model_copy(update={"to": self.haproxy.from_, "from_": self.haproxy.to})
        return Haproxy(haproxy=turned).lead(tools, turn.back())

    def residual(self, tools: Tools, turn: Turn) -> Mapping[str, Json]:
        """What HAProxy still has open on the old server, and has sent there until now."""
        found = self._backend(tools, turn)
        if isinstance(found, Failure):
            raise DrorchError(found.why, hint=found.hint)
        return {"sessions": found.old.sessions, "queued": found.old.queued, "requests": found.old.requests}

    def findings(self, tools: Tools, turn: Turn) -> Iterable[Finding]:
        """The socket answers, may change servers, knows both; what a restart of HAProxy would do."""
        found = self._backend(tools, turn)
        if isinstance(found, Failure):
            standing = Standing.UNKNOWN if found.unknown or found.timed_out else Standing.BAD
            yield self._finding(found.why, standing, found.hint or "look at the edge")
            return
        failure = self._socket(tools).may_change(self.haproxy.backend)
        if failure is not None:
            yield self._finding(failure.why, Standing.BAD, failure.hint)
        else:
            yield self._finding(f"it answers, and knows {found.old.name} and {found.new.name}")
        if self.can_hold:
            yield self._holding(tools)
        settings = self.haproxy
        yield self._finding(*lasting(tools.host(settings.host), settings.save, settings.config, found.old.name))

    @property
    def can_hold(self) -> bool:
        """Where HAProxy was taught to."""
        return self.haproxy.hold

    def hold(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Requests wait in HAProxy from now on, on old connections as on new ones; HAProxy itself ends that in time."""
        settings = self.haproxy
        began = tools.clock.monotonic()
        failure = self._gate(tools, f"hold {settings.backend} {settings.at_most.total_seconds():g}", "held")
        if failure is not None:
            return failure
        in_flight = self._drained(tools, turn)
        if isinstance(in_flight, Failure):
            return in_flight
        left = f"{in_flight} requests were still being answered after {format_duration(settings.drain)}"
        return Evidence(
            facts={
                "held": True,
                "in_flight": in_flight,
                "at_most": format_duration(settings.at_most),
                "seconds": round(tools.clock.monotonic() - began, 3),
            },
            exceptions=(f"{left}; they may fail",) if in_flight else (),
        )

    def release(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Those that wait are served at once."""
        failure = self._gate(tools, f"release {self.haproxy.backend}", "free") if self.can_hold else None
        return failure or Evidence(facts={"held": False})

    def _names(self, turn: Turn) -> tuple[str, str]:
        """The servers of the old and the new host."""
        return self.haproxy.from_ or turn.old, self.haproxy.to or turn.new

    def _order(self, turn: Turn) -> str:
        old, new = (f"{self.haproxy.backend}/{name}" for name in self._names(turn))
        return f"set server {new} state ready; set server {old} state maint; shutdown sessions server {old}"

    def _socket(self, tools: Tools) -> Socket:
        return Socket(tools.host(self.haproxy.host), self.haproxy.socket)

    def _gate(self, tools: Tools, order: str, answer: str) -> Failure | None:
        """Say something to drorch-hold.lua; None when it is as ordered."""
        said = self._socket(tools).say(f"drorch {order}")
        if isinstance(said, Failure):
            return said
        if said.strip() == f"{answer} {self.haproxy.backend}":
            return None
        lua = Path(__file__).with_name("drorch-hold.lua")
        return Failure(
            why=f"HAProxy on {self.haproxy.host} cannot let requests wait:"
            f" {printable(said.strip()).splitlines()[0][:200] if said.strip() else 'no answer'}",
            hint=f"copy {lua} there, and say in haproxy.cfg what its first lines say; or leave `hold: true` out",
        )

    def _holding(self, tools: Tools) -> Finding:
        """Whether requests can wait, and none do."""
        free = self._gate(tools, f"held {self.haproxy.backend}", "free")
        if free is None:
            return self._finding("it can let requests wait")
        if self._gate(tools, f"held {self.haproxy.backend}", "held") is None:
            wait = "let the other run end, or say `drorch release` on the socket"
            return self._finding("requests wait there already", Standing.DOUBTFUL, wait)
        silent = free.unknown or free.timed_out
        return self._finding(free.why, Standing.UNKNOWN if silent else Standing.BAD, free.hint or "look at the edge")

    def _backend(self, tools: Tools, turn: Turn, order: str = "") -> "_Backend | Failure":
        """The backend as it is, after an order if there is one."""
        settings = self.haproxy
        rows = self._socket(tools).table("show stat -1 6 -1", after=order)
        if isinstance(rows, Failure):
            return rows
        servers = {line.name: line for name, line in rows if name == settings.backend}
        if servers.pop("BACKEND", None) is None:
            known = sorted({name for name, line in rows if line.name == "BACKEND"})
            return Failure(
                why=f"HAProxy on {settings.host} has no backend {settings.backend}",
                hint=f"it has {', '.join(known) or 'none'}",
            )
        old, new = self._names(turn)
        for key, name in (("from", old), ("to", new)):
            if name not in servers:
                return Failure(
                    why=f"{self.title} has no server {name}",
                    hint=f"it has {', '.join(servers) or 'none'}; say `{key}:`, or name it so in haproxy.cfg",
                )
        return _Backend(
            old=servers[old],
            new=servers[new],
            others=tuple(
                name
                for name, line in servers.items()
                if name not in (old, new) and line.told_to_serve and not line.backup
            ),
        )

    def _risen(self, tools: Tools, turn: Turn, found: "_Backend") -> Failure | None:
        """Why customers are not served though they are led there: HAProxy's own health check says no. A server that
        was in maintenance counts as up until it was checked once, so that is waited for.
        """
        until = tools.clock.monotonic() + min(self.haproxy.within.total_seconds(), tools.deadline.remaining())
        while not found.new.serves or found.new.untried:
            if tools.clock.monotonic() >= until:
                if found.new.serves:
                    return None
                return Failure(
                    why=f"{self.title} leads to {found.new.name}, and holds it for down ({found.new.status}):"
                    f" {printable(found.new.check) or 'no check says why'}",
                    hint=f"is the application running on {turn.new}, and can {self.haproxy.host} reach its port?",
                    retryable=True,
                    facts=found.traffic().facts,
                )
            tools.clock.sleep(PAUSE)
            again = self._backend(tools, turn)
            if isinstance(again, Failure):
                return again
            found = again
        return None

    def _drained(self, tools: Tools, turn: Turn) -> int | Failure:
        """Wait until nothing is being answered; gives how much still was at the end."""
        until = tools.clock.monotonic() + min(self.haproxy.drain.total_seconds(), tools.deadline.remaining() - 1)
        while True:
            found = self._backend(tools, turn)
            if isinstance(found, Failure):
                return found
            if not (left := found.old.sessions + found.old.queued) or tools.clock.monotonic() >= until:
                return left
            tools.clock.sleep(PAUSE)

    def _finding(self, what: str, standing: Standing = Standing.GOOD, remedy: str = "") -> Finding:
        return Finding(about=self.title, what=what, standing=standing, remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Backend:
    """A backend's two servers, and what else it has."""

    old: Line
    new: Line
    others: tuple[str, ...]
    """Further servers that HAProxy was told to use; a mere ``backup``, such as one that says sorry, is none."""

    @property
    def leads(self) -> Literal["old", "new", "both", "nowhere", "elsewhere"]:
        """What HAProxy was told; whether a server is up does not matter here."""
        if self.others:
            return "elsewhere"
        match self.old.told_to_serve, self.new.told_to_serve:
            case True, True:
                return "both"
            case True, False:
                return "old"
            case False, True:
                return "new"
            case _:
                return "nowhere"

    def traffic(self) -> Traffic:
        """For the step."""
        facts: dict[str, Json] = {line.name: line.status for line in (self.old, self.new)}
        return Traffic(leads=self.leads, facts={**facts, **({"others": list(self.others)} if self.others else {})})
