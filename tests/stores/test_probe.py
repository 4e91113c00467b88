"""What a probe finds out about real servers, and about one that plays bad ones."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from drorch.core.store import Grade, Lock, Probe
from drorch.stores._s3 import bench
from drorch.stores._s3.policy import policies
from drorch.stores._s3.store import BucketStore
from drorch.stores._trials import FOLDER
from support.ceph import Ceph
from support.rclone import RcloneS3
from support.s3store import opened
from support.strict.faults import INTERNAL, Lost
from support.strict.holdings import MD5_ONLY, NEITHER, Traits
from support.strict.server import StrictS3, running_strict

LOCK = {"days": 30}


def found(probe: Probe) -> dict[str, bool | None]:
    """Each trial's outcome."""
    return {trial.name: trial.good for trial in probe.trials}


def answer(probe: Probe, name: str) -> str:
    """What the store said."""
    (said,) = (trial.answer for trial in probe.trials if trial.name == name)
    return said


@pytest.fixture
def guarded(ceph: Ceph) -> Callable[[str], BucketStore]:
    """A bucket of Ceph with locks, its users allowed what the printed policies say; opened with or without deleter."""
    bucket = ceph.bucket(lock=True)
    printed = policies(bucket, "site", Lock(days=30)).documents
    users = {whom: ceph.user(whom) for whom in printed}
    statements = [
        {**statement, "Principal": {"AWS": [f"arn:aws:iam:::user/{keys.id}"]}}
        for whom, keys in users.items()
        for statement in printed[whom]["Statement"]
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    ceph.client().put_bucket_policy(Bucket=bucket, Policy=policy)

    def open_(whose: str) -> BucketStore:
        deleter = users["deleter"] if "deleter" in whose else None
        return opened(ceph.endpoint, bucket, users["writer"], deleter=deleter, lock=LOCK, prefix="site")

    return open_


@pytest.mark.parametrize("whose", ["writer", "writer and deleter"])
def test_a_ceph_with_locks_refuses_and_locks(guarded: Callable[[str], BucketStore], whose: str) -> None:
    """Under the printed policies a real server gets the best grade, by MD5 where it does not know SHA-256."""
    store = guarded(whose)
    store.ready()
    probe = store.probe()
    assert probe.grade is Grade.LOCKS, probe
    assert found(probe)["wrong_md5"] is True
    assert found(probe)["locked_deletion"] is True
    assert ("by object lock" in answer(probe, "locked_deletion")) is ("deleter" in whose)


def test_a_writer_that_may_pass_by_the_lock_is_found_out(ceph: Ceph) -> None:
    """Governance yields to the owner: a thief of such a writer's key deletes, so the store does not count as locked."""
    probe = opened(ceph.endpoint, ceph.bucket(lock=True), ceph.owner, lock=LOCK).probe()
    assert probe.grade is Grade.REFUSES
    assert "asking to pass by the lock" in answer(probe, "locked_deletion")


def test_a_ceph_without_locks_refuses(ceph: Ceph) -> None:
    """Without a lock the best is to refuse; and nothing of the probe is left, versions included."""
    bucket = ceph.bucket(versioned=True)
    probe = opened(ceph.endpoint, bucket, ceph.owner, prefix="site").probe()
    assert probe.grade is Grade.REFUSES
    left = ceph.client().list_object_versions(Bucket=bucket)
    assert (left.get("Versions", []), left.get("DeleteMarkers", [])) == ([], [])


def test_a_customer_key_is_a_warning_only(ceph: Ceph) -> None:
    """Over TLS the default Ceph encrypts with anybody's key: told, and no part of the grade."""
    store = opened(ceph.tls_endpoint, ceph.bucket(), ceph.owner, certificate=str(ceph.certificate))
    probe = store.probe()
    assert found(probe)["customer_key"] is False
    assert probe.grade is Grade.REFUSES


def test_rclone_takes_what_is_tampered_with(rclone_s3: RcloneS3) -> None:
    """The server of rclone checks an MD5 and no payload: it takes what changed on its way, and is not to be trusted."""
    probe = opened(rclone_s3.endpoint, rclone_s3.bucket(), rclone_s3.owner).probe()
    assert (found(probe)["wrong_md5"], found(probe)["tampered_payload"]) == (True, False)
    assert probe.grade is Grade.NEITHER


BAD: dict[str, tuple[Traits, Grade, dict[str, bool | None]]] = {
    "none": (Traits(), Grade.LOCKS, {"customer_key": False, "second_put": True}),
    "knows no SHA-256": (Traits(sha256="ignores"), Grade.LOCKS, {"wrong_sha256": False, "wrong_md5": True}),
    "believes any SHA-256": (Traits(sha256="believes", md5="ignores"), Grade.NEITHER, {"wrong_sha256": False}),
    "ignores MD5": (Traits(md5="ignores"), Grade.LOCKS, {"wrong_sha256": True, "wrong_md5": False}),
    "ignores the payload": (Traits(payload="ignores"), Grade.NEITHER, {"tampered_payload": False}),
    "ignores conditions": (Traits(conditions=False), Grade.LOCKS, {"second_put": False}),
    "shortens": (Traits(locks="shortens"), Grade.REFUSES, {"locked_shortening": False}),
    "deletes": (Traits(locks="deletes"), Grade.REFUSES, {"locked_deletion": False}),
    "refuses customers' keys": (Traits(customer_keys=False), Grade.LOCKS, {"customer_key": True}),
}


@pytest.mark.parametrize("name", BAD)
def test_each_badness_is_found_out(name: str) -> None:
    """A store with one weakness is graded by it, and all other trials go well."""
    traits, grade, expected = BAD[name]
    with running_strict(traits) as server:
        writer = server.user("writer", ["s3:Get*", "s3:List*", "s3:Put*"])
        store = opened(server.endpoint, server.bucket(lock=True), writer, deleter=server.owner, lock=LOCK)
        probe = store.probe()
    assert probe.grade is grade, probe
    assert {key: found(probe)[key] for key in expected} == expected, probe


@pytest.mark.parametrize(("traits", "grade"), [(MD5_ONLY, Grade.REFUSES), (NEITHER, Grade.NEITHER)])
def test_stores_without_locks(traits: Traits, grade: Grade) -> None:
    """Without locks a store that verifies an MD5 refuses, and one that believes everything does not."""
    with running_strict(traits) as server:
        assert opened(server.endpoint, server.bucket(), server.owner).probe().grade is grade


def test_a_lock_that_nothing_shows_is_none() -> None:
    """A store that was to lock, and knows no locks, gets no credit for any."""
    with running_strict(Traits(locks="none")) as server:
        probe = opened(server.endpoint, server.bucket(), server.owner, lock=LOCK).probe()
    assert probe.grade is not Grade.LOCKS
    assert found(probe)["locked_deletion"] is not True


def test_a_refusal_of_everything_is_no_refusal(strict_s3: StrictS3) -> None:
    """A credential that may not write is refused wrong content too: that shows nothing, and the grade is the worst."""
    reader = strict_s3.user("reader", ["s3:Get*", "s3:List*"])
    probe = opened(strict_s3.endpoint, strict_s3.bucket(lock=True), reader, lock=LOCK).probe()
    assert probe.grade is Grade.NEITHER
    assert not any(found(probe).values())
    assert found(probe)["wrong_sha256"] is None


@pytest.mark.parametrize("key", ["*/wrong-sha256", "*/tampered"])
@pytest.mark.parametrize("effect", [INTERNAL, Lost()])
def test_a_failure_is_no_refusal(strict_s3: StrictS3, key: str, effect: object) -> None:
    """A store that fails, or whose answer is lost, has not refused: that trial stays open."""
    strict_s3.inject(effect, on="PutObject", key=key)  # type: ignore[arg-type]  # both are effects
    probe = opened(strict_s3.endpoint, strict_s3.bucket(lock=True), strict_s3.owner, lock=LOCK).probe()
    outcome = found(probe)["tampered_payload" if "tampered" in key else "wrong_sha256"]
    assert outcome is None


def test_an_error_after_the_deed_is_found_out() -> None:
    """A store that says no and keeps the content all the same is caught by looking for it."""
    with running_strict(Traits(sha256="believes")) as server:
        bucket = server.bucket()
        store = opened(server.endpoint, bucket, server.owner)
        send = store.bucket.raw_send

        def lying(request: object, **words: object) -> object:
            tried = send(request, **words)  # type: ignore[arg-type]  # passed on as they came
            from drorch.stores._s3.bucket import Tried  # noqa: PLC0415 - only for this lie

            wrong = str(getattr(request, "key", "")).endswith("wrong-sha256")
            return Tried(400, "BadDigest") if wrong and getattr(request, "method", "") == "PUT" else tried

        store.bucket.raw_send = lying  # type: ignore[assignment,method-assign]  # the lie
        probe = store.probe()
    assert found(probe)["wrong_sha256"] is False
    assert "kept it all the same" in answer(probe, "wrong_sha256")


def test_a_silent_store_is_not_waited_for_seven_times() -> None:
    """After two trials without an answer the others are left open at once."""
    with running_strict() as server:
        server.inject(Lost(), on="PutObject", times=None)
        probe = opened(server.endpoint, server.bucket(), server.owner).probe()
        assert len(server.requests("PutObject")) == 2
    assert probe.grade is Grade.NEITHER
    assert "stopped to answer" in answer(probe, "customer_key")


def test_litter_of_earlier_probes_is_removed(strict_s3: StrictS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had to be left, since it was locked, goes with a later probe; nothing else does."""
    bucket = strict_s3.bucket(lock=True)
    strict_s3.plant(bucket, "nas/config", b"precious")
    store = opened(strict_s3.endpoint, bucket, strict_s3.owner, deleter=strict_s3.owner, lock=LOCK)
    store.probe()
    first = {key for key in strict_s3.live(bucket) if key.startswith(FOLDER)}
    assert first
    strict_s3.later = timedelta(hours=1)
    monkeypatch.setattr(bench, "_OLD", timedelta(hours=-2))
    store.probe()
    assert not first & strict_s3.live(bucket).keys()
    assert strict_s3.live(bucket)["nas/config"] == b"precious"
