"""What the events of a service's claims mean. Pure.

All that happens to a service's claims is one sequence of events, numbered 1, 2, 3, … without gaps: each number is
written once. So whoever writes event *n* knows exactly what was before it, and says so in it (`Event.before`), and what
counts after it follows from it and from the moment at which the store took it (`after`): one object is enough to know
everything, and everybody who reads it comes to the same end.

Only the store's clock counts. A claim is *live* until it is released, or until its end; whoever finds one that is not
theirs can only ask for it by writing an event, and the moment at which the store takes that event decides whether the
claim had ended by then. A controller whose clock is wrong can neither steal a claim nor keep one.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from drorch.core.model import Duration, Frozen

Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Drawn by chance, so that nobody takes another's writing for their own."""


class Wanted(Frozen):
    """What is asked for."""

    nonce: Nonce
    """Of whoever asks: known to nobody else, and to them again after a kill."""
    holder: str
    """``user@machine``."""
    run: str
    plan: str
    """The plan's digest."""
    length: Duration
    """How long it lasts from when it is taken or renewed."""
    home_before: str
    """Where the service lives, unless the store knows better."""
    home_wanted: str
    """Where it is to be led."""
    take_over: str = ""
    """Why a live claim of somebody else is to be ended; empty to leave it to them."""


class Claim(Wanted):
    """A claim that somebody has."""

    epoch: int
    """Number of the event that took it: the higher one counts, and no two claims have the same."""
    at: AwareDatetime
    """When it was taken or last renewed, by the store's clock."""
    until: AwareDatetime
    """When it ends unless it is renewed, by the store's clock."""
    seen: AwareDatetime
    """What the holder's own clock showed when it wrote that."""
    taken_from: str = ""
    """Whose live claim it ended."""


class Attempt(Frozen):
    """Somebody asked for a claim while another's was live, and did not get it."""

    holder: str
    run: str
    at: AwareDatetime


class Home(Frozen):
    """Where a service lives since its last claim was released."""

    host: str
    outcome: str
    """What came of the run that had the claim."""
    run: str
    holder: str
    at: AwareDatetime
    """By the store's clock."""


class Holding(Frozen):
    """How things stand after an event."""

    number: int = 0
    """Of the newest event; 0 before the first."""
    at: AwareDatetime | None = None
    """When the store took it."""
    claim: Claim | None = None
    """The one that was not released yet; it may be over."""
    home: Home | None = None
    """None as long as no run with a claim ended."""
    refused: Attempt | None = None
    """The newest attempt at the present claim that was refused."""

    def ours(self, nonce: str) -> Claim | None:
        """The claim, if it is that one's."""
        return self.claim if self.claim is not None and self.claim.nonce == nonce else None


class Event(Frozen):
    """One event, as it lies in the store."""

    format: Literal[1] = 1
    mark: Nonce
    """Of this event alone."""
    what: Literal["claim", "renew", "release"]
    seen: AwareDatetime
    """The writer's clock, for people and for the writer."""
    before: Holding
    """How things stood: exact, since no other event can have this one's number."""
    wanted: Wanted | None = None
    """Of a claim."""
    nonce: str = ""
    """Of a renewal or release: whose claim."""
    epoch: int = 0
    """Of a renewal or release: which one."""
    outcome: Annotated[str, Field(max_length=200)] = ""
    """Of a release."""
    home: str = ""
    """Of a release: where the service lives now; empty for where it did."""

    def moment(self, at: datetime) -> datetime:
        """When it counts, given when the store took it: never before the one before, should its clock be put back."""
        return max(at, self.before.at) if self.before.at else at


def after(event: Event, at: datetime) -> Holding:
    """How things stand after an event that the store took at that moment, by its clock."""
    before = event.before
    at = event.moment(at)
    passed = before.model_copy(update={"number": before.number + 1, "at": at})
    if event.wanted is not None:
        return _asked(event, event.wanted, passed, at)
    mine = before.ours(event.nonce)
    if mine is None or mine.epoch != event.epoch:
        return passed  # it was ended by somebody else before
    if event.what == "renew":
        renewed = mine.model_copy(update={"at": at, "until": at + mine.length, "seen": event.seen})
        return passed.model_copy(update={"claim": renewed})
    home = before.home
    if event.home:
        home = Home(host=event.home, outcome=event.outcome, run=mine.run, holder=mine.holder, at=at)
    return passed.model_copy(update={"claim": None, "home": home, "refused": None})


def _asked(event: Event, wanted: Wanted, passed: Holding, at: datetime) -> Holding:
    held = passed.claim
    live = held is not None and held.nonce != wanted.nonce and at < held.until
    if live and not wanted.take_over:
        attempt = Attempt(holder=wanted.holder, run=wanted.run, at=at)
        return passed.model_copy(update={"refused": attempt})
    said = wanted.model_dump()
    if passed.home is not None:
        said["home_before"] = passed.home.host
    claim = Claim(
        **said,
        epoch=passed.number,
        at=at,
        until=at + wanted.length,
        seen=event.seen,
        taken_from=held.holder if held is not None and live else "",
    )
    return passed.model_copy(update={"claim": claim, "refused": None})
