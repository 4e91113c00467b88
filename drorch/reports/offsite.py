"""How a service's off-site mirrors stand, from what is remembered of the last complete passes and probes. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from drorch.config.inventory import Inventory, Service
from drorch.config.runbook import Runbook
from drorch.core.model import Json
from drorch.mirror.ledger import Ledger, Looked, interval
from drorch.mirror.trust import Known
from drorch.reports.gaps import Gap
from drorch.reports.text import length

STALE = timedelta(days=7)
"""Age from which a copy is too old, for a service without an objective for its loss."""


@dataclass(frozen=True, slots=True)
class OffSite:
    """One mirror."""

    store: str
    repository: str
    copied: datetime | None
    """When the last complete pass began: what the repository held then is there. None for never."""
    age: timedelta | None
    grade: str
    """As the newest probe saw it; empty when there was none."""
    worse: bool
    """Whether the store was better once."""
    locked_until: datetime | None
    locks: bool
    """Whether it should be locked."""
    runbook: str
    replaced: int = 0
    """How many objects the last pass found overwritten or damaged."""
    audited: datetime | None = None
    problems: int = 0
    """What the last audit found."""
    audit: str = ""
    """Its run."""


def mirrors_of(
    name: str,
    inventory: Inventory,
    runbooks: Mapping[str, Runbook],
    remembered: Callable[[str], Json],
    now: datetime,
) -> tuple[OffSite, ...]:
    """Every mirror that the service's runbooks make, by what is remembered under its keys."""
    service = inventory.services[name]
    found: dict[tuple[str, str], OffSite] = {}
    for runbook in runbooks.values():
        if runbook.service != name:
            continue
        for store, repository in _steps(runbook, service):
            ledger = Ledger.model_validate(remembered(f"mirror:{store}:{repository}") or {})
            seen = remembered(f"probe:{store}")
            looked = remembered(f"looked:{store}:{repository}")
            look = Looked.model_validate(looked) if looked else None
            known = Known.model_validate(seen) if seen else None
            found[store, repository] = OffSite(
                store=store,
                repository=repository,
                copied=ledger.began,
                age=max(now - ledger.began, timedelta()) if ledger.began else None,
                grade=known.grade.value if known else "",
                worse=known.worse if known else False,
                locked_until=ledger.locked_until,
                locks=inventory.stores[store].lock is not None,
                runbook=runbook.runbook,
                replaced=ledger.replaced,
                audited=look.at if look else None,
                problems=look.problems if look else 0,
                audit=look.run if look else "",
            )
    return tuple(found.values())


def _steps(runbook: Runbook, service: Service) -> Iterator[tuple[str, str]]:
    for placed in runbook.placed():
        if placed.step.kind == "mirror":
            yield str(getattr(placed.step, "store", "")), getattr(placed.step, "repository", None) or service.repository


def offsite_gaps(service: Service, inventory: Inventory, mirrors: Sequence[OffSite], now: datetime) -> Iterator[Gap]:
    """What is not as it should be with them."""
    for one in mirrors:
        limit = 2 * service.objectives.rpo if service.objectives.rpo else STALE
        if one.age is None:
            yield Gap(f"nothing was ever copied to {one.store}", f"drorch run {one.runbook}")
        elif one.age > limit:
            yield Gap(f"the copy in {one.store} is {length(one.age)} old", f"drorch run {one.runbook}")
        if one.worse:
            yield Gap(f"{one.store} no longer refuses what it refused: {one.grade}", f"drorch store probe {one.store}")
        if one.problems:
            count = f"{one.problems} problem{'s' if one.problems > 1 else ''}"
            yield Gap(f"the last audit of {one.store} found {count}", f"drorch show {one.audit}")
        if one.replaced:
            what = f"{one.replaced} file{'s' if one.replaced > 1 else ''} overwritten or damaged, and mended"
            yield Gap(f"the last mirror to {one.store} found {what}", f"drorch audit {one.store}")
        lock = inventory.stores[one.store].lock
        if lock is None or one.age is None:
            continue
        if one.locked_until is None or one.locked_until <= now:
            yield Gap(f"the copy in {one.store} is not locked", f"drorch mirror {one.store}")
        elif one.locked_until < now + interval(lock):
            left = length(one.locked_until - now)
            yield Gap(f"the locks in {one.store} end in {left}", f"drorch mirror {one.store}")
