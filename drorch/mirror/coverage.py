"""Which share of a copy has been read back when, so that all of it is read within a period. Pure.

Names are hashes, so their first byte divides any copy into 256 parts of about the same size.
"""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from drorch.core.model import Frozen

PARTS = 256


class Coverage(Frozen):
    """When each part was last read whole and found right."""

    read: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By the first byte, two hexadecimal digits: when that reading began."""
    last: AwareDatetime | None = None
    """When the last reading began, whatever its share."""
    first: AwareDatetime | None = None
    """When the first one began."""

    def share(self, now: datetime, within: timedelta) -> tuple[str, ...]:
        """The parts to read now: the ones read longest ago, so many that all are read within the period if this goes
        on as often as it did. The first time it is what one day wants.
        """
        since = now - self.last if self.last is not None and self.last < now else timedelta(days=1)
        wanted = min(PARTS, max(1, math.ceil(PARTS * 1.1 * since / within)))
        late = [part for part in _PARTS if now - self.read.get(part, self.first or now) >= within]
        rest = sorted(_PARTS, key=lambda part: (part in self.read, self.read.get(part, now), part))
        # What the period has run out for is read at once, but never more than four times the usual share.
        return tuple(rest[: max(wanted, min(len(late), 4 * wanted))])

    def after(self, parts: Iterable[str], began: datetime) -> "Coverage":
        """With these parts read."""
        return Coverage(read={**self.read, **dict.fromkeys(parts, began)}, last=began, first=self.first or began)

    def percent(self, now: datetime, within: timedelta) -> float:
        """How much was read within the period."""
        fresh = sum(now - at <= within for at in self.read.values())
        return round(100 * fresh / PARTS, 1)

    @property
    def whole_until(self) -> datetime | None:
        """What was stored before then has been read since, and was right; None while parts were never read."""
        return min(self.read.values()) if len(self.read) == PARTS else None


_PARTS = tuple(f"{number:02x}" for number in range(PARTS))
