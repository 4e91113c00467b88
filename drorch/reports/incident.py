"""An incident as its review needs it: runs, events, what took its time. Values only."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from drorch.core.model import Json
from drorch.engine.journal import Record, Run
from drorch.engine.plan import Plan
from drorch.reports.gaps import Attention
from drorch.reports.moved import Moved
from drorch.reports.text import Style


@dataclass(frozen=True, slots=True)
class Chapter:
    """A run as the journal has it."""

    run: Run
    records: tuple[Record, ...]
    plan: Plan
    alive: bool
    """Whether a process works on it now."""
    note: Json = None
    """What its probe has noted so far; the record of its end has it whole."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a line comes from."""

    record: int
    """The record's number; 0 for a note that no record holds yet."""
    hash: str
    """The first digits of its hash."""
    probe: bool = False
    """Whether the probe saw it, whose whole view that record holds."""
    believed: bool = True
    """Whether the chain of records is whole as far as this one."""

    @property
    def words(self) -> str:
        """For people."""
        if not self.record:
            return "the probe's note, not signed yet"
        place = f"no. {self.record} {self.hash}"
        return f"{'the probe, in ' if self.probe else ''}{place}{'' if self.believed else ', NOT BELIEVED'}"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the timeline."""

    at: datetime
    after: timedelta
    """Since the zero of the timeline."""
    run: str
    who: str
    what: str
    mark: Style
    details: tuple[str, ...]
    trace: Trace


@dataclass(frozen=True, slots=True)
class Phase:
    """Something that took its time, for the figure."""

    kind: Literal["outage", "person", "step", "failed", "undo"]
    label: str
    began: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """What one of the runs came to."""

    run: str
    runbook: str
    kind: str
    service: str
    plan: str
    state: str
    started: datetime
    ended: datetime | None
    by: str
    why: str
    hint: str
    exceptions: tuple[str, ...]
    moved: Moved | None
    attention: Attention | None
    phases: tuple[Phase, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """An incident."""

    doubts: tuple[str, ...]
    """Why it cannot be believed, or not as a whole; empty when every record is chained and signed."""
    zero: datetime
    zero_is: Literal["the outage", "the run"]
    """What begins at zero."""
    runs: tuple[Head, ...]
    events: tuple[Event, ...]
    left: tuple[str, ...]
    """What is left to do."""
