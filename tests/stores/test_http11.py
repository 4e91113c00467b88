"""Answers as servers send them, and as broken ones do."""

import http.client
import io

import pytest

from drorch.stores._s3.http11 import read_body, read_head


def read(raw: bytes, *, method: str = "GET", limit: int = 100) -> tuple[int, bytes | None, bool]:
    """Status, body, and whether the connection can be used again."""
    stream = io.BytesIO(raw)
    head = read_head(stream)
    return head.status, read_body(stream, head, method, limit), head.kept


@pytest.mark.parametrize(
    ("raw", "method", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcNEXT", "GET", (200, b"abc", True)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", "HEAD", (200, b"", True)),
        (b"HTTP/1.1 204\r\n\r\n", "DELETE", (204, b"", True)),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "GET", (304, b"", True)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "PUT", (200, b"", True)),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\na", "GET", (200, b"a", False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", "GET", (200, b"a", False)),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", "GET", (200, b"a", True)),
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n"
                b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
            ),
            "GET",
            (200, b"abc0123456789", True),
        ),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\na", "GET", (200, b"a", True)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", "GET", (200, None, True)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n", "GET", (200, None, True)),
    ],
)
def test_reads(raw: bytes, method: str, expected: tuple[int, bytes | None, bool]) -> None:
    """The status, all of the body and nothing behind it; None for a body that is too long."""
    assert read(raw, method=method) == expected


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", http.client.RemoteDisconnected),
        (b"SSH-2.0-OpenSSH_9.2\r\n", http.client.BadStatusLine),
        (b"HTTP/1.1 2000 OK\r\n\r\n", http.client.BadStatusLine),
        (b"HTTP/1.1 abc OK\r\n\r\n", http.client.BadStatusLine),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3", http.client.IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", http.client.IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", http.client.IncompleteRead),
        (b"HTTP/1.1 200 OK\r\n\r\nall of it?", http.client.IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", http.client.IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", http.client.IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", http.client.IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", http.client.HTTPException),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n", http.client.HTTPException),
        (b"HTTP/1.1 200 " + b"x" * 70_000, http.client.LineTooLong),
    ],
)
def test_refuses_what_is_cut_off_or_no_answer(raw: bytes, error: type[Exception]) -> None:
    """A cut is never taken for an end, nor other bytes for an answer."""
    with pytest.raises(error):
        read(raw)


def test_joins_headers_of_one_name() -> None:
    """Names count in any case, and a name that comes twice has both values."""
    head = read_head(io.BytesIO(b"HTTP/1.1 200 OK\r\nX-Amz-A: 1 \r\nx-amz-a:2\r\n\r\n"))
    assert head.headers == {"x-amz-a": "1, 2"}
