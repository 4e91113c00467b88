"""One command over one channel, from its mark to its end."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from drorch.core.clock import Halt
from drorch.core.errors import HostError, Interrupted, Unreachable
from drorch.core.host import Ended, printable
from drorch.hosts.feed import Feed, Input
from drorch.hosts.output import Sink
from drorch.hosts.ssh.connection import Connection, Lost, execute, leave
from drorch.hosts.ssh.script import opening

if TYPE_CHECKING:
    import paramiko

START = 60.0
"""Seconds that a machine may take from the request to a running shell."""

_TICK = 0.1  # seconds between looks at the halt
_CHUNK = 1 << 18
_IDLE = 1.0  # seconds of silence after which the channel of an ended command, held open by a child of it, is left
_DRAIN = 10.0  # seconds after which it is left though that child talks on
_NOISE = 1 << 16  # bytes of what a login shell says of its own that are kept
_BY_TIMEOUT = (124, 137)  # what `timeout` gives where it had to act


class _Marked:
    """A stream whose beginning, up to the mark, is the login shell's and not the command's."""

    def __init__(self, mark: str, sink: Sink, *, word: bytes = b"()") -> None:
        self.sink = sink
        self.word = b""
        """What stood beside the mark."""
        self.seen = threading.Event()
        self._mark = re.compile(rb"%s%s\n" % (mark.encode(), word))
        self.noise = b""

    def feed(self, data: bytes) -> None:
        if self.seen.is_set():
            self.sink.feed(data)
            return
        self.noise += data
        if found := self._mark.search(self.noise):
            self.word = found.group(1)
            rest = self.noise[found.end() :]
            self.noise = self.noise[: found.start()]
            self.seen.set()
            if rest:
                self.sink.feed(rest)
        else:
            self.noise = self.noise[-_NOISE:]


class Session:
    """A shell on the machine that awaits its order, and then the command that it became."""

    def __init__(self, connection: Connection, channel: "paramiko.Channel", mark: str, out: Sink, err: Sink) -> None:
        self.connection = connection
        self.group = 0
        """Id of the process group there, once known."""
        self._channel = channel
        self._mark = mark
        self._out = _Marked(mark, out)
        self._err = _Marked(mark, err, word=rb" (\d+)")
        self._err_ended = threading.Event()
        self._out_ended = False
        self._reader = threading.Thread(target=self._read_errors, name="drorch-session", daemon=True)

    def begin(self, name: str, halt: Halt, deadline: float) -> None:
        """Start the shell. Nothing of the command exists there yet, whatever this raises.

        Raises:
            Lost: the connection broke.
            HostError: the login shell did not start one.
            Unreachable: the machine took too long.
            Interrupted: a stop was asked for.
        """
        self._channel.settimeout(_TICK)
        self._reader.start()
        latest = min(deadline, time.monotonic() + START)
        while not self._err.seen.wait(_TICK):
            halt.check()
            if self._err_ended.is_set() and not self._err.seen.is_set():
                if not self.connection.alive:
                    raise Lost("the connection ended")
                raise HostError(
                    f"{name}: the login shell executes no commands{self._said()}",
                    hint="is it /usr/sbin/nologin, or a forced command in authorized_keys?",
                )
            if time.monotonic() >= latest:
                raise Unreachable(f"{name}: no shell was started in time", hint="the machine may hang")
        self.group = int(self._err.word)

    def carry_out(
        self, order: bytes, stdin: Input, *, halt: Halt, deadline: float, kill: Callable[["Session"], bool]
    ) -> tuple[Ended, int | None]:
        """Give the order, then its input; read what it says until its end.

        ``kill`` ends the process group and tells whether it is certainly gone.

        Raises:
            Interrupted: a stop was asked for.
            HostError: the input could not be read.
        """
        feed = Feed(stdin, self._take, self._finish_input, first=order)
        try:
            with feed.running():
                why = self._attend(feed, halt, deadline)
        except BaseException:
            kill(self)
            raise
        if why is None:
            return self._verdict(deadline)
        gone = kill(self)
        self._attend(None, None, time.monotonic() + _IDLE)
        if isinstance(why, BaseException):
            raise why
        return (why if gone else Ended.UNKNOWN), None

    def close(self) -> None:
        """Leave the channel; what runs there is not touched by it."""
        leave(self._channel)

    def _attend(self, feed: Feed | None, halt: Halt | None, deadline: float) -> Ended | BaseException | None:
        """Read until the end, or until there is a reason to make one."""
        heard = time.monotonic()
        ended: float | None = None
        while True:
            now = time.monotonic()
            if self._read_output():
                heard = now
            if self._channel.status_event.is_set():
                ended = ended or now
                if self._drained(now, max(heard, ended), ended):
                    return None
            elif halt is not None and halt.requested:
                return Interrupted()
            elif now >= deadline:
                return Ended.TIMED_OUT
            elif feed is not None and feed.error is not None:
                return HostError(f"the command's input cannot be read: {feed.error}")

    def _read_output(self) -> bool:
        """Wait a little for output, or where that has ended for the end; whether there was output."""
        if self._out_ended:
            waits_for = self._err_ended if self._channel.status_event.is_set() else self._channel.status_event
            waits_for.wait(_TICK)
            return False
        try:
            data = self._channel.recv(_CHUNK)
        except TimeoutError:
            return False
        if not data:
            self._out_ended = True
            return False
        self._out.feed(data)
        return True

    def _drained(self, now: float, heard: float, ended: float) -> bool:
        if self._out_ended and self._err_ended.is_set():
            return True
        if now - ended >= _DRAIN:
            self._out.sink.truncated = True
            return True
        return now - heard >= _IDLE

    def _verdict(self, deadline: float) -> tuple[Ended, int | None]:
        code = self._channel.exit_status
        whole = self._channel.eof_received or self.connection.alive
        if code < 0 or not whole:
            return Ended.UNKNOWN, None
        if code in _BY_TIMEOUT and time.monotonic() >= deadline:
            return Ended.TIMED_OUT, None
        return Ended.EXITED, code

    def _read_errors(self) -> None:
        try:
            if execute(self._channel, opening(self._mark)):
                while True:
                    with suppress(TimeoutError):
                        data = self._channel.recv_stderr(_CHUNK)
                        if not data:
                            break
                        self._err.feed(data)
        finally:
            self._err_ended.set()

    def _take(self, data: memoryview) -> int | None:
        try:
            return self._channel.send(bytes(data))
        except TimeoutError:
            return None
        except (OSError, EOFError):
            return 0  # it does not read its input, or the connection ended: the reading side will know

    def _finish_input(self) -> None:
        with suppress(OSError, EOFError):
            self._channel.shutdown_write()

    def _said(self) -> str:
        with suppress(TimeoutError, OSError):
            self._out.feed(self._channel.recv(_NOISE))
        text = printable((self._err.noise + self._out.noise).decode("utf-8", "replace").strip())
        return f": {text[-500:]}" if text else ""
