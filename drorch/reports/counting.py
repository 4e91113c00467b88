"""Gathers what `posture` judges: documents and journal in, one `Posture` per service out. Writes nothing."""

from collections import defaultdict
from datetime import datetime

from drorch.config.inventory import Inventory
from drorch.engine.journal import Journal, Run
from drorch.reports.posture import Posture, posture, window
from drorch.reports.witness import witnesses


def count(inventory: Inventory, journal: Journal, now: datetime, *, only: str | None = None) -> tuple[Posture, ...]:
    """The posture of each service, or of ``only`` that one. Runs of other services speak of what they share."""
    wanted = {name: service for name, service in inventory.services.items() if only in (None, name)}
    if not wanted:
        return ()
    since = now - max(window(service) for service in wanted.values())
    runs = journal.runs()
    seen = witnesses(runs, journal.attempts(since), journal.plan_text, inventory, now)
    probes = {store: journal.get(f"probe:{store}") for store in inventory.stores}
    own: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        own[run.service].append(run)
    return tuple(
        posture(name, service, inventory, seen=seen, runs=own[name], probes=probes, now=now)
        for name, service in wanted.items()
    )
