"""The events of a service's claims in a store: ``drorch-claims/SERVICE/00000001`` and so on, each written once.

Nothing here reads a clock to decide anything: times are the store's. What is asked for is done when it returns, or a
`Failure` says why not; a `StoreError` means that nobody knows, and to ask again with the same nonce finds out.
"""

import hashlib
import re
import secrets as randomness
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, ValidationError

from drorch.claim.footing import Footing
from drorch.claim.rules import Claim, Event, Holding, Home, Wanted, after
from drorch.core.clock import Clock
from drorch.core.errors import AlreadyThere, StoreError
from drorch.core.evidence import Failure
from drorch.core.host import printable
from drorch.core.model import Frozen, Json
from drorch.core.store import Store

FOLDER = "drorch-claims/"
"""Where events are, and nothing else; mirrors lie beside it."""
TRIES = 20
"""How often the next number is asked for when others are quicker each time."""
SETTLED = 3.0
"""Seconds after which a write counts in a store that does not refuse a second one: whoever had looked before it has
written by then, or is very slow.
"""

_NUMBER = re.compile(r"\d{8}")
_LIMIT = 1 << 16  # bytes of an event; a real one has about 2000


class Unreadable(StoreError):
    """The newest event says nothing that this drorch understands."""

    def __init__(self, message: str, holding: Holding) -> None:
        super().__init__(
            message,
            hint="if a newer drorch wrote it, use that one. Else make sure by phone that nobody moves the service, and "
            "take it over with a reason",
        )
        self.holding = holding
        """As far as it is known: its number and time."""


class Released(Frozen):
    """A claim that its holder gave back."""

    epoch: int
    outcome: str
    home: str
    """As it was said; empty for nothing."""
    at: AwareDatetime


@dataclass(frozen=True, slots=True)
class Book:
    """The claims of one service in one store."""

    store: Store
    service: str
    clock: Clock
    """For what events show of their writer's clock, and for waiting."""

    def holding(self) -> Holding:
        """How things stand now.

        Raises:
            Unreadable: the newest event cannot be understood.
            StoreError: nobody knows.
        """
        newest: _Found | None = None
        for found in self._found():
            newest = found
        return self._after(newest) if newest is not None else Holding()

    def take(self, wanted: Wanted, footing: Footing) -> Claim | Failure:
        """Have the claim, anew or still."""
        first: int | None = None
        for _ in range(TRIES):
            try:
                now = self.holding()
            except Unreadable as error:
                if not wanted.take_over:
                    raise
                now = error.holding
            if mine := now.ours(wanted.nonce):
                return mine
            first = now.number if first is None else first
            if now.claim is not None and now.claim.epoch > first:
                return self._refused(now.claim)  # it was taken while we tried
            then = self._append(self._event("claim", now, wanted=wanted), footing)
            if then is None:
                continue
            if mine := then.ours(wanted.nonce):
                return mine
            if then.claim is not None:
                return self._refused(then.claim)
        return self._crowded()

    def confirm(self, nonce: str, epoch: int) -> Claim | Failure:
        """The claim as it stands, if it is still that one's; writes nothing."""
        return self._still(self.holding(), nonce, epoch)

    def renew(self, nonce: str, epoch: int, footing: Footing) -> Claim | Failure:
        """Let a claim last for its whole length from now, by the store's clock, if it is still that one's."""
        for _ in range(TRIES):
            now = self.holding()
            still = self._still(now, nonce, epoch)
            if isinstance(still, Failure):
                return still
            then = self._append(self._event("renew", now, nonce=nonce, epoch=epoch), footing)
            if then is not None:
                return self._still(then, nonce, epoch)
        return self._crowded()

    def release(
        self, nonce: str, epoch: int, footing: Footing, *, outcome: str, home: str
    ) -> Released | Failure | None:
        """Give a claim back, once; what was said then if it was given back before. None if it is somebody else's now.

        ``epoch``: the claim's, or 0 where only the nonce is known.
        """
        for _ in range(TRIES):
            now = self.holding()
            mine = now.ours(nonce)
            if mine is None:
                return self._released(nonce, epoch)
            event = self._event("release", now, nonce=nonce, epoch=mine.epoch, outcome=outcome, home=home)
            then = self._append(event, footing)
            if then is not None and then.at is not None:
                return Released(epoch=mine.epoch, outcome=outcome, home=home, at=then.at)
        return self._crowded()

    def _released(self, nonce: str, epoch: int) -> Released | None:
        for found in self._found():
            if found.number > epoch:
                event = self._read(found)
                if event.what == "release" and event.before.ours(nonce):
                    at = event.moment(found.at)
                    return Released(epoch=event.epoch, outcome=event.outcome, home=event.home, at=at)
        return None

    # -- events --------------------------------------------------------------------------------------------------------

    def _event(
        self,
        what: Literal["claim", "renew", "release"],
        before: Holding,
        *,
        wanted: Wanted | None = None,
        nonce: str = "",
        epoch: int = 0,
        outcome: str = "",
        home: str = "",
    ) -> Event:
        return Event(
            mark=randomness.token_hex(32),
            what=what,
            seen=self.clock.now(),
            before=before,
            wanted=wanted,
            nonce=nonce,
            epoch=epoch,
            outcome=outcome,
            home=home,
        )

    def _append(self, event: Event, footing: Footing) -> Holding | None:
        """How things stand after the event; None when its number is another one's."""
        number = event.before.number + 1
        content = event.model_dump_json().encode()
        try:
            self.store.put(self._key(number), content, sha256=hashlib.sha256(content).hexdigest(), absent=True)
        except AlreadyThere:
            pass  # it may be ours, and only the answer was lost
        else:
            if not footing.sure:
                self.clock.sleep(SETTLED)
        # Not every store that takes a write heeds the condition: what is there, and was there first, decides.
        there = next((found for found in self._found() if found.number == number), None)
        if there is None:
            raise StoreError(
                f"{self.store.shown}: what was just written is not there: {self._key(number)}",
                hint="does somebody delete it at this moment? do not trust this store with claims",
            )
        lies = self._read(there)
        return after(lies, there.at) if lies.mark == event.mark else None

    def _found(self) -> Iterator["_Found"]:
        """All events by number, of each the version that was there first: by the order of versions, which the store
        makes one by one, not by their times, which may be another (seen in Ceph).
        """
        folder = self._key()
        if not self.store.versioned:
            for entry in self.store.entries(folder):
                if _NUMBER.fullmatch(name := entry.key[len(folder) :]):
                    yield _Found(int(name), entry.modified)
            return
        last: _Found | None = None
        for version in self.store.versions(folder):
            name = version.key[len(folder) :]
            if version.deleted or not _NUMBER.fullmatch(name):
                continue
            found = _Found(int(name), version.modified, version.id)
            if last is not None and last.number != found.number:
                yield last
            last = found
        if last is not None:
            yield last

    def _after(self, found: "_Found") -> Holding:
        event = self._read(found)
        if event.before.number + 1 != found.number:
            raise self._unreadable(found, "is no event of its number")
        return after(event, found.at)

    def _read(self, found: "_Found") -> Event:
        content = self.store.read(self._key(found.number), limit=_LIMIT, version=found.version)
        try:
            return Event.model_validate_json(content)
        except ValidationError as error:
            raise self._unreadable(found, "cannot be understood") from error

    def _unreadable(self, found: "_Found", why: str) -> Unreadable:
        return Unreadable(
            f"{self.store.shown}: {self._key(found.number)}, which says who moves {self.service}, {why}",
            Holding(number=found.number, at=found.at),
        )

    def _key(self, number: int | None = None) -> str:
        return f"{FOLDER}{self.service}/" + ("" if number is None else f"{number:08}")

    # -- failures ------------------------------------------------------------------------------------------------------

    def _still(self, now: Holding, nonce: str, epoch: int) -> Claim | Failure:
        mine = now.ours(nonce)
        if mine is not None and mine.epoch == epoch:
            return mine
        if now.claim is None:
            gone = "is over" if now.number else "is not in the store any more"
            lives = f"; {self.service} lives on {printable(now.home.host)} since {_who(now.home)}" if now.home else ""
            return Failure(
                why=f"this run's claim on {self.service} {gone}, by what {self.store.shown} holds{lives}",
                hint="do nothing more in this run: abort it, see who works on the service, and begin anew",
            )
        return Failure(
            why=f"{self.service} is not this run's any more: {_who(now.claim)}"
            + (f" took it over ({printable(now.claim.take_over)})" if now.claim.taken_from else " took it"),
            hint="do nothing more in this run: speak with them, then abort it",
            facts=_facts(now.claim),
        )

    def _refused(self, held: Claim) -> Failure:
        return Failure(
            why=f"{self.service} is being moved by {_who(held)}; their claim ends at {held.until:%Y-%m-%d %H:%M:%S} "
            f"UTC by the clock of {self.store.shown}, or when they release it",
            hint="speak with them. If their run has certainly ended, wait until then and try again, or take it over "
            "with a reason",
            facts=_facts(held),
        )

    def _crowded(self) -> Failure:
        return Failure(
            why=f"too many ask for {self.service} in {self.store.shown} at once", hint="try again", retryable=True
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """One event in a listing."""

    number: int
    at: datetime
    """When the store took it."""
    version: str = ""


def _who(claim: Claim | Home) -> str:
    return f"{printable(claim.holder)} in run {printable(claim.run)}"


def _facts(claim: Claim) -> dict[str, Json]:
    return {"claimed_by": claim.holder, "run": claim.run, "epoch": claim.epoch, "until": claim.until.isoformat()}
