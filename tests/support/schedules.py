"""Random schedules: backup, forget, prune, mirror and reclaim in any interleaving, with kills, each from a seed.

A schedule's decisions follow from its seed alone; the names of restic's files do not (it encrypts with random
numbers), and neither does which of a pass's lanes comes first. A failing seed fails again often, not always.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from drorch.core.clock import SystemClock
from drorch.core.errors import Refused, StoreError
from drorch.core.store import Entry, Store
from drorch.mirror import reclaim, transfer
from drorch.mirror.ledger import Ledger
from drorch.mirror.reclaim import Noted
from drorch.mirror.transfer import Known
from drorch.stores._disk import Disk
from drorch.stores._folder import FolderShelf, FolderStore
from drorch.stores.memory import MemoryStore
from support.relay import Actor, Relay
from support.states import States, WatchedDisk

FOLDER = "nas/"
ACTING, KILLING = 0.2, 0.007
"""How likely something happens at one moment; there are a few hundred in a pass."""


class Killed(BaseException):
    """The pass is killed: nothing of it happens any more."""


class Shelf(FolderShelf):
    """A repository's folder that is listed page by page, as buckets and SFTP are: no listing is one moment."""

    def __init__(self, folder: Path, schedule: "Schedule") -> None:
        super().__init__("source", Disk(folder), clock=SystemClock(), lanes=4, marker="config", unmarked="")
        self._schedule = schedule

    def entries(self, folder: str) -> Iterator[Entry]:
        last = ""
        while True:
            rest = (entry for entry in super().entries(folder) if entry.key > last)
            page = list(itertools.islice(rest, self._schedule.roll(1, 5)))
            self._schedule.moment()
            if not page:
                return
            yield from page
            last = page[-1].key

    def read(self, key: str, *, limit: int, version: str = "") -> bytes:
        self._schedule.moment()
        return super().read(key, limit=limit, version=version)


@dataclass
class Schedule:
    """One interleaving, on a repository and a store of its own."""

    seed: int
    root: Path
    relay: Relay
    memory: bool
    """Whether the store is one in memory, with versions; else a folder."""
    reclaiming: bool
    """Whether things are removed from the copy as well."""
    happened: Counter[str] = field(default_factory=Counter)
    known: Known = field(default_factory=Known)
    done: Ledger = field(default_factory=Ledger)
    """As the step remembers it."""
    noted: Noted | None = None
    _dead: bool = False
    _calm: bool = False
    _acting: float = ACTING
    _mutex: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - a schedule
        self.tree = self.root / "tree"
        self.tree.mkdir()
        for folder in ("pool", "store"):
            (self.root / folder).mkdir()
        self.states = States(self.root / "pool", FOLDER)
        self.source = Shelf(self.relay.folder, self)
        self.target = self._store()
        self._actors: list[tuple[str, Actor]] = []

    def _store(self) -> Store:
        if self.memory:
            store = MemoryStore(clock=SystemClock(), lanes=self.roll(1, 4))
            store.before.append(lambda _: self.moment())
            self.states.watch(store)
            store.after.append(lambda _: self.moment())
            return store
        (self.root / "store" / ".drorch-store").touch()
        disk = WatchedDisk(self.root / "store", self.states, self.moment)
        return FolderStore("offsite", "folder", disk, clock=SystemClock(), lanes=self.roll(1, 4))

    def roll(self, low: int, high: int) -> int:
        """A number of the schedule, both ends included."""
        with self._mutex:
            return self._random.randint(low, high)

    # -- what happens --------------------------------------------------------------------------------------------------

    def moment(self) -> None:
        """Something between two operations of a pass: nothing, restic, or death.

        Raises:
            Killed: the latter, in every lane of the pass.
        """
        with self._mutex:
            if self._calm:
                return
            if self._dead:
                raise Killed
            fate = self._random.random()
            if fate < KILLING:
                self._dead = True
                self.happened["pass killed"] += 1
                raise Killed
            if fate < KILLING + self._acting:
                self.act()

    def act(self) -> None:
        """Restic starts, goes on by some writes, ends, or is killed."""
        running = [actor for _, actor in self._actors if actor.running]
        fate = self._random.random()
        if running and fate < 0.7:
            self._random.choice(running).advance(self._random.randint(1, 3))
        elif running and fate < 0.8:
            self._random.choice(running).finish()
        elif running and fate < 0.84:
            self._random.choice(running).kill()
            self.happened["restic killed"] += 1
        elif len(running) < 2:
            kind = self._random.choices(("backup", "forget", "prune"), (5, 4, 1))[0]
            self.start(kind).advance(self._random.randint(0, 3))

    def start(self, kind: str) -> Actor:
        """A restic, held before its first write."""
        if kind == "backup":
            for name in range(8):
                if self._random.random() < 0.35:
                    (self.tree / f"file {name}").write_bytes(self._random.randbytes(self._random.randint(0, 30_000)))
            words = ["backup", str(self.tree)]
        elif kind == "forget":
            keep = f"--keep-last={self._random.randint(1, 4)}"
            words = ["forget", keep, "--group-by=", "--prune", "--max-unused=0"]
        else:
            words = ["prune", "--max-unused=0"]
        if kind != "backup" and self._random.random() < 0.5:
            words.append("--repack-smaller-than=3M")  # every pack is: all are written anew
        self.happened[kind] += 1
        actor = self.relay.start(*words)
        self._actors.append((kind, actor))
        return actor

    def carry_out(self) -> None:
        """Some passes and removals, one after the other, while restic does what it likes."""
        for _ in range(self.roll(1, 3)):
            assert self.start("backup").finish() == 0
        for _ in range(self.roll(3, 5)):
            self._dead, self._calm, self._acting = False, False, ACTING
            removing = self.reclaiming and self.roll(1, 3) > 1
            try:
                self._remove() if removing else self._mirror()
            except Killed:
                continue
            except StoreError as error:
                if not error.retryable:
                    raise
                self.happened["behind"] += 1
            if self.roll(0, 1):
                self._quiet()

    def settle(self) -> None:
        """What was begun ends, one more backup is made, and a pass that nobody disturbs."""
        self._calm = True
        self._quiet()
        assert self.start("backup").finish() == 0
        self._mirror()

    def _quiet(self) -> None:
        for kind, actor in self._actors:
            if actor.running and self.roll(1, 4) == 1:
                actor.kill()
            code = actor.finish()
            # 11: another one had the lock; negative: killed.
            assert code in {0, 11} or code < 0, f"restic {kind} ended with {code}"
        self._actors.clear()

    def _mirror(self) -> None:
        """As the step does."""
        began = SystemClock().now()
        self.happened["pass"] += 1
        passed = transfer.transfer(self.source, self.target, FOLDER, self.known)
        self.happened["pass complete"] += 1
        self.happened["round anew"] += passed.rounds - 1
        self.known = Known(passed.config, passed.seen_until)
        self.done = Ledger(config=passed.config, seen_until=passed.seen_until, began=began, index=passed.index)

    def _remove(self) -> None:
        """As the command and its step do, without waiting for days."""
        # Nearly always it would be refused, were it not up to date: nothing is removed where restic came between.
        self._quiet()
        self.start("forget").finish()
        self._calm = True
        self._mirror()
        self._calm, self._acting = False, ACTING / 10
        gone = reclaim.look(self.source, self.target, FOLDER)
        self._acting = ACTING
        now = SystemClock().now()
        try:
            if self.noted is None:
                self.noted = reclaim.note(Forgetful(), "offsite", "nas", gone, self.done, now=now)
                self.happened["noted"] += 1
                if self.roll(0, 2) == 0:
                    return
            ripe = reclaim.ripe(gone, self.noted, self.done, grace=timedelta(0), now=now, shrink=True)
        except Refused:
            self.happened["removal refused"] += 1
            return
        self.happened["removal"] += ripe.count > 0
        reclaim.reclaim(self.target, FOLDER, ripe)
        self.noted = None


class Forgetful:
    """`core.step.Memory` that nothing is kept in."""

    def get(self, key: str) -> None:
        return None

    def put(self, key: str, value: object) -> None:
        return None
