"""What a backup run holds in memory at its peak, beside the restic that works in the same run."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.measure import Costs, Figure
from benchmarks.workplace import DRORCH, SERVICE, fill, workplace

_PAUSE = 0.01


def figures(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """The figure."""
    files, size, rounds = (40, 2_000_000, 1) if quick else (1000, 300_000_000, 3)
    tree = folder / "tree"
    fill(tree, files=files, size=size)
    peaks = [_peaks(workplace(folder / f"ours-{number}", tree, quick=quick).env) for number in range(rounds)]
    yield Figure(
        subject=f"memory of drorch backup at its peak, restic left out, {size / 1e6:.0f} MB backed up",
        baseline="restic in the same run",
        value=Costs(tuple(own for own, _ in peaks)),
        beside=Costs(tuple(restic for _, restic in peaks)),
        unit="MB",
        aim="at most 120 MB",
    )


def _peaks(env: Mapping[str, str]) -> tuple[float, float]:
    """Peak resident megabytes of drorch's own processes together, and of its restics, during one backup."""
    own_peak = restic_peak = 0
    with subprocess.Popen(
        [DRORCH, "backup", SERVICE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
    ) as process:
        known: set[int] = set()
        while process.poll() is None:
            own, restic, known = _sample(psutil.Process(process.pid), known)
            own_peak, restic_peak = max(own_peak, own), max(restic_peak, restic)
            time.sleep(_PAUSE)
        said = process.stderr.read() if process.stderr else b""
    if process.returncode != 0:
        raise AssertionError(said.decode(errors="replace")[-2000:])
    return own_peak / 1e6, restic_peak / 1e6


def _sample(root: psutil.Process, known: set[int]) -> tuple[int, int, set[int]]:
    """Resident bytes now: own, restic's; and which processes were seen.

    A child counts from the second look on: before it executes its program it still shows its parent's memory.
    """
    own = restic = 0
    seen = set()
    with suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                seen.add(process.pid)
                if process.pid not in known:
                    continue
                if process.name().startswith("restic"):
                    restic += process.memory_info().rss
                else:
                    own += process.memory_info().rss
    return own, restic, seen
