"""Gathers what `posture` judges: documents and journal in, one `Posture` per service out. Writes nothing."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.model import Json
from drorch.engine.journal import Journal, Run
from drorch.reports.gaps import Gap
from drorch.reports.posture import Posture, posture, windows
from drorch.reports.witness import Witness, witnesses


@dataclass(frozen=True, slots=True)
class Shown:
    """What records and probes show at one moment; runs of all services speak of what they share."""

    inventory: Inventory
    runbooks: Mapping[str, Runbook]
    seen: tuple[Witness, ...]
    probes: Mapping[str, Json]
    now: datetime

    def posture(self, name: str, runs: Sequence[Run]) -> Posture:
        """The posture of a service, given its own runs, newest first."""
        service = self.inventory.services[name]
        return posture(
            name,
            service,
            self.inventory,
            seen=self.seen,
            runs=runs,
            probes=self.probes,
            now=self.now,
            runbooks=self.runbooks,
        )

    def gaps(self, name: str, runs: Sequence[Run]) -> Iterator[Gap]:
        """One quiet line where a digit fails; none while nothing is backed up: that is said louder elsewhere."""
        stands = self.posture(name, runs)
        if not stands.good and any(copy.backup and copy.counts for copy in stands.copies):
            yield Gap(f"posture {stands.shown} of 3-2-1-1-0", f"drorch posture {name}", risk=False)


def shown(
    inventory: Inventory, runbooks: Mapping[str, Runbook], journal: Journal, now: datetime, *, only: str | None = None
) -> Shown:
    """What the journal shows that matters to all services, or to ``only`` that one."""
    wanted = [service for name, service in inventory.services.items() if only in (None, name)]
    seen: tuple[Witness, ...] = ()
    if wanted:
        since, last = (now - max(lengths) for lengths in zip(*map(windows, wanted), strict=True))
        records = journal.attempts(since, last_since=last)
        seen = witnesses(journal.runs(since=last), records, journal.plan_text, inventory, now)
    return Shown(inventory, runbooks, seen, {store: journal.get(f"probe:{store}") for store in inventory.stores}, now)


def count(
    inventory: Inventory, runbooks: Mapping[str, Runbook], journal: Journal, now: datetime, *, only: str | None = None
) -> tuple[Posture, ...]:
    """The posture of each service, or of ``only`` that one."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in journal.runs(service=only):
        runs[run.service].append(run)
    found = shown(inventory, runbooks, journal, now, only=only)
    return tuple(found.posture(name, runs[name]) for name in inventory.services if only in (None, name))
