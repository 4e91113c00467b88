"""systemd's units as `systemctl show` tells them; pure."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from drorch.core.model import Frozen, Json

SUFFIXES = (".service", ".socket", ".timer", ".path", ".target", ".mount", ".automount", ".swap", ".slice", ".scope")
OWN_FILES = "/etc/systemd/system"
"""Where an administrator's own unit files lie, and masks."""
CONTROL = "/etc/systemd/system.control"
"""What lies here goes before everything else (systemd.unit(5)): masks of units whose own file lies in `OWN_FILES`."""
PROPERTIES = (
    *("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "Result", "FragmentPath"),
    *("NeedDaemonReload", "Job", "ConsistsOf"),
)


def full(name: str) -> str:
    """A unit's whole name: a service unless it says what it is."""
    return name if name.endswith(SUFFIXES) else f"{name}.service"


def short(name: str) -> str:
    """As people say it."""
    return name.removesuffix(".service")


def listed(names: Iterable[str]) -> str:
    """``shop``, ``shop and postgresql``, ``a, b and c``."""
    words = [short(name) for name in names]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "nothing"


UnitName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}$")]
"""The name of a systemd unit; without a suffix a service is meant."""
UnitNames = Annotated[
    tuple[UnitName, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
"""One unit, or a list of them."""


class Unit(Frozen):
    """How a unit stands."""

    id: str
    """Its own name, whatever alias it was asked by."""
    load: str
    active: str
    sub: str
    file: str
    main_pid: int
    result: str
    fragment: str
    """The file that defines it."""
    stale: bool
    """Whether systemd has yet to read what changed on disk."""
    job: bool
    """Whether a start or stop is under way."""
    parts: tuple[str, ...]
    """Units that are stopped when it is (``PartOf=``), such as the clusters of Debian's ``postgresql``. Whoever waits
    for its end does not wait for theirs."""
    processes: tuple[int, ...]
    """What lives in its control group, whatever systemd thinks of the unit."""

    @property
    def known(self) -> bool:
        """Whether there is such a unit."""
        return self.load in ("loaded", "masked")

    @property
    def stopped(self) -> bool:
        """Whether certainly nothing of it runs. A failed one is stopped when no process is left."""
        return self.active in ("inactive", "failed") and not self.job and not self.processes and not self.main_pid

    @property
    def runs(self) -> bool:
        """Whether it is up; a one-shot unit that has done its work counts."""
        return self.active == "active" and not self.job

    @property
    def masked(self) -> bool:
        """Whether nothing can start it, also after a reboot, and systemd knows."""
        return self.load == "masked" and self.file == "masked" and not self.stale

    @property
    def own(self) -> bool:
        """Whether its file lies where its mask would have to lie, so that systemctl refuses to mask it."""
        return self.load != "masked" and self.fragment == f"{OWN_FILES}/{self.id}"

    @property
    def control(self) -> str:
        """Where the mask of such a one lies instead."""
        return f"{CONTROL}/{self.id}"

    @property
    def words(self) -> str:
        """``active (running)``, ``inactive (dead), yet 3 processes of it live``."""
        count = len(self.processes)
        some = f"{count} process{'es' if count != 1 else ''}"
        left = f", {some}" if count else ""
        if count and self.active in ("inactive", "failed"):
            left = f", yet {some} of it {'live' if count != 1 else 'lives'}"
        return f"{self.active} ({self.sub}){left}"

    def facts(self) -> dict[str, Json]:
        """For evidence."""
        return {
            "load": self.load,
            "active": self.active,
            "sub": self.sub,
            "file": self.file,
            "processes": list(self.processes),
        }


class Look(Frozen):
    """What a host said of its units."""

    boot_id: str
    units: tuple[Unit, ...]

    def of(self, name: str) -> Unit:
        """The unit of that id."""
        return next(unit for unit in self.units if unit.id == name)


def read(text: str, asked: int) -> Look:
    """What the script `systemd.LOOK` printed.

    Raises:
        ValueError: it is not that, or of another number of units.
    """
    head, _, rest = text.partition("\n")
    shown, mark, living = rest.partition("\n\nprocesses\n")
    if not head.startswith("boot ") or not mark:
        raise ValueError("an answer that is not understood")
    processes: dict[str, set[int]] = {}
    for line in living.splitlines():
        unit, _, pid = line.rpartition(" ")
        processes.setdefault(unit, set()).add(int(pid))
    units = tuple(_unit(block, processes) for block in shown.split("\n\n") if block.strip())
    if len(units) != asked:
        raise ValueError(f"{len(units)} answers for {asked} units")
    return Look(boot_id=head.removeprefix("boot ").strip(), units=units)


def _unit(block: str, processes: dict[str, set[int]]) -> Unit:
    said = dict(line.split("=", 1) for line in block.strip().splitlines() if "=" in line)
    missing = [key for key in ("Id", "LoadState", "ActiveState", "SubState", "NeedDaemonReload") if not said.get(key)]
    if missing:
        raise ValueError(f"a unit without {', '.join(missing)}")
    return Unit(
        id=said["Id"],
        load=said["LoadState"],
        active=said["ActiveState"],
        sub=said["SubState"],
        file=said.get("UnitFileState", ""),
        main_pid=int(said.get("MainPID") or 0),
        result=said.get("Result", ""),
        fragment=said.get("FragmentPath", ""),
        stale=said["NeedDaemonReload"] != "no",
        job=said.get("Job", "") not in ("", "0"),
        parts=tuple(said.get("ConsistsOf", "").split()),
        processes=tuple(sorted(processes.get(said["Id"], ()))),
    )
