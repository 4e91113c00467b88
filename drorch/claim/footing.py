"""Whether a store can keep two controllers apart."""

from datetime import datetime

from drorch.core.errors import StoreError
from drorch.core.model import Frozen
from drorch.core.step import Memory
from drorch.core.store import Probe, Store
from drorch.mirror import trust


class Footing(Frozen):
    """How far a claim in a store can be relied on."""

    sure: bool
    """Whether of two who write at the same moment only one can believe that they have it."""
    reason: str
    """Why, in a clause without a full stop."""


def footing(store: Store, memory: Memory, now: datetime) -> Footing:
    """What is known of the store; it is probed where that was not done within a day.

    Raises:
        StoreError: whether it keeps versions cannot be asked.
    """
    found = known(store, memory, now)
    if found is not None:
        return found
    try:
        return _judged(trust.remember(memory, store.name, store.probe(), now, place=store.shown))
    except StoreError as error:
        return Footing(
            sure=False, reason=f"whether it refuses to write what is there could not be tried: {error.message}"
        )


def known(store: Store, memory: Memory, now: datetime) -> Footing | None:
    """The same without a probe; None where one is needed.

    Raises:
        StoreError: whether it keeps versions cannot be asked.
    """
    if store.versioned:
        return Footing(sure=True, reason="it keeps versions, so whoever wrote first can be told")
    try:
        seen = trust.remembered(memory, store.name)
    except StoreError as error:
        return Footing(sure=False, reason=error.message)
    if seen is None or seen.place != store.shown or not trust.fresh(seen, now):
        return None
    return _judged(seen)


def _judged(seen: trust.Known) -> Footing:
    if Probe(trials=seen.trials).good("second_put"):
        return Footing(sure=True, reason="it refuses to write what is there already")
    said = next((trial.answer for trial in seen.trials if trial.name == "second_put"), "it was not tried")
    return Footing(sure=False, reason=f"it does not certainly refuse to write what is there already: {said}")


def doubt(store: str, standing: Footing) -> str:
    """What people must know where it is not sure; empty where it is."""
    if standing.sure:
        return ""
    return (
        f"{store} cannot refuse a second writer ({standing.reason}), so two controllers could act at once: agree by "
        "phone who moves the service"
    )
