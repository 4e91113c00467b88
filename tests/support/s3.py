"""What all S3 servers of the tests have in common: plain clients, for tests that look behind drorch or attack it."""

import functools
import threading
from pathlib import Path
from typing import Any, NamedTuple

Client = Any
"""A boto3 S3 client, which has no types."""


class Keys(NamedTuple):
    """A credential."""

    id: str
    secret: str


def client(endpoint: str, keys: Keys, *, certificate: Path | None = None, token: str | None = None) -> Client:
    """A boto3 client that signs payloads, never tries again, and adds no checksum that it was not asked for."""
    from botocore.config import Config  # noqa: PLC0415 - most tests never need it, and it takes a while to load

    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path", "payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1},
        max_pool_connections=50,
        connect_timeout=5,
        read_timeout=30,
        proxies={},
    )
    with _ONE_AT_A_TIME:
        return _session().client(
            "s3",
            endpoint_url=endpoint,
            verify=str(certificate) if certificate else None,
            aws_access_key_id=keys.id,
            aws_secret_access_key=keys.secret,
            aws_session_token=token,
            config=config,
        )


_ONE_AT_A_TIME = threading.Lock()
"""Clients may be used by several threads, but not made."""


@functools.cache
def _session() -> Any:  # noqa: ANN401 - boto3 has no types
    """One for all clients: what it reads to make the first takes half a second."""
    import boto3  # noqa: PLC0415 - as above

    return boto3.session.Session(region_name="us-east-1")
