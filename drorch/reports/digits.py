"""The five digits, and the facts behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DigitName = Literal["copies", "media", "off-site", "immutable", "errors"]
WANTED: Mapping[DigitName, int] = {"copies": 3, "media": 2, "off-site": 1, "immutable": 1, "errors": 0}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that speaks for a digit, or against it."""

    what: str
    good: bool
    at: datetime | None = None
    """When it was shown; None for what the inventory says."""
    by: str = ""
    """The run that showed it, or the key under which a probe is remembered; empty for the inventory."""
    do: str = ""
    """What to do about it; empty where it is good."""


@dataclass(frozen=True, slots=True)
class Digit:
    """One of the five."""

    name: DigitName
    wanted: int
    """At least so many; of errors, so many."""
    count: int | None
    """None while nobody can know: errors that nothing has looked for."""
    facts: tuple[Fact, ...]

    @property
    def good(self) -> bool:
        """Whether it holds."""
        if self.name == "errors":
            return self.count == 0
        return self.count is not None and self.count >= self.wanted
