"""``audit``: look whether an off-site copy is whole, unaltered and locked, mostly without downloading it."""

from dataclasses import asdict
from datetime import timedelta
from typing import Literal

from drorch.core.errors import DrorchError, StoreError
from drorch.core.evidence import Evidence, Failure, Outcome, ProofLevel
from drorch.core.model import Duration, Frozen, Json, RepositoryName, StoreName, format_duration, parse_duration
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.core.store import Grade, Shelf
from drorch.mirror import ledger, trust
from drorch.mirror.audit import Asked, Audited, Finding, audit
from drorch.mirror.coverage import PARTS, Coverage
from drorch.mirror.ledger import OutOfTime
from drorch.mirror.names import CONFIG, CONFIG_LIMIT
from drorch.steps._copied import in_line, newest, shown


class Audit(Step):
    """Audit the copy of a repository in a store: what is missing, altered, unexpected, unlocked or about to be."""

    kind: Literal["audit"]
    store: StoreName
    """Where the copy lives."""
    repository: RepositoryName | None = None
    """Of which repository; the service's own unless said."""
    recorded: bool = True
    """Ask the store for the recorded checksum and the lock of every object: one request each."""
    within: Duration | None = parse_duration("90d")
    """Read and hash every object again within this time, a share each time; ``null`` reads nothing back."""
    everything: bool = False
    """Read and hash everything now."""

    @property
    def subject(self) -> str:
        """The store."""
        return self.store

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        words = ["the listing"]
        if self.recorded:
            words.append("every recorded checksum and lock")
        if self.everything:
            words.append("all bytes, hashed again")
        elif self.within:
            words.append(f"a share of the bytes, all within {format_duration(self.within)}")
        return f"audit the copy of {self.repository or scene.repository} in {self.store}: {', '.join(words)}"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """What is asked of the store."""
        name = self.repository or scene.repository
        calls = [("list", f"{self.store}:{name}/", "all objects")]
        if self.recorded:
            calls.append(("head", f"{self.store}:{name}/<object>", "each object"))
        if self.everything or self.within:
            calls.append(("get", f"{self.store}:{name}/<object>", "the share that is due"))
        return tuple(Planned("controller", (verb, what), note=note) for verb, what, note in calls)

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Look; count a share as read only when nothing in it was wrong."""
        name = self.repository or tools.scene.repository
        store = tools.store(self.store)
        store.ready()
        key = f"audit:{self.store}:{name}"
        before = Audits.model_validate(tools.memory.get(key) or {})
        if tools.repeated and before.evidence is not None and (before.run, before.step) == (tools.run.id, tools.step):
            return before.evidence
        now = tools.clock.now()
        parts: tuple[str, ...] = ()
        if self.everything:
            parts = tuple(f"{number:02x}" for number in range(PARTS))
        elif self.within:
            parts = before.coverage.share(now, self.within)
        known = ledger.read(tools.memory, self.store, name, store.shown)
        asked = Asked(
            recorded=self.recorded,
            parts=frozenset(parts),
            config=known.config,
            passed=known.began,
            since=known.seen_until,
            locked=ledger.interval(store.lock) if store.lock else None,
        )
        source, without = _source(tools, name)
        clocked = tools.clock.monotonic()
        try:
            seen = audit(
                source,
                store,
                f"{name}/",
                asked,
                now=now,
                check=ledger.watch(tools.clock, tools.deadline),
                show=shown(tools),
            )
        except OutOfTime as late:
            return Failure(
                why=f"audit of {self.store}: {late.message}", hint="give it a longer timeout", timed_out=True
            )
        after = before.coverage.after(parts, now) if parts else before.coverage
        facts = self._facts(name, seen, after)
        facts["at"] = now.isoformat()
        facts["seconds"] = round(tools.clock.monotonic() - clocked, 3)
        facts["coverage_percent"] = after.percent(now, self.within or timedelta.max) if parts else 0.0
        look = ledger.Looked(
            at=now,
            problems=seen.problems,
            run=tools.run.id,
            altered=tuple(seen.altered.keys),
            more=seen.altered.count > len(seen.altered.keys),
        )
        ledger.note_look(tools.memory, self.store, name, look)
        if seen.problems:
            return self._failure(name, seen, facts)
        exceptions = [
            *without,
            *(f"unexpected in the copy: {in_line(key)}" for key in seen.unexpected.keys),
        ]
        levels = self._levels(tools, seen, facts)
        evidence = Evidence(facts=facts, levels=levels, exceptions=tuple(exceptions))
        done = Audits(coverage=after, run=tools.run.id, step=tools.step, evidence=evidence)
        tools.memory.put(key, done.model_dump(mode="json"))
        return evidence

    def _facts(self, name: str, seen: Audited, coverage: Coverage) -> dict[str, Json]:
        facts: dict[str, Json] = {"store": self.store, "repository": name, "problems": seen.problems}
        for what in ("missing", "altered", "unexpected", "unlocked", "expiring"):
            finding: Finding = getattr(seen, what)
            facts[what] = finding.count
            facts[f"{what}_keys"] = finding.keys
        counts = asdict(seen)
        facts |= {
            what: counts[what]
            for what in (
                "listed", "listed_bytes", "right_size", "recorded", "unrecorded", "hashed", "hashed_bytes", "kept",
                "pending",
            )
        }  # fmt: skip
        whole = coverage.whole_until
        facts["intact_until"] = whole.isoformat() if whole else None
        facts["locked_until"] = seen.locked_until.isoformat() if seen.locked_until else None
        return facts

    def _failure(self, name: str, seen: Audited, facts: dict[str, Json]) -> Failure:
        said = []
        for what in ("missing", "altered", "unlocked", "expiring"):
            finding: Finding = getattr(seen, what)
            if finding.count:
                more = ", …" if finding.count > 2 else ""  # noqa: PLR2004 - as many as are shown
                said.append(f"{finding.count} {what} ({', '.join(finding.keys[:2])}{more})")
        return Failure(
            why=f"the copy of {name} in {self.store} is not as it must be: {'; '.join(said)}",
            hint="the next mirror step mends what the repository still has; if nobody changed anything on purpose, "
            f"treat it as an attack: drorch store probe {self.store}, and change its credentials",
            facts=facts,
        )

    def _levels(self, tools: Tools, seen: Audited, facts: dict[str, Json]) -> dict[str, ProofLevel]:
        """What this one audit shows; a share of the bytes says nothing of a whole recovery point."""
        known = trust.remembered(tools.memory, self.store)
        level = None
        if self.everything and seen.hashed >= seen.listed:
            level = ProofLevel.INTACT
        elif self.recorded and not seen.unrecorded and known is not None and known.grade is not Grade.NEITHER:
            level = ProofLevel.COPIED
        if level is None or not seen.config:
            return {}
        try:
            snapshots = tools.repository(self.repository).snapshots(
                tools.controller(), tags={"service": tools.scene.service}
            )
        except DrorchError:
            return {}  # the repository itself is out of reach: what the copy holds is said by its own drill
        facts["points"] = newest(tools, [one for one in snapshots if one.id in seen.snapshots])
        return dict.fromkeys(facts["points"], level)


class Audits(Frozen):
    """What is remembered of the audits of one copy."""

    coverage: Coverage = Coverage()
    run: str = ""
    """The last success's run, step and evidence, so that a cut between them and their record reads nothing twice."""
    step: str = ""
    evidence: Evidence | None = None


def _source(tools: Tools, name: str) -> tuple[Shelf | None, tuple[str, ...]]:
    """The repository's own files; without them nobody knows what is missing, which is said."""
    try:
        shelf = tools.files(name)
        shelf.read(CONFIG, limit=CONFIG_LIMIT)
    except StoreError as error:
        return None, (f"{name} itself cannot be read, so what is missing in the copy is not known: {error.message}",)
    return shelf, ()
