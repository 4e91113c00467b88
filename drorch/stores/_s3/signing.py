"""AWS's Signature Version 4 as S3 has it, with the payload's digest signed; botocore takes ten times as long for it."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from drorch.stores._s3.credentials import Keys

_ALGORITHM = "AWS4-HMAC-SHA256"


class Signer:
    """Signs for one region; shared by threads."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._kept: tuple[tuple[str, str], bytes] = (("", ""), b"")
        """The last day's key, and of which secret and day it is."""

    def signed(  # noqa: PLR0917 - the parts of a request, in their order
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        payload: str,
        keys: Keys,
        now: datetime,
    ) -> dict[str, str]:
        """The headers with those that sign them and the rest.

        Args:
            method: In capitals.
            path: Percent-encoded, as it is sent.
            query: As `encoded` makes it.
            headers: All that are to be signed, ``host`` among them; names in lower case.
            payload: SHA-256 of the body, hexadecimal.
            keys: The credential.
            now: UTC.
        """
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        whole = {**headers, "x-amz-content-sha256": payload, "x-amz-date": stamp}
        if keys.token:
            whole["x-amz-security-token"] = keys.token
        names = sorted(whole)
        lines = "".join([f"{name}:{' '.join(whole[name].split())}\n" for name in names])
        listed = ";".join(names)
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{payload}"
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = _hmac(self._key(keys.secret, stamp[:8]), f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}").hex()
        whole["authorization"] = (
            f"{_ALGORITHM} Credential={keys.id}/{scope}, SignedHeaders={listed}, Signature={signature}"
        )
        return whole

    def _key(self, secret: str, day: str) -> bytes:
        which, key = self._kept
        if which != (secret, day):
            key = f"AWS4{secret}".encode()
            for word in (day, self._region, "s3", "aws4_request"):
                key = _hmac(key, word)
            self._kept = ((secret, day), key)
        return key


def encoded(query: tuple[tuple[str, str], ...]) -> str:
    """A query in the order and the encoding that are signed."""
    return "&".join(sorted(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in query))


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
