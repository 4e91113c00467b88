"""How soon the command line answers: `drorch --help` and `drorch status` beside `borgmatic --version`."""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Figure, alternate, run, seconds
from benchmarks.workplace import DRORCH, SERVICE, fill, workplace

BORGMATIC = "2.1.10"
_VENV = Path(__file__).parents[2] / ".tools" / "bench" / f"borgmatic-{BORGMATIC}"


def figures(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """Both figures; quickly, a bare Python stands for borgmatic, which would have to be fetched."""
    name, baseline = ("a bare python", (sys.executable, "-c", "pass")) if quick else _borgmatic()
    rounds = 1 if quick else 15
    tree = folder / "tree"
    fill(tree, files=5, size=5_000)
    place = workplace(folder / "ours", tree, quick=quick)
    place.drorch("backup", SERVICE)

    for words in (("--help",), ("status",)):
        ours, theirs = partial(seconds, (DRORCH, *words), place.env), partial(seconds, baseline)
        if not quick:
            alternate(theirs, ours, 1)  # once for nothing: what is read from the disk is read
        beside, value = alternate(theirs, ours, rounds)
        yield Figure(
            subject=f"drorch {' '.join(words)}",
            baseline=name,
            value=value,
            beside=beside,
            unit="s",
            aim="at most 0.6 times borgmatic --version",
        )


def _borgmatic() -> tuple[str, Sequence[str | Path]]:
    program = _VENV / "bin" / "borgmatic"
    if not program.exists():
        run([sys.executable, "-m", "venv", "--clear", _VENV])
        run([_VENV / "bin" / "python", "-m", "pip", "install", "-qq", f"borgmatic=={BORGMATIC}"])
    return f"borgmatic {BORGMATIC} --version", (program, "--version")
