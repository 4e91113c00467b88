"""The benchmarks work; what they measure is for `make bench` to say."""

import json
from pathlib import Path

import pytest

from benchmarks.measure import Costs, Figure, alternate, document, table
from benchmarks.registry import BENCHMARKS
from lab import needs
from support.ceph_daemons import missing

OFFSITE = {"mirror", "many", "audit"}
"""Those that want a Ceph."""
LAB = {"failover"}
"""Those that want the disaster lab, and so root."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.root) if name in LAB else name for name in BENCHMARKS]
)
def test_measures(name: str, tmp_path: Path) -> None:
    """Every benchmark gives figures of both sides."""
    if name in OFFSITE and missing():
        pytest.skip(missing())
    if name in LAB and needs.missing():
        pytest.skip(needs.missing())
    figures = list(BENCHMARKS[name](tmp_path, quick=True))
    assert figures
    assert all(min(figure.value.each + figure.beside.each) > 0 for figure in figures)


def test_alternates() -> None:
    """Baseline and subject run in turns, each beginning every second round, and each has its own median."""
    order = []

    def cost(who: str, costs: list[float]) -> float:
        order.append(who)
        return costs.pop()

    ours, theirs = [3.0, 90.0, 5.0], [1.0, 2.0, 70.0]
    beside, value = alternate(lambda: cost("theirs", theirs), lambda: cost("ours", ours), 3)
    assert (beside.median, value.median) == (2.0, 5.0)
    assert order == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]


def test_shows_the_ratio() -> None:
    """Table and JSON both name the baseline and the ratio to it."""
    figure = Figure("drorch", "bare restic", Costs((3.0, 2.9, 3.1)), Costs((2.0, 1.9, 2.1)), "s", aim="little")
    assert "1.50 times bare restic: 2.000 s (1.900 to 2.100)" in table([figure])
    shown = json.loads(document([figure]))
    assert (shown["ratio"], shown["baseline"]) == (1.5, "bare restic")


def test_nothing_is_a_baseline_too() -> None:
    """Beside nothing, nothing is as much, and something more than any number of times."""
    assert Figure("failed", "script", Costs((0.0,)), Costs((0.0,)), "requests", aim="0").ratio == 1
    assert Figure("failed", "script", Costs((1.0,)), Costs((0.0,)), "requests", aim="0").ratio == float("inf")


@pytest.mark.parametrize(
    ("ours", "theirs", "noise"),
    [
        ((3.0, 3.1, 2.9), (2.0, 2.1, 1.9), False),
        ((6.5, 11.0, 19.3), (7.2, 15.0, 9.3), True),
        ((2.0, 2.1, 1.9), (3.0, 9.0, 2.9), True),
    ],
)
def test_tells_noise(ours: tuple[float, ...], theirs: tuple[float, ...], *, noise: bool) -> None:
    """A ratio is called noise when the runs of either side differ by more than the sides do."""
    figure = Figure("drorch", "bare restic", Costs(ours), Costs(theirs), "s", aim="little")
    assert figure.noise is noise
    assert ("NOISE" in table([figure])) is noise
    assert json.loads(document([figure]))["noise"] is noise
