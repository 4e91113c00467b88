"""A repository's files without restic: what needs what is said in plain text, so that a copy can be judged at once.

A snapshot names its indexes, an index names its packs. That is less than restic's format, and all that a mirror's order
is about; `test_interleavings` has restic itself judge.
"""

import base64
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drorch.core.clock import FakeClock
from drorch.core.host import Host
from drorch.core.repository import Repository, Snapshot
from drorch.core.store import Lock
from drorch.mirror.names import Kind, file_at
from drorch.sources.files import Files
from drorch.steps.backup import Backup
from drorch.stores.memory import MemoryStore
from support.tools import World

FOLDER = "nas/"


def sha(content: bytes) -> str:
    """A file's name."""
    return hashlib.sha256(content).hexdigest()


def key_file(user: str, **fields: str | int | None) -> bytes:
    """A file that may be a key, by its form; fields replace those that it has."""
    salt, data = (base64.b64encode(bytes(length)).decode() for length in (64, 160))
    form = {"username": user, "kdf": "scrypt", "N": 32768, "r": 8, "p": 3, "salt": salt, "data": data}
    return json.dumps(form | fields).encode()


@dataclass
class Home:
    """A repository at the source."""

    clock: FakeClock = field(default_factory=FakeClock)
    name: str = "home"
    lanes: int = 4

    def __post_init__(self) -> None:
        self.shelf = MemoryStore(self.name, clock=self.clock, versioned=False, lanes=self.lanes)
        self._numbers = itertools.count()
        self._write("config", f"config of {self.name}".encode())
        self.add(Kind.KEYS, "a key")

    def _write(self, key: str, content: bytes) -> None:
        self.shelf.put(key, content, sha256=sha(content))

    def add(self, kind: Kind, text: str) -> str:
        """A file named by its content; gives its id."""
        content = key_file(text) if kind is Kind.KEYS else f"{kind.value} {text}".encode()
        id_ = sha(content)
        self._write(f"data/{id_[:2]}/{id_}" if kind is Kind.DATA else f"{kind.value}/{id_}", content)
        return id_

    def back_up(self, packs: int = 2) -> str:
        """A snapshot with an index and packs of its own, written in restic's order; gives the snapshot's id."""
        number = next(self._numbers)
        written = [self.add(Kind.DATA, f"{self.name} {number}.{pack}") for pack in range(packs)]
        index = self.add(Kind.INDEX, " ".join(written))
        return self.add(Kind.SNAPSHOTS, index)

    def prune(self) -> None:
        """What restic's prune does: packs written anew, one new index, then the old ones removed."""
        old = [entry.key for entry in self.shelf.entries("index/")]
        packs = [entry.key for entry in self.shelf.entries("data/")]
        number = next(self._numbers)
        fresh = [self.add(Kind.DATA, f"pruned {number}.{pack}") for pack, _ in enumerate(packs)]
        index = self.add(Kind.INDEX, " ".join(fresh))
        snapshots = [entry.key for entry in self.shelf.entries("snapshots/")]
        for _ in snapshots:
            self.add(Kind.SNAPSHOTS, f"{index} {next(self._numbers)}")
        for key in (*snapshots, *old, *packs):
            self.shelf.remove(key)

    def forget(self, snapshot: str) -> None:
        """Remove a snapshot with what only it needs."""
        (index,) = needed(self.shelf, "", f"snapshots/{snapshot}")
        for key in (f"snapshots/{snapshot}", index, *needed(self.shelf, "", index)):
            self.shelf.remove(key)


def needed(store: MemoryStore, folder: str, key: str) -> list[str]:
    """What a file of a copy needs, as keys below its folder."""
    words = store.objects[folder + key][-1].content.decode().split()[1:]
    if key.startswith("snapshots/"):
        return [f"index/{word}" for word in words if len(word) == 64]
    if key.startswith("index/"):
        return [f"data/{word[:2]}/{word}" for word in words]
    return []


def lacking(store: MemoryStore, folder: str = FOLDER) -> list[str]:
    """What is needed in a copy and not there, or not right: empty for a copy that can be restored from."""
    live = {
        key[len(folder) :] for key, held in store.objects.items() if key.startswith(folder) and not held[-1].deleted
    }
    files = [key for key in live if file_at(key) is not None]
    wrong = [key for key in files if sha(store.objects[folder + key][-1].content) != key.rpartition("/")[2]]
    return wrong + [
        need for key in files if key not in wrong for need in needed(store, folder, key) if need not in live
    ]


def offsite(clock: FakeClock, *, lock: Lock | None = None, careless: bool = False) -> MemoryStore:
    """A store for the copy."""
    return MemoryStore("offsite", clock=clock, lock=lock, careless=careless)


@dataclass(frozen=True)
class _Named:
    """A repository whose only snapshot has the id of a file of the mirror's source."""

    inner: Repository
    id: str

    def snapshots(self, at: Host, *, tags: Mapping[str, str] | None = None) -> tuple[Snapshot, ...]:
        return tuple(one.model_copy(update={"id": self.id}) for one in self.inner.snapshots(at, tags=tags))


def mirrored_world(root: Path, lock: Lock | None = None) -> tuple[World, Home, MemoryStore]:
    """A service with one backup, the files of its repository, and a store for their copy."""
    world = World(root, {"media": Files(kind="files", paths=("~/media",))}, kind="backup")
    (root / "primary" / "media").mkdir()
    (root / "primary" / "media" / "a").write_text("a")
    world.evidence(Backup(kind="backup", source="media"))
    home = Home(world.clock)
    named: Any = _Named(world.repositories["nas"], home.back_up())
    world.repositories["nas"] = named
    store = offsite(world.clock, lock=lock)
    world.shelves["nas"] = home.shelf
    world.stores["offsite"] = store
    return world, home, store
