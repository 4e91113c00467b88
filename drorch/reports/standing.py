"""Gathers what `readiness` judges: documents and journal in, one `Readiness` per service out. Writes nothing."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from drorch.config.adhoc import runbook_for
from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.errors import Refused
from drorch.engine.due import PUNCTUAL, due, next_slot
from drorch.engine.journal import Journal, Run
from drorch.engine.plan import make_plan
from drorch.reports.counting import shown
from drorch.reports.gaps import Attention, attention
from drorch.reports.homes import home_gaps
from drorch.reports.kit import MADE, documents_digest, kit_gaps
from drorch.reports.live import live_gaps, live_key, rehearsal_gaps
from drorch.reports.offsite import mirrors_of, offsite_gaps
from drorch.reports.proof import Today, TodayKind
from drorch.reports.readiness import Readiness, readiness

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Standing:
    """How everything stands."""

    site: str
    at: datetime
    daemon: bool
    """Whether a daemon serves the state folder."""
    services: tuple[Readiness, ...]
    strays: tuple[Attention, ...]
    """Runs that need a person, of services that the inventory no longer has."""

    @property
    def good(self) -> bool:
        """Whether nothing is at risk."""
        return all(service.good for service in self.services) and not self.strays


def stand(
    inventory: Inventory,
    runbooks: Mapping[str, Runbook],
    journal: Journal,
    alive: Callable[[Run], bool],
    now: datetime,
    *,
    daemon: bool,
    only: str | None = None,
    written: Mapping[str, str] | None = None,
) -> Standing:
    """How each service, or ``only`` that one, stands. ``alive`` is asked about unfinished runs only; ``written`` is
    where the inventory's file says that each service lives.
    """
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in journal.runs(service=only):
        runs[run.service].append(run)
    look = _Look(inventory, runbooks, journal, now)
    services = []
    records = shown(inventory, runbooks, journal, now, only=only)
    kit, documents = journal.get(MADE), documents_digest(inventory, runbooks)
    live = {name: journal.get(live_key(name)) for name, book in runbooks.items() if book.moves}
    for name, service in inventory.services.items():
        if only is not None and name != only:
            continue
        mine = runs.pop(name, [])
        offsite = mirrors_of(name, inventory, runbooks, journal.get, now)
        services.append(
            readiness(
                name,
                service,
                look.today(name, mine),
                runs=mine,
                alive=frozenset(run.id for run in mine if not run.state.final and alive(run)),
                now=now,
                zone=look.zone,
                daemon=daemon,
                offsite=offsite,
                further=(
                    *offsite_gaps(service, inventory, offsite, now),
                    *records.gaps(name, mine),
                    *kit_gaps(name, runbooks, kit, documents, now),
                    *live_gaps(name, runbooks, live, now),
                    *home_gaps(name, service, journal, runs=mine, written=(written or {}).get(name), zone=look.zone),
                    *rehearsal_gaps(name, runbooks, mine, now),
                ),
            )
        )
    strays = tuple(attention(run) for left in runs.values() for run in left if not run.state.final and not alive(run))
    return Standing(inventory.site, now, daemon, tuple(services), strays)


@dataclass(frozen=True)
class _Look:
    """What the documents and the journal say at one moment."""

    inventory: Inventory
    runbooks: Mapping[str, Runbook]
    journal: Journal
    now: datetime

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.inventory.timezone)

    @cached_property
    def missed(self) -> Mapping[str, Sequence[datetime]]:
        """What the daemon noted as missed, by runbook."""
        found: dict[str, list[datetime]] = defaultdict(list)
        for record in self.journal.records("schedule"):
            if record.body.get("what") == "missed":
                found[str(record.body["runbook"])].append(datetime.fromisoformat(str(record.body["slot"])))
        return found

    def today(self, service: str, runs: Sequence[Run]) -> list[Today]:
        """The service's runbooks, and the drill that it would get without one."""
        mine = [runbook for runbook in self.runbooks.values() if runbook.service == service]
        found = [self._one(runbook, runs) for runbook in mine]
        if self.inventory.services[service].standbys and not any(one.kind == "drill" for one in found):
            plain = runbook_for(self.runbooks, self.inventory, "drill", service)
            digest = make_plan(self.inventory, plain).digest
            found.append(Today(plain.runbook, "drill", digest, self._elsewhere(plain), written=False))
        return found

    def _elsewhere(self, runbook: Runbook) -> tuple[str, ...]:
        """The digests of a drill's plan, restoring from each store instead."""
        if runbook.kind != "drill":
            return ()
        stores = [name for name, spec in self.inventory.stores.items() if spec.readable]
        return tuple(self._digest(runbook, store) for store in stores)

    def _digest(self, runbook: Runbook, store: str | None = None) -> str:
        """The digest of today's plan; empty where none can be made where the service lives now."""
        try:
            return make_plan(self.inventory, runbook, store=store).digest
        except Refused:
            return ""

    def _one(self, runbook: Runbook, runs: Sequence[Run]) -> Today:
        name, schedule = runbook.runbook, runbook.schedule
        kind: TodayKind = "rehearsal" if runbook.rehearses else runbook.kind
        digest = self._digest(runbook)
        if schedule is None:
            return Today(name, kind, digest, self._elsewhere(runbook))
        own = [run for run in runs if run.runbook == name]
        last = max((run.started for run in own), default=NEVER)
        past = max((datetime.fromisoformat(run.slot) for run in own if run.slot), default=None)
        seen = self.journal.get(f"seen:{name}")
        since = datetime.fromisoformat(str(seen)) if seen else self.now
        found = next(iter(due({name: schedule}, self.zone, {name: past}, {name: since}, self.now)), None)
        slots = {*self.missed.get(name, ()), *(found.missed if found else ())}
        late = found is not None and self.now - found.start_at > PUNCTUAL
        return Today(
            runbook=name,
            kind=kind,
            plan=digest,
            elsewhere=self._elsewhere(runbook),
            schedule=schedule,
            next_slot=next_slot(schedule, self.zone, self.now),
            missed=tuple(sorted(slot for slot in slots if slot > last)),
            overdue=found.slot if found and late else None,
        )
