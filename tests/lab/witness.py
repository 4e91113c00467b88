"""A witness against split brain: writes to both databases again and again, and remembers which side took it when.

It comes through the hosts' own sockets: no cut cable, no firewall and no load balancer keeps it out. What it is allowed
to write, anybody who still reaches that database could write.
"""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import psycopg

from lab.database import Database
from lab.waiting import LabFailed, until

_WRITE = "INSERT INTO witness (host) VALUES (%s)"


@dataclass(frozen=True, slots=True)
class Writing:
    """One write that was tried."""

    host: str
    began: float
    """By `time.monotonic`."""
    ended: float
    refusal: str = ""
    """Empty: it was committed."""


@dataclass(frozen=True, slots=True)
class Reign:
    """A time in which a side took all writes."""

    host: str
    began: float
    """When it had taken the first."""
    ended: float
    """When it had taken the last."""
    writes: int


@dataclass
class Witness:
    """Writes to each database from its `start` to its `stop`."""

    databases: Mapping[str, Database]
    local: bool = True
    """Whether a commit counts that no standby has: the strictest view of a side that still takes writes."""
    pace: float = 50.0
    """Writes per second and side."""
    writings: list[Writing] = field(default_factory=list)
    """In the order in which they ended."""
    _ending: threading.Event = field(default_factory=threading.Event, repr=False)
    _threads: list[threading.Thread] = field(default_factory=list, repr=False)
    _connections: dict[str, psycopg.Connection] = field(default_factory=dict, repr=False)

    def start(self) -> "Witness":
        """Begin."""
        for host in self.databases:
            thread = threading.Thread(target=self._write, args=(host,), name=f"lab-witness-{host}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def stop(self) -> "Witness":
        """Write no more; a write that hangs is broken off."""
        self._ending.set()
        for thread in self._threads:
            thread.join(1)
        for connection in tuple(self._connections.values()):
            with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=connection.fileno()) as dying:
                dying.shutdown(socket.SHUT_RDWR)
                dying.detach()
        for thread in self._threads:
            thread.join(5)
        return self

    @contextlib.contextmanager
    def watching(self) -> Iterator["Witness"]:
        """Writing within the context; at least one side has taken a write before.

        Raises:
            LabFailed: after the context, two sides took writes at the same time.
        """
        self.start()
        try:
            until(lambda: bool(self.reigns()), "a database takes writes")
            yield self
        finally:
            self.stop()
        self.confirm()

    def reigns(self) -> list[Reign]:
        """Who took writes when, in the order of their beginnings. A write that was not taken ends a reign."""
        found: list[Reign] = []
        for host in self.databases:
            reign: Reign | None = None
            for writing in sorted((one for one in tuple(self.writings) if one.host == host), key=lambda one: one.began):
                if writing.refusal:
                    found += [reign] if reign else []
                    reign = None
                elif reign is None:
                    reign = Reign(host, writing.ended, writing.ended, 1)
                else:
                    reign = Reign(host, reign.began, writing.ended, reign.writes + 1)
            found += [reign] if reign else []
        return sorted(found, key=lambda reign: reign.began)

    def confirm(self) -> None:
        """See that no two sides ever took writes at the same time.

        Raises:
            LabFailed: they did; the text says when.
        """
        reigns = self.reigns()
        for before, after in itertools.combinations(reigns, 2):
            if after.host != before.host and after.began <= before.ended:
                both = min(before.ended, after.ended) - after.began
                raise LabFailed(
                    f"split brain: for {both:.3f} s both {before.host} and {after.host} took writes: {reigns}"
                )

    def _write(self, host: str) -> None:
        while not self._ending.is_set():
            began, refusal = time.monotonic(), ""
            try:
                self._connection(host).execute(_WRITE, (host,))
            except (psycopg.Error, LabFailed, OSError) as error:
                refusal = str(error).strip().partition("\n")[0] or type(error).__name__
                if (connection := self._connections.get(host)) is not None and connection.broken:
                    del self._connections[host]
            self.writings.append(Writing(host, began, time.monotonic(), refusal))
            self._ending.wait(max(0.0, began + 1 / self.pace - time.monotonic()))

    def _connection(self, host: str) -> psycopg.Connection:
        if host not in self._connections:
            connection = self.databases[host].connect()
            self._connections[host] = connection
            if self.local:
                connection.execute("SET synchronous_commit = local")
        return self._connections[host]
