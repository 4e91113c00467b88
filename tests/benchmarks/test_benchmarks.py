"""The benchmarks work; what they measure is for `make bench` to say."""

import json
from pathlib import Path

import pytest

from benchmarks.measure import Figure, alternate, document, table
from benchmarks.registry import BENCHMARKS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_measures(name: str, tmp_path: Path) -> None:
    """Every benchmark gives figures of both sides."""
    figures = list(BENCHMARKS[name](tmp_path, quick=True))
    assert figures
    assert all(figure.value > 0 and figure.beside > 0 for figure in figures)


def test_alternates() -> None:
    """Baseline and subject run in turns, each beginning every second round, and each has its own median."""
    order = []

    def cost(who: str, costs: list[float]) -> float:
        order.append(who)
        return costs.pop()

    ours, theirs = [3.0, 90.0, 5.0], [1.0, 2.0, 70.0]
    assert alternate(lambda: cost("theirs", theirs), lambda: cost("ours", ours), 3) == (2.0, 5.0)
    assert order == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]


def test_shows_the_ratio() -> None:
    """Table and JSON both name the baseline and the ratio to it."""
    figure = Figure("drorch", "bare restic", value=3.0, beside=2.0, unit="s", aim="little", rounds=5)
    assert "1.50 times bare restic (2.000 s)" in table([figure])
    shown = json.loads(document([figure]))
    assert (shown["ratio"], shown["baseline"]) == (1.5, "bare restic")
