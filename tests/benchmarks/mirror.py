"""The first `drorch mirror` of a repository beside ``rclone sync`` and ``restic copy``, to the same Ceph."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Figure, in_turns
from benchmarks.offsite import WHERE, Source, Spent, Spents, Target, add_packs, beside, source, target

_WIDER = ("--transfers", "16")


def figures(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """Large packs, then many small ones, which restic would never copy one by one."""
    megabytes, packs, rounds = (2, 50, 1) if quick else (1000, 20_000, 3)
    large = source(folder / "large", megabytes=megabytes, quick=quick)
    yield from _figures(folder, large, f"first mirror of {megabytes} MB in packs of 16 MiB", rounds, copies=True)
    small = source(folder / "small", megabytes=0, quick=quick)
    add_packs(small, packs, 1_000, 8_000)
    yield from _figures(folder, small, f"first mirror of {packs} packs of 1 to 8 kB", rounds, copies=False)


def _figures(folder: Path, of: Source, subject: str, rounds: int, *, copies: bool) -> Iterator[Figure]:
    sides: dict[str, Callable[[Target], Spent]] = {
        "rclone sync": of.rclone,
        f"rclone sync {' '.join(_WIDER)}": lambda to: of.rclone(to, *_WIDER),
        **({"restic copy": of.restic_copy} if copies else {}),
        "drorch mirror": of.drorch,
    }
    spents = in_turns([partial(_afresh, folder, side) for side in sides.values()], rounds)
    given = {name: Spents(spent) for name, spent in zip(sides, spents, strict=True)}
    ours = given.pop("drorch mirror")
    for name, theirs in given.items():
        yield Figure(
            subject=f"drorch mirror, {subject} {WHERE}",
            baseline=name,
            value=ours.seconds,
            beside=theirs.seconds,
            unit="s",
            aim="at most 0.3 times" if name == "restic copy" else "at most 0.9 times rclone's defaults",
            remark=beside(ours, theirs),
        )


def _afresh(folder: Path, side: Callable[[Target], Spent]) -> Spent:
    with target(folder) as empty:
        return side(empty)
