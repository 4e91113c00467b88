"""What all benchmarks share: runs that alternate, medians, figures with their baseline, a table.

A benchmark never judges: machines differ and are busy. It says a ratio against a baseline of the same minutes.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

T = TypeVar("T")

Run = Callable[[], float]
"""Does the thing once; gives what it cost, in the figure's unit."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What each run of one side cost."""

    each: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return median(self.each)

    @property
    def spread(self) -> float:
        """From the least to the most."""
        return max(self.each) - min(self.each)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured beside another."""

    subject: str
    baseline: str
    value: Costs
    """The subject's."""
    beside: Costs
    """The baseline's."""
    unit: str
    aim: str
    """What is hoped for, in words."""
    remark: str = ""
    """What follows from the two that is no ratio, with its unit."""

    @property
    def ratio(self) -> float:
        """How many times the baseline; without an end where that is nothing and the subject is not."""
        if not self.beside.median:
            return float("inf") if self.value.median else 1.0
        return self.value.median / self.beside.median

    @property
    def difference(self) -> float:
        """How much more than the baseline."""
        return self.value.median - self.beside.median

    @property
    def noise(self) -> bool:
        """Whether the runs of one side differ by more than the two sides do: then the ratio says nothing."""
        return max(self.value.spread, self.beside.spread) >= abs(self.difference)


def alternate(baseline: Run, subject: Run, rounds: int) -> tuple[Costs, Costs]:
    """What both cost, run in turns."""
    first, second = in_turns((baseline, subject), rounds)
    return Costs(tuple(first)), Costs(tuple(second))


def in_turns(sides: Sequence[Callable[[], T]], rounds: int) -> tuple[list[T], ...]:
    """What each side gave, run in turns; each second round goes backwards, so that drift hits all."""
    given: tuple[list[T], ...] = tuple([] for _ in sides)
    for number in range(rounds):
        for which in range(len(sides)) if number % 2 == 0 else reversed(range(len(sides))):
            given[which].append(sides[which]())
    return given


def run(argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
    """Run a program to its end.

    Raises:
        AssertionError: it failed; with the last of what it said.
    """
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{argv} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")


def seconds(argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> float:
    """Wall-clock seconds of a program's run; what was written before is on the disk before it begins."""
    os.sync()
    began = time.perf_counter()
    run(argv, env)
    return time.perf_counter() - began


def table(figures: Iterable[Figure]) -> str:
    """The figures for people."""
    lines = []
    for figure in figures:
        lines += [
            f"{figure.subject}: {_shown(figure.value, figure.unit)}",
            f"    {figure.ratio:.2f} times {figure.baseline}: {_shown(figure.beside, figure.unit)}"
            + (f"; {figure.remark}" if figure.remark else ""),
            f"    aim: {figure.aim}; {_rounds(len(figure.value.each))}",
        ]
        if figure.noise and len(figure.value.each) > 1:
            lines.append("    NOISE: runs of one side differ by more than the two sides do; measure on an idle machine")
    return "\n".join(lines)


def document(figures: Iterable[Figure]) -> str:
    """The figures as JSON, one object per line."""
    return "\n".join(
        json.dumps({**asdict(figure), "ratio": round(figure.ratio, 4), "noise": figure.noise}) for figure in figures
    )


def _shown(costs: Costs, unit: str) -> str:
    reach = f" ({_number(min(costs.each))} to {_number(max(costs.each))})" if len(costs.each) > 1 else ""
    return f"{_number(costs.median)} {unit}{reach}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _rounds(count: int) -> str:
    return "1 run" if count == 1 else f"medians of {count} runs each"
