"""Where a lab keeps its things on this machine, and the control group that holds its processes."""

from pathlib import Path

RUN = Path("/run/drorch-lab")
"""Of all labs; root's alone. ``RUN/7`` is the folder of lab 7, ``RUN/7.lock`` is held while it lives."""
HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
HIGHEST = 250
"""The highest number that a lab may have; it is the third number of its addresses."""


def folder(number: int) -> Path:
    """The folder of a lab: a file system of its own, in memory."""
    return RUN / str(number)


def lock(number: int) -> Path:
    """The file that is locked as long as the lab lives."""
    return RUN / f"{number}.lock"


def space(number: int, machine: str = "") -> str:
    """The network namespace of a machine; without one, that of the lab's switch."""
    return f"drlab{number}-{machine}" if machine else f"drlab{number}"


def groups() -> Path | None:
    """Where control groups of version 2 are mounted; None when they are not."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


def group(number: int) -> Path:
    """The control group of a lab; each machine has one below."""
    mounted = groups()
    if mounted is None:
        raise RuntimeError("no control groups of version 2 are mounted")
    return mounted / f"drorch-lab-{number}"
