"""What is remembered about a store's trials: how far it can be trusted, and whether it was better before."""

from datetime import datetime, timedelta

from pydantic import AwareDatetime, ValidationError

from drorch.core.errors import StoreError
from drorch.core.model import Frozen
from drorch.core.step import Memory
from drorch.core.store import Grade, Probe, Trial

FRESH_FOR = timedelta(hours=24)
"""How long a probe counts; then the store is tried again."""


class Known(Frozen):
    """The newest probe of a store, and the best grade that it ever had."""

    grade: Grade
    best: Grade
    """Since a person last accepted less."""
    trials: tuple[Trial, ...]
    at: AwareDatetime
    """When it was probed, UTC."""
    place: str = ""
    """What was probed, as `Store.shown` has it: a name that now leads elsewhere is another place."""

    @property
    def worse(self) -> bool:
        """Whether it was better once: somebody changed it, or its credentials. That is an alarm."""
        return self.grade.height < self.best.height


def remembered(memory: Memory, store: str) -> Known | None:
    """What the newest probe of that store saw; None when it was never probed.

    Raises:
        StoreError: it cannot be read, and so nobody knows whether the store got worse.
    """
    value = memory.get(_key(store))
    if value is None:
        return None
    try:
        return Known.model_validate(value)
    except ValidationError as error:
        raise StoreError(
            f"{store}: what is remembered about its probes cannot be read",
            hint=f"drorch store probe {store} --accept, once its trials are as you want them",
        ) from error


def remember(
    memory: Memory, store: str, probe: Probe, now: datetime, *, place: str = "", accept: bool = False
) -> Known:
    """Keep what a probe saw; ``accept``, or another place, forgets that it was ever better.

    Raises:
        StoreError: as `remembered`, without ``accept``.
    """
    before = None if accept else remembered(memory, store)
    grades = [probe.grade, *([before.best] if before and before.place in {"", place} else [])]
    best = max(grades, key=lambda grade: grade.height)
    known = Known(grade=probe.grade, best=best, trials=probe.trials, at=now, place=place)
    memory.put(_key(store), known.model_dump(mode="json"))
    return known


def fresh(known: Known | None, now: datetime) -> bool:
    """Whether it was probed within the last `FRESH_FOR`; a time in the future is no such time."""
    return known is not None and timedelta() <= now - known.at < FRESH_FOR


def _key(store: str) -> str:
    return f"probe:{store}"
