"""One request over a socket that a host dialled: HTTP/1.1, bounded, nothing followed."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from drorch.core.errors import DrorchError
from drorch.core.host import Host

BODY_LIMIT = 1 << 20
"""Bytes of a body that are read."""
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    url: str
    method: str
    headers: Mapping[str, str]
    verify: bool = True
    ca: str | None = None
    """A file of trusted certificates on the controller."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    body: bytes
    """At most `BODY_LIMIT` bytes."""
    truncated: bool


def ask(host: Host, asked: Asked, timeout: float) -> Answer:
    """Ask once; ``timeout`` seconds hold for each read and write.

    Raises:
        HostError: nothing answers there.
        DrorchError: what answers speaks no HTTP, breaks off, is too slow, or shows no certificate that can be trusted.
    """
    split = urlsplit(asked.url)
    port = split.port or PORTS[split.scheme]
    name = split.hostname or ""
    target = (split.path or "/") + (f"?{split.query}" if split.query else "")
    with host.dial(name, port, timeout=timeout) as plain:
        plain.settimeout(timeout)
        try:
            sock = _context(asked).wrap_socket(plain, server_hostname=name) if split.scheme == "https" else plain
            connection = HTTPConnection(name, port, timeout=timeout)
            connection.default_port = PORTS[split.scheme]
            connection.sock = sock
            connection.request(asked.method, target, headers={"Connection": "close", **asked.headers})
            response = connection.getresponse()
            body = response.read(BODY_LIMIT + 1)
            status = response.status
            sock.close()
        except ssl.SSLCertVerificationError as error:
            raise DrorchError(f"its certificate is not trusted: {error.verify_message}") from None
        except TimeoutError:
            raise DrorchError(f"no answer within {timeout:.0f} s") from None
        except ValueError:
            # Its text would quote a header's value, which may be secret.
            raise DrorchError("the address or a header holds a character that HTTP does not allow") from None
        except (OSError, HTTPException) as error:
            raise DrorchError(f"no usable answer: {type(error).__name__}: {error}") from None
    return Answer(status, body[:BODY_LIMIT], len(body) > BODY_LIMIT)


def _context(asked: Asked) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=asked.ca)
    if not asked.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
