"""What every kind of store promises, whatever it is made of."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from drorch.core.errors import AlreadyThere, ContentRefused, ObjectMissing, StoreError
from drorch.core.store import Entry, Store
from support.stores import Stage, sha

LIMIT = 8 << 20
SIZES = (0, 1, 255, 4096, 32_767, 32_768, 32_769, 261_119, 261_121, 1 << 20, (4 << 20) + 1)
ODD = (
    # In the order of their code points: a folder's slash stands between - and 0.
    "nas-2/config",
    "nas/A",
    "nas/a b",
    "nas/a-b",
    "nas/a.b",
    "nas/a/b-c",
    "nas/a/b/c",
    "nas/a/b0",
    "nas/a0",
    "nas/a_b",
    "nas/config",
    "nas/data/0f/" + 64 * "0",
    "nas/data/f0/" + 64 * "f",
    "nas/é",
    "nas/\uffee",
    "nas/\U0001f600",
    "nas0/config",
)


def put(store: Store, key: str, content: bytes = b"x") -> None:
    """Write it."""
    store.put(key, content, sha256=sha(content))


def keys(store: Store, folder: str = "") -> list[str]:
    """What a listing tells."""
    return [entry.key for entry in store.entries(folder)]


def test_ready(store: Store) -> None:
    """A place that was made is ready, and says its name where it is shown."""
    store.ready()
    assert store.name in store.shown
    assert store.lanes >= 1


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back(store: Store, size: int) -> None:
    """An object of any size is listed with that size and read back the same."""
    content = os.urandom(size)
    put(store, "nas/object", content)
    (entry,) = store.entries("nas/")
    assert (entry.key, entry.size) == ("nas/object", size)
    assert store.read("nas/object", limit=LIMIT) == content


def test_order(stage: Stage) -> None:
    """A listing is in the order of the keys' code points, and holds every key below the folder and no other."""
    store = stage.open()
    for key in sorted(ODD, reverse=True):
        put(store, key)
    assert list(ODD) == sorted(ODD)
    other = stage.open()
    assert keys(other) == list(ODD)
    assert keys(other, "nas/") == [key for key in ODD if key.startswith("nas/")]
    assert keys(other, "nas/a/") == ["nas/a/b-c", "nas/a/b/c", "nas/a/b0"]


def test_many(stage: Stage) -> None:
    """A listing is complete, however many answers it takes."""
    wanted = [f"nas/data/{number % 7:02x}/{number:05}" for number in range(stage.many)]
    store = stage.open()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: put(store, key), wanted))
    assert keys(store, "nas/") == sorted(wanted)


def test_nothing(store: Store) -> None:
    """To list what is not there is no error, and gives nothing."""
    assert list(store.entries("")) == []
    assert list(store.entries("nas/keys/")) == []
    assert list(store.versions("nas/")) == []


@pytest.mark.parametrize(
    "ask",
    [lambda store: store.read("nas/x", limit=9), lambda store: store.recorded("nas/x")],
    ids=["read", "recorded"],
)
@pytest.mark.parametrize("beside", [None, "nas/x2", "nas/x/y"])
def test_missing(store: Store, ask: Callable[[Store], object], beside: str | None) -> None:
    """What is not there is told as missing, also where its name begins another's."""
    if beside:
        put(store, beside)
    with pytest.raises(ObjectMissing if beside != "nas/x/y" else StoreError):
        ask(store)


def test_limit(store: Store) -> None:
    """An object larger than the caller takes is refused, one that just fits is given."""
    put(store, "nas/object", b"12345")
    assert store.read("nas/object", limit=5) == b"12345"
    with pytest.raises(StoreError):
        store.read("nas/object", limit=4)


def test_wrong_checksum(stage: Stage) -> None:
    """Content that does not match its checksum is refused, and nothing of it is left behind."""
    store = stage.open()
    with pytest.raises(ContentRefused):
        store.put("nas/object", b"content", sha256=sha(b"other"))
    assert list(store.entries("")) == []
    assert files(stage) == []


def test_wrong_checksum_over_another(store: Store) -> None:
    """A refused put leaves what was there before as it was."""
    put(store, "nas/object", b"before")
    with pytest.raises(ContentRefused):
        store.put("nas/object", b"content", sha256=sha(b"other"))
    assert store.read("nas/object", limit=9) == b"before"


def test_twice(stage: Stage) -> None:
    """To put the same again is as good as once, also from another process."""
    for _ in range(2):
        put(stage.open(), "nas/object")
    assert keys(stage.open()) == ["nas/object"]
    if stage.folder is not None:
        assert len(files(stage)) == 1


def test_over(store: Store) -> None:
    """The newest content is what is read and listed."""
    put(store, "nas/object", b"before")
    put(store, "nas/object", b"after it")
    assert store.read("nas/object", limit=9) == b"after it"
    assert [entry.size for entry in store.entries("")] == [8]


def test_absent(stage: Stage) -> None:
    """Of those who put a key only if it is absent the first one wins, and the content stays the first one's."""
    stage.open().put("nas/config", b"first", sha256=sha(b"first"), absent=True)
    for content in (b"first", b"second"):
        with pytest.raises(AlreadyThere):
            stage.open().put("nas/config", content, sha256=sha(content), absent=True)
    assert stage.open().read("nas/config", limit=9) == b"first"
    if stage.folder is not None:
        assert len(files(stage)) == 1


def test_absent_race(stage: Stage) -> None:
    """Of eight who put a key only if it is absent, all at once, exactly one wins, and its content is there."""
    if not stage.conditional:
        pytest.skip("this server has no such condition, as its probe tells")

    def attempt(number: int) -> bytes | None:
        content = b"content of %d" % number
        try:
            stage.open().put("nas/config", content, sha256=sha(content), absent=True)
        except AlreadyThere:
            return None
        return content

    with ThreadPoolExecutor(8) as threads:
        won = [content for content in threads.map(attempt, range(8)) if content is not None]
    assert won == [stage.open().read("nas/config", limit=99)]


def test_times(store: Store) -> None:
    """A receipt's time is in UTC and not before the object's, in listings and in what is recorded."""
    receipt = store.put("nas/object", b"x", sha256=sha(b"x"))
    (entry,) = store.entries("")
    recorded = store.recorded("nas/object")
    assert entry.modified <= receipt.at
    assert recorded.modified.replace(microsecond=0) == entry.modified.replace(microsecond=0)
    assert entry.modified.tzinfo is UTC or entry.modified.utcoffset() == timedelta()


def test_recorded(store: Store) -> None:
    """What was recorded is the size, and a checksum only if it is the right one."""
    put(store, "nas/object", b"content")
    recorded = store.recorded("nas/object")
    assert recorded.size == 7
    assert recorded.sha256 in {"", sha(b"content")}
    assert recorded.locked_until is None
    assert not recorded.customer_key


def test_remove(stage: Stage) -> None:
    """What was removed is neither listed nor read; gone already is as good."""
    store = stage.open()
    put(store, "nas/a")
    put(store, "nas/ab")
    for _ in range(2):
        stage.open().remove("nas/a")
    assert keys(store) == ["nas/ab"]
    with pytest.raises(ObjectMissing):
        store.read("nas/a", limit=9)


def test_versions(store: Store) -> None:
    """Versions are all that was put, the newest first, and the objects alone where nothing is kept."""
    for content in (b"1", b"22"):
        put(store, "nas/a", content)
    put(store, "nas/ab")
    store.remove("nas/ab")
    put(store, "other/a")
    told = [(version.key, version.size, version.deleted, version.latest) for version in store.versions("nas/")]
    if store.versioned:
        kept = [("nas/a", 2, False, True), ("nas/a", 1, False, False)]
        assert told == [*kept, ("nas/ab", 0, True, True), ("nas/ab", 1, False, False)]
    else:
        assert told == [("nas/a", 2, False, True)]
    for version in store.versions("nas/a"):
        if not version.deleted:
            content = store.read(version.key, limit=9, version=version.id)
            assert len(content) == version.size == store.recorded(version.key, version=version.id).size


def test_removed_version(store: Store) -> None:
    """A version that is removed is gone for good, and the others are not."""
    for content in (b"1", b"22"):
        put(store, "nas/a", content)
    newest = next(store.versions("nas/a"))
    store.remove("nas/a", version=newest.id)
    assert [version.size for version in store.versions("nas/a")] == ([1] if store.versioned else [])


def test_no_lock(store: Store) -> None:
    """A store without a lock does not pretend to keep anything locked."""
    assert store.lock is None
    put(store, "nas/object")
    with pytest.raises(StoreError):
        store.extend("nas/object", until=datetime.now(UTC) + timedelta(days=1))


def test_probe(stage: Stage) -> None:
    """A probe finds what the store is, says so in words, and leaves nothing that a listing shows."""
    store = stage.open()
    put(store, "nas/object")
    probe = store.probe()
    assert probe.grade is stage.grade, probe.trials
    assert probe.good("second_put") is stage.conditional
    assert all(trial.answer and not trial.what.endswith(".") for trial in probe.trials)
    assert keys(store) == ["nas/object"]


def test_eight_at_once(stage: Stage) -> None:
    """Eight threads put, read, list and remove through one store, and none sees another's bytes."""
    store = stage.open()
    contents = {f"nas/data/{number % 3:02}/{number}": os.urandom(50_000 + number) for number in range(24)}

    def work(item: tuple[str, bytes]) -> bool:
        key, content = item
        put(store, key, content)
        whole = store.read(key, limit=LIMIT) == content and key in keys(store, "nas/")
        if key.endswith("7"):
            store.remove(key)
        return whole

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, contents.items()))
    left = {key: len(content) for key, content in contents.items() if not key.endswith("7")}
    assert {entry.key: entry.size for entry in store.entries("")} == left


def test_again_after_closing(store: Store) -> None:
    """A store that gave back its connections can be used again."""
    put(store, "nas/object")
    store.close()
    put(store, "nas/other")
    store.close()
    assert keys(store) == ["nas/object", "nas/other"]


def test_listing_while_it_changes(store: Store) -> None:
    """Objects that come and go while a listing is read break neither it nor its order."""
    for number in range(40):
        put(store, f"nas/data/{number % 8:02}/{number:02}")
    seen: list[Entry] = []
    for entry in store.entries("nas/"):
        seen.append(entry)
        if len(seen) == 5:
            for number in range(30, 40):
                store.remove(f"nas/data/{number % 8:02}/{number:02}")
            put(store, "nas/data/99/99")
    told = [entry.key for entry in seen]
    assert told == sorted(told)
    assert {f"nas/data/{number % 8:02}/{number:02}" for number in range(30)} <= set(told)


def files(stage: Stage) -> list[str]:
    """All files of a store that keeps files, the marker apart: leftovers too."""
    if stage.folder is None:
        return []
    return sorted(path.name for path in stage.folder.rglob("*") if path.is_file() and path.name != ".drorch-store")
