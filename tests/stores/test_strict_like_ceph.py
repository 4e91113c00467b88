"""What the strict S3 server refuses, a real Ceph refuses too, in the same words: one table asked of both."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.ceph import WRITER, Ceph
from support.s3 import Client, Keys, md5, put_tampered, told
from support.strict.holdings import STRICT
from support.strict.server import StrictS3, running_strict

BODY = b"content of a pack"
KEY = "nas/data/ab/0"


def soon(hours: float = 1) -> datetime:
    """A moment to lock until."""
    return datetime.now(UTC) + timedelta(hours=hours)


@dataclass(frozen=True)
class Side:
    """A server and two users of it."""

    server: StrictS3 | Ceph
    writer: Keys
    stranger: Keys

    @classmethod
    def of(cls, server: StrictS3 | Ceph) -> "Side":
        """With new users."""
        return cls(server, server.user("writer"), server.user("stranger"))


class Case:
    """A locked bucket, its owner, a writer and a stranger, with one object locked for two hours, on any server."""

    def __init__(self, side: Side, mode: str = "GOVERNANCE") -> None:
        self.side = side
        self.bucket = side.server.bucket(lock=True)
        self.owner = side.server.client()
        side.server.allow(self.bucket, [(side.writer, WRITER)])
        self.writer = side.server.client(*side.writer)
        self.stranger = side.server.client(*side.stranger)
        put = self.put(self.owner, ObjectLockMode=mode, ObjectLockRetainUntilDate=soon(2))
        self.version = {"Bucket": self.bucket, "Key": KEY, "VersionId": put["VersionId"]}

    def put(self, s3: Client, key: str = KEY, content: bytes = BODY, **words: object) -> dict[str, Any]:
        """Put an object with a right MD5 unless told otherwise."""
        words = {"ContentMD5": md5(content)} | words
        put: dict[str, Any] = s3.put_object(Bucket=self.bucket, Key=key, Body=content, **words)
        return put

    def retain(self, s3: Client, hours: float, mode: str = "GOVERNANCE", **words: object) -> None:
        """Ask for another retention."""
        retention = {"Mode": mode, "RetainUntilDate": soon(hours)}
        s3.put_object_retention(**self.version, Retention=retention, **words)

    def plain(self) -> None:
        """Put twice into a bucket without versions, the second time only if absent."""
        self.bucket = self.side.server.bucket()
        self.put(self.owner)
        self.put(self.owner, IfNoneMatch="*")


BYPASS: Mapping[str, Any] = {"BypassGovernanceRetention": True}


def versioning(s3: Client, bucket: str) -> None:
    """Try to stop versions."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def marked(case: Case) -> None:
    """Read what was marked as deleted."""
    case.owner.delete_object(Bucket=case.bucket, Key=KEY)
    case.owner.get_object(Bucket=case.bucket, Key=KEY)


def held(case: Case) -> None:
    """Delete a version that is held, with every right; the hold is lifted again."""
    case.owner.put_object_legal_hold(**case.version, LegalHold={"Status": "ON"})
    try:
        case.owner.delete_object(**case.version, **BYPASS)
    finally:
        case.owner.put_object_legal_hold(**case.version, LegalHold={"Status": "OFF"})


TABLE: Mapping[str, tuple[str, Callable[[Case], object]]] = {
    "right md5": ("ok", lambda case: case.put(case.writer, "a")),
    "wrong md5": ("400 BadDigest", lambda case: case.put(case.owner, "a", ContentMD5=md5(b"other"))),
    "malformed md5": ("400 InvalidDigest", lambda case: case.put(case.owner, "a", ContentMD5="short")),
    "wrong secret": (
        "403 SignatureDoesNotMatch",
        lambda case: case.put(case.side.server.client(case.side.server.access_key, "wrong"), "a"),
    ),
    "unknown key": ("403 InvalidAccessKeyId", lambda case: case.put(case.side.server.client("nobody", "x"), "a")),
    "tampered body": ("400 XAmzContentSHA256Mismatch", lambda case: put_tampered(case.owner, case.bucket, "a")),
    "no bucket": ("404 NoSuchBucket", lambda case: case.owner.list_objects_v2(Bucket="not-there")),
    "no bucket, head": ("404", lambda case: case.owner.head_bucket(Bucket="not-there")),
    "no key": ("404 NoSuchKey", lambda case: case.owner.get_object(Bucket=case.bucket, Key="none")),
    "no key, head": ("404", lambda case: case.owner.head_object(Bucket=case.bucket, Key="none")),
    "absent, and there": ("412 PreconditionFailed", lambda case: case.plain()),
    "absent, and not there": ("ok", lambda case: case.put(case.writer, "b", IfNoneMatch="*")),
    "writer lists": ("ok", lambda case: case.writer.list_objects_v2(Bucket=case.bucket)),
    "writer lists versions": ("ok", lambda case: case.writer.list_object_versions(Bucket=case.bucket)),
    "writer reads": ("ok", lambda case: case.writer.get_object(**case.version)),
    "writer extends": ("ok", lambda case: case.retain(case.writer, 3)),
    "writer shortens": ("403 AccessDenied", lambda case: case.retain(case.writer, 1)),
    "writer bypasses": ("403 AccessDenied", lambda case: case.retain(case.writer, 1, **BYPASS)),
    "writer marks": ("403 AccessDenied", lambda case: case.writer.delete_object(Bucket=case.bucket, Key=KEY)),
    "writer deletes": ("403 AccessDenied", lambda case: case.writer.delete_object(**case.version, **BYPASS)),
    "writer overwrites": ("ok", lambda case: case.put(case.writer, content=b"other")),
    "writer sees the lock": ("ok", lambda case: case.writer.get_object_retention(**case.version)),
    "writer stops versions": ("403 AccessDenied", lambda case: versioning(case.writer, case.bucket)),
    "stranger reads": ("403 AccessDenied", lambda case: case.stranger.get_object(**case.version)),
    "stranger lists": ("403 AccessDenied", lambda case: case.stranger.list_objects_v2(Bucket=case.bucket)),
    "owner deletes": ("403 AccessDenied", lambda case: case.owner.delete_object(**case.version)),
    "owner bypasses": ("ok", lambda case: case.owner.delete_object(**case.version, **BYPASS)),
    "owner shortens": ("403 AccessDenied", lambda case: case.retain(case.owner, 1)),
    "owner shortens by bypass": ("ok", lambda case: case.retain(case.owner, 1, **BYPASS)),
    "owner marks": ("ok", lambda case: case.owner.delete_object(Bucket=case.bucket, Key=KEY)),
    "owner stops versions": ("409 InvalidBucketState", lambda case: versioning(case.owner, case.bucket)),
    "read behind a marker": ("404 NoSuchKey", marked),
    "held": ("403 AccessDenied", held),
    "retention in the past": ("400 InvalidArgument", lambda case: case.retain(case.owner, -1, **BYPASS)),
    "lock mode unknown": ("400 MalformedXML", lambda case: case.retain(case.owner, 3, "FOREVER")),
    "bucket again": (
        "409 BucketAlreadyExists",
        lambda case: case.writer.create_bucket(Bucket=case.bucket),
    ),
}
COMPLIANCE: Mapping[str, tuple[str, Callable[[Case], object]]] = {
    "deletes": ("403 AccessDenied", lambda case: case.owner.delete_object(**case.version, **BYPASS)),
    "shortens": ("403 AccessDenied", lambda case: case.retain(case.owner, 1, "COMPLIANCE", **BYPASS)),
    "weakens": ("403 AccessDenied", lambda case: case.retain(case.owner, 3, "GOVERNANCE", **BYPASS)),
    "extends": ("ok", lambda case: case.retain(case.owner, 3, "COMPLIANCE")),
}


@pytest.fixture(scope="module")
def strict() -> Iterator[Side]:
    """A strict server for many cases."""
    with running_strict() as server:
        yield Side.of(server)


@pytest.fixture(scope="module")
def real(ceph: Ceph) -> Side:
    """Ceph for many cases."""
    return Side.of(ceph)


@pytest.mark.parametrize("what", TABLE)
def test_strict_refuses(strict: Side, what: str) -> None:
    """The strict server refuses what it should, and nothing else, in S3's words."""
    wanted, ask = TABLE[what]
    case = Case(strict)
    assert told(lambda: ask(case)) == wanted


@pytest.mark.parametrize("what", TABLE)
def test_ceph_refuses(real: Side, what: str) -> None:
    """A real server answers the same: what tests see at the strict one is not its invention."""
    wanted, ask = TABLE[what]
    case = Case(real)
    assert told(lambda: ask(case)) == wanted


@pytest.mark.parametrize("what", COMPLIANCE)
def test_compliance(strict: Side, what: str) -> None:
    """A compliance lock yields to nobody, but can be extended."""
    wanted, ask = COMPLIANCE[what]
    case = Case(strict, "COMPLIANCE")
    assert told(lambda: ask(case)) == wanted


def test_compliance_like_ceph(real: Side) -> None:
    """A real server's compliance locks are as hard, for minutes at least."""
    for wanted, ask in COMPLIANCE.values():
        case = Case(real, "COMPLIANCE")
        assert told(lambda ask=ask, case=case: ask(case)) == wanted  # type: ignore[misc]  # mypy cannot infer defaults


def test_weak_locks() -> None:
    """A store may let locks be shortened, and what is locked be deleted."""
    with running_strict(replace(STRICT, locks="shortens")) as server:
        case = Case(Side.of(server), "COMPLIANCE")
        assert told(lambda: case.retain(case.writer, 0.1)) == "ok"
        assert told(lambda: case.owner.delete_object(**case.version)) == "403 AccessDenied"
        server.traits = replace(STRICT, locks="deletes")
        assert told(lambda: case.owner.delete_object(**case.version)) == "ok"


def test_locks_end(strict: Side) -> None:
    """A lock holds until its moment by the server's clock, and can be taken away by time alone."""
    assert isinstance(strict.server, StrictS3)
    case = Case(strict, "COMPLIANCE")
    try:
        strict.server.later = timedelta(hours=1.9)
        assert told(lambda: case.owner.delete_object(**case.version)) == "403 AccessDenied"
        strict.server.later = timedelta(hours=2.1)
        assert told(lambda: case.owner.delete_object(**case.version)) == "ok"
    finally:
        strict.server.later = timedelta()


def test_many_deletions(strict: Side) -> None:
    """One request that deletes many leaves what is locked, and says so."""
    case = Case(strict)
    wanted = [{"Key": KEY, "VersionId": case.version["VersionId"]}, {"Key": "none"}]
    done = case.owner.delete_objects(Bucket=case.bucket, Delete={"Objects": wanted})
    assert [(error["Key"], error["Code"]) for error in done["Errors"]] == [(KEY, "AccessDenied")]
    assert [gone["Key"] for gone in done["Deleted"]] == ["none"]
