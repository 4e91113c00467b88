"""The printed policies: what they say, and what a real server makes of them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from drorch.core.model import Json
from drorch.core.store import Lock
from drorch.stores._s3.policy import policies
from support.ceph import Ceph
from support.s3 import Client, Keys

BUCKET = "acme-offsite"
LOCKS = [
    None,
    Lock(days=30),
    Lock(days=30, legal_hold=True),
    Lock(mode="compliance", days=30),
]


def allowed(document: Json) -> dict[str, list[str]]:
    """The actions that a policy allows, by resource."""
    found: dict[str, list[str]] = {}
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            for resource in statement["Resource"]:
                found.setdefault(resource, []).extend(statement["Action"])
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_writer_may_nothing_that_destroys(lock: Lock | None) -> None:
    """No deletion, no bypass of a lock, no change of the bucket is ever among what a writer is allowed."""
    document = policies(BUCKET, "", lock).documents["writer"]
    actions = [action for each in allowed(document).values() for action in each]
    assert not [action for action in actions if any(bad in action for bad in ("Delete", "Bypass", "Lifecycle"))]
    assert not [action for action in actions if not action.startswith(("s3:Get", "s3:List", "s3:PutObject"))]
    assert not [action for action in actions if "*" in action]
    assert ("s3:PutObjectRetention" in actions) is (lock is not None)
    assert ("s3:PutObjectLegalHold" in actions) is (lock is not None and lock.legal_hold)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_deleter_may_neither_read_nor_write(lock: Lock | None) -> None:
    """A deleter lists and deletes; it cannot read backups, replace them, or pass by a lock."""
    found = allowed(policies(BUCKET, "", lock).documents["deleter"])
    assert sorted(found[f"arn:aws:s3:::{BUCKET}/*"]) == ["s3:DeleteObject", "s3:DeleteObjectVersion"]
    assert sorted(found[f"arn:aws:s3:::{BUCKET}"]) == ["s3:ListBucket", "s3:ListBucketVersions"]


@pytest.mark.parametrize("whom", ["writer", "deleter"])
def test_both_are_kept_below_the_prefix(whom: str) -> None:
    """With a prefix no object elsewhere in the bucket can be touched, and no other prefix be listed."""
    document = policies(BUCKET, "sites/berlin", Lock(days=30)).documents[whom]
    assert set(allowed(document)) == {f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/sites/berlin/*"}
    (listing,) = (each for each in document["Statement"] if each["Sid"] == "List")
    assert listing["Condition"] == {"StringLikeIfExists": {"s3:prefix": ["sites/berlin/*"]}}


def test_a_thief_cannot_lock_rubbish_for_a_century() -> None:
    """Locks longer than the store's own, and compliance where governance was meant, are denied: they cost money."""
    statements = {each["Sid"]: each for each in policies(BUCKET, "", Lock(days=30)).documents["writer"]["Statement"]}
    longest = statements["NeverLockForLonger"]["Condition"]["NumericGreaterThan"]
    assert longest == {"s3:object-lock-remaining-retention-days": "32"}
    assert statements["NeverLockForGood"]["Condition"] == {"StringEquals": {"s3:object-lock-mode": "COMPLIANCE"}}


@dataclass(frozen=True)
class Guarded:
    """A bucket whose two users are allowed what the policies say."""

    bucket: str
    owner: Client
    writer: Client
    deleter: Client

    def put(self, key: str, until: datetime | None = None, **further: str) -> str:
        """A version of an object, by the writer."""
        lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until} if until else {}
        return str(self.writer.put_object(Bucket=self.bucket, Key=key, Body=b"x", **lock, **further)["VersionId"])


def as_bucket_policy(document: Json, keys: Keys) -> list[Json]:
    """The statements of a user's policy, as a bucket's policy says them."""
    principal = {"AWS": [f"arn:aws:iam:::user/{keys.id}"]}
    return [{**statement, "Principal": principal} for statement in document["Statement"]]


@pytest.fixture(scope="module")
def guarded(ceph: Ceph) -> Guarded:
    """On Ceph, whose users are given policies by the bucket."""
    bucket = ceph.bucket(lock=True)
    printed = policies(bucket, "site", Lock(days=30)).documents
    users = {whom: ceph.user(whom) for whom in printed}
    statements = [each for whom, keys in users.items() for each in as_bucket_policy(printed[whom], keys)]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    ceph.client().put_bucket_policy(Bucket=bucket, Policy=policy)
    return Guarded(bucket, ceph.client(), *(ceph.client(*users[whom]) for whom in ("writer", "deleter")))


def in_days(days: float) -> datetime:
    """So many days from now."""
    return datetime.now(UTC) + timedelta(days=days)


def test_a_mirror_works_under_the_printed_policy(guarded: Guarded) -> None:
    """Put with a lock, put if absent, extend, list, look and read: all that a mirror does, as a real server judges."""
    bucket, writer = guarded.bucket, guarded.writer
    version = guarded.put("site/nas/config", in_days(1), IfNoneMatch="*")
    longer = {"Mode": "GOVERNANCE", "RetainUntilDate": in_days(29)}
    writer.put_object_retention(Bucket=bucket, Key="site/nas/config", VersionId=version, Retention=longer)
    assert writer.head_object(Bucket=bucket, Key="site/nas/config")["ObjectLockMode"] == "GOVERNANCE"
    assert writer.get_object(Bucket=bucket, Key="site/nas/config", VersionId=version)["Body"].read() == b"x"
    listed = writer.list_objects_v2(Bucket=bucket, Prefix="site/nas/")["Contents"]
    assert [entry["Key"] for entry in listed] == ["site/nas/config"]
    assert len(writer.list_object_versions(Bucket=bucket, Prefix="site/nas/")["Versions"]) == 1
    assert writer.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    with pytest.raises(ClientError) as missing:
        writer.head_object(Bucket=bucket, Key="site/nas/missing")
    assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    locks = writer.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    assert locks["ObjectLockEnabled"] == "Enabled"


def _lifecycle(s3: Client, bucket: str) -> None:
    rule = {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})


Attack = Callable[[Client, str, str], Any]
"""With whose client, on which bucket, on which version of ``site/a``."""
AGAINST_BOTH: dict[str, Attack] = {
    "passes by the lock": lambda s3, bucket, version: s3.delete_object(
        Bucket=bucket, Key="site/a", VersionId=version, BypassGovernanceRetention=True
    ),
    "lets everything expire": lambda s3, bucket, _version: _lifecycle(s3, bucket),
    "writes elsewhere": lambda s3, bucket, _version: s3.put_object(Bucket=bucket, Key="other/a", Body=b"y"),
    "reads elsewhere": lambda s3, bucket, _version: s3.get_object(Bucket=bucket, Key="other/there"),
    "deletes elsewhere": lambda s3, bucket, _version: s3.delete_object(Bucket=bucket, Key="other/there"),
    "lists elsewhere": lambda s3, bucket, _version: s3.list_objects_v2(Bucket=bucket, Prefix="other/"),
    "stops versions": lambda s3, bucket, _version: s3.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
    ),
    "gives itself more": lambda s3, bucket, _version: s3.delete_bucket_policy(Bucket=bucket),
}
BY_WRITER: dict[str, Attack] = {
    "deletes a version": lambda s3, bucket, version: s3.delete_object(Bucket=bucket, Key="site/a", VersionId=version),
    "marks as deleted": lambda s3, bucket, _version: s3.delete_object(Bucket=bucket, Key="site/a"),
    "shortens the lock": lambda s3, bucket, version: s3.put_object_retention(
        Bucket=bucket,
        Key="site/a",
        VersionId=version,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": in_days(0.1)},
        BypassGovernanceRetention=True,
    ),
}
BY_DELETER: dict[str, Attack] = {
    "deletes what is locked": lambda s3, bucket, version: s3.delete_object(
        Bucket=bucket, Key="site/a", VersionId=version
    ),
    "reads": lambda s3, bucket, _version: s3.get_object(Bucket=bucket, Key="site/a"),
    "overwrites": lambda s3, bucket, _version: s3.put_object(Bucket=bucket, Key="site/a", Body=b"y"),
}


@pytest.mark.parametrize(
    ("whom", "what", "attack"),
    [
        *[(whom, what, attack) for whom in ("writer", "deleter") for what, attack in AGAINST_BOTH.items()],
        *[("writer", what, attack) for what, attack in BY_WRITER.items()],
        *[("deleter", what, attack) for what, attack in BY_DELETER.items()],
    ],
)
def test_a_thief_of_either_key_is_refused(guarded: Guarded, whom: str, what: str, attack: Attack) -> None:
    """Whatever else a thief tries with one of the keys, a real server refuses, and the version is there after it."""
    del what
    guarded.owner.put_object(Bucket=guarded.bucket, Key="other/there", Body=b"x")
    version = guarded.put("site/a", in_days(1))
    with pytest.raises(ClientError) as refused:
        attack(getattr(guarded, whom), guarded.bucket, version)
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    there = guarded.writer.get_object(Bucket=guarded.bucket, Key="site/a", VersionId=version)
    assert there["Body"].read() == b"x"
    assert guarded.owner.get_object(Bucket=guarded.bucket, Key="other/there")["Body"].read() == b"x"


def test_a_deleter_deletes_what_is_no_longer_locked(guarded: Guarded) -> None:
    """With its own key, and only then, a version goes once nothing locks it."""
    version = guarded.put("site/free/a")
    guarded.deleter.delete_object(Bucket=guarded.bucket, Key="site/free/a", VersionId=version)
    assert "Versions" not in guarded.deleter.list_object_versions(Bucket=guarded.bucket, Prefix="site/free/")
