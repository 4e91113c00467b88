"""A store on another disk: told from an unmounted one, whole or nothing after a kill, in words when a disk is full."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drorch.core.clock import FakeClock
from drorch.core.errors import ContentRefused, StoreError, StoreUnreachable, Unreachable
from drorch.core.files import Found
from drorch.stores._disk import Disk
from drorch.stores._folder import LEFTOVER, MARKER, TRIES, FolderStore
from drorch.stores.directory import DirectoryStore
from support.processes import eventually
from support.stores import means, sha

ROOT = Path(__file__).resolve().parents[2]


def at(folder: Path, prefix: str = "") -> FolderStore:
    """The store in a folder."""
    return DirectoryStore(kind="directory", path=str(folder), prefix=prefix).open("disk", means())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a store that was made."""
    place = tmp_path / "disk"
    place.mkdir()
    at(place).create()
    return place


def test_unmounted(folder: Path) -> None:
    """When the marker is gone every verb refuses, and nothing is written into what is there instead."""
    store = at(folder)
    store.put("nas/a", b"x", sha256=sha(b"x"))
    (folder / MARKER).unlink()
    before = sorted(folder.rglob("*"))
    for act in (
        store.ready,
        lambda: list(store.entries("")),
        lambda: list(store.versions("nas/")),
        lambda: store.put("nas/b", b"x", sha256=sha(b"x")),
        lambda: store.read("nas/b", limit=9),
        lambda: store.recorded("nas/b"),
        lambda: store.remove("nas/a"),
    ):
        with pytest.raises(StoreError, match="is missing there") as caught:
            act()
        assert type(caught.value) is StoreError
        assert "drorch store create disk" in caught.value.hint
    assert sorted(folder.rglob("*")) == before


def test_creation(tmp_path: Path) -> None:
    """Only an empty folder that is there becomes a store, and one that is a store already stays as it is."""
    with pytest.raises(StoreError, match="no such folder"):
        at(tmp_path / "gone").create()
    (tmp_path / "letter").write_text("mine")
    with pytest.raises(StoreError, match="not empty: letter is there"):
        at(tmp_path).create()
    (tmp_path / "letter").unlink()
    for done in (1, 0):
        assert len(at(tmp_path).creation().create().done) == done
    at(tmp_path).ready()


def test_prefixes_share_a_disk(folder: Path) -> None:
    """Sites with prefixes of their own share a disk and its marker, and see only what is theirs."""
    for prefix in ("berlin", "wien"):
        at(folder, prefix).put("nas/" + prefix, b"x", sha256=sha(b"x"))
    assert [entry.key for entry in at(folder, "wien").entries("")] == ["nas/wien"]
    assert (folder / "wien/nas/wien").read_bytes() == b"x"


def test_relative() -> None:
    """A path that depends on where drorch was called is refused."""
    with pytest.raises(StoreError, match="absolute"):
        at(Path("disk"))


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "../a", "a/..", "a/./b", "a/", ".drorch-store", "a/.drorch-1.tmp", "a\0"]
)
def test_keys(folder: Path, key: str) -> None:
    """What is no key leads nowhere."""
    with pytest.raises(StoreError, match="is no key"):
        at(folder).put(key, b"x", sha256=sha(b"x"))


@given(st.lists(st.lists(st.text("a-./0é\U0001f600", min_size=1), min_size=1, max_size=3), max_size=8))
@settings(max_examples=40, deadline=None)
def test_order(tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]]) -> None:
    """Folder by folder gives the order of whole keys."""
    place = tmp_path_factory.mktemp("order")
    store = at(place)
    store.create()
    kept = []
    for parts in paths:
        key = "/".join(part.replace("/", "_").strip(".") or "x" for part in parts)
        try:
            store.put(key, b"", sha256=sha(b""))
        except StoreError:  # a file stands where a folder should
            continue
        kept.append(key)
    assert [entry.key for entry in store.entries("")] == sorted(set(kept))


def test_circle(folder: Path) -> None:
    """Links that lead in a circle end a listing with an error, not with the memory."""
    (folder / "nas").mkdir()
    (folder / "nas/again").symlink_to(".")
    with pytest.raises(StoreError, match="too deep"):
        list(at(folder).entries(""))


def test_leftovers(folder: Path) -> None:
    """What killed attempts left is shown by no listing, and removed once it is old."""
    (folder / "nas").mkdir()
    old, young = folder / "nas/.drorch-0123.tmp", folder / "nas/.drorch-4567.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    then = old.stat().st_mtime - LEFTOVER.total_seconds() - 60
    os.utime(old, (then, then))
    store = at(folder)
    assert list(store.entries("")) == []
    store.put("nas/a", b"x", sha256=sha(b"x"))
    assert not old.exists()
    assert young.exists()


_PUTTING = """
import sys
from pathlib import Path
from drorch.stores._disk import Disk
from drorch.stores._folder import FolderStore
from drorch.core.clock import SystemClock
import hashlib
store = FolderStore("disk", "folder", Disk(Path(sys.argv[1])), clock=SystemClock(), lanes=1)
number = 0
while True:
    content = b"%08d" % number * 50_000
    store.put("nas/object", content, sha256=hashlib.sha256(content).hexdigest())
    store.put(f"nas/data/{number}", content, sha256=hashlib.sha256(content).hexdigest())
    number += 1
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [0.0, 0.003, 0.011, 0.023])
def test_killed(folder: Path, after: float) -> None:
    """A process that is killed while it puts leaves each object whole or not at all, and what it had put before."""
    command = [sys.executable, "-c", _PUTTING, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        done = [int(process.stdout.readline()) for _ in range(3)][-1]
        eventually(lambda: False, within=after)
        process.kill()
        done += len(process.stdout.read().split())
    store = at(folder)
    contents = {entry.key: store.read(entry.key, limit=1 << 20) for entry in store.entries("")}
    assert len(contents) - 1 >= done
    for content in contents.values():
        assert content == content[:8] * 50_000


def test_rot_on_the_way(folder: Path) -> None:
    """A disk that stores other bytes than it was given is found out before the object gets its name."""

    class Rotten(Disk):
        def create(self, path: str, content: bytes) -> None:
            super().create(path, content[:-1] + bytes([content[-1] ^ 1]))

    store = FolderStore("disk", "rotten", Rotten(folder), clock=FakeClock(), lanes=1)
    with pytest.raises(ContentRefused, match="does not match"):
        store.put("nas/a", b"content", sha256=sha(b"content"))
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [MARKER]


@dataclass
class Shaky(Disk):
    """A machine behind a line that breaks: at the given calls, before the work or after it."""

    root: Path
    breaks: dict[int, bool]
    """By the number of the call: whether the work is done all the same."""
    calls: list[str] = field(default_factory=list)

    def _call(self, what: str, *words: object, **named: object) -> object:
        self.calls.append(what)
        broken = self.breaks.get(len(self.calls))
        result = None if broken is False else getattr(super(), what)(*words, **named)
        if broken is not None:
            raise Unreachable("the line broke")
        return result

    def look(self, path: str) -> Found | None:
        return self._call("look", path)  # type: ignore[return-value]  # as the disk gives it

    def create(self, path: str, content: bytes) -> None:
        self._call("create", path, content)

    def move(self, old: str, new: str, *, replace: bool) -> None:
        self._call("move", old, new, replace=replace)


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("call", range(1, 7))
def test_broken_line(folder: Path, call: int, done: bool, absent: bool) -> None:  # noqa: FBT001 - a case
    """Wherever the line breaks, the put is done in the end, once, and nothing of the first attempt stays."""
    clock = FakeClock()
    files = Shaky(folder, {call: done})
    store = FolderStore("far", "shaky", files, clock=clock, lanes=1)
    store.put("nas/config", b"content", sha256=sha(b"content"), absent=absent)
    assert (folder / "nas/config").read_bytes() == b"content"
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [MARKER, "config"]


def test_gone_for_good(folder: Path) -> None:
    """A machine that stays away is told as unreachable after a few tries with waits, and a retry may help."""
    clock = FakeClock()
    store = FolderStore("far", "shaky", Shaky(folder, dict.fromkeys(range(99), False)), clock=clock, lanes=1)
    with pytest.raises(StoreUnreachable) as caught:
        list(store.entries(""))
    assert caught.value.retryable
    assert len(clock.slept) == TRIES - 1


@pytest.mark.root
def test_full_disk(megabyte: Path) -> None:
    """An empty mounted disk is a store at once; when it is full the error says so, and nothing half is left."""
    store = at(megabyte)
    store.ready()
    content = os.urandom(2_000_000)
    with pytest.raises(StoreError, match=r"no space is left: \d\.\d MB are free"):
        store.put("nas/a", content, sha256=sha(content))
    assert [path.name for path in megabyte.rglob("*") if path.is_file()] == [MARKER]
    store.put("nas/b", b"x", sha256=sha(b"x"))
