"""restic judges every state that a copy ever is in, whatever backup, forget, prune, mirror and kills do meanwhile.

``DRORCH_TEST_STATES=n`` has at least so many states judged instead of a few hundred, and what happened is printed with
``-rP``. A failure names its seed; `support.schedules` says what follows from it.
"""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from drorch.mirror import names, reclaim, transfer
from support import mirroring
from support.relay import Relay
from support.schedules import FOLDER, Schedule
from support.states import Judge, environment
from support.vaults import PASSWORD, contents

STATES = int(os.environ.get("DRORCH_TEST_STATES", "160"))
SHARES = 4
"""Tests over which they are shared out, for as many workers."""
TOGETHER = 2
"""Schedules at a time: restic waits for a fifth of a second at each lock."""
MEMORY = (True, True, False, False)
"""Kinds of store by seed; every third seed removes from the copy as well."""


@dataclass(frozen=True)
class Trials:
    """Runs schedules and judges them."""

    judge: Judge
    vault: Path
    root: Path

    def carry_out(
        self, seed: int, *, reclaiming: bool | None = None, settle: bool = True
    ) -> tuple[Schedule, list[str]]:
        """A schedule to its end, and what is wrong with states that it went through."""
        root = self.root / str(seed)
        shutil.copytree(self.vault, root / "source")
        with Relay(root / "source", self.judge.restic, self.judge.env) as relay:
            removes = seed % 3 == 0 if reclaiming is None else reclaiming
            trial = Schedule(seed, root, relay, memory=MEMORY[seed // SHARES % len(MEMORY)], reclaiming=removes)
            trial.carry_out()
            if settle:
                trial.settle()
        return trial, self.judge.faults(trial.states.distinct, trial.states.pool)

    def good(self, seed: int) -> tuple[int, Counter[str]]:
        """How many states a schedule went through, all of them whole, and what happened."""
        trial, faults = self.carry_out(seed)
        count = len(trial.states.distinct)
        assert not faults, f"seed {seed}: {len(faults)} of {count} states are broken, such as: {faults[0]}"
        assert not trial.states.headless, f"seed {seed}: the config was removed"
        self._complete(trial)
        shutil.rmtree(trial.root)
        return count, trial.happened

    def _complete(self, trial: Schedule) -> None:
        """The last pass was not disturbed: all is there, and the newest snapshot is what was backed up."""
        own = {
            path.relative_to(trial.root / "source").as_posix(): path.read_bytes()
            for path in (trial.root / "source").rglob("*")
            if path.is_file()
        }
        live = trial.states.live
        for key, content in own.items():
            if key == names.CONFIG or names.file_at(key):
                assert live.get(key) == names.digest(content), f"seed {trial.seed}: {key} is not in the copy"
        with self.judge.laid(tuple(sorted(live.items())), trial.states.pool) as copy:
            words = ("restore", f"latest:{trial.tree}", "--target", str(trial.root / "restored"), "--no-lock")
            told = self.judge.run(copy, *words)
        assert told.returncode == 0, told.stderr
        assert contents(trial.root / "restored") == contents(trial.tree)


@pytest.fixture
def trials(restic: Path, empty_vault: Path, tmp_path: Path) -> Trials:
    """Schedules on repositories of their own."""
    return Trials(Judge(restic, environment(PASSWORD, tmp_path), tmp_path / "judged"), empty_vault, tmp_path)


@pytest.mark.timeout(200 + 2 * STATES)
@pytest.mark.parametrize("share", range(SHARES))
def test_every_state_is_whole(share: int, trials: Trials) -> None:
    """At every moment a copy is a repository that restic finds no fault with, or, before its config, none at all."""
    seen, happened, seeds = 0, Counter[str](), itertools.count(share, SHARES)
    with ThreadPoolExecutor(TOGETHER) as together:
        while seen < STATES / SHARES:
            for states, events in together.map(trials.good, itertools.islice(seeds, TOGETHER)):
                seen += states
                happened += events
    print(f"{seen} states whole, 0 broken; {dict(sorted(happened.items()))}")  # noqa: T201 - shown with -rP


BROKEN = {
    "uploaded": (transfer, "UPLOADED", False),
    "listed": (transfer, "LISTED", False),
    "removed": (reclaim, "REMOVED", True),
}
"""An order that is turned round, and whether schedules must remove to show it."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("order", BROKEN)
def test_the_judge_sees(order: str, trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schedules have broken states when one of the orders that keep a copy whole is turned round."""
    module, name, removes = BROKEN[order]
    monkeypatch.setattr(module, name, tuple(reversed(getattr(names, name))))
    tried = range(60) if not removes else range(0, 180, 3)
    with ThreadPoolExecutor(TOGETHER) as together:
        for first in tried[::TOGETHER]:
            seeds = range(first, first + TOGETHER * tried.step, tried.step)
            for _, faults in together.map(lambda seed: trials.carry_out(seed, settle=False), seeds):
                if faults:
                    return
    pytest.fail(f"nothing was seen in {len(tried)} schedules")


@pytest.mark.timeout(200)
def test_killed_processes(trials: Trials) -> None:
    """A copy on a disk is whole after every kill of a mirroring process, while restic works freely on its source."""
    source, store = trials.root / "source", trials.root / "store"
    shutil.copytree(trials.vault, source)
    store.mkdir()
    (store / ".drorch-store").touch()
    chance = random.Random(1)  # noqa: S311 - a schedule
    tree = trials.root / "tree"
    tree.mkdir()

    def work() -> None:
        """What goes on at the source, unsynchronised."""
        for _ in range(2):
            (tree / f"file {chance.randint(1, 6)}").write_bytes(chance.randbytes(20_000))
            assert trials.judge.run(source, "backup", str(tree)).returncode == 0
        words = ("forget", "--keep-last=2", "--group-by=", "--prune", "--max-unused=0")
        assert trials.judge.run(source, *words).returncode == 0

    def mirror(at: int) -> int:
        words = [sys.executable, mirroring.__file__, str(source), str(store), str(at)]
        return subprocess.run(words, check=False, capture_output=True, timeout=60).returncode

    work()
    killed = 0
    with ThreadPoolExecutor(1) as beside:
        for at in (3, 9, *(chance.randint(1, 40) for _ in range(8))):
            busy = beside.submit(work)
            code = mirror(at)
            assert code in {0, -signal.SIGKILL}
            killed += code != 0
            told = trials.judge.check(store / FOLDER)
            begun = (store / FOLDER / names.CONFIG).exists()
            assert told.returncode == (0 if begun else 10), told.stderr
            busy.result()
    assert killed > 1
    assert mirror(0) == 0
    assert trials.judge.check(store / FOLDER).returncode == 0
    restore = ("restore", f"latest:{tree}", "--target", str(trials.root / "out"), "--no-lock")
    assert trials.judge.run(store / FOLDER, *restore).returncode == 0
    assert contents(trials.root / "out") == contents(tree)
