"""Posture: 3-2-1-1-0 as a fact, counted from the inventory, the probes and the records. Pure.

Three copies, the live data among them; on two media; one off-site; one immutable; zero errors. Every digit fails when
one of the facts behind it is missing, too old or unreadable: nothing is claimed that no record shows. What is declared
in the inventory only (where a place is, who pays for it) is the inventory's word, and unknown is no.

There is no digit for offline copies: no record could show that a disk lies unplugged in a safe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from drorch.config.inventory import Inventory, Service
from drorch.config.runbook import Runbook
from drorch.core.model import Json
from drorch.core.store import Grade
from drorch.engine.journal import Run
from drorch.reports import places
from drorch.reports.copies import Copy, audit_of, copies_of, limit_of
from drorch.reports.digits import WANTED, Digit, Fact
from drorch.reports.domains import Weakness, weaknesses
from drorch.reports.faults import CHECK_LASTS, Faults
from drorch.reports.intended import running
from drorch.reports.text import length
from drorch.reports.witness import AHEAD, Witness, count_in, mapping_in, moment_in, text_in

_NONE: Mapping[str, Runbook] = {}

PROBE_LASTS = timedelta(hours=48)
"""How long a probe of a store counts: a day, and one missed day."""


@dataclass(frozen=True, slots=True)
class Posture:
    """How a service's copies stand."""

    service: str
    at: datetime
    fresh_for: timedelta
    """How old a copy may be and count."""
    digits: tuple[Digit, ...]
    copies: tuple[Copy, ...]
    weaknesses: tuple[Weakness, ...]

    @property
    def good(self) -> bool:
        """Whether every digit holds."""
        return all(digit.good for digit in self.digits)

    @property
    def shown(self) -> str:
        """The digits as they are, such as ``2-2-1-0-?``."""
        return "-".join("?" if digit.count is None else str(digit.count) for digit in self.digits)


def windows(service: Service) -> tuple[timedelta, timedelta]:
    """How far back every attempt matters, and how far back the last of each step does. Drills are read from runs."""
    fresh = 2 * limit_of(service)
    return fresh, max(fresh, CHECK_LASTS + timedelta(days=1))


def posture(
    name: str,
    service: Service,
    inventory: Inventory,
    *,
    seen: Sequence[Witness],
    runs: Sequence[Run],
    probes: Mapping[str, Json],
    now: datetime,
    runbooks: Mapping[str, Runbook] = _NONE,
) -> Posture:
    """Judge a service.

    Args:
        name: The service's name.
        service: The service as the inventory has it today.
        inventory: The whole inventory.
        seen: What `witnesses` tells of all services' runs within `windows`.
        runs: The service's runs, newest first.
        probes: What is remembered of each store's newest probe, by store.
        now: The moment to judge for.
        runbooks: As they are today: what to do names one where one would do it.
    """
    copies = copies_of(name, service, inventory, seen, now)
    judge = _Judge(name, service, inventory, runbooks, copies, seen, probes, now)
    faults = Faults(name, service, inventory, runbooks, judge.audited, seen, runs, now)
    immutable = judge.immutable()
    return Posture(
        service=name,
        at=now,
        fresh_for=limit_of(service),
        digits=(judge.copies(), judge.media(), judge.off_site(), immutable, faults.errors()),
        copies=copies,
        weaknesses=weaknesses(service, inventory, copies, immutable=immutable.good),
    )


@dataclass(frozen=True)
class _Judge:
    name: str
    service: Service
    inventory: Inventory
    runbooks: Mapping[str, Runbook]
    all: Sequence[Copy]
    seen: Sequence[Witness]
    probes: Mapping[str, Json]
    now: datetime

    @property
    def fresh(self) -> list[Copy]:
        return [copy for copy in self.all if copy.counts]

    @property
    def backups(self) -> list[Copy]:
        return [copy for copy in self.fresh if copy.backup]

    @property
    def audited(self) -> list[Copy]:
        """Those that count, or would if no audit had found them damaged."""
        return [copy for copy in self.all if copy.backup and (copy.counts or copy.damaged)]

    # -- 3 -------------------------------------------------------------------------------------------------------------

    def copies(self) -> Digit:
        facts = [
            Fact(
                f"{copy.what}: {copy.lacks}" if copy.lacks else self._copy(copy), copy.counts, copy.at, copy.by, copy.do
            )
            for copy in self.all
        ]
        if len(self.fresh) < WANTED["copies"] and all(fact.good for fact in facts):
            facts.append(Fact("there is no further copy", good=False, do=self._more()))
        return Digit("copies", WANTED["copies"], len(self.fresh), tuple(facts))

    def _copy(self, copy: Copy) -> str:
        return f"{copy.what}, {length(max(self.now - copy.as_of, timedelta()))} old" if copy.as_of else copy.what

    def _more(self) -> str:
        counted = {copy.store for copy in self.all}
        for store in self.inventory.stores:
            name = next(running("mirror", self.inventory, self.runbooks, store=store), None)
            if name is not None and store not in counted:
                return f"drorch run {name}"
        return f"add {{kind: mirror, store: …}} to a backup runbook of {self.name}"

    # -- 2 -------------------------------------------------------------------------------------------------------------

    def media(self) -> Digit:
        groups = places.media([copy.place for copy in self.fresh])
        facts = []
        for members, ties in groups:
            here = [self.fresh[number] for number in members]
            what = " and ".join(dict.fromkeys(copy.place.what for copy in here))
            names = ", ".join(dict.fromkeys(copy.name for copy in here))
            facts.append(Fact(f"{what} ({names})" + (f": one {', one '.join(ties)}" if ties else ""), good=True))
        if len(groups) < WANTED["media"]:
            facts.append(
                Fact(
                    "every copy would be lost together",
                    good=False,
                    do="keep one on another machine and in another account",
                )
            )
        return Digit("media", WANTED["media"], len(groups), tuple(facts))

    # -- 1 -------------------------------------------------------------------------------------------------------------

    def off_site(self) -> Digit:
        home = self.all[0].place
        facts = [self._off_site(home, copy) for copy in self.backups]
        count = sum(fact.good for fact in facts)
        if not facts:
            facts.append(Fact("there is no backup that counts", good=False, do=f"drorch backup {self.name}"))
        return Digit("off-site", WANTED["off-site"], count, tuple(facts))

    def _off_site(self, home: places.Place, copy: Copy) -> Fact:
        same: list[str] = []
        unknown: dict[tuple[str, ...], list[str]] = {}
        for field in ("provider", "region"):
            here, there = (places.comparable(place.domain, field) for place in (home, copy.place))
            same += [f"{field} {places.value(home.domain, field)}"] * bool(here and here == there)
            if missing := tuple(name for name, said in ((self.service.primary, here), (copy.name, there)) if not said):
                unknown.setdefault(missing, []).append(field)
        if same:
            share = f"{copy.name} and {self.service.primary} share {' and '.join(same)}"
            return Fact(share, good=False, do="mirror to a store of another provider, in another region")
        if unknown:
            words = [f"{' and '.join(fields)} of {' and '.join(names)}" for names, fields in unknown.items()]
            keys = [place.domain_key for place in (home, copy.place) if _open(place)]
            do = f"{' and '.join(dict.fromkeys(keys))} in drorch.yaml"
            return Fact(f"nobody wrote down the {', the '.join(words)}", good=False, do=do)
        where = " in ".join(places.value(copy.place.domain, field) for field in ("provider", "region"))
        primary = " in ".join(places.value(home.domain, field) for field in ("provider", "region"))
        return Fact(f"{copy.name} is at {where}, {self.service.primary} at {primary}", good=True)

    # -- 1 -------------------------------------------------------------------------------------------------------------

    def immutable(self) -> Digit:
        facts = []
        held = 0
        for copy in self.backups:
            if copy.role == "mirror":
                bare = copy.locked_until is None and self.inventory.stores[copy.store].lock is None
                shown = [self._bare(copy)] if bare else [self._refuses(copy), self._locked(copy)]
                facts += shown
                held += all(fact.good for fact in shown)
        if not facts:
            do = "give an s3 store under stores: a lock:, and mirror to it"
            facts.append(Fact("no fresh mirror lies in a store that locks", good=False, do=do))
        return Digit("immutable", WANTED["immutable"], held, tuple(facts))

    def _bare(self, copy: Copy) -> Fact:
        can = self.inventory.stores[copy.store].kind == "s3"
        do = f"lock: under stores.{copy.store} in drorch.yaml" if can else "mirror to an s3 store with a lock: too"
        return Fact(f"{copy.store} has no lock", good=False, do=do)

    def _refuses(self, copy: Copy) -> Fact:
        key = f"probe:{copy.store}"
        said = mapping_in(self.probes.get(copy.store))
        grade, at = text_in(said.get("grade")), moment_in(said.get("at"))
        again = f"drorch store probe {copy.store}"
        if not grade or at is None or at > self.now + AHEAD:
            return Fact(f"{copy.store} was never probed", good=False, do=again)
        if self.now - at > PROBE_LASTS:
            age = f"{length(self.now - at)} ago, more than {length(PROBE_LASTS)}"
            return Fact(f"{copy.store} was last probed {age}", good=False, at=at, by=key, do=again)
        if grade != Grade.LOCKS.value:
            return Fact(f"{copy.store} was probed: {grade}", good=False, at=at, by=key, do=again)
        return Fact(f"{copy.store} was probed {length(self.now - at)} ago: {grade}", good=True, at=at, by=key)

    def _locked(self, copy: Copy) -> Fact:
        until = copy.locked_until
        again = f"lock: under stores.{copy.store} in drorch.yaml, then mirror again"
        if until is None:
            return Fact(f"no record shows a lock on the {copy.what}", good=False, at=copy.at, by=copy.by, do=again)
        if until <= self.now:
            ago = f"the locks of the {copy.what} ended {length(self.now - until)} ago"
            return Fact(ago, good=False, at=copy.at, by=copy.by, do=again)
        audit = audit_of(self.seen, copy.repository, copy.store)
        bare = count_in(audit.facts.get("unlocked")) if audit is not None and copy.at and audit.ended > copy.at else 0
        if audit is not None and bare:
            what = f"{bare} objects of the {copy.what} were found unlocked"
            return Fact(what, good=False, at=audit.ended, by=audit.run, do=f"drorch show {audit.run}")
        return Fact(f"{copy.what} is locked for {length(until - self.now)} more", good=True, at=copy.at, by=copy.by)


def _open(place: places.Place) -> bool:
    return not all(places.value(place.domain, field) for field in ("provider", "region"))
