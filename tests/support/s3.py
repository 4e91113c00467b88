"""What all S3 servers of the tests have in common: plain clients, for tests that look behind drorch or attack it."""

import base64
import functools
import hashlib
import threading
from collections.abc import Callable
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


def sha256(content: bytes) -> str:
    """As S3 wants it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def md5(content: bytes) -> str:
    """As S3 wants it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def told(call: Callable[[], object]) -> str:
    """What a server answers: ``ok``, status and code of an error, or the kind of a broken connection."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    try:
        call()
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"]["Code"]
        return str(status) if code == str(status) else f"{status} {code}"
    except BotoCoreError as error:
        return type(error).__name__
    return "ok"


def put_tampered(s3: Client, bucket: str, key: str) -> None:
    """A put whose body is changed after it was signed."""

    def swap(request: Any, **_: object) -> None:  # noqa: ANN401 - botocore has no types
        request.body = b"other!"

    s3.meta.events.register("before-send.s3.PutObject", swap)
    s3.put_object(Bucket=bucket, Key=key, Body=b"signed")
