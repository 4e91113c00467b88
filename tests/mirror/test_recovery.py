"""Recovery where somebody with the writer's credential added files whose hash is their name."""

from datetime import timedelta

import pytest

from drorch.core.errors import StoreError
from drorch.mirror.keys import is_key
from drorch.mirror.names import Kind
from drorch.mirror.recover import KEYS, Recovered, recover
from drorch.mirror.transfer import Known, transfer
from drorch.stores.memory import MemoryStore
from support.mirrors import FOLDER, Home, key_file, offsite, sha


@pytest.fixture
def home() -> Home:
    """A repository with one backup."""
    home = Home()
    home.back_up()
    return home


@pytest.fixture
def store(home: Home) -> MemoryStore:
    """Its copy, an hour old."""
    store = offsite(home.clock)
    transfer(home.shelf, store, FOLDER, Known())
    home.clock.at += timedelta(hours=1)
    return store


def _forge(store: MemoryStore, kind: Kind, content: bytes) -> None:
    store.put(f"{FOLDER}{kind.value}/{sha(content)}", content, sha256=sha(content))


def _recovered(home: Home, store: MemoryStore, back: timedelta | None = None) -> tuple[Recovered, set[str]]:
    into = MemoryStore("folder", clock=home.clock, versioned=False)
    done = recover(store, FOLDER, into, as_of=home.clock.at - back if back else None, config="")
    return done, {entry.key for entry in into.entries("keys/")}


def test_what_is_no_key_is_left_out(home: Home, store: MemoryStore) -> None:
    """One such file, and restic would not open the repository."""
    _forge(store, Kind.KEYS, b"junk")
    _forge(store, Kind.KEYS, key_file("mallory", N=1 << 30))
    done, keys = _recovered(home, store)
    assert keys == {entry.key for entry in home.shelf.entries("keys/")}
    assert done.strange_keys == 2


def test_many_keys_do_not_hide_the_right_one(home: Home, store: MemoryStore) -> None:
    """Those that came first are taken; restic tries no more than 20."""
    for number in range(40):
        _forge(store, Kind.KEYS, key_file(f"mallory {number}"))
    done, keys = _recovered(home, store)
    assert keys > {entry.key for entry in home.shelf.entries("keys/")}
    assert (len(keys), done.strange_keys) == (KEYS, 41 - KEYS)


def test_before_the_first_snapshot_there_is_nothing(home: Home, store: MemoryStore) -> None:
    """A repository without a snapshot is no recovery."""
    with pytest.raises(StoreError, match="no snapshot had come"):
        _recovered(home, store, timedelta(hours=2))
    assert _recovered(home, store, timedelta(minutes=30))[0].snapshots == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 60000,
        key_file("x", kdf="none"),
        key_file("x", N=1000),
        key_file("x", N="32768"),
        key_file("x", N=True),
        key_file("x", r=0),
        key_file("x", p=-1),
        key_file("x", p=1 << 20),
        key_file("x", salt=""),
        key_file("x", data="AAAA"),
        key_file("x", data="no base64"),
        key_file("x", salt=None),
    ],
)
def test_no_key(content: bytes) -> None:
    """What restic could not try, or only at a price, is none."""
    assert is_key(key_file("x"))
    assert not is_key(content)
