"""Copies: what the records show of each place that should hold a service's data. Pure.

A copy counts while its newest success is fresh and what it holds is: neither is older than twice the RPO, or a week
without one. What it holds is as old as the backups that it was made from.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from drorch.config.inventory import Inventory, Service
from drorch.core.evidence import ProofLevel
from drorch.core.store import Grade
from drorch.reports import places
from drorch.reports.places import Place
from drorch.reports.text import length
from drorch.reports.witness import AHEAD, Witness, mapping_in, moment_in, shortened

WITHOUT_RPO = timedelta(days=7)
"""How long a copy counts where no RPO is set."""

Role = Literal["live", "repository", "mirror", "copy"]


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a service's data, or what should be one."""

    name: str
    """The host's, the repository's or the store's."""
    role: Role
    what: str
    place: Place
    repository: str
    """Whose files or passwords these are: the repository itself, or the mirrored one; empty for the live data."""
    store: str = ""
    as_of: datetime | None = None
    """It holds every source as it was then, or later; None for the live data and for what was never shown."""
    by: str = ""
    """The run that showed it last."""
    at: datetime | None = None
    """When."""
    locked_until: datetime | None = None
    lacks: str = ""
    """Why it does not count; empty when it does."""
    do: str = ""
    damaged: bool = False
    """Whether it does not count only because its newest audit found it so."""

    @property
    def counts(self) -> bool:
        """Whether the records show it fresh and whole."""
        return not self.lacks

    @property
    def backup(self) -> bool:
        """Whether it is something else than the live data."""
        return self.role != "live"


def limit_of(service: Service) -> timedelta:
    """How old a copy may be and count."""
    return 2 * service.objectives.rpo if service.objectives.rpo else WITHOUT_RPO


def copies_of(
    name: str, service: Service, inventory: Inventory, seen: Sequence[Witness], now: datetime
) -> tuple[Copy, ...]:
    """The live data, then every repository, mirror and further copy of which there is a record, the service's own
    repository in any case. ``seen`` come latest first.
    """
    look = _Look(name, service, inventory, seen, now, limit_of(service))
    home = Copy(service.primary, "live", f"live data on {service.primary}", places.live(service, inventory), "")
    return (home, *look.repositories(), *look.mirrors(), *look.further())


@dataclass(frozen=True)
class _Look:
    """What is known of a service at one moment."""

    name: str
    service: Service
    inventory: Inventory
    seen: Sequence[Witness]
    now: datetime
    limit: timedelta

    def repositories(self) -> Iterator[Copy]:
        """Those that backups went to."""
        for repository in dict.fromkeys((self.service.repository, *self._went)):
            spec = self.inventory.repositories.get(repository)
            if spec is None:
                continue
            newest = self._newest(repository)
            shown = [one for one in self._backups if one.repository == repository]
            lacks = self._stale({source: time for source, (time, _) in newest.items()}, "no record shows a backup of")
            yield Copy(
                name=repository,
                role="repository",
                what=f"repository {repository}",
                place=places.of_repository(repository, spec, self.inventory),
                repository=repository,
                as_of=self._as_of({source: time for source, (time, _) in newest.items()}),
                by=shown[0].run if shown else "",
                at=shown[0].ended if shown else None,
                lacks=lacks,
                do=f"drorch backup {self.name}" if lacks else "",
            )

    def mirrors(self) -> Iterator[Copy]:
        """Those in stores: a complete pass holds every backup that its repository held when it began."""
        wanted = [one for one in self.seen if one.kind == "mirror" and self._mine(one)]
        for key in dict.fromkeys((one.repository, one.said("store")) for one in wanted):
            repository, store = key
            spec = self.inventory.stores.get(store)
            if spec is None or repository not in self.inventory.repositories:
                continue
            tried = [one for one in wanted if (one.repository, one.said("store")) == key]
            done = next((one for one in tried if one.succeeded and one.facts.get("complete") is True), None)
            holds = self._mirrored(done) if done else {}
            lacks = self._unshown(done, tried[0], "mirror") or self._stale(holds, "no record shows a copy of")
            damage = "" if lacks else self._damaged(key, done)
            yield Copy(
                name=store,
                role="mirror",
                what=f"mirror of {repository} in {store}",
                place=places.of_store(store, spec, self.inventory),
                repository=repository,
                store=store,
                as_of=self._as_of(holds),
                by=done.run if done else tried[0].run,
                at=done.ended if done else None,
                locked_until=moment_in(done.facts.get("locked_until")) if done else None,
                lacks=lacks or damage,
                do=self._again(done, tried[0]) if lacks or damage else "",
                damaged=bool(damage),
            )

    def _damaged(self, key: tuple[str, str], done: Witness | None) -> str:
        """What the newest audit found wrong, unless a pass has mended it since."""
        newest = audit_of(self.seen, *key)
        if newest is None or done is None or newest.ended < done.ended:
            return ""
        wrong = [f"{newest.facts[what]} {what}" for what in ("missing", "altered") if newest.facts.get(what)]
        return f"the audit {newest.run} found {', '.join(wrong)}" if wrong else ""

    def further(self) -> Iterator[Copy]:
        """Those in other repositories: each source must have been shown to have arrived."""
        wanted = [one for one in self.seen if one.kind == "copy" and self._mine(one)]
        for to in dict.fromkeys(one.said("to") for one in wanted):
            spec = self.inventory.repositories.get(to)
            if spec is None:
                continue
            tried = [one for one in wanted if one.said("to") == to]
            done = next((one for one in tried if one.succeeded), None)
            holds = self._arrived(done, _shown(done)) if done else {}
            lacks = self._unshown(done, tried[0], "copy") or self._stale(holds, "no record shows a copy of")
            yield Copy(
                name=to,
                role="copy",
                what=f"copy in repository {to}",
                place=places.of_repository(to, spec, self.inventory),
                repository=to,
                as_of=self._as_of(holds),
                by=done.run if done else tried[0].run,
                at=done.ended if done else None,
                lacks=lacks,
                do=self._again(done, tried[0]) if lacks else "",
            )

    # -- what the records hold -----------------------------------------------------------------------------------------

    @cached_property
    def _backups(self) -> Sequence[Witness]:
        """Successes of this service that left a snapshot, latest first."""
        mine = (one for one in self.seen if one.kind == "backup" and one.service == self.name)
        return [one for one in mine if one.succeeded and one.said("snapshot")]

    @cached_property
    def _went(self) -> Sequence[str]:
        """The repositories that backups went to, the latest first."""
        return tuple(dict.fromkeys(one.repository for one in self._backups))

    def _newest(self, repository: str, until: datetime | None = None) -> Mapping[str, tuple[datetime, Witness]]:
        """The newest backup of each source in a repository that was over by then, with the time of its data."""
        found: dict[str, tuple[datetime, Witness]] = {}
        for one in self._backups:
            time = moment_in(one.facts.get("time")) or one.started
            over = until is None or one.ended <= until
            if one.repository == repository and over and time <= self.now + AHEAD and one.source:
                before = found.get(one.source)
                found[one.source] = before if before is not None and before[0] >= time else (time, one)
        return found

    def _mirrored(self, done: Witness) -> Mapping[str, datetime]:
        """What a complete pass is shown to have brought: what it says itself; what an audit of this copy read back;
        and, of a store that refuses what does not match, every backup that was in the repository when it began.
        """
        arrived = set(_shown(done)) if done.service == self.name else set()
        for one in self.seen:
            same = one.kind == "audit" and one.succeeded and one.started >= done.ended
            if same and (one.repository, one.said("store"), one.service) == (
                done.repository,
                done.said("store"),
                self.name,
            ):
                arrived.update(_shown(one))
        if done.facts.get("grade") in (Grade.LOCKS.value, Grade.REFUSES.value):
            arrived.update(self._newest(done.repository, done.started))
        return self._arrived(done, arrived)

    def _arrived(self, done: Witness, sources: Iterable[str]) -> Mapping[str, datetime]:
        """How old what arrived is: as the step says, else as the backups before it; else its start is believed."""
        points = mapping_in(done.facts.get("points")) if done.service == self.name else {}
        held = self._newest(done.repository, done.started)
        times = {}
        for source in sources:
            before = held[source][0] if source in held else None
            said = moment_in(mapping_in(points.get(source)).get("time"))
            time = said or before or done.started
            if time <= self.now + AHEAD:
                times[source] = time
        return times

    def _mine(self, one: Witness) -> bool:
        """Whether it is about a repository that holds data of this service."""
        return one.service == self.name or one.repository in self._went

    # -- what follows --------------------------------------------------------------------------------------------------

    def _as_of(self, holds: Mapping[str, datetime]) -> datetime | None:
        times = [holds.get(source) for source in self.service.sources]
        return None if None in times else min(time for time in times if time is not None)

    def _stale(self, holds: Mapping[str, datetime], nothing: str) -> str:
        missing = [source for source in self.service.sources if source not in holds]
        if missing:
            return f"{nothing} {', '.join(missing)}"
        as_of = self._as_of(holds)
        if as_of is not None and self.now - as_of > self.limit:
            return f"its data is {length(self.now - as_of)} old, more than {length(self.limit)}"
        return ""

    def _unshown(self, done: Witness | None, latest: Witness, word: str) -> str:
        if done is None:
            return f"no {word} has succeeded" + (f": {shortened(latest.why)}" if latest.why else "")
        if self.now - done.ended > self.limit:
            why = f"; the latest failed: {shortened(latest.why)}" if latest.why else ""
            return f"the last {word} is {length(self.now - done.ended)} old, more than {length(self.limit)}{why}"
        return ""

    def _again(self, done: Witness | None, latest: Witness) -> str:
        failed = not latest.succeeded and (done is None or done is not latest)
        return f"drorch show {latest.run}" if failed else f"drorch run {latest.runbook}"


def _shown(one: Witness) -> tuple[str, ...]:
    """The sources whose newest point a step shows to be elsewhere."""
    return tuple(source for source, level in one.levels.items() if level.height >= ProofLevel.COPIED.height)


def audit_of(seen: Sequence[Witness], repository: str, store: str) -> Witness | None:
    """The newest audit of a mirror."""
    for one in seen:
        if one.kind == "audit" and (one.repository, one.said("store")) == (repository, store):
            return one
    return None
