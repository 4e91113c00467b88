"""Carrying bytes between two connections."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol

_CHUNK = 1 << 16


class Stream(Protocol):
    """A connected stream: a socket, or what behaves like one."""

    def recv(self, size: int, /) -> bytes:
        """The next bytes; empty at the end."""
        ...

    def sendall(self, data: bytes, /) -> object:
        """Send all of it."""
        ...

    def shutdown(self, how: int, /) -> object:
        """End one or both directions (``socket.SHUT_…``)."""
        ...

    def close(self) -> object:
        """End it."""
        ...


def relay(one: Stream, other: Stream) -> None:
    """Carry bytes both ways until both ends are done, then close both. An end of one direction is passed on as such."""
    back = threading.Thread(target=_carry, args=(other, one), name="drorch-relay", daemon=True)
    back.start()
    _carry(one, other)
    back.join()
    end(one)
    end(other)


def lead(visitor: Stream, path: Path) -> None:
    """Connect a visitor with a Unix socket and carry between both; a visitor to nobody is sent away."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.connect(str(path))
    except OSError:
        end(door)
        end(visitor)
        return
    relay(visitor, door)


def end(stream: Stream) -> None:
    """Close it for good; who waits on it in another thread is woken."""
    with suppress(OSError, EOFError):
        stream.shutdown(socket.SHUT_RDWR)
    with suppress(OSError, EOFError):
        stream.close()


def _carry(source: Stream, target: Stream) -> None:
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except (OSError, EOFError):
        # One end is gone, so nothing can reach it any more: the other must not wait for it.
        for stream in (source, target):
            with suppress(OSError, EOFError):
                stream.shutdown(socket.SHUT_RDWR)
