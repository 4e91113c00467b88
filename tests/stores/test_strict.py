"""The strict S3 server verifies what it should, and fails exactly as it was told to."""

import hashlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.s3 import md5, put_tampered, sha256, told
from support.strict.faults import (
    CONFLICT,
    HIDDEN,
    INTERNAL,
    SLOW_DOWN,
    TOO_MANY,
    Cut,
    Drip,
    Effect,
    Flipped,
    Ghost,
    Hide,
    Late,
    Lost,
    Reset,
)
from support.strict.holdings import MD5_ONLY, NEITHER, STRICT, Traits
from support.strict.server import StrictS3, running_strict

BODY = b"content of a pack"
KEY = "nas/data/ab/" + hashlib.sha256(BODY).hexdigest()


def soon(hours: float = 1) -> datetime:
    """A moment to lock until."""
    return datetime.now(UTC) + timedelta(hours=hours)


def test_sha256(strict_s3: StrictS3) -> None:
    """SHA-256 is computed, compared, refused where it is another, and told by HEAD when asked for."""
    bucket, s3 = strict_s3.bucket(), strict_s3.client()
    put = {"Bucket": bucket, "Key": KEY, "ChecksumAlgorithm": "SHA256"}
    assert told(lambda: s3.put_object(**put, Body=b"other", ChecksumSHA256=sha256(BODY))) == "400 BadDigest"
    assert strict_s3.live(bucket) == {}
    assert s3.put_object(**put, Body=BODY, ChecksumSHA256=sha256(BODY))["ChecksumSHA256"] == sha256(BODY)
    assert "ChecksumSHA256" not in s3.head_object(Bucket=bucket, Key=KEY)
    assert s3.head_object(Bucket=bucket, Key=KEY, ChecksumMode="ENABLED")["ChecksumSHA256"] == sha256(BODY)
    strict_s3.rot(bucket, KEY)
    assert s3.head_object(Bucket=bucket, Key=KEY, ChecksumMode="ENABLED")["ChecksumSHA256"] == sha256(BODY)
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() != BODY


@pytest.mark.parametrize(
    ("traits", "digest", "hashed", "changed", "again"),
    [
        (STRICT, "400 BadDigest", "400 BadDigest", "400 XAmzContentSHA256Mismatch", "412 PreconditionFailed"),
        (MD5_ONLY, "ok", "400 BadDigest", "400 XAmzContentSHA256Mismatch", "412 PreconditionFailed"),
        (NEITHER, "ok", "ok", "ok", "412 PreconditionFailed"),
        (replace(STRICT, conditions=False), "400 BadDigest", "400 BadDigest", "400 XAmzContentSHA256Mismatch", "ok"),
    ],
    ids=["strict", "md5 only", "neither", "no conditions"],
)
def test_traits(traits: Traits, digest: str, hashed: str, changed: str, again: str) -> None:
    """Each kind of a bad store is as bad as it says."""
    with running_strict(traits) as server:
        bucket, s3 = server.bucket(), server.client()
        server.plant(bucket, "there", BODY)
        put = {"Bucket": bucket, "Key": KEY, "Body": b"other"}
        assert told(lambda: s3.put_object(**put, ChecksumSHA256=sha256(BODY))) == digest
        if digest == "ok":
            seen = s3.head_object(Bucket=bucket, Key=KEY, ChecksumMode="ENABLED")
            assert seen.get("ChecksumSHA256") == (sha256(BODY) if traits is NEITHER else None)
        assert told(lambda: s3.put_object(**put, ContentMD5=md5(BODY))) == hashed
        assert told(lambda: s3.put_object(**put | {"Key": "there"}, IfNoneMatch="*")) == again
        assert told(lambda: put_tampered(s3, bucket, "b")) == changed


def test_default_lock(strict_s3: StrictS3) -> None:
    """What is put into a bucket with a default retention is locked without asking."""
    bucket, s3 = strict_s3.bucket(lock=True), strict_s3.client()
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 3}}
    wanted = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=wanted)
    assert s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == wanted
    put = {"Bucket": bucket, "Key": KEY, "Body": BODY}
    assert told(lambda: s3.put_object(**put)) == "400 InvalidRequest", "a lock needs a checksum"
    s3.put_object(**put, ContentMD5=md5(BODY))
    seen = s3.head_object(Bucket=bucket, Key=KEY)
    assert seen["ObjectLockMode"] == "COMPLIANCE"
    assert abs(seen["ObjectLockRetainUntilDate"] - soon(72)) < timedelta(minutes=1)


def test_credentials(strict_s3: StrictS3) -> None:
    """A clock that is wrong, a token that is missing and one that expired are told apart."""
    keys = strict_s3.user("guest", ["s3:*"], token="session")
    bucket = strict_s3.bucket()
    guest = strict_s3.client(*keys, token="session")
    assert told(lambda: guest.list_objects_v2(Bucket=bucket)) == "ok"
    assert told(lambda: strict_s3.client(*keys).list_objects_v2(Bucket=bucket)) == "400 InvalidToken"
    strict_s3.expire(keys)
    assert told(lambda: guest.list_objects_v2(Bucket=bucket)) == "400 ExpiredToken"
    strict_s3.skew = timedelta(minutes=16)
    assert told(lambda: strict_s3.client().list_objects_v2(Bucket=bucket)) == "403 RequestTimeTooSkewed"
    strict_s3.skew = -timedelta(minutes=14)
    assert told(lambda: strict_s3.client().list_objects_v2(Bucket=bucket)) == "ok"


def test_listings(strict_s3: StrictS3) -> None:
    """Listings come in pages, in the order of code points, by prefix and folder, markers and old versions apart."""
    strict_s3.traits = replace(STRICT, page=3)
    bucket, s3 = strict_s3.bucket(versioned=True), strict_s3.client()
    keys = ["a b", "nas/config", "nas/data/00/x", "nas/data/01/y", "nas/keys/+&<é>", "nas/z", "\U0001f600", "\uffee"]
    for key in keys:
        strict_s3.plant(bucket, key, key.encode())
        strict_s3.plant(bucket, key, BODY)
    s3.delete_object(Bucket=bucket, Key="a b")

    def listed(operation: str, part: str, **words: object) -> list[str]:
        pages = list(s3.get_paginator(operation).paginate(Bucket=bucket, **words))
        assert all(len(page.get("Contents", [])) + len(page.get("CommonPrefixes", [])) <= 3 for page in pages)
        return [entry.get("Key", entry.get("Prefix")) for page in pages for entry in page.get(part, [])]

    assert listed("list_objects_v2", "Contents") == sorted(keys)[1:]
    assert listed("list_objects_v2", "Contents", Prefix="nas/data/") == ["nas/data/00/x", "nas/data/01/y"]
    assert listed("list_objects_v2", "CommonPrefixes", Prefix="nas/", Delimiter="/") == ["nas/data/", "nas/keys/"]
    assert listed("list_objects_v2", "Contents", Prefix="nas/", Delimiter="/") == ["nas/config", "nas/z"]
    assert listed("list_object_versions", "Versions") == sorted(keys * 2)
    assert listed("list_object_versions", "DeleteMarkers") == ["a b"]
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix="nas/config"))
    assert [version["IsLatest"] for version in pages[0]["Versions"]] == [True, False]


def test_stale_listings(strict_s3: StrictS3) -> None:
    """A listing can lack what is there, and have what is not."""
    bucket, s3 = strict_s3.bucket(), strict_s3.client()
    for key in ("a", "b", "c"):
        strict_s3.plant(bucket, key, b"")
    strict_s3.inject(Hide("b"), on="ListObjects*")
    strict_s3.inject(Ghost("aa", size=7), on="ListObjects*")
    stale, fresh = (s3.list_objects_v2(Bucket=bucket)["Contents"] for _ in range(2))
    assert [(entry["Key"], entry["Size"]) for entry in stale] == [("a", 0), ("aa", 7), ("c", 0)]
    assert [entry["Key"] for entry in fresh] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("effect", "answer", "stored"),
    [
        (INTERNAL, "500 InternalError", False),
        (SLOW_DOWN, "503 SlowDown", False),
        (TOO_MANY, "429 TooManyRequests", False),
        (CONFLICT, "409 ConditionalRequestConflict", False),
        (HIDDEN, "500 InternalError", False),
        (Lost(), "ConnectionClosedError", True),
        (Reset(after=3), "ConnectionClosedError", False),
        (Drip(piece=100, pause=0.01), "ok", True),
        (Late(0.2), "ok", True),
    ],
    ids=str,
)
def test_put_faults(strict_s3: StrictS3, effect: Effect, answer: str, stored: bool) -> None:  # noqa: FBT001 - a case's datum
    """A put goes wrong as told, at the request that was told, and the next one is well."""
    bucket, s3 = strict_s3.bucket(), strict_s3.client()
    fault = strict_s3.inject(effect, on="Put*", key="nas/data/*", skip=1)
    started = time.monotonic()
    for key, wanted in (("nas/config", "ok"), ("nas/data/1", "ok"), ("nas/data/2", answer), ("nas/data/3", "ok")):
        said = told(lambda key=key: s3.put_object(Bucket=bucket, Key=key, Body=BODY))  # type: ignore[misc]  # as above
        hidden = effect is HIDDEN and key == "nas/data/2"
        assert said == wanted or (hidden and said in {"ok", "200 InternalError", "ResponseParserError"})
    assert ("nas/data/2" in strict_s3.live(bucket)) == stored
    assert (fault.met, fault.struck) == (3, 1)
    assert time.monotonic() - started >= (0.2 if isinstance(effect, Late) else 0)


def test_get_faults(strict_s3: StrictS3) -> None:
    """An answer's body can end early, or differ by a bit."""
    bucket, s3 = strict_s3.bucket(), strict_s3.client()
    strict_s3.plant(bucket, KEY, BODY)
    strict_s3.inject(Cut(after=5), on="GetObject")
    strict_s3.inject(Flipped(at=2), on="GetObject", skip=1)
    assert told(s3.get_object(Bucket=bucket, Key=KEY)["Body"].read) == "ResponseStreamingError"
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == BODY[:2] + bytes([BODY[2] ^ 1]) + BODY[3:]
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == BODY
    assert s3.get_object(Bucket=bucket, Key=KEY, Range="bytes=2-4")["Body"].read() == BODY[2:5]


def test_customer_keys(strict_s3: StrictS3) -> None:
    """SSE-C is shown by HEAD, asked for when read, and can be refused."""
    bucket, s3 = strict_s3.bucket(), strict_s3.client()
    own = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}
    s3.put_object(Bucket=bucket, Key=KEY, Body=BODY, **own)
    assert told(lambda: s3.head_object(Bucket=bucket, Key=KEY)) == "400"
    assert s3.head_object(Bucket=bucket, Key=KEY, **own)["SSECustomerAlgorithm"] == "AES256"
    strict_s3.traits = replace(STRICT, customer_keys=False)
    assert told(lambda: s3.put_object(Bucket=bucket, Key="other", Body=BODY, **own)) == "403 AccessDenied"
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": {"Bucket": bucket, "Key": KEY}}
    assert told(lambda: s3.copy_object(**copy)) == "400 InvalidRequest"


def test_one_winner(strict_s3: StrictS3) -> None:
    """Of many puts at once that ask for absence one wins; all requests were seen, and how many came together."""
    bucket = strict_s3.bucket(versioned=True)
    clients = [strict_s3.client() for _ in range(8)]
    together = threading.Barrier(8)
    strict_s3.inject(Late(0.05), times=None)

    def put(number: int) -> str:
        together.wait()
        return told(lambda: clients[number].put_object(Bucket=bucket, Key=KEY, Body=BODY, IfNoneMatch="*"))

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(put, range(8)))
    assert answers == ["412 PreconditionFailed"] * 7 + ["ok"]
    assert [seen.status for seen in strict_s3.requests("PutObject")].count(200) == 1
    assert {seen.signer for seen in strict_s3.seen} == {strict_s3.access_key}
    assert 2 <= strict_s3.peak <= 8


def test_quick(strict_s3: StrictS3) -> None:
    """It is no bottleneck: hundreds of requests a second without a client's own costs."""
    bucket, s3 = strict_s3.bucket(), strict_s3.client()
    strict_s3.plant(bucket, KEY, BODY)
    signed: list[Any] = []
    s3.meta.events.register("before-send.s3.HeadObject", lambda request, **_: signed.append(request))
    s3.head_object(Bucket=bucket, Key=KEY)
    lines = [f"HEAD /{bucket}/{KEY} HTTP/1.1", f"Host: {strict_s3.endpoint.removeprefix('http://')}"]
    lines += [f"{name}: {text(value)}" for name, value in signed[0].headers.items()]
    asked = "\r\n".join((*lines, "", "")).encode()
    address = ("127.0.0.1", int(strict_s3.endpoint.rpartition(":")[2]))
    with socket.create_connection(address) as connection, connection.makefile("rb") as answers:
        started = time.process_time()
        for _ in range(300):
            connection.sendall(asked)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while answers.readline().strip():
                pass
        assert 300 / (time.process_time() - started) > 500


def text(value: object) -> str:
    """A header's value."""
    return value.decode() if isinstance(value, bytes) else str(value)
