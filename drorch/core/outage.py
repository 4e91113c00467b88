"""An outage as customers see it: what a probe that asked again and again was answered. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import Field

from drorch.core.model import Frozen


class Window(Frozen):
    """A time in which customers were not served."""

    began: datetime
    """The first request that failed was sent."""
    ended: datetime | None = None
    """The first request that succeeded again was answered; None while none has."""
    reason: str = ""
    """What the first failure said."""
    older: bool = False
    """Whether it was out already when the probe began, so that it is longer than this."""


class Answered(NamedTuple):
    """One request of a probe."""

    sent: datetime
    answered: datetime
    """When its answer came, or it was given up."""
    failure: str
    """Empty for a success."""


class Watched(Frozen):
    """What the probe of a run saw, from before its first step until after its last."""

    url: str
    viewer: str
    """From where it asked: a host, or ``controller``."""
    began: datetime
    last: datetime
    """The newest answer."""
    asked: int = 0
    failed: int = 0
    windows: tuple[Window, ...] = Field(default=())
    unseen: float = 0.0
    """Seconds in which nothing asked, because the controller was not there: an outage can hide in them."""

    def with_answers(self, answers: Sequence[Answered]) -> "Watched":
        """With more requests, in the order in which they were sent."""
        windows, asked = list(self.windows), self.asked
        for one in answers:
            ended = windows[-1].ended if windows else one.sent
            out = ended is None
            if one.failure and ended is not None and one.sent < ended:
                windows[-1] = windows[-1].model_copy(update={"ended": None})  # who was served had waited all that time
            elif one.failure and not out:
                windows.append(Window(began=one.sent, reason=one.failure, older=asked == 0))
            elif not one.failure and out:
                windows[-1] = windows[-1].model_copy(update={"ended": one.answered})
            asked += 1
        return self.model_copy(
            update={
                "last": max((self.last, *(one.answered for one in answers))),
                "asked": asked,
                "failed": self.failed + sum(bool(one.failure) for one in answers),
                "windows": tuple(windows),
            }
        )

    @property
    def out(self) -> timedelta:
        """How long customers were not served, all windows together; an open one counts until the newest answer."""
        return sum(((window.ended or self.last) - window.began for window in self.windows), timedelta())

    @property
    def words(self) -> str:
        """For people, such as ``12.4 s``, ``at least 12.4 s`` or ``none``."""
        if not self.windows:
            return "none seen" if not self.unseen else f"none seen, but nobody looked for {self.unseen:.0f} s"
        open_ = self.windows[-1].ended is None
        more = any(window.older for window in self.windows) or open_ or self.unseen
        return f"{'at least ' if more else ''}{self.out.total_seconds():.1f} s" + (" and still out" if open_ else "")


def watched_key(run: str) -> str:
    """Under which what the probe of a run saw is remembered."""
    return f"probe:{run}"
