"""What the engine costs per step: a run of 100 steps that do nothing beside a run of one."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figure, alternate, seconds
from benchmarks.workplace import DRORCH, fill, workplace


def figures(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """The figure."""
    many, rounds = (4, 1) if quick else (100, 5)
    tree = folder / "tree"
    fill(tree, files=1, size=10)
    place = workplace(folder / "ours", tree, quick=quick, waits=(1, many))
    one_step, many_steps = alternate(
        lambda: seconds([DRORCH, "run", "wait-1"], place.env),
        lambda: seconds([DRORCH, "run", f"wait-{many}"], place.env),
        rounds,
    )
    yield Figure(
        subject=f"a run of {many} steps that do nothing",
        baseline="a run of one such step",
        value=many_steps,
        beside=one_step,
        unit="s",
        aim="at most 10 ms for each further step",
        remark=f"{(many_steps.median - one_step.median) / (many - 1) * 1000:.1f} ms for each further step",
    )
