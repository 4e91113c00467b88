"""The calls of which there are many: signed by botocore, carried by `http.client`. Everything else is boto3's.

boto3's client takes 2.3 ms of one core for each small put, most of it for models of the service; what is left without
them is a sixth, which with 20,000 packs is the difference between waiting for Python and waiting for the store.
"""

import hashlib
import http
import io
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any, cast
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import drorch
from drorch.core.accesskey import Keys
from drorch.core.clock import Clock
from drorch.stores._s3.bandwidth import Allowance
from drorch.stores._s3.trouble import Refusal

LONGEST_PAGE = 64 * 1024 * 1024
"""Bytes of an answer that is no object."""
_UNRESERVED = "/~-._"
_BUFFER = 32 * 1024
_GLANCE = 0.5
"""Seconds of silence after which it is looked whether a stop was asked for."""
_KEPT_IDLE = 20.0
"""Seconds after which an idle connection is not used again: servers close theirs in silence."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float = 10.0
    idle: float = 60.0
    """Without a byte in either direction."""
    call: float = 120.0
    """For a whole call, besides the time that its bytes take at `slowest`."""
    slowest: float = 10_000.0
    """Bytes per second below which an answer is given up: a trickle holds a lane for hours."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call."""

    method: str
    key: str = ""
    """Whole key in the bucket; empty for the bucket itself."""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    sha256: str = ""
    """Of the body, hexadecimal, where it is known; it is signed, so the store refuses another body."""
    limit: int = LONGEST_PAGE
    """Bytes that the answer may have."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""
    """Empty where it is larger than the limit."""
    size: int = 0
    """Of the body, as the headers say or as it was read."""
    refusal: Refusal | None = None
    """Where the caller expected one."""
    uncertain: bool = False
    """Whether an earlier try of the same call failed, which the store may have carried out nevertheless."""


class TooLarge(Exception):
    """The answer has more bytes than the limit."""

    def __init__(self, size: int) -> None:
        super().__init__(f"more than {size} bytes")


class _Signature(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs the payload's digest that is already known."""

    def payload(self, request: Any) -> str:  # noqa: ANN401 - botocore has no types
        return str(request.context["payload"])


class Wire:
    """Connections to one endpoint; shared by threads."""

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        endpoint: str,
        region: str,
        context: ssl.SSLContext | None,
        timeouts: Timeouts,
        allowance: Allowance,
        clock: Clock,
    ) -> None:
        parts = urlsplit(endpoint)
        usual = 443 if parts.scheme == "https" else 80
        self._host, self._port = parts.hostname or "", parts.port or usual
        # As it is signed, it must be as the server understands it: without the port that goes without saying.
        self._authority = parts.netloc.removesuffix(f":{usual}")
        self._origin = f"{parts.scheme}://{self._authority}"
        self._region, self._context = region, context
        self._timeouts, self._allowance, self._clock = timeouts, allowance, clock
        self._idle: list[tuple[float, HTTPConnection]] = []
        self._lock = threading.Lock()

    def exchange(self, bucket: str, request: Request, keys: Keys) -> Answer:
        """One try.

        Raises:
            OSError, HTTPException: the connection could not be made or broke.
            TooLarge: the answer is larger than the limit.
        """
        path = quote(f"/{bucket}/{request.key}" if request.key else f"/{bucket}", safe=_UNRESERVED)
        head = self._head(path, request, keys)
        connection = self._connection()
        whole = False
        try:
            answer, whole = self._over(connection, request, head)
            return answer
        finally:
            if whole:
                with self._lock:
                    self._idle.append((self._clock.monotonic(), connection))
            else:
                connection.close()

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _since, connection in idle:
            connection.close()

    def _head(self, path: str, request: Request, keys: Keys) -> bytes:
        query = "&".join(
            sorted(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in request.query)
        )
        target = f"{path}?{query}" if query else path
        signing = AWSRequest(request.method, self._origin + target, headers=dict(request.headers))
        signing.context["payload"] = request.sha256 or hashlib.sha256(request.body).hexdigest()
        _Signature(Credentials(keys.id, keys.secret, keys.token or None), "s3", self._region).add_auth(signing)
        signed = {str(name): str(value) for name, value in signing.headers.items()}
        signed |= {"Host": self._authority, "User-Agent": f"drorch/{drorch.__version__}"}
        if request.body or request.method in {"PUT", "POST"}:
            signed["Content-Length"] = str(len(request.body))
        lines = [f"{name}: {value}" for name, value in signed.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise HTTPException("a header with a line break in it")
        return "\r\n".join([f"{request.method} {target} HTTP/1.1", *lines, "", ""]).encode("iso-8859-1")

    def _connection(self) -> HTTPConnection:
        now = self._clock.monotonic()
        while True:
            with self._lock:
                if not self._idle:
                    break
                since, connection = self._idle.pop()
            if now - since < _KEPT_IDLE and _quiet(connection.sock):
                return connection
            connection.close()
        if self._context is None:
            return HTTPConnection(self._host, self._port, timeout=self._timeouts.connect)
        return HTTPSConnection(self._host, self._port, timeout=self._timeouts.connect, context=self._context)

    def _over(self, connection: HTTPConnection, request: Request, head: bytes) -> tuple[Answer, bool]:
        """The answer, and whether the connection can be used again."""
        watch = _Watch(self._clock, self._timeouts, len(request.body))
        if connection.sock is None:
            connection.connect()
        sock: socket.socket = connection.sock
        sent = self._send(sock, head, request.body, watch)
        _hasten(sock)
        # The answer is read through the watch, so that a store which trickles cannot hold the lane.
        with io.BufferedReader(_Timed(sock, watch), _BUFFER) as stream:
            answer, kept = _read(stream, request, watch)
        return answer, sent and kept

    def _send(self, sock: socket.socket, head: bytes, body: bytes, watch: "_Watch") -> bool:
        """Whether all of it was taken; a store that refuses early answers without reading on."""
        start = 0
        try:
            while head or start < len(body):
                bit = memoryview(body)[start : start + self._allowance.piece]
                watch.extend(self._allowance.take(len(bit)))
                sock.settimeout(watch.left())
                # The head goes out with the first bytes: for small files that is a system call and a packet less.
                sock.sendall(head + bit if head else bit)
                start, head = start + len(bit), b""
        except (BrokenPipeError, ConnectionResetError):
            if not _answered(sock):
                raise
            return False
        return True


class _Watch:
    """When a call must be over."""

    def __init__(self, clock: Clock, timeouts: Timeouts, size: int) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._end = clock.monotonic() + timeouts.call + size / timeouts.slowest

    def extend(self, seconds: float) -> None:
        """So much later."""
        self._end += seconds

    def expect(self, size: int) -> None:
        """So many bytes are to come."""
        self._end += size / self._timeouts.slowest

    def look(self) -> None:
        """Raise `Interrupted` when a stop was asked for: a store that hangs must not keep it waiting."""
        self._clock.sleep(0)

    def left(self) -> float:
        """Seconds for which the next byte may be waited."""
        left = self._end - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError("too slow")
        return min(left, self._timeouts.idle)


class _Timed(io.RawIOBase):
    """A socket's bytes, each read within the call's time."""

    def __init__(self, sock: socket.socket, watch: _Watch) -> None:
        self._sock = sock
        self._watch = watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        left = self._watch.left()
        while True:
            piece = min(left, _GLANCE)
            self._sock.settimeout(piece)
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                left -= piece
                if left <= 0:
                    raise
                self._watch.look()


class _Half:
    """As much of a socket as a response takes."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - a buffered reader, whose type knows more than is needed
        self._stream = stream

    def makefile(self, _mode: str) -> Any:  # noqa: ANN401 - the same
        """To read from."""
        return self._stream


def _read(stream: Any, request: Request, watch: _Watch) -> tuple[Answer, bool]:  # noqa: ANN401 - the same
    """The answer, and whether the connection is as new afterwards."""
    response = HTTPResponse(cast("socket.socket", _Half(stream)), method=request.method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    kept = not response.will_close
    said = headers.get("content-length", "")
    size = int(said) if said.isascii() and said.isdigit() else 0
    if request.method == "HEAD":
        response.read()
        return Answer(response.status, headers, b"", size), kept
    watch.expect(size)
    limit = request.limit if response.status < http.HTTPStatus.MULTIPLE_CHOICES else LONGEST_PAGE
    if size > limit:
        raise TooLarge(limit)
    known = response.length is not None
    body = response.read() if known else response.read(limit + 1)
    if len(body) > limit:
        raise TooLarge(limit)
    if not known and not response.chunked:
        # Without a length nobody can tell an end from a cut.
        raise IncompleteRead(body)
    return Answer(response.status, headers, body, len(body)), kept


def _hasten(sock: socket.socket) -> None:
    """Have the system acknowledge at once what comes.

    Some servers (Ceph's among them) send head and body apart and keep the body back until the head is acknowledged,
    for which Linux takes 40 ms unless asked, and asked again each time.
    """
    if _QUICKACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only


def _quiet(sock: socket.socket | None) -> bool:
    """Whether an idle connection is still open: one that has something to say has been closed."""
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return not poll.poll(0)


def _answered(sock: socket.socket) -> bool:
    """Whether an answer waits to be read on a connection that takes no more."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(1000))
