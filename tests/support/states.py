"""Every state that a store was in, and restic's judgement of each."""

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drorch.core.files import Found
from drorch.mirror.names import CONFIG
from drorch.stores._disk import Disk
from drorch.stores.memory import Call, MemoryStore

State = tuple[tuple[str, str], ...]
"""Keys below the copy's folder with the SHA-256 of what they hold, in order."""

NO_REPOSITORY = 10
"""restic's exit code where there is no config."""


@dataclass
class States:
    """What is written to a store and removed from it, in the order in which it took effect."""

    pool: Path
    """Every content once, under its SHA-256."""
    folder: str
    """Where the copy lies in the store, with its ``/``."""
    live: dict[str, str] = field(default_factory=dict)
    distinct: dict[State, None] = field(default_factory=dict)
    """In the order in which they came."""
    changes: int = 0
    headless: bool = False
    """Whether the config went away once it was there: no state may do that."""
    mutex: threading.RLock = field(default_factory=threading.RLock)

    def put(self, key: str, content: bytes) -> None:
        """An object has that content now."""
        name = hashlib.sha256(content).hexdigest()
        with self.mutex:
            place = self.pool / name
            if not place.exists():
                place.write_bytes(content)
            self.live[key.removeprefix(self.folder)] = name
            self._note()

    def remove(self, key: str) -> None:
        """An object is no more."""
        with self.mutex:
            self.live.pop(key.removeprefix(self.folder), None)
            self.headless |= key == self.folder + CONFIG
            self._note()

    def _note(self) -> None:
        self.changes += 1
        self.distinct.setdefault(tuple(sorted(self.live.items())))

    def watch(self, store: MemoryStore) -> None:
        """Note all that happens to a store in memory."""

        def note(call: Call) -> None:
            if call.verb not in {"put", "remove"}:
                return
            with self.mutex:
                held = store.objects.get(call.key)
                if held and not held[-1].deleted:
                    self.put(call.key, held[-1].content)
                else:
                    self.remove(call.key)

        store.after.append(note)


class WatchedDisk(Disk):
    """A disk whose objects' changes are noted at the moment at which they take effect: with their name."""

    def __init__(self, root: Path, states: States, moment: Callable[[], None]) -> None:
        super().__init__(root)
        self._states = states
        self._moment = moment
        """Called between any two things that are done to the disk; raises where the process is killed."""

    def scan(self, folder: str) -> list[Found]:
        self._moment()
        return super().scan(folder)

    def create(self, path: str, content: bytes) -> None:
        self._moment()
        super().create(path, content)
        self._moment()

    def move(self, old: str, new: str, *, replace: bool) -> None:
        with self._states.mutex:
            super().move(old, new, replace=replace)
            if new.startswith(self._states.folder):
                self._states.put(new, (self.root / new).read_bytes())
        self._moment()

    def remove(self, path: str) -> None:
        self._moment()
        with self._states.mutex:
            super().remove(path)
            if path.removeprefix(self._states.folder) in self._states.live:
                self._states.remove(path)
        self._moment()


def environment(password: str, home: Path) -> dict[str, str]:
    """All that restic gets to know."""
    return {"RESTIC_PASSWORD": password, "HOME": str(home), "TMPDIR": str(home), "GOMAXPROCS": "2"}


@dataclass(frozen=True)
class Judge:
    """restic itself, asked about one state after another."""

    restic: Path
    env: Mapping[str, str]
    work: Path
    """Where states are laid out."""

    def check(self, repository: Path) -> subprocess.CompletedProcess[str]:
        """``restic check --read-data`` of a folder that nobody else writes to."""
        return self.run(repository, "check", "--read-data", "--no-lock")

    def run(self, repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Restic on a folder."""
        return subprocess.run(
            [self.restic, "-r", repository, "--no-cache", *words],
            env=dict(self.env),
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    @contextmanager
    def laid(self, state: State, pool: Path) -> Iterator[Path]:
        """A state as a folder, for as long as it is looked at."""
        repository = self.work / os.urandom(8).hex()
        repository.mkdir(parents=True)
        try:
            for key, content in state:
                place = repository / key
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(pool / content, place)
            yield repository
        finally:
            shutil.rmtree(repository)

    def fault(self, state: State, pool: Path) -> str:
        """What is wrong with a state; empty for nothing.

        Without a config it must be no repository at all; with one, all that it has must be whole.
        """
        with self.laid(state, pool) as repository:
            told = self.check(repository)
        wanted = 0 if any(key == CONFIG for key, _ in state) else NO_REPOSITORY
        if told.returncode == wanted:
            return ""
        return f"exit {told.returncode}, not {wanted}: {told.stderr[-600:] or told.stdout[-600:]}"

    def faults(self, states: Iterable[State], pool: Path) -> list[str]:
        """What is wrong with each that something is wrong with; judged side by side."""
        with ThreadPoolExecutor(2) as both:
            found = both.map(lambda state: self.fault(state, pool), states)
            return [fault for fault in found if fault]
