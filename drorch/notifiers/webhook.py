"""A POST to a URL of one's own."""

import base64
import ipaddress
import json
from typing import Annotated, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, Field

from drorch.core.errors import DrorchError
from drorch.core.model import Duration, SecretRef, parse_duration
from drorch.core.route import Route
from drorch.core.secret import Secrets

_RETRYABLE = frozenset({408, 425, 429})
_GOOD = range(200, 300)
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse(url: str, *, plain_http: bool) -> SplitResult:
    """The parts of a URL that a message may be sent to.

    Raises:
        ValueError: it is none; the text says why and holds nothing of the URL.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        msg = "must be a URL without spaces, control characters or characters outside ASCII"
        raise ValueError(msg)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or parts.scheme not in {"https", "http"}:
        msg = "must be a URL such as https://hooks.example.com/backup"
        raise ValueError(msg)
    if parts.scheme == "http" and not plain_http and not _is_loopback(host):
        msg = "must be https: over http anyone on the way can read it (`plain_http: true` allows that)"
        raise ValueError(msg)
    return parts


def _plain(url: str) -> str:
    if _parse(url, plain_http=True).username is not None:
        msg = "must not hold a password; put the whole URL into a secret"
        raise ValueError(msg)
    return url


class Webhook(Route):
    """A JSON object ``{"title", "body", "sender"}``, posted to a URL; any 2xx answer means delivered.

    It goes to that very server: no proxy, no redirect is followed.
    """

    kind: Literal["webhook"]
    url: SecretRef | Annotated[str, AfterValidator(_plain)] = Field(union_mode="left_to_right")
    """The URL, or the secret that holds it; secret where its path is a token."""
    token: SecretRef | None = None
    """Sent as ``Authorization: Bearer …``."""
    timeout: Annotated[Duration, Field(gt=parse_duration("0s"), le=parse_duration("10m"))] = parse_duration("10s")
    """For the whole of it, from connecting to the answer."""
    plain_http: bool = False
    """Whether ``http://`` to another machine is allowed."""

    def send(self, title: str, body: str, secrets: Secrets) -> None:
        """Post it once."""
        from drorch.notifiers._post import post  # noqa: PLC0415 - HTTP and TLS: only a message that is sent pays

        parts = self._address(secrets)
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "drorch"}
        if (authorization := self._authorization(parts, secrets)) is not None:
            headers["Authorization"] = authorization
        message = json.dumps({"title": title, "body": body, "sender": "drorch"}).encode()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        status, wrong = post(parts, path, message, headers, self.timeout.total_seconds())
        if status is None:
            raise DrorchError(
                f"{self._place} gave no answer: {wrong}",
                hint="nobody knows whether the message arrived; check the network and the server",
                retryable=True,
            )
        if status in _REDIRECTS:
            raise DrorchError(
                f"{self._place} answered {status}, a redirect, and these are not followed",
                hint="give the final URL",
            )
        if status not in _GOOD:
            raise DrorchError(
                f"{self._place} answered {status}",
                hint="look at the server's own log",
                retryable=status in _RETRYABLE or status in _SERVER_ERRORS,
            )

    @property
    def _place(self) -> str:
        """The webhook in words; a plain URL without its path, which some services use as a token."""
        if isinstance(self.url, SecretRef):
            return f"the webhook of secret {self.url.secret}"
        return f"the webhook at {urlsplit(self.url).hostname}"

    def _address(self, secrets: Secrets) -> SplitResult:
        url = secrets.get(self.url).reveal() if isinstance(self.url, SecretRef) else self.url
        why = ""
        try:
            return _parse(url, plain_http=self.plain_http)
        except ValueError as error:
            why = str(error)
        raise DrorchError(f"the URL of {self._place} {why}", hint="correct it where it is defined")

    def _authorization(self, parts: SplitResult, secrets: Secrets) -> str | None:
        if self.token is not None:
            value = secrets.get(self.token).reveal()
            if not value.isascii() or not value.isprintable():
                raise DrorchError(
                    f"secret {self.token.secret} cannot be sent as a token",
                    hint="it holds control characters or characters outside ASCII",
                )
            return f"Bearer {value}"
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
        return None
