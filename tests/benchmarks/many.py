"""A copy of very many small objects: what a pass costs that finds nothing to do, and what drorch then holds in memory.

A tenth of the objects comes first, since memory must not grow with their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Figure, in_turns
from benchmarks.offsite import WHERE, Source, Spents, Target, add_packs, beside, source, target

_LISTED = ("--fast-list", "--size-only")


def figures(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """First passes, passes without work, memory."""
    many, rounds = (100, 1) if quick else (100_000, 3)
    few = _measured(folder / "few", many // 10, 1, quick=quick)
    whole = _measured(folder / "many", many, rounds, quick=quick)
    for name, ours, theirs, aim in (
        ("first mirror", whole.first, whole.first_rclone, "at most 0.9 times"),
        ("nothing to do", whole.again, whole.again_rclone, "at most 0.5 times"),
        ("nothing to do", whole.again, whole.listed_rclone, "none; rclone compares names and sizes alone"),
    ):
        yield Figure(
            subject=f"drorch mirror, {name}, {many} objects of 100 B to 4 kB {WHERE}",
            baseline="rclone sync" + (f" {' '.join(_LISTED)}" if theirs is whole.listed_rclone else ""),
            value=ours.seconds,
            beside=theirs.seconds,
            unit="s",
            aim=aim,
            remark=beside(ours, theirs),
        )
    for name, more, less in (
        ("first mirror", whole.first, few.first),
        ("nothing to do", whole.again, few.again),
    ):
        yield Figure(
            subject=f"memory of drorch mirror at its peak, restic left out, {name}, {many} objects",
            baseline=f"with {many // 10} objects",
            value=more.peak,
            beside=less.peak,
            unit="MB",
            aim="at most 150 MB, and the same",
            remark=f"rclone holds {(whole.first_rclone + whole.again_rclone)[-1].peak:.0f} MB at its peak",
        )


@dataclass(slots=True)
class _Measured:
    first: Spents = field(default_factory=Spents)
    again: Spents = field(default_factory=Spents)
    first_rclone: Spents = field(default_factory=Spents)
    again_rclone: Spents = field(default_factory=Spents)
    listed_rclone: Spents = field(default_factory=Spents)


def _measured(folder: Path, objects: int, rounds: int, *, quick: bool) -> _Measured:
    """Each fills its own cluster, so that it finds what it wrote itself, as it would at a user's."""
    folder.mkdir(parents=True)
    of = source(folder / "source", megabytes=0, quick=quick)
    add_packs(of, objects, 100, 4_000)
    seen = _Measured()
    with target(folder) as ours, target(folder) as theirs:
        seen.first_rclone.append(of.rclone(theirs))
        seen.first.append(of.drorch(ours))
        _again(of, ours, theirs, seen, rounds)
    return seen


def _again(of: Source, ours: Target, theirs: Target, seen: _Measured, rounds: int) -> None:
    plain, listed, again = in_turns(
        (lambda: of.rclone(theirs), lambda: of.rclone(theirs, *_LISTED), lambda: of.drorch(ours)), rounds
    )
    seen.again_rclone += plain
    seen.listed_rclone += listed
    seen.again += again
