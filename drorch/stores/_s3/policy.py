"""What the credentials of a bucket should be allowed, in the language of AWS IAM; pure."""

from collections.abc import Mapping

from drorch.core.model import Json
from drorch.core.store import Lock, Policies

VERSION = "2012-10-17"
"""Of the policy language."""

SPARE_DAYS = 2
"""How much longer than `Lock.days` a lock may be asked for: providers count days in their own ways."""

# A provider refuses a whole policy for one action that it does not know: actions about the bucket's encryption, which
# not all know, are left out, and so neither granted nor denied.
_LOOK_AT_BUCKET = ("s3:GetBucketLocation", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning")
_LIST = ("s3:ListBucket", "s3:ListBucketVersions")
_WRITE = ("s3:GetObject", "s3:GetObjectVersion", "s3:PutObject")
_LOCK = ("s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:PutObjectRetention")
_HOLD = ("s3:PutObjectLegalHold",)
_DELETE = ("s3:DeleteObject", "s3:DeleteObjectVersion")
_NEVER_OBJECTS = ("s3:BypassGovernanceRetention",)
_NEVER_BUCKET = (
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketPolicy",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
)


def policies(bucket: str, prefix: str, lock: Lock | None) -> Policies:
    """The least that a mirror's writer and a deleter need, below the prefix.

    What must never happen is denied too, since a denial outweighs whatever else the credential is allowed.
    """
    return Policies(
        documents={"writer": _writer(bucket, prefix, lock), "deleter": _deleter(bucket, prefix)},
        notes=_notes(prefix, lock),
    )


def _writer(bucket: str, prefix: str, lock: Lock | None) -> Json:
    allowed = (*_WRITE, *(_LOCK if lock else ()), *(_HOLD if lock and lock.legal_hold else ()))
    statements = [
        _statement("LookAtBucket", "Allow", _LOOK_AT_BUCKET, _bucket(bucket)),
        *_listing(bucket, prefix),
        _statement("WriteAndRead", "Allow", allowed, _objects(bucket, prefix)),
        _statement("NeverDelete", "Deny", (*_DELETE, *_NEVER_OBJECTS), _objects(bucket)),
        _statement("NeverReshape", "Deny", _NEVER_BUCKET, _bucket(bucket)),
        _statement(
            "NeverWithCustomerKey",
            "Deny",
            ("s3:PutObject",),
            _objects(bucket),
            # The one algorithm there is; some providers take a condition of kind Null, the other way, for always true.
            {"StringEquals": {"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"}},
        ),
    ]
    if lock is not None:
        longest = {"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": str(lock.days + SPARE_DAYS)}}
        locking = ("s3:PutObject", "s3:PutObjectRetention")
        statements.append(_statement("NeverLockForLonger", "Deny", locking, _objects(bucket), longest))
    if lock is not None and lock.mode == "governance":
        compliance = {"StringEquals": {"s3:object-lock-mode": "COMPLIANCE"}}
        statements.append(
            _statement(
                "NeverLockForGood", "Deny", ("s3:PutObject", "s3:PutObjectRetention"), _objects(bucket), compliance
            )
        )
    return {"Version": VERSION, "Statement": statements}


def _deleter(bucket: str, prefix: str) -> Json:
    return {
        "Version": VERSION,
        "Statement": [
            *_listing(bucket, prefix),
            _statement("Delete", "Allow", _DELETE, _objects(bucket, prefix)),
            _statement("NeverBypass", "Deny", _NEVER_OBJECTS, _objects(bucket)),
            _statement("NeverReshape", "Deny", _NEVER_BUCKET, _bucket(bucket)),
        ],
    }


def _listing(bucket: str, prefix: str) -> tuple[Json, ...]:
    # IfExists: a read of a missing object is answered with 404 only to who may list, and it has no prefix.
    below = {"StringLikeIfExists": {"s3:prefix": [f"{prefix}/*"]}} if prefix else None
    return (_statement("List", "Allow", _LIST, _bucket(bucket), below),)


def _statement(
    name: str, effect: str, actions: tuple[str, ...], resource: str, condition: Mapping[str, Json] | None = None
) -> Json:
    said: dict[str, Json] = {"Sid": name, "Effect": effect, "Action": sorted(actions), "Resource": [resource]}
    return said | ({"Condition": condition} if condition else {})


def _bucket(bucket: str) -> str:
    return f"arn:aws:s3:::{bucket}"


def _objects(bucket: str, prefix: str = "") -> str:
    return f"arn:aws:s3:::{bucket}/{prefix}/*" if prefix else f"arn:aws:s3:::{bucket}/*"


def _notes(prefix: str, lock: Lock | None) -> tuple[str, ...]:
    notes = [
        (
            "Attach each policy to a user of its own, so that what the writer's machine gives away cannot delete;"
            " keep the deleter's key on another machine."
        ),
        "As a policy of the bucket instead of a user's, each statement also needs a Principal, the user's name.",
        (
            "Where the provider has application keys with capabilities instead: the writer gets those to list, read and"
            " write files and to read and write their retention, none to delete files or to bypass governance, limited"
            " to this bucket and prefix; the deleter gets those to list and delete files."
        ),
        (
            "Where a key can only be for reading or for reading and writing, the writer can delete: then only a lock"
            " protects the copies."
        ),
    ]
    if lock is None:
        notes.append(
            "Without a lock an overwrite by the writer cannot be prevented: keep versioning on, so that recovery finds"
            " what was there before."
        )
    if lock is not None and lock.legal_hold:
        notes.append(
            "Whoever may put a legal hold may lift it: against a thief of the writer's key the dated lock protects,"
            " not the hold."
        )
    if prefix:
        notes.append(
            f"Both can touch what is below {prefix}/ only; names of other objects in the bucket they can list."
        )
    return tuple(notes)
