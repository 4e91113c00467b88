"""Trying again: exponential back-off with full jitter, bounded by tries and by time."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from drorch.core.clock import Clock
from drorch.stores._s3.trouble import Verdict

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on."""

    tries: int = 10
    base: float = 0.5
    """Seconds that are waited at most before the second try; doubled with each further one."""
    cap: float = 60.0
    """Seconds that are waited at most at once, unless the store asks for more."""
    span: float = 300.0
    """Seconds after the first try in which another may begin."""

    def delay(self, tried: int, asked: float, chance: float) -> float:
        """Seconds to wait after so many tries; ``chance`` from 0 to 1. Never less than the store asked for."""
        return max(asked, chance * min(self.cap, self.base * 2.0 ** (tried - 1)))


BRIEF = Patience(tries=3, span=20.0)
"""For a first look, at which somebody waits for an answer."""


class Failed(Exception):
    """One try came to nothing."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.error.message)
        self.verdict = verdict


def persist(
    attempt: Callable[[int], T], patience: Patience, clock: Clock, chance: Callable[[], float] = random.random
) -> T:
    """The first result; ``attempt`` is given how many tries failed before it.

    Raises:
        StoreError: of the last try, when there is no hope or no patience left.
    """
    began = clock.monotonic()
    tried = 0
    while True:
        try:
            return attempt(tried)
        except Failed as failed:
            tried += 1
            verdict = failed.verdict
            delay = patience.delay(tried, verdict.after, chance())
            late = clock.monotonic() + delay - began > patience.span
            if not verdict.again or tried >= patience.tries or late:
                raise verdict.error from failed.__cause__
        clock.sleep(delay)
