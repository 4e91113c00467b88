"""The first look at a bucket: address, credentials, clock, versions, lock."""

from datetime import timedelta

from drorch.core.errors import StoreError
from drorch.core.host import printable
from drorch.stores._s3 import parse
from drorch.stores._s3.bucket import Bucket, Tried
from drorch.stores._s3.retry import BRIEF
from drorch.stores._s3.trouble import Refusal, clock_wrong, lock_remedy, no_s3
from drorch.stores._s3.wire import Request

SKEW = timedelta(minutes=5)
"""How far the clocks may be apart; S3 refuses at 15 minutes, and locks are counted by the store's clock."""


def check(bucket: Bucket) -> str:
    """The bucket's versioning (``Enabled``, ``Suspended``, empty), when it can be used as the inventory says.

    Raises:
        StoreError: it cannot.
    """
    doing = "look at it"
    first = Request("GET", query=(("list-type", "2"), ("max-keys", "1"), ("prefix", bucket.prefix)))
    answer = bucket.send(first, doing, patience=BRIEF)
    try:
        parse.entries(answer.body, bucket.prefix)
    except parse.NoListing as error:
        raise no_s3(bucket.scene(doing), Refusal(answer.status, headers=answer.headers)) from error
    if abs(bucket.skew) > SKEW:
        raise clock_wrong(bucket.scene(doing))
    versioning = bucket.versioning(BRIEF)
    if bucket.lock is not None:
        _check_lock(bucket, versioning)
    return versioning


def _check_lock(bucket: Bucket, versioning: str) -> None:
    tried = bucket.setting("object-lock", BRIEF)
    enabled = tried.output.get("ObjectLockEnabled") == "Enabled"
    if tried.done and enabled:
        if versioning != "Enabled":
            raise StoreError(
                f"{bucket.shown}: its versioning is {versioning.lower() or 'off'}, so what is locked can be replaced",
                hint="enable the bucket's versioning",
            )
        return
    if tried.done or _says_none(tried):
        raise StoreError(
            f"{bucket.shown}: made without Object Lock, so nothing in it can be locked",
            hint=lock_remedy(bucket.place.store),
        )
    raise StoreError(
        f"{bucket.shown}: whether it can lock cannot be asked ({printable(tried.shown)})",
        hint=f"allow the writer s3:GetBucketObjectLockConfiguration: `drorch store policy {bucket.place.store}`",
    )


def _says_none(tried: Tried) -> bool:
    return tried.code in {
        "ObjectLockConfigurationNotFoundError",
        "NotImplemented",
        "InvalidRequest",
        "InvalidBucketState",
        "MethodNotAllowed",
    }
