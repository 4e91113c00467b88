"""The claim that a run has on its service, for the steps that act under it."""

import secrets as randomness
from datetime import timedelta

from pydantic import AwareDatetime, ValidationError

from drorch.claim.footing import Footing
from drorch.claim.log import Book
from drorch.core.errors import DrorchError
from drorch.core.evidence import Failure
from drorch.core.model import Frozen
from drorch.core.step import Earlier, Tools

FACT = "claim"
"""The fact under which evidence tells of a claim."""


class Claimed(Frozen):
    """What the evidence of a claim says."""

    store: str
    service: str
    holder: str
    """``user@machine``."""
    epoch: int = 0
    """The higher one counts; 0 where nothing could be claimed."""
    nonce: str = ""
    at: AwareDatetime | None = None
    """By the store's clock, as all times here."""
    until: AwareDatetime | None = None
    sure: bool = False
    """Whether the store keeps two controllers apart."""
    reason: str
    """Why it does, why it does not, or why nothing could be claimed."""
    required: bool = True
    """Whether to stop where nobody knows if it still holds."""
    home_before: str
    home_wanted: str

    @property
    def footing(self) -> Footing:
        """How far it can be relied on."""
        return Footing(sure=self.sure, reason=self.reason)


def claimed(earlier: Earlier) -> Claimed | None:
    """What the run claimed; None where it has no such step, or it was skipped."""
    for evidence in earlier.values():
        try:
            return Claimed.model_validate(evidence.facts.get(FACT))
        except ValidationError:
            continue
    return None


def held(tools: Tools, earlier: Earlier) -> Failure | None:
    """Make sure, before anything that cannot be taken back, that the service is still this run's to move.

    A claim of which less than half is left by the controller's clock, or that another machine's clock noted, is
    renewed. None where all is well, and where nothing was claimed because nobody asked or nobody could.
    """
    said = claimed(earlier)
    if said is None or not said.epoch:
        return None
    try:
        store = tools.store(said.store)
        store.ready()  # it gives up sooner than others
        book = Book(store, said.service, tools.clock)
        found = book.confirm(said.nonce, said.epoch)
        if isinstance(found, Failure):
            return found
        passed = tools.clock.now() - found.seen
        if holder(tools) == found.holder and timedelta() <= passed < found.length / 2:
            return None
        renewed = book.renew(said.nonce, said.epoch, said.footing)
    except DrorchError as error:
        if not said.required:
            return None
        return Failure(
            why=f"whether {said.service} is still this run's to move cannot be told: {error.message}",
            hint=f"retry once {said.store} answers. If it will not, make sure by phone that nobody else moves "
            f"{said.service}, abort, begin anew, and skip the claim",
            retryable=error.retryable,
        )
    return renewed if isinstance(renewed, Failure) else None


def holder(tools: Tools) -> str:
    """Who runs this, as ``user@machine``."""
    who = tools.controller().identity()
    return f"{who.user}@{who.hostname}"


def nonce_of(tools: Tools) -> str:
    """The nonce of this run's claim: drawn once, and kept before it is used, so that a cut run knows its own."""
    kept = kept_nonce(tools)
    if kept is None:
        kept = randomness.token_hex(32)
        tools.memory.put(f"claim:{tools.run.id}", kept)
    return kept


def kept_nonce(tools: Tools) -> str | None:
    """The same, if it was drawn: without it this run never asked for a claim."""
    kept = tools.memory.get(f"claim:{tools.run.id}")
    return kept if isinstance(kept, str) else None
