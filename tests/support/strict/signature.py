"""AWS Signature Version 4, the verifying side, and everything else that ties a request to its body."""

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

from support.s3 import Keys
from support.strict.words import Refusal, Request

SKEW = timedelta(minutes=15)
_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass
class Credential:
    """Who may sign."""

    keys: Keys
    token: str = ""
    """What ``x-amz-security-token`` must say; empty for a lasting credential."""
    expired: bool = False
    """Whether everything it signs is refused with ExpiredToken."""


def signer(request: Request, credentials: Mapping[str, Credential], now: datetime) -> Credential:
    """Whose credential signed the request.

    Raises:
        Refusal: nobody's, or not now.
    """
    scheme, _, rest = request.header("authorization").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        raise Refusal(403, "AccessDenied", "no signature of version 4 in the header Authorization")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    try:
        identity, day, region, service, end = fields["Credential"].rsplit("/", 4)
        names, signature = fields["SignedHeaders"].split(";"), fields["Signature"]
    except (KeyError, ValueError) as error:
        raise Refusal(400, "AuthorizationHeaderMalformed", rest) from error
    credential = credentials.get(identity)
    if credential is None:
        raise Refusal(403, "InvalidAccessKeyId", f"no credential {identity}")
    stamp = request.header("x-amz-date")
    _check_time(stamp, now)
    if (day, service, end) != (stamp[:8], "s3", "aws4_request"):
        raise Refusal(400, "AuthorizationHeaderMalformed", fields["Credential"])
    _check_headers(request, names)
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(_canonical(request, names)).hexdigest()))
    key = f"AWS4{credential.keys.secret}".encode()
    for word in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature):
        raise Refusal(403, "SignatureDoesNotMatch", "The signature does not match the one calculated here.")
    if credential.expired:
        raise Refusal(400, "ExpiredToken", "The provided token has expired.")
    if request.header("x-amz-security-token") != credential.token:
        raise Refusal(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    return credential


def _check_time(stamp: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise Refusal(403, "AccessDenied", "no valid x-amz-date") from error
    if abs(signed_at - now) > SKEW:
        raise Refusal(403, "RequestTimeTooSkewed", "The difference between the request time and now is too large.")


def _check_headers(request: Request, names: list[str]) -> None:
    loose = [name for name in request.headers if name.startswith("x-amz-") and name not in names]
    if loose or "host" not in names:
        raise Refusal(403, "AccessDenied", f"there were headers present which were not signed: {loose or 'host'}")


def _canonical(request: Request, names: list[str]) -> bytes:
    query = parse_qsl(urlsplit(request.target).query, keep_blank_values=True)
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(request.header(name).split())}" for name in names),
            "",
            ";".join(names),
            request.header("x-amz-content-sha256"),
        )
    ).encode()


def check_payload(request: Request) -> None:
    """The body is the one that was signed.

    Raises:
        Refusal: it is another.
    """
    said = request.header("x-amz-content-sha256")
    if said.startswith("STREAMING-"):
        raise Refusal(501, "NotImplemented", f"bodies in signed pieces ({said}) are not known here")
    if said != _UNSIGNED and said != hashlib.sha256(request.body).hexdigest():
        raise Refusal(400, "XAmzContentSHA256Mismatch", "x-amz-content-sha256 does not match what was computed.")


def check_md5(request: Request) -> None:
    """The body is what Content-MD5 says, where it is sent.

    Raises:
        Refusal: BadDigest, InvalidDigest.
    """
    said = request.header("content-md5")
    if not said:
        return
    if len(_decoded(said)) != 16:
        raise Refusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
    if _decoded(said) != hashlib.md5(request.body, usedforsecurity=False).digest():
        raise Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")


def check_checksums(request: Request) -> None:
    """The body is what the ``x-amz-checksum-`` headers say, of those algorithms that are known here.

    Raises:
        Refusal: BadDigest, InvalidRequest.
    """
    computed: dict[str, Callable[[], bytes]] = {
        "sha256": lambda: hashlib.sha256(request.body).digest(),
        "sha1": lambda: hashlib.sha1(request.body, usedforsecurity=False).digest(),
        "crc32": lambda: zlib.crc32(request.body).to_bytes(4, "big"),
    }
    for name, compute in computed.items():
        said = request.header(f"x-amz-checksum-{name}")
        if not said:
            continue
        digest = compute()
        if len(_decoded(said)) != len(digest):
            raise Refusal(400, "InvalidRequest", f"Value for x-amz-checksum-{name} header is invalid.")
        if _decoded(said) != digest:
            raise Refusal(400, "BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")


def has_checksum(request: Request) -> bool:
    """Whether it carries any; some requests must."""
    return "content-md5" in request.headers or any(
        name.startswith("x-amz-checksum-") and name not in {"x-amz-checksum-mode", "x-amz-checksum-algorithm"}
        for name in request.headers
    )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
