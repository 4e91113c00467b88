"""Zero errors: what looked for damage, and what it found. Pure.

The newest check of each repository that holds a copy, the newest audit of each mirror, the newest drill, and what the
newest backups left out. Whatever was not looked at lately is not known to be whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from drorch.config.inventory import Inventory, Service
from drorch.config.runbook import Runbook
from drorch.core.evidence import ProofLevel
from drorch.core.model import Json
from drorch.core.step import RunState
from drorch.engine.journal import Run
from drorch.reports.copies import Copy, audit_of
from drorch.reports.digits import WANTED, Digit, Fact
from drorch.reports.intended import running
from drorch.reports.proof import PROOF_LASTS, points_of
from drorch.reports.text import length
from drorch.reports.witness import Witness, count_in, mapping_in, moment_in, shortened

CHECK_LASTS = timedelta(days=35)
"""How long an audit or a check counts: a month and some days. A drill counts as long as `proof.PROOF_LASTS`."""


@dataclass(frozen=True)
class Faults:
    """What is known of a service's errors at one moment."""

    name: str
    service: Service
    inventory: Inventory
    runbooks: Mapping[str, Runbook]
    backups: Sequence[Copy]
    """The copies that count, without the live data."""
    seen: Sequence[Witness]
    runs: Sequence[Run]
    now: datetime

    def errors(self) -> Digit:
        """How many errors are known; None when something that must be looked at was not, and nothing is known."""
        found = [*self._left_out(), *self._checked(), *self._audited(), self._drilled()]
        known = sum(count for _, count in found if count)
        sure = all(fact.good for fact, _ in found)
        return Digit("errors", WANTED["errors"], known if known or sure else None, tuple(fact for fact, _ in found))

    def _left_out(self) -> Iterator[tuple[Fact, int | None]]:
        """What the newest backup of each source could not read."""
        for source in self.service.sources:
            mine = (one for one in self.seen if one.kind == "backup" and one.service == self.name)
            newest = next((one for one in mine if one.source == source and one.succeeded), None)
            if newest is not None and newest.exceptions:
                count = len(newest.exceptions)
                what = f"the newest backup of {source} had {_count(count, 'exception')}"
                yield Fact(what, good=False, at=newest.ended, by=newest.run, do=f"drorch show {newest.run}"), count

    def _checked(self) -> Iterator[tuple[Fact, int | None]]:
        counted = [copy.name for copy in self.backups if copy.role != "mirror"]
        for repository in dict.fromkeys((self.service.repository, *counted)):
            yield self._check(repository, next(self._checks(repository), None))

    def _checks(self, repository: str) -> Iterator[Witness]:
        """The checks of a repository, latest first; a `copy` step checks the one that it copied to by itself."""
        for one in self.seen:
            if one.kind == "check" and one.repository == repository:
                yield one
            own = mapping_in(one.facts.get("check")) if one.kind == "copy" and one.succeeded else {}
            if own.get("repository") == repository:
                yield replace(one, facts=own)

    def _check(self, repository: str, newest: Witness | None) -> tuple[Fact, int | None]:
        if newest is None:
            which = "" if repository == self.service.repository else f", repository: {repository}"
            name = next(running("check", self.inventory, self.runbooks, repository=repository), None)
            add = f"add {{kind: check, subset: 1/30{which}}} to a runbook of {self.name}"
            do = f"drorch run {name}" if name else add
            return Fact(f"no record shows a check of {repository}", good=False, do=do), None
        if not newest.succeeded:
            what = f"the last check of {repository} failed: {shortened(newest.why) or 'nobody knows why'}"
            return Fact(what, good=False, at=newest.ended, by=newest.run, do=f"drorch show {newest.run}"), 1
        done = "last" if newest.facts.get("due") is False else "at"
        at = moment_in(newest.facts.get(done)) if done in newest.facts or done == "last" else newest.started
        again = f"drorch run {newest.runbook}"
        if at is None or self.now - at > CHECK_LASTS:
            age = f"{length(self.now - at)} old, more than {length(CHECK_LASTS)}" if at else "of an unknown time"
            what = f"the last check of {repository} is {age}"
            return Fact(what, good=False, at=at, by=newest.run, do=again), None
        part, covered = newest.facts.get("subset"), newest.facts.get("coverage_percent")
        read = f"{covered:.0f} % of its bytes read so far" if isinstance(covered, int | float) else ""
        how = "its structure only" if part == "structure" or not read else read
        what = f"check of {repository} {_since(at, self.now)} found nothing wrong: {how}"
        return Fact(what, good=True, at=at, by=newest.run), 0

    def _audited(self) -> Iterator[tuple[Fact, int | None]]:
        for copy in self.backups:
            if copy.role == "mirror":
                yield self._audit(copy, audit_of(self.seen, copy.repository, copy.store))

    def _audit(self, copy: Copy, newest: Witness | None) -> tuple[Fact, int | None]:
        if newest is None:
            name = next(
                running("audit", self.inventory, self.runbooks, repository=copy.repository, store=copy.store), None
            )
            do = (
                f"drorch run {name}"
                if name
                else f"add {{kind: audit, store: {copy.store}}} to a runbook of {self.name}"
            )
            return Fact(f"no record shows an audit of the {copy.what}", good=False, do=do), None
        at, show = moment_in(newest.facts.get("at")) or newest.ended, f"drorch show {newest.run}"
        counts = {key: count_in(newest.facts.get(key)) for key in ("problems", "missing", "altered")}
        if problems := max((count or 0 for count in counts.values()), default=0):
            named = [f"{count} {key}" for key, count in counts.items() if count and key != "problems"]
            words = " ".join([_count(problems, "problem"), *([f"({', '.join(named)})"] if named else [])])
            what = f"the audit of the {copy.what} found {words}"
            return Fact(what, good=False, at=at, by=newest.run, do=show), problems
        if not newest.succeeded:
            what = f"the last audit of the {copy.what} failed: {shortened(newest.why) or 'nobody knows why'}"
            return Fact(what, good=False, at=at, by=newest.run, do=show), 1
        if open_ := self._unsure(newest, at, readable=None not in counts.values()):
            return Fact(f"the last audit of the {copy.what} {open_}", good=False, at=at, by=newest.run, do=show), None
        what = f"audit of the {copy.what} {_since(at, self.now)} found nothing amiss: {_looked(newest)}"
        return Fact(what, good=True, at=at, by=newest.run), 0

    def _unsure(self, audit: Witness, at: datetime, *, readable: bool) -> str:
        """Why an audit that found nothing says little; empty when it does not."""
        if not readable:
            return "cannot be read"
        if self.now - at > CHECK_LASTS:
            return f"is {length(self.now - at)} old, more than {length(CHECK_LASTS)}"
        strange = audit.facts.get("unexpected_keys")
        aside = audit.exceptions[: len(audit.exceptions) - (len(strange) if isinstance(strange, list) else 0)]
        return f"did not see all: {aside[0]}" if aside else ""  # such as a repository that could not be compared

    def _drilled(self) -> tuple[Fact, int | None]:
        over = (run for run in self.runs if run.kind == "drill" and run.state.final)
        newest = next((run for run in over if run.state is not RunState.CANCELLED), None)
        again = f"drorch drill {self.name}"
        if newest is None:
            return Fact(f"no drill has restored {self.name}", good=False, do=again), None
        at, by, show = newest.ended or newest.started, newest.id, f"drorch show {newest.id}"
        if not newest.state.good:
            why = f": {shortened(str(newest.detail['why']))}" if newest.detail.get("why") else ""
            return Fact(f"the last drill failed{why}", good=False, at=at, by=by, do=show), 1
        if newest.state is not RunState.COMPLETED:
            said = newest.detail.get("exceptions")
            count = len(said) if isinstance(said, list) and said else 1
            return Fact(f"the last drill had {_count(count, 'exception')}", good=False, at=at, by=by, do=show), count
        shown = points_of(newest)
        missing = [source for source in self.service.sources if not _restored(shown.get(source, {}))]
        if missing:
            return Fact(
                f"the last drill did not restore {', '.join(missing)}", good=False, at=at, by=by, do=again
            ), None
        if self.now - at > PROOF_LASTS:
            age = f"{length(self.now - at)} old, more than {length(PROOF_LASTS)}"
            return Fact(f"the last drill is {age}", good=False, at=at, by=by, do=again), None
        what = f"drill {_since(at, self.now)} restored {', '.join(self.service.sources)}"
        return Fact(what, good=True, at=at, by=by), 0


def _since(at: datetime, now: datetime) -> str:
    return f"{length(max(now - at, timedelta()))} ago"


def _looked(audit: Witness) -> str:
    """How closely an audit looked; the levels are never merged."""
    said = (("listed", "listed"), ("recorded", "by recorded checksum"), ("hashed", "hashed again"))
    counts = [(count_in(audit.facts.get(key)), word) for key, word in said]
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing of it was listed"


def _restored(point: Mapping[str, Json]) -> bool:
    return ProofLevel(point.get("level", ProofLevel.TAKEN)).height >= ProofLevel.RESTORED.height


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
