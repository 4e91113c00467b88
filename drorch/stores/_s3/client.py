"""boto3's client for everything of which there is little: made so that nothing of this machine is consulted."""

from typing import Any

import botocore.session
from botocore.config import Config

from drorch.core.accesskey import Keys
from drorch.stores._s3.place import Place
from drorch.stores._s3.wire import Timeouts

Client = Any
"""A boto3 S3 client, which has no types."""


def make(place: Place, keys: Keys, timeouts: Timeouts) -> Client:
    """A client that signs payloads, never tries again by itself, and knows no profile, no role, no environment."""
    import boto3.session  # noqa: PLC0415 - takes 60 ms to load, and most passes never need it

    core = botocore.session.Session(session_vars=_isolated())
    session = boto3.session.Session(
        aws_access_key_id=keys.id,
        aws_secret_access_key=keys.secret,
        aws_session_token=keys.token or None,
        region_name=place.region,
        botocore_session=core,
    )
    return session.client(
        "s3",
        endpoint_url=place.endpoint,
        verify=place.certificate or True,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path", "payload_signing_enabled": True},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=place.parallel,
            connect_timeout=timeouts.connect,
            read_timeout=timeouts.idle,
            proxies={},
            parameter_validation=False,
            tcp_keepalive=True,
        ),
    )


def _isolated() -> dict[str, tuple[None, None, object, object]]:
    """Settings of botocore, none of them from a file or the environment."""
    known = botocore.session.Session.SESSION_VARIABLES.items()
    settings = {name: (None, None, default, convert) for name, (_file, _env, default, convert) in known}
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, "/dev/null", None))
    return settings | files
