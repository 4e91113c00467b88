"""A gate before a server of a repository: reading requests pass, everything else is refused and never reaches it.

Append-only is not enough for a mirror: whoever knows the repository's password could add snapshots of his own to it,
and locks, which an off-site copy is never to hold.
"""

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_CHUNK = 1 << 16
_LONGEST = 1 << 16
"""Bytes of a request's head."""
_READS = re.compile(rb"(?:GET|HEAD) [\x21-\x7e]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"([A-Za-z0-9-]+):[ \t]*([\x20-\x7e]*)")
_MORE = frozenset({b"content-length", b"transfer-encoding", b"upgrade"})
"""Fields that announce a body or another protocol: then what follows the head is no request."""
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def reads(head: bytes) -> bool:
    """Whether a request, its head without the empty line at the end, only reads and has no body; pure.

    Strict, so that no server can take another line for the end of it than the gate does.
    """
    first, *lines = head.split(b"\r\n")
    fields = [_FIELD.fullmatch(line) for line in lines]
    return _READS.fullmatch(first) is not None and all(
        field is not None and (field[1].lower() not in _MORE or field[2] == b"0") for field in fields
    )


class Gate:
    """A Unix socket before another one, open until `close`."""

    def __init__(self, front: Path, behind: Path) -> None:
        """``front`` must not be there yet.

        Raises:
            OSError: it cannot be made.
        """
        self._behind = behind
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        try:
            self._listener.bind(str(front))
            self._listener.listen(64)
        except OSError:
            self._listener.close()
            raise
        _start(self._accept)

    def close(self) -> None:
        """Take no more visitors and send those away who are there."""
        _end(self._listener)
        with self._lock:
            visitors = tuple(self._open)
        for visitor in visitors:
            _end(visitor)

    def _accept(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            _start(lambda visitor=visitor: self._serve(visitor))  # type: ignore[misc]  # bound at this turn

    def _serve(self, visitor: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._lock:
            self._open |= {visitor, server}
        try:
            server.connect(str(self._behind))
            _start(lambda: _answers(server, visitor))
            _requests(visitor, server)
        except OSError:
            pass  # one of them is gone: so goes the other
        finally:
            for each in (visitor, server):
                _end(each)
            with self._lock:
                self._open -= {visitor, server}


def _requests(visitor: socket.socket, server: socket.socket) -> None:
    """Pass on one head after the other until the visitor is done or asks for more than reading."""
    rest = b""
    while True:
        while b"\r\n\r\n" not in rest:
            data = visitor.recv(_CHUNK) if len(rest) <= _LONGEST else b""
            if not data:
                return
            rest += data
        head, end, rest = rest.partition(b"\r\n\r\n")
        if not reads(head):
            visitor.sendall(_REFUSED)
            return
        server.sendall(head + end)


def _answers(server: socket.socket, visitor: socket.socket) -> None:
    """Carry the answers back; at their end nobody need wait any more."""
    with suppress(OSError):
        while data := server.recv(_CHUNK):
            visitor.sendall(data)
    with suppress(OSError):
        visitor.shutdown(socket.SHUT_RDWR)


def _start(act: Callable[[], None]) -> None:
    threading.Thread(target=act, name="drorch-gate", daemon=True).start()


def _end(door: socket.socket) -> None:
    with suppress(OSError):
        door.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        door.close()
