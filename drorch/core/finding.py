"""Findings: what a look at the living world showed, before anything is done; each with its remedy."""

from enum import StrEnum

from pydantic import Field

from drorch.core.errors import DrorchError
from drorch.core.evidence import Failure
from drorch.core.model import Frozen, Json


class Standing(StrEnum):
    """How good what was found is, from best to worst."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    """It would work, but not as anybody would wish."""
    UNKNOWN = "unknown"
    """It could not be found out, which is never good."""
    BAD = "bad"
    """A failover would fail, or lose more than it must."""

    @property
    def height(self) -> int:
        """0 for ``good``, upwards."""
        return list(Standing).index(self)


class Finding(Frozen):
    """One thing that was looked at."""

    about: str
    """What: a host, a source, a switch, a repository, by its name."""
    what: str
    """What was found, one sentence without a full stop."""
    standing: Standing = Standing.GOOD
    remedy: str = ""
    """What to do; never empty unless the standing is good."""
    facts: dict[str, Json] = Field(default_factory=dict)
    """What was measured."""

    @property
    def amiss(self) -> bool:
        """Whether it would not work, as far as is known: bad or unknown."""
        return self.standing.height >= Standing.UNKNOWN.height

    @classmethod
    def of(cls, about: str, error: DrorchError, *, standing: Standing = Standing.BAD) -> "Finding":
        """The finding that an error means."""
        what = error.message.removeprefix(f"{about}: ")
        return cls(about=about, what=what, standing=standing, remedy=error.hint or "see what it says")

    @classmethod
    def failed(cls, about: str, failure: Failure) -> "Finding":
        """The finding that a failure means: unknown where the outcome is."""
        unknown = failure.unknown or failure.timed_out
        return cls(
            about=about,
            what=failure.why,
            standing=Standing.UNKNOWN if unknown else Standing.BAD,
            remedy=failure.hint or "see what it says",
        )
