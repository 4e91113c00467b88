"""The S3 store against real servers: Ceph with versions and locks, rclone without."""

import contextlib
import hashlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from drorch.core.clock import SystemClock
from drorch.core.errors import (
    AlreadyThere,
    ContentRefused,
    ObjectMissing,
    SecretError,
    StoreDenied,
    StoreError,
    StoreUnreachable,
)
from drorch.core.store import Lock
from drorch.stores._s3 import store as module
from drorch.stores._s3.bucket import Tried
from drorch.stores._s3.store import BucketStore
from drorch.stores._s3.wire import Request
from support.ceph import WRITER, Ceph
from support.rclone import RcloneS3
from support.s3 import Keys
from support.s3store import opened

LOCK = {"days": 1}


def digest(content: bytes) -> str:
    """Of SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def put(store: BucketStore, key: str, content: bytes = b"some content", **words: bool) -> str:
    """Put it; the version's id."""
    return store.put(key, content, sha256=digest(content), **words).version


@pytest.fixture
def plain(ceph: Ceph) -> BucketStore:
    """A store without versions, with a prefix, whose writer may delete too."""
    return opened(ceph.endpoint, ceph.bucket(), ceph.owner, deleter=ceph.owner, prefix="site-a")


@pytest.fixture
def locked(ceph: Ceph) -> BucketStore:
    """A store with locks of a day; the deleter owns it, the writer only writes."""
    bucket = ceph.bucket(lock=True)
    writer = ceph.user("writer")
    ceph.allow(bucket, [(writer, WRITER)])
    return opened(ceph.endpoint, bucket, writer, deleter=ceph.owner, lock=LOCK)


def test_what_is_put_is_there(plain: BucketStore) -> None:
    """A put object is listed, recorded and read as it was put, below the prefix, with times by the store's clock."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    plain.ready()
    receipt = plain.put("nas/config", b"one", sha256=digest(b"one"))
    md5 = hashlib.md5(b"one", usedforsecurity=False).hexdigest()
    (entry,) = plain.entries("nas/")
    recorded = plain.recorded("nas/config")
    assert (entry.key, entry.size, entry.md5, recorded.size, recorded.md5) == ("nas/config", 3, md5, 3, md5)
    assert before < entry.modified <= receipt.at
    assert recorded.modified <= receipt.at
    assert plain.read("nas/config", limit=3) == b"one"
    listed = plain.bucket.client.list_objects_v2(Bucket=plain.bucket.name)["Contents"]
    assert [item["Key"] for item in listed] == ["site-a/nas/config"]


KEYS = ("nas/a b+c%2F", "nas/data.x/1", "nas/data/1", "nas/data/\u00e4\u20ac\U0001f600", "nas/~'()*!;:@&=$,?#[]")


def test_any_key_is_a_key(plain: BucketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of all characters are put, listed in the order of their code points over many pages, and read."""
    monkeypatch.setattr(module, "PAGE", 2)
    for key in KEYS:
        put(plain, key, key.encode())
    put(plain, "nasty/other")
    assert [entry.key for entry in plain.entries("nas/")] == sorted(KEYS)
    assert [entry.key for entry in plain.entries("nas/data/")] == sorted(KEYS)[2:4]
    assert len(list(plain.entries(""))) == len(KEYS) + 1
    assert [plain.read(key, limit=99) for key in KEYS] == [key.encode() for key in KEYS]
    assert list(plain.entries("nothing/")) == []


def test_what_is_not_there(plain: BucketStore) -> None:
    """A missing object is missing to every verb, and removing it again is as good as done."""
    for verb in (lambda: plain.read("nas/a", limit=9), lambda: plain.recorded("nas/a")):
        with pytest.raises(ObjectMissing, match="nas/a"):
            verb()
    plain.remove("nas/a")


def test_too_large_to_read(plain: BucketStore) -> None:
    """An object larger than the limit is not read, and says so."""
    put(plain, "nas/a", b"12345")
    with pytest.raises(StoreError, match="more than 4 bytes"):
        plain.read("nas/a", limit=4)
    assert plain.read("nas/a", limit=5) == b"12345"


def test_content_that_does_not_match_is_refused(plain: BucketStore) -> None:
    """Content with the checksum of other content is refused, and nothing of it is kept."""
    with pytest.raises(ContentRefused, match="does not match its checksum"):
        plain.put("nas/a", b"one", sha256=digest(b"two"))
    assert list(plain.entries("")) == []
    tampered = plain.bucket.raw_send(Request("PUT", plain.bucket.key("nas/a"), body=b"one", sha256=digest(b"two")))
    assert (tampered.done, tampered.code) == (False, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("versioned", [False, True])
def test_only_if_absent(ceph: Ceph, versioned: bool) -> None:  # noqa: FBT001 - a case
    """A second put if absent is refused, with versions too, where Ceph itself ignores the condition."""
    store = opened(ceph.endpoint, ceph.bucket(versioned=versioned), ceph.owner)
    put(store, "nas/config", b"one", absent=True)
    with pytest.raises(AlreadyThere):
        put(store, "nas/config", b"two", absent=True)
    assert store.read("nas/config", limit=9) == b"one"


def test_of_many_at_once_one_is_first(ceph: Ceph) -> None:
    """Of several puts if absent at once exactly one wins, and its content stays."""
    store = opened(ceph.endpoint, ceph.bucket(), ceph.owner)

    def attempt(number: int) -> bytes:
        content = f"number {number}".encode()
        with contextlib.suppress(AlreadyThere):
            put(store, "nas/config", content, absent=True)
            return content
        return b""

    with ThreadPoolExecutor(12) as pool:
        won = [content for content in pool.map(attempt, range(12)) if content]
    assert won == [store.read("nas/config", limit=99)]


def test_many_lanes(plain: BucketStore) -> None:
    """Lanes of many threads put and read side by side, every object as it was."""
    contents = {f"nas/data/{number:03}": bytes([number]) * 5000 for number in range(120)}
    with ThreadPoolExecutor(plain.lanes) as pool:
        list(pool.map(lambda key: put(plain, key, contents[key]), contents))
        assert list(pool.map(lambda key: plain.read(key, limit=5000), contents)) == list(contents.values())
    assert 1 <= plain.bucket.at_once <= plain.lanes
    plain.close()
    assert len(list(plain.entries("nas/"))) == len(contents)


def test_versions_newest_first(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwritten and deleted versions are listed newest first, key by key, and each can be read."""
    monkeypatch.setattr(module, "PAGE", 2)
    store = opened(ceph.endpoint, ceph.bucket(versioned=True), ceph.owner, deleter=ceph.owner, prefix="p")
    ids = [put(store, "nas/a", content) for content in (b"1", b"2", b"3")]
    put(store, "nas/b")
    store.remove("nas/a")
    assert store.versioned
    marker, *found, last = store.versions("nas/")
    assert (marker.key, marker.deleted, marker.latest, last.key) == ("nas/a", True, True, "nas/b")
    assert [version.id for version in found] == ids[::-1]
    assert [store.read("nas/a", limit=9, version=version.id) for version in found] == [b"3", b"2", b"1"]
    assert store.recorded("nas/a", version=ids[0]).version == ids[0]
    for verb in (store.recorded, lambda key, version: store.read(key, limit=9, version=version)):
        with pytest.raises(ObjectMissing):
            verb("nas/a", version=marker.id)
    with pytest.raises(ObjectMissing):
        store.recorded("nas/a")
    store.remove("nas/a", version=marker.id)
    assert store.read("nas/a", limit=9) == b"3"
    store.remove("nas/a", version=ids[2])
    assert store.read("nas/a", limit=9) == b"2"


def test_without_versions_each_object_is_one(plain: BucketStore) -> None:
    """A bucket without versions gives its objects as their only versions."""
    put(plain, "nas/a")
    assert not plain.versioned
    (version,) = plain.versions("nas/")
    assert (version.key, version.latest, version.deleted) == ("nas/a", True, False)


def test_what_is_put_is_locked(locked: BucketStore) -> None:
    """Each put locks its version for the declared days by the store's clock, and the lock holds against the owner."""
    locked.ready()
    version = put(locked, "nas/a")
    recorded = locked.recorded("nas/a")
    assert recorded.mode == "governance"
    assert recorded.locked_until is not None
    assert timedelta(days=1) <= recorded.locked_until - recorded.modified < timedelta(days=1, seconds=10)
    with pytest.raises(StoreDenied, match="remove nas/a") as refused:
        locked.remove("nas/a", version=version)
    assert "still locked" in refused.value.hint
    assert locked.read("nas/a", limit=99) == b"some content"


def test_locks_are_extended_never_shortened(locked: BucketStore) -> None:
    """An extension lasts at least as long as asked; to ask for less than there is changes nothing and is no error."""
    put(locked, "nas/a")
    later = locked.bucket.now() + timedelta(days=3, microseconds=5)
    locked.extend("nas/a", until=later)
    until = locked.recorded("nas/a").locked_until
    assert until is not None
    assert timedelta() <= until - later < timedelta(seconds=2)
    locked.extend("nas/a", until=later - timedelta(days=1))
    assert locked.recorded("nas/a").locked_until == until
    with pytest.raises(ObjectMissing):
        locked.extend("nas/none", until=later)


def test_a_legal_hold_is_set_and_set_again(ceph: Ceph) -> None:
    """With a legal hold declared, puts and extensions hold the object."""
    bucket = ceph.bucket(lock=True)
    put(opened(ceph.endpoint, bucket, ceph.owner, lock=LOCK), "nas/old")
    store = opened(ceph.endpoint, bucket, ceph.owner, lock={"days": 1, "legal_hold": True})
    put(store, "nas/new")
    assert [store.recorded(key).held for key in ("nas/old", "nas/new")] == [False, True]
    store.extend("nas/old", until=store.bucket.now() + timedelta(days=1))
    assert store.recorded("nas/old").held
    for key in ("nas/old", "nas/new"):
        this = {"Bucket": bucket, "Key": key, "LegalHold": {"Status": "OFF"}}
        ceph.client().put_object_legal_hold(**this)


def test_the_writer_deletes_nothing(ceph: Ceph) -> None:
    """Without a deleter nothing is removed, and a deleter without the right is told so."""
    bucket, writer = ceph.bucket(), ceph.user("writer")
    ceph.allow(bucket, [(writer, WRITER)])
    store = opened(ceph.endpoint, bucket, writer)
    put(store, "nas/a")
    with pytest.raises(StoreDenied, match="without a credential for it") as refused:
        store.remove("nas/a")
    assert "deleter: of store offsite" in refused.value.hint
    with pytest.raises(StoreDenied, match="AccessDenied") as refused:
        opened(ceph.endpoint, bucket, writer, deleter=writer).remove("nas/a")
    assert "drorch store policy offsite" in refused.value.hint
    assert store.read("nas/a", limit=99) == b"some content"


def test_ransom_by_encryption_is_noticed(ceph: Ceph) -> None:
    """An object that somebody encrypted with a key of his own is recorded as such, and cannot be read quietly."""
    bucket = ceph.bucket(versioned=True)
    store = opened(ceph.tls_endpoint, bucket, ceph.owner, certificate=str(ceph.certificate))
    good = put(store, "nas/a")
    theirs = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    bad = store.bucket.client.put_object(Bucket=bucket, Key="nas/a", Body=b"ransom!", **theirs)["VersionId"]
    recorded = store.recorded("nas/a")
    assert (recorded.customer_key, recorded.size, recorded.version) == (True, 7, bad)
    assert store.recorded("nas/a", version=bad).customer_key
    with pytest.raises(StoreError, match="read nas/a: it refused"):
        store.read("nas/a", limit=99)
    assert not store.recorded("nas/a", version=good).customer_key
    assert store.read("nas/a", limit=99, version=good) == b"some content"


def test_through_tls(ceph: Ceph) -> None:
    """With its certificate named, a store is used through TLS, by both ways to call it."""
    store = opened(ceph.tls_endpoint, ceph.bucket(), ceph.owner, certificate=str(ceph.certificate))
    store.ready()
    put(store, "nas/a", b"x" * 300_000)
    assert store.read("nas/a", limit=300_000) == b"x" * 300_000


def test_nothing_of_this_machine_is_consulted(ceph: Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor ~/.aws changes where a store connects and with what credential."""
    bucket = ceph.bucket()
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_PROFILE": "nobody",
        "AWS_ACCESS_KEY_ID": "wrong",
        "AWS_SECRET_ACCESS_KEY": "wrong",
        "AWS_SESSION_TOKEN": "wrong",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_DEFAULT_REGION": "nowhere",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "config").write_text("[default]\nregion = nowhere\nendpoint_url = http://127.0.0.1:1\n")
    store = opened(ceph.endpoint, bucket, ceph.owner)
    store.ready()
    put(store, "nas/a")
    assert store.bucket.call("list_objects_v2")["KeyCount"] == 1


def test_botocore_is_loaded_only_when_used() -> None:
    """To know the kinds of stores loads neither boto3 nor botocore."""
    code = "import sys, drorch.stores; print([name for name in sys.modules if name.startswith('boto')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_lost_in_space(ceph: Ceph) -> None:
    """Calls by boto3's names are refused in our words, and single tries give the refusal as a result."""
    store = opened(ceph.endpoint, ceph.bucket(), ceph.owner)
    with pytest.raises(ObjectMissing, match="get object"):
        store.bucket.call("get_object", Key="none")
    assert store.bucket.raw("get_object", Key="none") == Tried(404, "NoSuchKey")
    assert not store.bucket.raw("head_object", Key="none").done


@pytest.mark.parametrize(
    ("change", "kind", "message", "hint"),
    [
        ({"bucket": "no-such-bucket"}, StoreError, "no such bucket", "drorch store create offsite"),
        ({"writer": "{id}:wrong"}, StoreDenied, "signature is wrong", "secret writer"),
        ({"writer": "nobody:{secret}"}, StoreDenied, "no such access key", "secret writer"),
        ({"writer": "{secret}"}, SecretError, "no access key", "ID:SECRET"),
        ({"endpoint": "http://127.0.0.1:{closed}"}, StoreUnreachable, "nothing listens", "check endpoint"),
        ({"endpoint": "http://no-such-name.invalid"}, StoreUnreachable, "no address", "check endpoint"),
        ({"endpoint": "https://127.0.0.1:{port}"}, StoreError, "does not speak TLS", "http://"),
        ({"endpoint": "http://127.0.0.1:{tls}"}, StoreUnreachable, "without an answer", "https://"),
        ({"endpoint": "https://127.0.0.1:{tls}"}, StoreError, "not trusted", "certificate:"),
        ({"endpoint": "https://127.0.0.1:{tls}", "certificate": "/no/file"}, StoreError, "/no/file", "PEM"),
        ({"endpoint": "http://127.0.0.1:{web}"}, StoreError, "not S3's (status 200, text/html)", "check endpoint"),
        ({"lock": LOCK}, StoreError, "made without Object Lock", "drorch store create offsite"),
    ],
)
def test_a_store_that_cannot_be_used(  # noqa: PLR0917 - fixtures and a case
    ceph: Ceph, website: int, change: dict[str, object], kind: type[Exception], message: str, hint: str
) -> None:
    """Whatever is wrong with a store is said at the first look: what, and what to do; no secret is shown."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ports = {"closed": probe.getsockname()[1], "web": website}
    ports |= {"port": ceph.cluster.port, "tls": ceph.cluster.tls_port}
    said: dict[str, object] = {"endpoint": ceph.endpoint, "bucket": ceph.bucket(), "writer": ":".join(ceph.owner)}
    words = {"id": ceph.owner.id, "secret": ceph.owner.secret, **ports}
    said |= {name: value.format(**words) if isinstance(value, str) else value for name, value in change.items()}
    store = opened(**said)  # type: ignore[arg-type]  # as the case says
    with pytest.raises(kind) as refused:
        store.ready()
    assert message in str(refused.value)
    assert hint in refused.value.hint  # type: ignore[attr-defined]  # all of ours have one
    assert ceph.owner.secret not in str(refused.value)


@pytest.fixture(scope="module")
def website() -> Iterator[int]:
    """The port of something that answers everything with a page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"<p>Hello!")

        def log_message(self, *words: object) -> None:
            """Nothing to say."""

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_locks_where_there_are_none(ceph: Ceph) -> None:
    """A put or an extension that should lock in a bucket without locks is refused with the remedy."""
    bucket = ceph.bucket()
    put(opened(ceph.endpoint, bucket, ceph.owner), "nas/a")
    store = opened(ceph.endpoint, bucket, ceph.owner, lock=LOCK)
    for verb in (lambda: put(store, "nas/b"), lambda: store.extend("nas/a", until=store.bucket.now())):
        with pytest.raises(StoreError, match="cannot lock") as refused:
            verb()
        assert "drorch store create offsite" in refused.value.hint
    assert [entry.key for entry in store.entries("")] == ["nas/a"]
    unlocked = opened(ceph.endpoint, bucket, ceph.owner)
    assert unlocked.lock is None
    assert store.lock == Lock(days=1)


class _Slow(SystemClock):
    """A clock that is twenty minutes behind."""

    def now(self) -> datetime:
        return super().now() - timedelta(minutes=20)


def test_a_wrong_clock_is_noticed_at_the_first_look(ceph: Ceph) -> None:
    """A clock that is minutes off is an error, with by how much."""
    store = opened(ceph.endpoint, ceph.bucket(), ceph.owner, clock=_Slow())
    with pytest.raises(StoreError, match=r"clock is 0:(20:00|19:59|20:01) behind the store's"):
        store.ready()
    assert abs(store.bucket.now() - datetime.now(UTC)) < timedelta(seconds=3)


def test_bandwidth_holds_for_all_lanes(ceph: Ceph) -> None:
    """What all lanes send together is no faster than the inventory allows."""
    store = opened(ceph.endpoint, ceph.bucket(), ceph.owner, bandwidth="1 MB/s", clock=SystemClock())
    began = store.bucket._clock.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: put(store, f"nas/{number}", bytes([number]) * 300_000), range(4)))
    seconds = store.bucket._clock.monotonic() - began
    assert seconds > 1.0


def test_rclone_is_a_store(rclone_s3: RcloneS3) -> None:
    """A server without versions and locks is used as one: put, look first, list, read, remove."""
    keys = Keys(rclone_s3.access_key, rclone_s3.secret_key)
    store = opened(rclone_s3.endpoint, rclone_s3.bucket(), keys, deleter=keys)
    store.ready()
    put(store, "nas/config", b"one", absent=True)
    with pytest.raises(AlreadyThere):
        put(store, "nas/config", b"two", absent=True)
    assert store.read("nas/config", limit=9) == b"one"
    assert store.recorded("nas/config").size == 3
    assert [(version.key, version.id) for version in store.versions("nas/")] == [("nas/config", "")]
    store.remove("nas/config")
    with pytest.raises(ObjectMissing):
        store.recorded("nas/config")
    with pytest.raises(StoreError, match="made without Object Lock"):
        opened(rclone_s3.endpoint, store.bucket.name, keys, lock=LOCK).ready()
