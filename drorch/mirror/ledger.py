"""What is remembered of a mirror from pass to pass, and what follows from it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from pydantic import AwareDatetime

from drorch.core.clock import Clock, Deadline
from drorch.core.errors import StoreError
from drorch.core.model import Frozen
from drorch.core.step import Memory
from drorch.core.store import Lock

CYCLE = 3
"""Locks are extended when a third of their length has passed: two further passes may fail before the first runs out."""


class Ledger(Frozen):
    """The mirror of one repository in one store."""

    config: str = ""
    """SHA-256 of the repository's ``config``."""
    seen_until: AwareDatetime | None = None
    """As `transfer.Known.seen_until`."""
    locked_until: AwareDatetime | None = None
    """Every object that was live at the last complete pass is locked at least until then; None without locks."""
    began: AwareDatetime | None = None
    """When the last complete pass began, by the controller's clock: what the source held then is in the copy."""
    index: str = ""
    """As `transfer.Passed.index` of that pass."""
    replaced: int = 0
    """How many objects that pass found overwritten or damaged, and wrote again."""
    run: str = ""
    place: str = ""
    """Where the copy is, as `Store.shown` has it: under another prefix or in another bucket nothing of this holds."""


class Looked(Frozen):
    """The last audit of a copy that came to its end, whatever it found."""

    at: AwareDatetime
    problems: int
    run: str
    altered: tuple[str, ...] = ()
    """Keys whose content was wrong: the next pass looks at them, whatever their age."""
    more: bool = False
    """Whether there were more of them than are named: then the next pass looks at everything."""


def looked(memory: Memory, store: str, repository: str) -> Looked | None:
    """What the last audit found; None before the first."""
    value = memory.get(f"looked:{store}:{repository}")
    return Looked.model_validate(value) if value else None


def note_look(memory: Memory, store: str, repository: str, look: Looked) -> None:
    """Remember what an audit found."""
    memory.put(f"looked:{store}:{repository}", look.model_dump(mode="json"))


def read(memory: Memory, store: str, repository: str, place: str = "") -> Ledger:
    """What is remembered; an empty one before the first pass to that place."""
    found = Ledger.model_validate(memory.get(_key(store, repository)) or {})
    return found if place in {"", found.place} or not found.place else Ledger()


def write(memory: Memory, store: str, repository: str, ledger: Ledger) -> None:
    """Remember it."""
    memory.put(_key(store, repository), ledger.model_dump(mode="json"))


def _key(store: str, repository: str) -> str:
    return f"mirror:{store}:{repository}"


def interval(lock: Lock) -> timedelta:
    """How often the locks of all live objects are extended."""
    return timedelta(days=lock.days) / CYCLE


def extension(ledger: Ledger, lock: Lock | None, now: datetime) -> datetime | None:
    """Until when every live object is to be locked by the next pass; None when it is not time for that."""
    if lock is None:
        return None
    full = timedelta(days=lock.days)
    if ledger.locked_until is not None and ledger.locked_until - now >= full - interval(lock):
        return None
    return now + full


class OutOfTime(StoreError):
    """The attempt's deadline has passed in the middle."""

    retryable = True


def watch(clock: Clock, deadline: Deadline) -> Callable[[], None]:
    """A check that raises `Interrupted` when a stop is asked for, and `OutOfTime` when the deadline has passed."""

    def check() -> None:
        clock.sleep(0)
        if deadline.passed:
            raise OutOfTime("not finished in time", hint="what was done stays; the next attempt goes on from there")

    return check
