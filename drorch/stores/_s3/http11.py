"""Reading an answer of HTTP/1.1, from its status to its last byte.

`http.client` reads headers as if they were mail's, which takes longer than sending a small object does. Errors are
that module's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, IncompleteRead, LineTooLong, RemoteDisconnected
from typing import BinaryIO

_LONGEST_LINE = 65536
_MOST_HEADERS = 100
_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before the body."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; the values of one name joined with commas."""
    kept: bool
    """Whether the connection can be used again."""

    @property
    def chunked(self) -> bool:
        """Whether the body comes in pieces, each with its size."""
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    @property
    def size(self) -> int | None:
        """Bytes of the body as announced; None where nothing is, or in pieces."""
        said = self.headers.get("content-length", "")
        return int(said) if said.isascii() and said.isdigit() and not self.chunked else None


def read_head(stream: BinaryIO) -> Head:
    """The next answer's; those that only say that there is more to come are passed over.

    Raises:
        HTTPException: it is none, or was cut off.
    """
    while True:
        version, status = _status(stream)
        headers = _headers(stream)
        if status >= HTTPStatus.OK:
            said = headers.get("connection", "").lower()
            kept = "close" not in said if version == b"HTTP/1.1" else "keep-alive" in said
            return Head(status, headers, kept)


def read_body(stream: BinaryIO, head: Head, method: str, limit: int) -> bytes | None:
    """The whole body; None for one of more than ``limit`` bytes, the rest of which is not read.

    Raises:
        HTTPException: it was cut off, or nobody can tell whether it was.
    """
    if method == "HEAD" or head.status in _BODILESS:
        return b""
    if head.chunked:
        return _pieces(stream, limit)
    size = head.size
    if size is None:
        read = stream.read(limit + 1)
        if len(read) > limit:
            return None
        # Without a length nobody can tell an end from a cut.
        raise IncompleteRead(read)
    return _exactly(stream, size) if size <= limit else None


def _status(stream: BinaryIO) -> tuple[bytes, int]:
    line = _line(stream, "status line")
    if not line:
        raise RemoteDisconnected("the connection was closed without an answer")
    version, _, rest = line.partition(b" ")
    number = rest[:3]
    if not version.startswith(b"HTTP/1.") or not number.isdigit() or len(number) != 3 or rest[3:4].strip():  # noqa: PLR2004 - three digits
        raise BadStatusLine(line.decode("iso-8859-1").rstrip())
    return version, int(number)


def _headers(stream: BinaryIO) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_MOST_HEADERS + 1):
        line = _line(stream, "header line")
        if line in {b"\r\n", b"\n"}:
            return headers
        if not line.endswith(b"\n"):
            raise IncompleteRead(line)
        name, colon, value = line.decode("iso-8859-1").partition(":")
        if not colon or name != name.strip():
            raise HTTPException(f"no header: {name.strip()}")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raise HTTPException(f"more than {_MOST_HEADERS} headers")


def _pieces(stream: BinaryIO, limit: int) -> bytes | None:
    whole = bytearray()
    while True:
        line = _line(stream, "chunk size")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise IncompleteRead(bytes(whole)) from None
        if size == 0:
            break
        if size < 0 or len(whole) + size > limit:
            return None
        whole += _exactly(stream, size)
        _exactly(stream, 2)
    _headers(stream)
    return bytes(whole)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    read = stream.read(size)
    if len(read) < size:
        raise IncompleteRead(read, size - len(read))
    return read


def _line(stream: BinaryIO, what: str) -> bytes:
    line = stream.readline(_LONGEST_LINE + 1)
    if len(line) > _LONGEST_LINE:
        raise LineTooLong(what)
    return line
