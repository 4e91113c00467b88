"""How many calls are made at once: more while that brings more, half as many when the store asks to slow down."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from drorch.core.clock import Clock

FIRST = 4
"""Calls at once to begin with."""
WORTH = 1.05
"""One more call at once is kept when the throughput grows at least so much."""
RETRY_ROUNDS = 20
"""Rounds without growth after which one more is tried again: conditions change."""
_LOOK = 1.0
"""Seconds after which a waiting call looks whether a stop was asked for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many calls at once, and why; a value that is replaced after each round."""

    limit: int
    most: int
    best: float = 0.0
    """The highest throughput that a round had at a lower limit."""
    rising: bool = True
    """Doubling, as long as nothing spoke against it."""
    still: int = 0
    """Rounds without growth in a row."""

    def after_round(self, throughput: float) -> "Pace":
        """As many successes as the limit were had, at that throughput."""
        if throughput > self.best * WORTH:
            step = self.limit if self.rising else 1
            return replace(self, limit=min(self.most, self.limit + step), best=throughput, still=0)
        if self.still + 1 >= RETRY_ROUNDS:
            return replace(self, limit=min(self.most, self.limit + 1), best=throughput, rising=False, still=0)
        return replace(self, rising=False, still=self.still + 1)

    def slower(self) -> "Pace":
        """The store asked to slow down, or did not answer in time."""
        return replace(self, limit=max(1, self.limit // 2), best=0.0, rising=False, still=0)


class Call:
    """One call in the gate; whoever makes it says how it went."""

    __slots__ = ("bytes", "era", "good", "slow")

    def __init__(self, era: int) -> None:
        self.era = era
        self.bytes = 0
        """Sent and received."""
        self.good = False
        self.slow = False


class Gate:
    """Lets through as many calls at once as do good; shared by threads."""

    CALL_WEIGHT = 32 * 1024
    """Bytes that a call counts for by itself when throughputs are compared."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._clock = clock
        self._pace = Pace(limit=min(FIRST, most), most=most)
        self._running = 0
        self._era = 0
        self._good = 0
        self._weight = 0
        self._began = clock.monotonic()
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Calls at once at present."""
        return self._pace.limit

    @contextmanager
    def call(self) -> Iterator[Call]:
        """A place for one call; waits for it. `Interrupted` when a stop is asked for meanwhile."""
        with self._changed:
            while self._running >= self._pace.limit:
                if not self._changed.wait(_LOOK):
                    self._clock.sleep(0)
            self._running += 1
            call = Call(self._era)
        try:
            yield call
        finally:
            with self._changed:
                self._running -= 1
                self._learn(call)
                self._changed.notify(max(1, self._pace.limit - self._running))

    def _learn(self, call: Call) -> None:
        if call.slow and call.era == self._era:
            # Calls that were under way when the limit was lowered say nothing about the lower one.
            self._turn(self._pace.slower())
            self._era += 1
        elif call.good:
            self._good += 1
            self._weight += call.bytes + self.CALL_WEIGHT
            if self._good >= self._pace.limit:
                seconds = max(1e-6, self._clock.monotonic() - self._began)
                self._turn(self._pace.after_round(self._weight / seconds))

    def _turn(self, pace: Pace) -> None:
        self._pace, self._good, self._weight, self._began = pace, 0, 0, self._clock.monotonic()
