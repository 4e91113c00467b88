"""Signatures of our own are botocore's."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from drorch.stores._s3.credentials import Keys
from drorch.stores._s3.signing import Signer, encoded

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PAYLOAD = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
KEYS = Keys("AKID", "a secret/with+signs", "")


class Peer(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs the digest that it is given."""

    def payload(self, request: Any) -> str:  # noqa: ANN401 - botocore has no types
        return PAYLOAD


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "keys"),
    [
        ("GET", "/bucket", (), {}, KEYS),
        ("HEAD", "/bucket/nas/data/4f/4f2a", (), {"x-amz-checksum-mode": "ENABLED"}, KEYS),
        ("GET", "/bucket", (("list-type", "2"), ("prefix", "a b/ü+*~"), ("continuation-token", "1/x==")), {}, KEYS),
        ("GET", "/bucket", (("versions", ""), ("key-marker", "k"), ("key-", "")), {}, KEYS),
        (
            "PUT",
            "/bucket/a%20b/%C3%BC",
            (),
            {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==", "x-amz-meta-a": " a   b "},
            KEYS,
        ),
        ("DELETE", "/bucket/k", (("versionId", "null"),), {}, Keys("AKID", "s", "a/token+of==")),
    ],
)
def test_signs_as_botocore(
    method: str, path: str, query: tuple[tuple[str, str], ...], headers: dict[str, str], keys: Keys
) -> None:
    """Whatever is asked, with whichever credential, the signature is the one that botocore makes."""
    text = encoded(query)
    url = f"http://store.example:9000{path}" + (f"?{text}" if text else "")
    request = AWSRequest(method, url, headers=dict(headers))
    with patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        Peer(Credentials(keys.id, keys.secret, keys.token or None), "s3", "eu-central-1").add_auth(request)
    ours = Signer("eu-central-1").signed(
        method, path, text, {**headers, "host": "store.example:9000"}, PAYLOAD, keys, NOW
    )
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours["x-amz-date"] == request.headers["X-Amz-Date"]


def test_keeps_no_stale_key() -> None:
    """What is remembered of a secret or a day is not used for the next."""
    signer = Signer("us-east-1")

    def signature(secret: str, day: int) -> str:
        now = NOW.replace(day=day)
        said = signer.signed("GET", "/b", "", {"host": "h"}, PAYLOAD, Keys("AKID", secret, ""), now)
        return said["authorization"].rpartition("=")[2]

    seen = [signature(secret, day) for secret, day in (("a", 4), ("b", 4), ("a", 5), ("a", 4))]
    assert len(set(seen)) == 3
    assert seen[0] == seen[3]
