"""HTTP/1.1 for the strict S3 server: one thread for each connection, with the ways to go wrong that lie below S3."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, cast

from support.strict.faults import Cut, Drip, Flipped, Late, Lost, Reset, Struck
from support.strict.words import Reply, Request

if TYPE_CHECKING:
    from support.strict.server import Seen

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset."""


class Listener:
    """Accepts connections on a loopback port until it is closed."""

    def __init__(
        self,
        answer: "Callable[[Request, Seen, Struck], Reply]",
        begins: "Callable[[Request, int], tuple[Seen, Struck]]",
        ends: "Callable[[Seen, int], None]",
        errors: list[BaseException],
    ) -> None:
        self._answer = answer
        self._begins = begins
        self._ends = ends
        self._errors = errors
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listening.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, name=f"strict-s3-{self.port}", daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """End every connection, whatever is going on there, and wait for the threads."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listening.close()
        with self._lock:
            open_now = dict(self._open)
        for connection in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in open_now.values():
            thread.join(10)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        reader = cast("BinaryIO", connection.makefile("rb", buffering=1 << 16))
        try:
            while self._one(connection, reader):
                pass
        except OSError:
            pass  # the other side went away
        except Exception as error:  # noqa: BLE001 - shown by the fixture, which would not see it otherwise
            self._errors.append(error)
        finally:
            with contextlib.suppress(OSError):
                reader.close()
            with contextlib.suppress(OSError):
                connection.close()
            with self._lock:
                del self._open[connection]

    def _one(self, connection: socket.socket, reader: BinaryIO) -> bool:
        """Serve one request; gives whether another may come on the connection."""
        words = reader.readline(1 << 16).decode("latin-1").split()
        if len(words) != 3:
            return False
        method, target, _ = words
        headers: dict[str, str] = {}
        while line := reader.readline(1 << 16).strip():
            name, _, value = line.decode("utf-8", "replace").partition(":")
            headers[name.lower()] = value.strip()
        size = int(headers.get("content-length", "0"))
        request = Request(method, target, headers)
        seen, struck = self._begins(request, size)
        status = 0
        try:
            if headers.get("expect", "").lower() == "100-continue":
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            reset = struck.first(Reset)
            if reset is not None:
                reader.read(min(size, reset.after))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                return False
            body = reader.read(size)
            if len(body) < size:
                return False
            late = struck.first(Late)
            if late is not None and self._closing.wait(late.seconds):
                return False
            reply = self._answer(Request(method, target, headers, body), seen, struck)
            if struck.first(Lost):
                return False
            status = reply.status
            return self._send(connection, reply, struck) and headers.get("connection", "").lower() != "close"
        finally:
            self._ends(seen, status)

    def _send(self, connection: socket.socket, reply: Reply, struck: Struck) -> bool:
        length = len(reply.body) if reply.length is None else reply.length
        headers = {
            "Server": "strict",
            "x-amz-request-id": f"{time.monotonic_ns():x}",
            **reply.headers,
            **({} if reply.status == 204 else {"Content-Length": str(length)}),
        }
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Other')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join((*lines, "", "")).encode()
        body = reply.body
        for flipped in struck.all(Flipped):
            if flipped.at < len(body):
                body = body[: flipped.at] + bytes([body[flipped.at] ^ 1]) + body[flipped.at + 1 :]
        cut = struck.first(Cut)
        if cut is not None:
            connection.sendall(head + body[: min(cut.after, max(len(body) - 1, 0))])
            return False
        drip = struck.first(Drip)
        if drip is None:
            connection.sendall(head + body if len(body) < 1 << 16 else head)
            if len(body) >= 1 << 16:
                connection.sendall(body)
            return True
        whole = head + body
        for start in range(0, len(whole), drip.piece):
            connection.sendall(whole[start : start + drip.piece])
            if self._closing.wait(drip.pause):
                return False
        return True
