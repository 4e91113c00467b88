"""Attending to a child process: both pipes drained at once, the deadline and the halt kept, its whole group ended."""

import os
import selectors
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from drorch.core.clock import Halt
from drorch.core.errors import HostError, Interrupted
from drorch.core.host import Ended
from drorch.hosts.feed import Feed
from drorch.hosts.output import Sink
from drorch.hosts.words import exit_code

_TICK = 0.1  # seconds between looks at the halt
_CHUNK = 1 << 18
_IDLE = 0.2  # seconds of silence after which the pipes of an ended command, held open by a child of it, are left
_DRAIN = 5.0  # seconds after which they are left though that child talks on


class Child(Protocol):
    """A started process that leads its own group."""

    pid: int

    @property
    def stdout(self) -> IO[bytes] | None:
        """Its output, to be read."""
        ...

    @property
    def stderr(self) -> IO[bytes] | None:
        """Its errors, to be read."""
        ...

    def poll(self) -> int | None:
        """How it ended; minus n for signal n."""
        ...


class Attendance:
    """One command from its start to its end."""

    def __init__(self, child: Child, halt: Halt, *, deadline: float, grace: float) -> None:
        self._child = child
        self._halt = halt
        self._deadline = deadline
        self._grace = grace
        self._why: Ended | BaseException | None = None
        self._kill_at = self._ended_at = self._heard_at = 0.0
        self._code: int | None = None

    def until_end(self, out: Sink, err: Sink, feed: Feed | None) -> tuple[Ended, int | None]:
        """Read what it says until it has ended by itself or its group was ended; how, and its exit code.

        Raises:
            Interrupted: a stop was asked for; its group has ended.
            HostError: its input could not be read; its group has ended.
        """
        try:
            code = self._loop(out, err, feed)
        except BaseException:
            group(self._child.pid, signal.SIGKILL)
            raise
        if isinstance(self._why, BaseException):
            raise self._why
        return (Ended.EXITED, exit_code(code)) if self._why is None else (self._why, None)

    def _loop(self, out: Sink, err: Sink, feed: Feed | None) -> int:
        with selectors.DefaultSelector() as selector, _exit_event(self._child.pid) as event:
            for pipe, sink in ((self._child.stdout, out), (self._child.stderr, err)):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe.fileno(), selectors.EVENT_READ, sink)
            if event is not None:
                selector.register(event, selectors.EVENT_READ)
            while True:
                heard = _listen(selector)
                now = time.monotonic()
                if heard:
                    self._heard_at = now
                if self._code is None:
                    self._look(now, feed)
                if self._code is not None and (self._ended(now) if self._why else self._drained(now, selector, out)):
                    return self._code
                if self._why is not None and now >= self._kill_at:
                    group(self._child.pid, signal.SIGKILL)

    def _look(self, now: float, feed: Feed | None) -> None:
        """Notice its end, or begin it where there is a reason."""
        self._code = self._child.poll()
        if self._code is not None:
            self._ended_at = self._heard_at = now
        elif self._why is None:
            self._decide(now, feed)

    def _ended(self, now: float) -> bool:
        """Whether its whole group is gone, or was killed and given the time to go."""
        return not living(self._child.pid) or now >= self._kill_at + _IDLE

    def _drained(self, now: float, selector: selectors.BaseSelector, out: Sink) -> bool:
        """Whether all that it said was read; a child that it left behind may hold its pipes for ever."""
        pipes = any(key.data is not None for key in selector.get_map().values())
        if not pipes or now - self._heard_at >= _IDLE:
            return True
        if now - self._ended_at >= _DRAIN:
            out.truncated = True
            return True
        return False

    def _decide(self, now: float, feed: Feed | None) -> None:
        """Begin the end where there is a reason for one."""
        if self._halt.requested:
            self._why = Interrupted()
        elif now >= self._deadline:
            self._why = Ended.TIMED_OUT
        elif feed is not None and feed.error is not None:
            self._why = HostError(f"the command's input cannot be read: {feed.error}")
        else:
            return
        self._kill_at = now + self._grace
        group(self._child.pid, signal.SIGTERM)


def group(leader: int, number: int) -> bool:
    """Send a signal (0 for none) to a process group; whether there is one."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it has changed its user: it is there, and out of reach
    return True


def living(leader: int) -> bool:
    """Whether a process group has a member that is not dead; the dead stay visible where nobody reaps them."""
    if not group(leader, 0):
        return False
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, members = (entry / "stat").read_bytes().rpartition(b") ")[2].split()[:3]
                if int(members) == leader and state not in (b"Z", b"X"):
                    return True
    return False


def _listen(selector: selectors.BaseSelector) -> bool:
    """Wait a little, read once what is there, forget what has ended; whether there was anything."""
    heard = False
    for key, _ in selector.select(_TICK):
        data = b"" if key.data is None else _read(key.fd)
        if data == b"":
            selector.unregister(key.fd)
        elif data is not None:
            heard = True
            key.data.feed(data)
    return heard


def _read(pipe: int) -> bytes | None:
    try:
        return os.read(pipe, _CHUNK)
    except BlockingIOError:
        return None


class _exit_event:  # noqa: N801 used as a function, as contextlib's are
    """A file descriptor that becomes readable when the process ends; None on a kernel without them."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._event: int | None = None

    def __enter__(self) -> int | None:
        with suppress(OSError):
            self._event = os.pidfd_open(self._pid)
        return self._event

    def __exit__(self, *_: object) -> None:
        if self._event is not None:
            os.close(self._event)
