"""Three races between a listing and whoever prunes the source, each on purpose, with restic as the judge."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from drorch.core.clock import SystemClock
from drorch.core.errors import Refused
from drorch.core.store import Entry
from drorch.mirror import names, reclaim, transfer
from drorch.mirror.ledger import Ledger
from drorch.mirror.names import Kind
from drorch.mirror.reclaim import Noted
from drorch.mirror.transfer import Known
from drorch.stores._disk import Disk
from drorch.stores._folder import FolderShelf
from drorch.stores.memory import MemoryStore
from support.schedules import FOLDER, Forgetful
from support.states import Judge, States, environment
from support.vaults import PASSWORD

REPACK = ("--max-unused=0", "--repack-smaller-than=3M")
"""Writes packs and indexes anew where there are ten small packs or more; the old ones go."""
REINDEX = ("repair", "index", "--read-all-packs")
"""Writes the index anew, under another name; the old one goes, as in a prune."""


@dataclass
class Pair:
    """A real repository and its copy in memory."""

    home: Path
    judge: Judge
    pool: Path

    def __post_init__(self) -> None:
        self.source = Listed("source", Disk(self.home), clock=SystemClock(), lanes=1, marker="config", unmarked="")
        self.store = MemoryStore(clock=SystemClock())
        self.states = States(self.pool, FOLDER)
        self.states.watch(self.store)
        self.tree = self.pool.parent / "tree"
        self.tree.mkdir()

    def restic(self, *words: str) -> None:
        """Restic on the repository; must succeed."""
        told = self.judge.run(self.home, *words)
        assert told.returncode == 0, told.stderr

    def back_up(self, times: int) -> None:
        """So many more snapshots, each with two packs of its own."""
        for _ in range(times):
            (self.tree / os.urandom(4).hex()).write_bytes(os.urandom(2000))
            self.restic("backup", str(self.tree))

    def mirror(self) -> Ledger:
        """A pass, as it is remembered."""
        passed = transfer.transfer(self.source, self.store, FOLDER, Known())
        return Ledger(config=passed.config, began=SystemClock().now(), index=passed.index)

    def indexes(self) -> list[str]:
        """Names of the repository's index files."""
        return sorted(path.name for path in (self.home / "index").iterdir())

    def whole(self) -> None:
        """Every state was."""
        assert not self.judge.faults(self.states.distinct, self.pool)


class Listed(FolderShelf):
    """Calls a hook before each listing, which may give a part of it."""

    def entries(self, folder: str) -> Iterator[Entry]:
        listed = list(super().entries(folder))
        changed = self.before(folder)
        cursor = f"{folder}{changed}"
        yield from (entry for entry in listed if entry.key <= cursor)
        yield from (entry for entry in super().entries(folder) if entry.key > cursor)

    def before(self, folder: str) -> str:
        """What happens in the middle of a listing; gives the name that it had come to."""
        return ""


@pytest.fixture
def pair(restic: Path, empty_vault: Path, tmp_path: Path) -> Pair:
    """A repository without snapshots, and an empty store."""
    shutil.copytree(empty_vault, tmp_path / "source")
    judge = Judge(restic, environment(PASSWORD, tmp_path), tmp_path / "judged")
    (tmp_path / "pool").mkdir()
    return Pair(tmp_path / "source", judge, tmp_path / "pool")


def test_an_index_that_was_replaced_while_it_was_listed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prune behind a slow listing's back hides the old index and the new one; no snapshot arrives without either."""
    pair.back_up(1)
    while pair.indexes()[0] < "8":
        pair.restic(*REINDEX)
    seen: list[str] = []

    def pruned(folder: str) -> str:
        if folder != "index/" or seen:
            return ""
        (old,) = seen[:] = pair.indexes()
        while pair.indexes() >= [old]:
            pair.restic(*REINDEX)
        return pair.indexes()[0]  # the listing has come here: the new one is behind it, and the old one gone

    monkeypatch.setattr(pair.source, "before", pruned)
    pair.mirror()
    assert seen
    pair.whole()


@pytest.mark.parametrize("kind", names.REMOVED)
def test_a_prune_while_it_is_looked_what_is_gone(pair: Pair, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    """Packs are never taken for gone while the index that names them is taken for live."""
    pair.back_up(5)
    done = pair.mirror()

    def pruned(folder: str) -> str:
        if folder == f"{kind.value}/":
            pair.restic("prune", *REPACK)
        return ""

    monkeypatch.setattr(pair.source, "before", pruned)
    remove(pair, done, None)
    pair.whole()


def test_what_the_copy_lacks_is_not_noted_as_gone(pair: Pair) -> None:
    """Packs whose successors never arrived may be all that a snapshot of the copy has."""
    pair.back_up(5)
    done = pair.mirror()
    pair.restic("prune", *REPACK)
    noted = remove(pair, done, None)
    pair.restic("forget", "--keep-last=1", "--prune", *REPACK)
    done = pair.mirror()
    remove(pair, done, noted)
    pair.whole()


def remove(pair: Pair, done: Ledger, noted: Noted | None) -> Noted | None:
    """Remove what may be, without waiting; gives what is noted as gone, and may not go yet."""
    gone, now = reclaim.look(pair.source, pair.store, FOLDER), SystemClock().now()
    with suppress(Refused):
        noted = noted or reclaim.note(Forgetful(), "offsite", "nas", gone, done, now=now)
        reclaim.reclaim(pair.store, FOLDER, reclaim.ripe(gone, noted, done, grace=timedelta(0), now=now, shrink=True))
    return noted
