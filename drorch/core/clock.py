"""Time: ``now`` is an argument of every decision; only the composition root makes a clock."""

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from drorch.core.errors import Interrupted


class Clock(Protocol):
    """What time it is, and waiting."""

    def now(self) -> datetime:
        """Aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump; only differences mean something."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; raises `Interrupted` when a stop is asked for meanwhile."""
        ...


class Halt:
    """A request to stop, seen by everything that waits."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self) -> None:
        """Ask everything to stop."""
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for a request at most so long; True when there is one."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise `Interrupted` when a stop was asked for."""
        if self.requested:
            raise Interrupted


class SystemClock:
    """The machine's clock."""

    def __init__(self, halt: Halt | None = None) -> None:
        self._halt = halt or Halt()

    def now(self) -> datetime:
        """Aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, or raise `Interrupted`."""
        if self._halt.wait(max(0.0, seconds)):
            raise Interrupted


@dataclass
class FakeClock:
    """A clock that moves only when told or slept on; for tests and rehearsals."""

    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        """The time it was set to."""
        return self.at

    def monotonic(self) -> float:
        """Seconds since the epoch of the time it was set to."""
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        """Move forward at once."""
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment, on the monotonic clock, at which an attempt must be over."""

    at: float
    clock: Clock

    @classmethod
    def after(cls, length: timedelta, clock: Clock) -> "Deadline":
        """A deadline so far from now."""
        return cls(clock.monotonic() + length.total_seconds(), clock)

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - self.clock.monotonic())

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.remaining() <= 0
