"""One SSH connection: made, checked, kept alive, and the channels on it. Foreign errors are translated here.

Everything that paramiko would wait for without an end is waited for with one.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import paramiko

from drorch.core.errors import HostError, Unreachable
from drorch.core.host import SshHostSpec
from drorch.core.secret import Secrets
from drorch.hosts.relay import Stream, end
from drorch.hosts.ssh.keys import fingerprint, judge, key_line, preferred, private_keys

WINDOW = 16 << 20
"""Bytes that a channel may be ahead of its reader; small windows make far machines slow."""
PACKET = 1 << 17

KEEPALIVE = 15.0
"""Seconds between questions to the server."""
PATIENCE = 45.0
"""Seconds without its answer after which the connection is given up: the machine hangs."""
_CONFIRMED, _CLOSE = 91, 97
_NEVER_LATE = frozenset({94, 95, 96, _CLOSE})
"""Data, further data, the end of data, CLOSE: with what a channel that was left must not be reached. Requests are not
among them: whoever sends one waits for its answer."""
_ABOUT_CHANNELS = _NEVER_LATE | {_CONFIRMED}
"""Messages that begin with the server's number of a channel; RFC 4254, 9."""
_SHAKING = 1.0
"""Seconds that a machine may take at least to agree on encryption, once it has taken the connection."""
_USER_TIMEOUT = 30_000  # milliseconds that sent bytes may stay unacknowledged: a pulled cable

_ANSWERED = (OSError, EOFError, paramiko.SSHException)

# Failures come back as errors with a remedy; the library's own log would put the server's words on the terminal.
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)


class Lost(Exception):
    """The connection is gone, and what was asked for certainly not begun."""


class NoSession(Exception):
    """The server grants no further session on this connection."""


class Transport(paramiko.Transport):
    """paramiko's, which sends nothing to a channel that was left, until its number is another's.

    paramiko builds a message while it holds the channel's lock, and sends it after that; meanwhile another thread may
    have answered the server's CLOSE (its open issues 1115 and 1705). RFC 4254, 5.3 forbids what then follows, and
    OpenSSH ends the whole connection over it, with all other commands on it.
    """

    def __init__(self, connection: socket.socket, *, default_window_size: int, default_max_packet_size: int) -> None:
        self._left: set[int] = set()
        self._order = threading.Lock()
        super().__init__(
            connection, default_window_size=default_window_size, default_max_packet_size=default_max_packet_size
        )

    def _send_message(self, data: paramiko.Message) -> None:
        with data.packet.getbuffer() as message:
            kind, number = message[0], int.from_bytes(message[1:5], "big")
        if kind not in _ABOUT_CHANNELS:
            super()._send_message(data)  # type: ignore[misc]  # the stubs leave it out
            return
        with self._order:
            if kind == _CONFIRMED:
                self._left.discard(number)
            if number in self._left and kind in _NEVER_LATE:
                return
            if kind == _CLOSE:
                self._left.add(number)
            super()._send_message(data)  # type: ignore[misc]

    def _parse_channel_open_success(self, m: paramiko.Message) -> None:
        m.get_int()
        # The server gives the number of a channel that was left to a new one. This thread is the one that reads, so it
        # does not wait for what is being sent.
        self._left.discard(m.get_int())
        m.rewind()
        super()._parse_channel_open_success(m)  # type: ignore[misc]


class Connection:
    """A connection to the pinned machine, logged in. May be used from several threads."""

    def __init__(self, name: str, transport: paramiko.Transport) -> None:
        self._name = name
        self._transport = transport
        self._opening = threading.Lock()
        self._asking = threading.Lock()
        self._doors: dict[int, Callable[[Stream], None]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._keep_alive, name=f"drorch-ssh-{name}", daemon=True).start()

    @classmethod
    def open(cls, name: str, spec: SshHostSpec, secrets: Secrets) -> "Connection":
        """Connect, check the host key, log in.

        Raises:
            Unreachable: no connection.
            UntrustedHost: the key is not the pinned one.
            HostError: the login was refused.
        """
        transport = _greet(name, spec)
        try:
            judge(name, spec.host_key, key_line(transport.get_remote_server_key()))
            _log_in(name, spec, transport, secrets)
        except BaseException:
            transport.close()
            raise
        return cls(name, transport)

    @property
    def alive(self) -> bool:
        """Whether it still stands, as far as is known."""
        return self._transport.is_active()

    @property
    def host_key(self) -> str:
        """The key that the machine showed, ``type base64``."""
        return key_line(self._transport.get_remote_server_key())

    def session(self, within: float) -> paramiko.Channel:
        """A channel for one command.

        Raises:
            Lost: the connection is gone.
            NoSession: the server refuses.
            Unreachable: it does not answer in time.
        """
        late = Unreachable(f"{self._name}: the server opens no channel in {within:.0f} s", hint="the machine may hang")
        began = time.monotonic()
        if not self._opening.acquire(timeout=within):
            raise late
        try:
            return self._transport.open_session(timeout=within)
        except paramiko.ChannelException as error:
            raise NoSession(str(error)) from error
        except _ANSWERED as error:
            if not self.alive:
                raise Lost(str(error)) from error
            if time.monotonic() - began < within:  # a refusal whose reason a `dial` in another thread was told
                raise NoSession(str(error)) from error
            raise late from error
        finally:
            self._opening.release()

    def dial(self, address: str, port: int, within: float) -> paramiko.Channel:
        """A channel to a TCP port as seen from the machine. No command waits while an address there is silent.

        Raises:
            Lost: the connection is gone.
            HostError: nothing answers there.
        """
        try:
            return self._transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=within)
        except paramiko.ChannelException as error:
            hint = "the server forbids it: AllowTcpForwarding in its sshd_config" if error.code == 1 else ""
            raise HostError(f"{self._name}: nothing answers at {address}:{port}", hint=hint) from error
        except _ANSWERED as error:
            if self.alive:
                raise HostError(f"{self._name}: nothing answers at {address}:{port} in {within:.0f} s") from error
            raise Lost(str(error)) from error

    def listen(self, door: Callable[[Stream], None]) -> int:
        """Listen on a loopback port of the machine; each visitor is handed to ``door`` in a thread of its own.

        Raises:
            Lost: the connection is gone.
            HostError: the server refuses.
        """
        try:
            with self._asking:
                port = self._transport.request_port_forward("127.0.0.1", 0, self._admit)
                self._doors[port] = door
        except _ANSWERED as error:
            if not self.alive:
                raise Lost(str(error)) from error
            raise HostError(
                f"{self._name}: the server forwards no port back",
                hint="allow it: AllowTcpForwarding (yes or remote) in its sshd_config",
            ) from error
        return port

    def unlisten(self, port: int) -> None:
        """Stop listening there; visitors inside may stay."""
        self._doors.pop(port, None)
        # Not cancel_port_forward, which would shut all other ports' doors too.
        with suppress(*_ANSWERED), self._asking:
            self._transport.global_request("cancel-tcpip-forward", ("127.0.0.1", port), wait=True)

    def close(self) -> None:
        """End it and everything on it."""
        self._closed.set()
        self._transport.close()

    def _admit(self, channel: paramiko.Channel, _origin: tuple[str, int], server: tuple[str, int]) -> None:
        # Called in the thread that reads the connection: nothing may wait here.
        threading.Thread(target=self._lead, args=(channel, server[1]), name="drorch-publish", daemon=True).start()

    def _lead(self, channel: paramiko.Channel, port: int) -> None:
        with self._asking:  # a visitor may be faster than the answer that tells the port
            door = self._doors.get(port)
        if door is None:
            end(channel)
        else:
            door(channel)

    def _keep_alive(self) -> None:
        """Ask again and again: networks forget silent connections, and a hanging machine is known by its silence."""
        while not self._closed.wait(KEEPALIVE) and self.alive:
            watchdog = threading.Timer(PATIENCE, self._transport.close)
            watchdog.daemon = True
            watchdog.start()
            with suppress(*_ANSWERED), self._asking:
                self._transport.global_request("keepalive@drorch", wait=True)
            watchdog.cancel()


def execute(channel: paramiko.Channel, line: bytes) -> bool:
    """Ask for a line to be executed; False when the channel or the connection ended instead of an answer.

    Blocks until the channel is closed by another thread, should the server be silent.
    """
    try:
        channel.exec_command(line)
    except _ANSWERED:
        return False
    return True


def leave(channel: paramiko.Channel) -> None:
    """Close a channel; a connection that is gone has done so."""
    with suppress(OSError, EOFError):
        channel.close()


def subsystem(channel: paramiko.Channel, name: str, within: float) -> bool:
    """Ask for a subsystem; False when the server has none, says nothing in time, or the channel ended."""
    watchdog = threading.Timer(within, channel.close)
    watchdog.daemon = True
    watchdog.start()
    try:
        channel.invoke_subsystem(name)
    except _ANSWERED:
        return False
    finally:
        watchdog.cancel()
    return True


def fetch_host_key(spec: SshHostSpec) -> tuple[str, str]:
    """The key that a machine shows now, as (``type base64``, ``SHA256:…``), without logging in; ed25519 if it has one.

    Nothing proves that it is the right machine: a person compares the fingerprint with one got by another way.

    Raises:
        Unreachable: no connection.
    """
    transport = _greet(spec.address, spec.model_copy(update={"host_key": None}))
    try:
        line = key_line(transport.get_remote_server_key())
    finally:
        transport.close()
    return line, fingerprint(line)


def _greet(name: str, spec: SshHostSpec) -> paramiko.Transport:
    """A connection with encryption agreed on; nobody is trusted yet."""
    within = spec.connect_timeout.total_seconds()
    where = f"{name}: {spec.address}:{spec.port}"
    try:
        connection = socket.create_connection((spec.address.strip("[]"), spec.port), timeout=within)
    except OSError as error:
        why = f"silent for {within:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise Unreachable(f"{where}: {why}", hint="is the machine up, and the address right?") from error
    try:
        _tune(connection)
        transport = Transport(connection, default_window_size=WINDOW, default_max_packet_size=PACKET)
    except BaseException:
        connection.close()
        raise
    transport.daemon = True
    within = max(within, _SHAKING)
    transport.banner_timeout = within
    transport.handshake_timeout = within
    transport.auth_timeout = within
    try:
        options = transport.get_security_options()
        options.key_types = preferred(tuple(options.key_types), spec.host_key)
        transport.start_client(timeout=within)
        transport.get_remote_server_key()
    except _ANSWERED as error:
        transport.close()
        text = str(error) or type(error).__name__
        raise Unreachable(f"{where}: no SSH connection: {text}", hint="does an SSH server listen there?") from error
    except BaseException:
        transport.close()
        raise
    return transport


def _tune(connection: socket.socket) -> None:
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT),
    ):
        connection.setsockopt(level, option, value)


def _log_in(name: str, spec: SshHostSpec, transport: paramiko.Transport, secrets: Secrets) -> None:
    reason = "the server takes none of the keys"
    for key in private_keys(name, spec, secrets):
        try:
            further = transport.auth_publickey(spec.user, key)
        except paramiko.AuthenticationException as error:
            if transport.is_active():
                continue
            raise Unreachable(
                f"{name}: the connection ended during the login of {spec.user}",
                hint="does the server end it after so many keys? name the one in hosts: as key",
            ) from error
        except _ANSWERED as error:
            if transport.is_active():
                continue
            raise Unreachable(f"{name}: the connection broke during the login: {error}") from error
        if not further:
            return
        reason = f"the server wants more than a key: {', '.join(further)}"
    raise HostError(
        f"{name}: {spec.user} cannot log in: {reason}",
        hint="put the public half of the key into ~/.ssh/authorized_keys there",
    )
