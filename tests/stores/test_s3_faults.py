"""The S3 store when things go wrong, against a strict server that verifies everything and fails on demand."""

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from drorch.core.errors import (
    AlreadyThere,
    ContentRefused,
    Interrupted,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnreachable,
)
from drorch.stores._s3 import store as module
from drorch.stores._s3.retry import Patience
from drorch.stores._s3.store import BucketStore
from drorch.stores._s3.wire import Timeouts
from support.s3store import Hurried, opened, secrets_of
from support.strict import faults
from support.strict.faults import Struck
from support.strict.server import Seen, StrictS3, running_strict
from support.strict.words import Reply, Request

CONTENT = b"some content of a pack" * 100
KEY = "nas/data/4f/4f"


def digest(content: bytes) -> str:
    """Of SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def put(store: BucketStore, key: str = KEY, content: bytes = CONTENT, *, absent: bool = False) -> None:
    """Put it."""
    store.put(key, content, sha256=digest(content), absent=absent)


@pytest.fixture
def fake() -> Iterator[StrictS3]:
    """A server of the test's own."""
    with running_strict() as server:
        yield server


@pytest.fixture
def store(fake: StrictS3) -> BucketStore:
    """A store there; nobody waits."""
    return opened(fake.endpoint, fake.bucket(), fake.owner, deleter=fake.owner)


def slept(store: BucketStore) -> list[float]:
    """What was waited between tries."""
    clock = store.bucket._clock
    assert isinstance(clock, Hurried)
    return clock.slept


PASSING = [
    pytest.param(faults.INTERNAL, id="500"),
    pytest.param(faults.UNAVAILABLE, id="503"),
    pytest.param(faults.SLOW_DOWN, id="slow down"),
    pytest.param(faults.TOO_MANY, id="429"),
    pytest.param(faults.HIDDEN, id="error in a success"),
    pytest.param(faults.Lost(), id="answer lost"),
    pytest.param(faults.Cut(), id="answer cut"),
    pytest.param(faults.Reset(), id="reset"),
]


@pytest.mark.parametrize("effect", PASSING)
def test_a_put_survives_what_passes(fake: StrictS3, store: BucketStore, effect: faults.Effect) -> None:
    """A put that meets a passing fault twice is tried again, and the object is whole."""
    fault = fake.inject(effect, on="PutObject", times=2)
    put(store)
    assert fault.struck >= 1
    assert fake.live(store.bucket.name) == {KEY: CONTENT}


def _extended(store: BucketStore) -> bool:
    until = store.bucket.now() + timedelta(days=9)
    store.extend(KEY, until=until)
    found = store.recorded(KEY).locked_until
    return found is not None and found >= until


def _removed(store: BucketStore) -> bool:
    store.remove(KEY)
    return list(store.entries("")) == []


def _ready(store: BucketStore) -> bool:
    store.ready()
    return True


VERBS: dict[str, tuple[str, Callable[[BucketStore], object]]] = {
    "read": ("GetObject", lambda store: store.read(KEY, limit=9999) == CONTENT),
    "recorded": ("HeadObject", lambda store: store.recorded(KEY).size == len(CONTENT)),
    "entries": ("ListObjectsV2", lambda store: [entry.key for entry in store.entries("nas/")] == [KEY]),
    "versions": ("ListObjectVersions", lambda store: [item.key for item in store.versions("nas/")] == [KEY]),
    "remove": ("DeleteObject", _removed),
    "extend": ("PutObjectRetention", _extended),
    "ready": ("GetObjectLockConfiguration", _ready),
}


@pytest.mark.parametrize(
    ("verb", "effect"),
    [
        pytest.param(verb, effect.values[0], id=f"{verb}: {effect.id}")
        for verb in VERBS
        for effect in PASSING
        # In place of an object's bytes an error is told by their hash only, and a HEAD has no body to hide it in.
        if effect.values[0] is not faults.HIDDEN or verb not in {"read", "recorded"}
    ],
)
def test_every_verb_survives_what_passes(fake: StrictS3, verb: str, effect: faults.Effect) -> None:
    """Each verb that meets a passing fault twice is tried again and does what it should."""
    operation, act = VERBS[verb]
    store = opened(fake.endpoint, fake.bucket(lock=True), fake.owner, deleter=fake.owner, lock={"days": 1})
    put(store)
    fault = fake.inject(effect, on=operation, times=2)
    assert act(store)
    assert fault.struck >= 1


def test_a_busy_store_gets_fewer_calls(fake: StrictS3, store: BucketStore) -> None:
    """Told to slow down, fewer calls at once are made, and the store's own wish of how long to wait is kept."""
    for number in range(40):
        put(store, f"nas/{number}", b"x")
    before = store.bucket.at_once
    assert before > 1
    fake.inject(faults.TOO_MANY, times=1)
    put(store)
    assert store.bucket.at_once < before
    assert slept(store)[-1] >= 1.0


def test_patience_ends_with_an_error_that_can_be_retried(fake: StrictS3) -> None:
    """A store that fails for ever is given up after the tries, as an error that says so."""
    store = opened(fake.endpoint, fake.bucket(), fake.owner, patience=Patience(tries=4))
    fault = fake.inject(faults.INTERNAL, times=None)
    with pytest.raises(StoreUnreachable, match="InternalError") as given_up:
        put(store)
    assert fault.struck == 4
    assert given_up.value.retryable


def test_a_stop_is_heard_between_tries(fake: StrictS3) -> None:
    """Who waits for the next try stops at once when asked to."""

    class Stopped(Hurried):
        def sleep(self, seconds: float) -> None:
            raise Interrupted

    store = opened(fake.endpoint, fake.bucket(), fake.owner, clock=Stopped())
    fake.inject(faults.INTERNAL)
    with pytest.raises(Interrupted):
        put(store)


def test_an_answer_lost_after_the_put_is_success(fake: StrictS3, store: BucketStore) -> None:
    """A put if absent whose answer was lost finds its own object, which is success."""
    fault = fake.inject(faults.Lost(), on="PutObject")
    put(store, absent=True)
    assert fault.struck == 1
    assert fake.live(store.bucket.name) == {KEY: CONTENT}


def test_another_ones_object_is_no_success(fake: StrictS3) -> None:
    """After a lost answer, an object of other content is another's: it is not taken for ours."""
    bucket = fake.bucket()

    class Meanwhile(Hurried):
        def sleep(self, seconds: float) -> None:
            fake.plant(bucket, KEY, b"theirs")

    store = opened(fake.endpoint, bucket, fake.owner, clock=Meanwhile())
    fake.inject(faults.INTERNAL, on="PutObject")
    with pytest.raises(AlreadyThere):
        put(store, absent=True)
    assert fake.live(bucket) == {KEY: b"theirs"}


@pytest.mark.parametrize("effect", [faults.CONFLICT, faults.PRECONDITION])
def test_a_conflict_is_looked_into(fake: StrictS3, store: BucketStore, effect: faults.Answer) -> None:
    """A put if absent that crosses another is done when nothing is there, and refused when something is."""
    fake.inject(effect, on="PutObject")
    if effect is faults.CONFLICT:
        put(store, absent=True)
        assert fake.live(store.bucket.name) == {KEY: CONTENT}
    else:
        with pytest.raises(AlreadyThere):
            put(store, absent=True)


def test_a_store_that_cannot_put_if_absent(
    fake: StrictS3, store: BucketStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the condition is not implemented, drorch looks first instead, and says so once."""
    fake.inject(faults.Answer(501, "NotImplemented"), on="PutObject")
    put(store, absent=True)
    with pytest.raises(AlreadyThere):
        put(store, absent=True)
    put(store, "nas/other", absent=True)
    assert [record.getMessage() for record in caplog.records if "looks first" in record.getMessage()] != []
    assert len([record for record in caplog.records if "looks first" in record.getMessage()]) == 1
    assert [request.headers.get("if-none-match", "") for request in fake.requests("PutObject")] == ["*", "", ""]


def test_a_put_says_all_checksums(fake: StrictS3, store: BucketStore) -> None:
    """Both checksums are sent, the payload is signed, and the receipt says what the store computed."""
    receipt = store.put(KEY, CONTENT, sha256=digest(CONTENT))
    (request,) = fake.requests("PutObject")
    assert request.headers["x-amz-content-sha256"] == digest(CONTENT)
    assert request.headers["content-md5"]
    assert request.headers["x-amz-checksum-sha256"]
    assert "transfer-encoding" not in request.headers
    assert receipt.sha256 == digest(CONTENT) == store.recorded(KEY).sha256


def test_damage_on_the_way_is_sent_again(fake: StrictS3, store: BucketStore) -> None:
    """Content that arrives damaged is sent again; if it always does, or was wrong from the start, it is refused."""
    fault = fake.inject(faults.Answer(400, "BadDigest"), on="PutObject")
    put(store)
    assert fault.struck == 1
    fake.inject(faults.Answer(400, "BadDigest"), on="PutObject", times=None)
    with pytest.raises(ContentRefused):
        put(store, "nas/other")
    assert len(fake.requests("PutObject", "nas/other")) == module.CORRUPTED
    with pytest.raises(ContentRefused, match="its content does not match"):
        store.put("nas/wrong", b"one", sha256=digest(b"two"))
    assert len(fake.requests("PutObject", "nas/wrong")) == 1


class _Lying(StrictS3):
    """A server that tells the checksum of something else."""

    def _answer(self, request: Request, seen: Seen, struck: Struck) -> Reply:
        reply = super()._answer(request, seen, struck)
        if "ETag" in reply.headers:
            reply.headers["ETag"] = f'"{"0" * 32}"'
        return reply


def test_a_store_that_took_something_else_is_not_believed() -> None:
    """An answer whose checksum is not that of the content is an error, although it says success."""
    server = _Lying()
    try:
        store = opened(server.endpoint, server.bucket(), server.owner)
        with pytest.raises(StoreError, match="took other content") as refused:
            put(store)
    finally:
        server.close()
    assert "probe offsite" in refused.value.hint


def test_a_session_renewed_meanwhile_goes_on(fake: StrictS3, store: BucketStore) -> None:
    """When a session expires in the middle, its secret is read once more, and the pass goes on with the new one."""
    put(store, "nas/1")
    newer = fake.user("newer", ["s3:*"])
    secrets_of(store).values["writer"] = ":".join(newer)
    fake.expire(fake.owner)
    put(store, "nas/2")
    assert [request.signer for request in fake.requests("PutObject", "nas/2")][-1] == newer.id
    assert secrets_of(store).renewed == 1


def test_a_session_that_nobody_renewed_is_told(fake: StrictS3, store: BucketStore) -> None:
    """An expired session without a newer secret is refused at once, with the name of the secret."""
    fake.expire(fake.owner)
    with pytest.raises(StoreDenied, match="expired") as refused:
        put(store)
    assert "renew secret writer" in refused.value.hint
    with pytest.raises(StoreDenied, match="expired"):
        store.recorded(KEY)
    assert slept(store) == []


@pytest.mark.parametrize("minutes", [20, -20])
def test_a_wrong_clock_is_told_by_how_much(fake: StrictS3, store: BucketStore, minutes: int) -> None:
    """A store that refuses our time leads to an error with the difference and its direction."""
    fake.skew = timedelta(minutes=minutes)
    with pytest.raises(StoreError, match="behind" if minutes > 0 else "ahead of") as refused:
        store.ready()
    assert "19:5" in refused.value.message or "20:0" in refused.value.message
    assert "timedatectl" in refused.value.hint


def test_locks_count_by_the_stores_clock(fake: StrictS3) -> None:
    """A store whose clock is a little ahead locks for the declared days by its own clock."""
    store = opened(fake.endpoint, fake.bucket(lock=True), fake.owner, lock={"days": 1})
    fake.skew = timedelta(minutes=4)
    store.ready()
    put(store)
    recorded = store.recorded(KEY)
    assert recorded.locked_until is not None
    assert recorded.locked_until >= recorded.modified + timedelta(days=1)


def test_a_trickle_is_given_up(fake: StrictS3) -> None:
    """An answer that comes byte by byte is given up after the call's time, though no single wait is long."""
    timeouts = Timeouts(connect=5, idle=2, call=0.5, slowest=1e6)
    store = opened(fake.endpoint, fake.bucket(), fake.owner, timeouts=timeouts, patience=Patience(tries=2))
    fake.plant(store.bucket.name, KEY, CONTENT)
    fake.inject(faults.Drip(piece=1, pause=0.05), on="GetObject", times=None)
    began = time.monotonic()
    with pytest.raises(StoreUnreachable, match="no answer in time"):
        store.read(KEY, limit=9999)
    assert time.monotonic() - began < 4
    fake.mend()
    assert store.read(KEY, limit=9999) == CONTENT


def test_a_stop_is_heard_while_a_store_says_nothing(fake: StrictS3) -> None:
    """Who waits for the first byte of an answer stops when asked to, and does not wait for that byte."""

    class Stopped(Hurried):
        def sleep(self, seconds: float) -> None:
            raise Interrupted

    store = opened(fake.endpoint, fake.bucket(), fake.owner, clock=Stopped())
    fake.inject(faults.Late(3), on="PutObject")
    with pytest.raises(Interrupted):
        put(store)


def test_a_late_answer_is_given_up(fake: StrictS3) -> None:
    """A store that says nothing is not waited for longer than allowed, and asked again."""
    store = opened(fake.endpoint, fake.bucket(), fake.owner, timeouts=Timeouts(idle=0.3, call=5))
    fake.inject(faults.Late(1.5), on="PutObject")
    put(store)
    assert fake.live(store.bucket.name) == {KEY: CONTENT}


def test_a_listing_goes_on_after_a_fault(fake: StrictS3, store: BucketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing of many pages meets faults on its way and still gives every object once, in order."""
    monkeypatch.setattr(module, "PAGE", 10)
    keys = [f"nas/data/{number:03}" for number in range(95)]
    for key in keys:
        fake.plant(store.bucket.name, key, b"x")
    effects: list[faults.Effect] = [faults.Cut(50), faults.INTERNAL, faults.Lost(), faults.SLOW_DOWN]
    for number, effect in enumerate(effects):
        fake.inject(effect, on="ListObjectsV2", skip=2 * number + 1)
    assert [entry.key for entry in store.entries("nas/")] == keys


def test_a_stale_listing_is_no_judge_of_one_object(fake: StrictS3, store: BucketStore) -> None:
    """An object that a stale listing leaves out is still recorded and read, one that it still shows is missing."""
    put(store)
    fake.inject(faults.Hide("*4f"), on="ListObjectsV2")
    assert list(store.entries("nas/")) == []
    assert store.recorded(KEY).size == len(CONTENT)
    fake.inject(faults.Ghost("nas/ghost"), on="ListObjectsV2")
    assert "nas/ghost" in [entry.key for entry in store.entries("nas/")]
    with pytest.raises(ObjectMissing):
        store.recorded("nas/ghost")


def test_a_missing_bucket_is_not_a_missing_object(fake: StrictS3) -> None:
    """When the bucket is gone, an object is not said to be missing: that would be another finding."""
    store = opened(fake.endpoint, "no-such-bucket", fake.owner)
    for verb in (lambda: store.recorded(KEY), lambda: store.read(KEY, limit=9)):
        with pytest.raises(StoreError, match="no such bucket") as refused:
            verb()
        assert type(refused.value) is StoreError


def test_an_object_that_comes_between_two_looks_is_there(fake: StrictS3, store: BucketStore) -> None:
    """An object that was missing a moment ago and is there when the reason is asked for is looked at again."""
    put(store)
    fake.inject(faults.Answer(404, "NoSuchKey"), on="HeadObject", times=2)
    assert store.recorded(KEY).size == len(CONTENT)
    fake.inject(faults.Answer(404, "NoSuchKey"), on="HeadObject", times=None)
    with pytest.raises(StoreError, match="can be read, but not looked at"):
        store.recorded(KEY)


def test_no_more_calls_at_once_than_declared(fake: StrictS3) -> None:
    """However many threads use the store, no more calls are made at once than the inventory allows."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only here

    store = opened(fake.endpoint, fake.bucket(), fake.owner, parallel=3)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: put(store, f"nas/{number}", b"x"), range(60)))
    assert fake.peak <= 3
