"""Making a bucket: what will be done, said first; then done, looked at again, and told.

Nothing is asked of a bucket that is not known to be made here but to be looked at: one that is there already is
completed only while nothing is in it. No call here deletes anything of a bucket's: a server that does not know
``DELETE /bucket?setting`` deletes the bucket.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from drorch.core.errors import AlreadyThere, StoreDenied, StoreError
from drorch.core.host import printable
from drorch.core.store import Created, Creation, Lock
from drorch.stores._s3.bench import refused, shown
from drorch.stores._s3.bucket import Bucket, Tried
from drorch.stores._s3.place import Place
from drorch.stores._s3.trouble import Refusal
from drorch.stores._trials import FOLDER

_ABORT_DAYS = 7
_HOME_REGION = "us-east-1"
"""S3's own: to name it when making a bucket is an error."""
_ONLY_PRIVATE = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def creation(bucket: Bucket) -> Creation:
    """Making that bucket, with the credential that it writes with."""
    return Creation(will=_will(bucket.place), warnings=_warnings(bucket.place), create=lambda: _Making(bucket).create())


def _will(place: Place) -> tuple[str, ...]:
    lock = place.lock
    kept = f"; each object is locked ({lock.mode}) for {_days(lock)} unless it says otherwise" if lock else ""
    return (
        (
            f"make bucket {place.bucket} at {place.endpoint} in region {place.region},"
            f" {'with Object Lock and versions' if lock else 'with versions, without locks'}"
        ),
        "block public access to it, where the provider knows how and it takes objects then",
        "block encryption with customers' keys (SSE-C), where the provider knows how",
        f"let it give up unfinished uploads after {_ABORT_DAYS} days, and objects of probes after one",
        *((f"set its default lock{kept}",) if lock else ()),
        "if there is such a bucket already: complete it only if nothing is in it, else change nothing; say what it has",
    )


def _warnings(place: Place) -> tuple[str, ...]:
    lock = place.lock
    if lock is None:
        return (
            "without a lock whoever may delete can destroy every copy; a lock can only be had when a bucket is made",
        )
    warnings = ["Object Lock and versions can never be taken from the bucket again"]
    if lock.mode == "compliance":
        warnings.append(
            f"compliance: for {_days(lock)} after each extension nobody can delete what was written, not you, not the"
            " provider, not who pays for it; a mistake is paid for until then"
        )
    return tuple(warnings)


def _days(lock: Lock) -> str:
    return f"{lock.days} day{'s' if lock.days != 1 else ''}"


@dataclass
class _Making:
    """One bucket on its way."""

    bucket: Bucket
    done: list[str] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)

    def create(self) -> Created:
        """Make or complete it."""
        place = self.bucket.place
        if self._make():
            self.done.append(f"made bucket {place.bucket}")
        elif self._occupied():
            self.lacks.append("nothing was changed: there are objects in it; use a bucket of its own for a new store")
            return self._told()
        self._versions()
        self._private()
        self._no_customer_keys()
        self._lifecycle()
        if place.lock is not None and self._locks():
            self._default_lock(place.lock)
        return self._told()

    def _make(self) -> bool:
        """Whether it was made now; False when it is there already and ours.

        Raises:
            StoreError: it cannot be made, or is somebody else's.
        """
        # Some answer well to the making of what is there: so look first.
        there = self.bucket.raw("head_bucket")
        if there.done:
            return False
        if there.status == HTTPStatus.FORBIDDEN:
            raise StoreDenied(
                f"{self.bucket.shown}: there is such a bucket, and this credential may not look at it",
                hint="it may be somebody else's: choose another name; or name a better secret with --credentials",
            )
        if there.status != HTTPStatus.NOT_FOUND:
            raise self._error(there, "look whether it is there")
        words: dict[str, Any] = {"ObjectLockEnabledForBucket": True} if self.bucket.lock else {}
        region = self.bucket.place.region
        if region != _HOME_REGION:
            words["CreateBucketConfiguration"] = {"LocationConstraint": region}
        made = self.bucket.raw("create_bucket", **words)
        if made.code == "BucketAlreadyOwnedByYou":
            return False
        if made.code == "BucketAlreadyExists":
            raise AlreadyThere(f"{self.bucket.shown}: somebody else has it", hint="choose another name for the bucket")
        if not made.done:
            raise self._error(made, "make the bucket")
        return True

    def _occupied(self) -> bool:
        listed = self.bucket.raw("list_object_versions", MaxKeys=1)
        if not listed.done:
            listed = self.bucket.raw("list_objects_v2", MaxKeys=1)
        if not listed.done:
            raise self._error(listed, "look whether anything is in it")
        return any(listed.output.get(part) for part in ("Versions", "DeleteMarkers", "Contents"))

    def _versions(self) -> None:
        if self.bucket.raw("get_bucket_versioning").output.get("Status") == "Enabled":
            return
        if self.bucket.raw("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"}).done:
            self.done.append("enabled versions")

    def _private(self) -> None:
        """Some servers refuse all objects once they shall refuse public ones; then that one switch is left off."""
        for but in ((), ("BlockPublicAcls",), _ONLY_PRIVATE):
            switches = {name: name not in but for name in _ONLY_PRIVATE}
            asked = self.bucket.raw("put_public_access_block", PublicAccessBlockConfiguration=switches)
            if not asked.done:
                break
            if self._takes_objects():
                if but != _ONLY_PRIVATE:
                    without = f", but for {', '.join(but)}, with which it takes no objects" if but else ""
                    self.done.append(f"blocked public access{without}")
                    return
                break
        self.lacks.append("it cannot block public access by itself: keep its access lists and its policy private")

    def _takes_objects(self) -> bool:
        """Tried with an object that goes at once, while no default lock holds it."""
        key = self.bucket.key(f"{FOLDER}creation")
        tried = self.bucket.raw("put_object", Key=key, Body=b"drorch")
        if tried.done:
            version = str(tried.output.get("VersionId", ""))
            words: dict[str, Any] = {"VersionId": version} if version else {}
            self.bucket.raw("delete_object", Key=key, **words)
        return tried.done

    def _no_customer_keys(self) -> None:
        """Blocked by what is said about the default encryption, which thereby becomes the provider's own keys."""
        rule = {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
        }
        self._try(
            "blocks encryption with customers' keys",
            "the writer's policy denies it: `drorch store policy` prints it",
            "put_bucket_encryption",
            ServerSideEncryptionConfiguration={"Rules": [rule]},
        )
        if not self._takes_objects():
            raise StoreError(
                f"{self.bucket.shown}: it is made, and takes no objects, perhaps because it cannot encrypt by itself",
                hint="remove its default encryption at the provider; may this credential put objects?",
            )

    def _lifecycle(self) -> None:
        asked = self.bucket.raw("get_bucket_lifecycle_configuration")
        if asked.done and asked.output.get("Rules"):
            return
        uploads = {
            "ID": "drorch-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _ABORT_DAYS},
        }
        probes = {
            "ID": "drorch-probes",
            "Status": "Enabled",
            "Filter": {"Prefix": self.bucket.key(FOLDER)},
            "Expiration": {"Days": 1},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        }
        self._try(
            "gives up unfinished uploads and objects of probes",
            "look for unfinished uploads at the provider now and then: they cost money",
            "put_bucket_lifecycle_configuration",
            LifecycleConfiguration={"Rules": [uploads, probes]},
        )

    def _locks(self) -> bool:
        asked = self.bucket.raw("get_object_lock_configuration").output
        return bool(asked.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

    def _default_lock(self, lock: Lock) -> None:
        default = {"Mode": lock.mode.upper(), "Days": lock.days}
        asked = self.bucket.raw("get_object_lock_configuration").output.get("ObjectLockConfiguration", {})
        if asked.get("Rule", {}).get("DefaultRetention"):
            return  # somebody set it: it is told below, never lowered
        self._try(
            f"locks each object for {_days(lock)} ({lock.mode}) unless it says otherwise",
            "set a default retention at the provider, or trust that each object is locked as it is written",
            "put_object_lock_configuration",
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": default}},
        )

    def _try(self, then: str, else_: str, operation: str, **words: Any) -> None:  # noqa: ANN401 - as boto3 takes them
        """One setting; a store that does not know it lacks it."""
        tried = self.bucket.raw(operation, **words)
        if tried.done:
            self.done.append(f"set that it {then}")
        elif refused(tried) or tried.status == HTTPStatus.NOT_IMPLEMENTED:
            self.lacks.append(f"the provider refused to set that it {then} ({shown(tried)}): {else_}")
        else:
            raise self._error(tried, operation.replace("_", " "))

    def _told(self) -> Created:
        """What it has, as seen now; what it should have besides."""
        has, lacks = _seen(self.bucket)
        return Created(done=tuple(self.done), has=has, lacks=(*lacks, *self.lacks))

    def _error(self, tried: Tried, doing: str) -> StoreError:
        return self.bucket.refused(Refusal(tried.status, tried.code or "Unknown", tried.message), doing)


def _seen(bucket: Bucket) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a bucket has and what it lacks, by looking only."""
    has, lacks = [], []
    versioning = bucket.raw("get_bucket_versioning").output.get("Status", "")
    if versioning == "Enabled":
        has.append("versions")
    else:
        lacks.append("it keeps no versions: what a thief overwrites is gone; enable them at the provider")
    locks: Mapping[str, Any] = bucket.raw("get_object_lock_configuration").output.get("ObjectLockConfiguration", {})
    if locks.get("ObjectLockEnabled") == "Enabled":
        has.append("Object Lock")
        default = locks.get("Rule", {}).get("DefaultRetention", {})
        if default:
            length = f"{default['Days']} days" if "Days" in default else f"{default.get('Years')} years"
            has.append(f"a default lock of {length}, {printable(str(default.get('Mode', ''))).lower()}")
    elif bucket.lock is not None:
        lacks.append(
            "it has no Object Lock, which only a new bucket can be given: name another bucket, or another provider"
            " where this one has none, or leave lock: out"
        )
    return tuple(has), tuple(lacks)
