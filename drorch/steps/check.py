"""``check``: read a repository's bytes again, a part each time, until all were read; then from the start."""

import math
import re
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from drorch.core.evidence import Evidence, Outcome, ProofLevel
from drorch.core.model import Duration, Frozen, Json, RepositoryName, format_duration
from drorch.core.repository import Repository
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.repositories.restic import argv

LEASE_PATIENCE = timedelta(hours=1)
"""How long another process may hold the repository before this attempt gives up; a retry may help."""

_FRACTION = re.compile(r"1/([1-9]\d{0,3})")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


def parts_of(subset: str) -> int:
    """Into how many parts a subset divides the repository: 30 for ``1/30``, 10 for ``10%``.

    Raises:
        ValueError: it is neither.
    """
    if match := _FRACTION.fullmatch(subset):
        return int(match[1])
    if (match := _PERCENT.fullmatch(subset)) and 0.01 <= float(match[1]) <= 100:  # noqa: PLR2004 - percent
        return math.ceil(100 / float(match[1]))
    raise ValueError("must be a share such as 1/30 or 10%; each time the next such share is read")


def _readable(subset: str) -> str:
    parts_of(subset)
    return subset


Subset = Annotated[str, AfterValidator(_readable), Field(examples=["1/30", "10%"])]
"""A share of a repository."""


class Check(Step):
    """Check a repository: its structure, and with `subset` the bytes of one share of it, the next one each time."""

    kind: Literal["check"]
    every: Duration | None = None
    """Not more often than this, counted from run to run with an hour's slack; always unless said."""
    subset: Subset | None = None
    """The share whose bytes are read each time, such as ``1/30`` or ``10%``; only the structure unless said."""
    repository: RepositoryName | None = None
    """Which; the service's own repository unless said."""

    @property
    def subject(self) -> str:
        """The repository, where it is said."""
        return self.repository or ""

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        share = f" and the bytes of the next {self.subset}" if self.subset else ""
        often = f", at most every {format_duration(self.every)}" if self.every else ""
        return f"check the structure{share} of {self.repository or scene.repository}{often}"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """What restic itself checks, on the controller."""
        common = argv.Common()
        if self.subset is None:
            return (Planned("controller", argv.check(common, None)),)
        number = (*argv.check(common, None), f"--read-data-subset=<next>/{parts_of(self.subset)}")
        return (Planned("controller", number, note="the share after the one that was read last"),)

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Read the next share while nobody else works on the repository exclusively; count it on success only."""
        repository = tools.repository(self.repository)
        parts = parts_of(self.subset) if self.subset else 0
        key = key_of(tools, repository, parts)
        before = Readings.model_validate(tools.memory.get(key) or {})
        if before.run == tools.run.id and before.step == tools.step:
            return _evidence(before, parts, repository.name)
        if self.every and before.at and tools.run.started - before.at < self.every - slack(self.every):
            return _not_due(before, parts, repository.name, before.at + self.every)
        with tools.lease(f"repository:{repository.name}", wait=LEASE_PATIENCE):
            after = read_next(tools, repository, parts, before)
        tools.memory.put(key, after.model_dump(mode="json"))
        return _evidence(after, parts, repository.name)


class Readings(Frozen):
    """Which shares of a repository were read when; remembered beyond the run."""

    run: str = ""
    """The last success's run."""
    step: str = ""
    at: AwareDatetime | None = None
    """When that run began."""
    last: int = 0
    """The share that was read last, from 1."""
    read: dict[str, AwareDatetime] = Field(default_factory=dict)
    """When the last successful reading of each share began."""
    seconds: float = 0.0

    def complete(self, parts: int) -> bool:
        """Whether every share was read at least once."""
        return parts > 0 and len(self.read) == parts


def key_of(tools: Tools, repository: Repository, parts: int) -> str:
    """Under which name the `Readings` of a repository are remembered."""
    return f"check:{repository.identify(tools.controller())}:{parts}"


def read_next(tools: Tools, repository: Repository, parts: int, before: Readings) -> Readings:
    """Read the share after the last one, or only the structure when ``parts`` is 0; the caller holds the lease."""
    part = before.last % parts + 1 if parts else 0
    began = tools.clock.now()
    report = repository.check(tools.controller(), subset=(part, parts) if parts else None)
    return Readings(
        run=tools.run.id,
        step=tools.step,
        at=tools.run.started,
        last=part,
        read=before.read | ({str(part): began} if parts else {}),
        seconds=report.seconds,
    )


def slack(every: timedelta) -> timedelta:
    """How much earlier than `Check.every` counts as due: a nightly run does not begin at the same second each night."""
    return min(every / 10, timedelta(hours=1))


def coverage(readings: Readings, parts: int, repository: str) -> dict[str, Json]:
    """The facts that tell how much of a repository was read."""
    oldest = min(readings.read.values()).isoformat() if readings.read else None
    return {
        "repository": repository,
        "subset": f"{readings.last}/{parts}" if parts else "structure",
        "coverage_percent": round(100 * len(readings.read) / parts, 1) if parts else 0.0,
        "oldest_reading": oldest,
        "intact_until": oldest if readings.complete(parts) else None,
    }


def _evidence(readings: Readings, parts: int, repository: str) -> Evidence:
    """``intact_until``: all that was stored before then has been read since, and was whole.

    The level is claimed only where one reading covered everything: a rotation says nothing about what came after it.
    """
    facts = {**coverage(readings, parts, repository), "due": True, "seconds": round(readings.seconds, 3)}
    return Evidence(facts=facts, level=ProofLevel.INTACT if parts == 1 else None)


def _not_due(readings: Readings, parts: int, repository: str, due: datetime) -> Evidence:
    last = readings.at.isoformat() if readings.at else None
    return Evidence(
        facts={**coverage(readings, parts, repository), "due": False, "last": last, "not_due_until": due.isoformat()}
    )
