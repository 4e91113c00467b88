"""The benchmarks by name, the quick ones first."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from benchmarks import audit, backup, failover, many, memory, mirror, start, steps
from benchmarks.measure import Figure


class Benchmark(Protocol):
    """Measures in an empty folder, which is removed afterwards."""

    def __call__(self, folder: Path, *, quick: bool) -> Iterator[Figure]:
        """The figures, each as soon as it is there."""
        ...


BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    "start": start.figures,
    "steps": steps.figures,
    "memory": memory.figures,
    "backup": backup.figures,
    "mirror": mirror.figures,
    "many": many.figures,
    "audit": audit.figures,
    "failover": failover.figures,
}
