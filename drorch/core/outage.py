"""An outage as customers see it: what a probe that asked again and again was answered. Pure."""

from datetime import datetime, timedelta

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

    def answered(self, at: datetime, now: datetime, failure: str) -> "Watched":
        """With one more request, sent ``at`` and answered ``now``; ``failure`` is empty for a success."""
        windows = list(self.windows)
        out = bool(windows) and windows[-1].ended is None
        if failure and not out:
            windows.append(Window(began=at, reason=failure, older=self.asked == 0))
        elif not failure and out:
            windows[-1] = windows[-1].model_copy(update={"ended": now})
        return self.model_copy(
            update={
                "last": now,
                "asked": self.asked + 1,
                "failed": self.failed + bool(failure),
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
