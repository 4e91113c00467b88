"""A machine reached by SSH."""

import math
import secrets as randomness
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from drorch.core.clock import Halt
from drorch.core.errors import DrorchError, HostError, Unreachable
from drorch.core.host import OUTPUT_LIMIT, Command, Completed, Ended, Identity, LineSink, SshHostSpec
from drorch.core.secret import Secrets
from drorch.hosts import relay
from drorch.hosts.feed import readable
from drorch.hosts.local import GRACE, LIMIT
from drorch.hosts.output import Sink
from drorch.hosts.pin import checked
from drorch.hosts.ssh.connection import Connection, Lost, NoSession, execute, leave
from drorch.hosts.ssh.files import SshFiles
from drorch.hosts.ssh.script import GET, IDENTITY, LISTENERS, PUT, ending, exposed, order
from drorch.hosts.ssh.session import Session
from drorch.hosts.words import check, environment

if TYPE_CHECKING:
    import paramiko

SESSIONS = 8
"""Commands at a time on one connection; servers grant 10 unless told otherwise, and one is kept to end others."""

_ASK = 60.0  # seconds for the small questions that the host itself asks
_ECHO = 2.0  # seconds for which a machine that was silent is not tried again by who would not wait longer
_END = 5.0  # seconds for a channel on which to end a command; a hanging connection is not waited for
_SETTLE = 2.0  # seconds for which a server that refuses every session is asked again
_STALL = 600.0  # seconds for a file, beside those that its size takes at a megabit per second
_BYTES_PER_SECOND = 125_000


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Silence:
    """A connection that could not be made."""

    ended: float
    waited: float
    error: Unreachable


@dataclass(frozen=True, slots=True)
class Heritage:
    """What is left of an object for a machine."""

    spec: SshHostSpec
    known: tuple[Connection, Identity] | None
    """Its connection, if that has shown who it is."""
    silent: _Silence | None


class SshHost:
    """A machine reached by SSH: one connection, made when first needed and made again when lost."""

    is_controller = False

    def __init__(
        self,
        name: str,
        spec: SshHostSpec,
        *,
        secrets: Secrets,
        halt: Halt,
        grace: float = GRACE,
        limit: float = LIMIT,
        heritage: Heritage | None = None,
    ) -> None:
        """``heritage``: is gone on with, if it is of the same entry but for the patience."""
        self.name = name
        self._spec = spec
        self._secrets = secrets
        self._halt = halt
        self._grace = grace
        self._limit = limit
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._silent: _Silence | None = None
        self._connection: Connection | None = None
        self._identity: tuple[Connection, Identity] | None = None
        if heritage and heritage.spec.model_copy(update={"connect_timeout": spec.connect_timeout}) == spec:
            self._connection = heritage.known[0] if heritage.known else None
            self._identity = heritage.known
            self._silent = heritage.silent
        elif heritage and heritage.known:
            heritage.known[0].close()
        self._slots = threading.BoundedSemaphore(SESSIONS)
        self._open = 0

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        """Execute and wait."""
        self._halt.check()
        check(command)
        readable(command.stdin)
        started = time.monotonic()
        limit = self._limit if command.timeout is None else command.timeout
        out, err = Sink(command.output_limit, on_line), Sink(command.output_limit)
        env = environment({}, self._spec.env, command)
        text = order(command.argv, env, cwd=command.cwd, timeout=limit, grace=self._grace)
        with self._slot(started + limit), ExitStack() as stack:
            session = self._on_connection(
                lambda connection: self._begin(connection, stack, out, err, started + limit), within=limit
            )
            ended, code = session.carry_out(
                text, command.stdin, halt=self._halt, deadline=started + limit, kill=self._kill
            )
        if ended is Ended.EXITED:
            out.finish()
        truncated = out.truncated or err.truncated
        return Completed(command, ended, code, out.data, err.data, truncated, time.monotonic() - started)

    def put(self, path: str, content: bytes | Path, *, mode: int = 0o600) -> None:
        """Write a file, whole or not at all."""
        readable(content)
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        argv = ("/bin/sh", "-c", PUT, "drorch", path, f"{mode:o}", str(size), randomness.token_hex(8))
        timeout = _STALL + size / _BYTES_PER_SECOND
        self._ask(Command(argv, stdin=content, timeout=timeout), f"cannot write {path!r}")

    def get(self, path: str, *, limit: int = OUTPUT_LIMIT) -> bytes:
        """Read a file."""
        argv = ("/bin/sh", "-c", GET, "drorch", path, str(limit + 1))
        timeout = _STALL + limit / _BYTES_PER_SECOND
        done = self._ask(Command(argv, timeout=timeout, output_limit=limit + 1), f"cannot read {path!r}")
        if len(done.stdout) > limit:
            raise HostError(f"{self.name}: {path!r} is larger than {limit} bytes")
        return done.stdout

    def identity(self) -> Identity:
        """Who that machine is; asked once per connection."""
        known = self._identity
        if known is not None and known[0] is self._connection and known[0].alive:
            return checked(self.name, self._spec, known[1])
        done = self._ask(Command(("/bin/sh", "-c", IDENTITY), timeout=_ASK), "cannot be asked who it is")
        machine_id, hostname, user, home = done.stdout.decode("utf-8", "surrogateescape").split("\n", 3)
        identity = Identity(
            machine_id=machine_id.strip(),
            host_key=" ".join((self._spec.host_key or "").split()[:2]),  # the only one that a connection accepts
            hostname=hostname,
            user=user,
            home=home,
        )
        if self._connection is not None:
            self._identity = (self._connection, identity)
        return checked(self.name, self._spec, identity)

    @contextmanager
    def dial(self, address: str, port: int, *, timeout: float = 10.0) -> Iterator[socket.socket]:
        """Connect to a TCP port as seen from that machine."""
        self._halt.check()
        channel = self._on_connection(lambda connection: connection.dial(address, port, timeout))
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        threading.Thread(target=relay.relay, args=(theirs, channel), name="drorch-dial", daemon=True).start()
        try:
            yield ours
        finally:
            relay.end(ours)
            relay.end(theirs)
            relay.end(channel)

    @contextmanager
    def publish(self, path: Path) -> Iterator[int]:
        """Offer a Unix socket of the controller on a loopback port of that machine."""
        self._halt.check()

        def listen(connection: Connection) -> tuple[Connection, int]:
            return connection, connection.listen(lambda visitor: relay.lead(visitor, path))

        connection, port = self._on_connection(listen)
        try:
            tables = self._ask(Command(("/bin/sh", "-c", LISTENERS), timeout=_ASK), "cannot be asked for its ports")
            if exposed(tables.text, port):
                raise HostError(
                    f"{self.name}: the server forwards ports to all its addresses, not to the loopback one alone",
                    hint="set GatewayPorts no (or clientspecified) in its sshd_config",
                )
            yield port
        finally:
            connection.unlisten(port)

    def open_files(self, root: str, *, lanes: int) -> SshFiles:
        """The files below a folder, over a connection of their own: commands and bulk do not wait for each other, and
        an account without a shell can be used. A relative root, or one with ``~/``, counts from where logins begin.
        """
        return SshFiles(self.name, root, self._new, halt=self._halt, lanes=lanes)

    def _new(self) -> Connection:
        return Connection.open(self.name, self._spec, self._secrets)

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def leave(self) -> "Heritage":
        """What another object for the same machine goes on with; this one starts anew, should it be used again."""
        with self._lock:
            known = self._identity
            if known is None or known[0] is not self._connection or not known[0].alive:
                return Heritage(self._spec, None, self._silent)
            self._connection = None
            return Heritage(self._spec, known, self._silent)

    def _ask(self, command: Command, what: str) -> Completed:
        """Run it, and have it succeed."""
        done = self.run(command)
        if not done.ok:
            raise HostError(done.failure(f"{self.name}: {what}").why)
        return done

    def _on_connection(self, ask: Callable[[Connection], _T], *, within: float = math.inf) -> _T:
        """Ask on the connection; should it turn out to be an old one that is gone, once more on a new one."""
        while True:
            connection, fresh = self._connected(within)
            try:
                return ask(connection)
            except Lost as error:
                self._forget(connection)
                if fresh:
                    raise Unreachable(f"{self.name}: the connection broke: {error}") from error

    def _connected(self, within: float) -> tuple[Connection, bool]:
        """The connection, and whether it was made just now.

        Who waits while another finds the machine unreachable is told so at once: it does not try again, one by one. So
        is who asks a moment later and would wait no longer than that attempt did.
        """
        asked = time.monotonic()
        with self._connecting:
            connection = self._connection
            if connection is not None and connection.alive:
                return connection, False
            if connection is not None:
                connection.close()
            silent, patience = self._silent, min(within, self._spec.connect_timeout.total_seconds())
            if silent is not None and silent.ended >= asked - (_ECHO if silent.waited >= patience else 0):
                raise Unreachable(silent.error.message, hint=silent.error.hint)
            began = time.monotonic()
            try:
                connection = self._new()
            except Unreachable as error:
                now = time.monotonic()
                self._silent = _Silence(now, now - began, error)
                raise
            with self._lock:
                self._connection = connection
            return connection, True

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        connection.close()

    @contextmanager
    def _slot(self, deadline: float) -> Iterator[None]:
        """A place among the commands of this connection; others' may have to end first."""
        while not self._slots.acquire(timeout=0.1):
            self._halt.check()
            if time.monotonic() >= deadline:
                raise Unreachable(f"{self.name}: {SESSIONS} other commands were running there all the time")
        try:
            yield
        finally:
            self._slots.release()

    def _begin(self, connection: Connection, stack: ExitStack, out: Sink, err: Sink, deadline: float) -> Session:
        channel = self._channel(connection, deadline)
        stack.callback(self._count, -1)
        session = Session(connection, channel, randomness.token_hex(16), out, err)
        stack.callback(session.close)
        session.begin(self.name, self._halt, deadline)
        return session

    def _channel(self, connection: Connection, deadline: float) -> "paramiko.Channel":
        """A channel, waiting for own commands to end where the server grants fewer than usual; it counts as open."""
        alone_since: float | None = None
        while True:
            self._halt.check()
            try:
                channel = connection.session(max(0.1, min(_ASK, deadline - time.monotonic())))
            except NoSession as error:
                now = time.monotonic()
                # A session of ours that has just ended may still count on the server's side.
                alone_since = None if self._open else alone_since or now
                if alone_since is not None and now - alone_since >= _SETTLE:
                    raise HostError(
                        f"{self.name}: the server grants no session: {error}",
                        hint="MaxSessions in its sshd_config, or a restriction in authorized_keys",
                    ) from error
                if now >= deadline:
                    raise Unreachable(f"{self.name}: the server granted no session in time") from error
                self._halt.wait(0.1)
            else:
                self._count(1)
                return channel

    def _count(self, change: int) -> None:
        with self._lock:
            self._open += change

    def _kill(self, session: Session) -> bool:
        """End a session's process group from a channel of its own; whether it is certainly gone."""
        line = ending(session.group, self._grace)
        with suppress(DrorchError, Lost, NoSession):
            if self._end(session.connection, line):
                return True
        # The connection is gone, full or hangs: the group is reached by another.
        with suppress(DrorchError, Lost, NoSession):
            connection = Connection.open(self.name, self._spec, self._secrets)
            try:
                return self._end(connection, line)
            finally:
                connection.close()
        return False

    def _end(self, connection: Connection, line: bytes) -> bool:
        channel = connection.session(_END)
        asked = threading.Thread(target=execute, args=(channel, line), name="drorch-kill", daemon=True)
        asked.start()
        channel.status_event.wait(math.ceil(self._grace) + 10)
        leave(channel)
        return channel.exit_status == 0
