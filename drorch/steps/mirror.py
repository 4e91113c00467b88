"""``mirror``: bring the off-site copy of a repository up to date, the same bytes, verified by name."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from drorch.core.evidence import Evidence, Failure, Outcome, Progress, ProofLevel
from drorch.core.model import Json, RepositoryName, StoreName
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.core.store import Grade, Store
from drorch.mirror import ledger, trust
from drorch.mirror.ledger import Ledger, OutOfTime
from drorch.mirror.transfer import Known, Passed, transfer
from drorch.steps._copied import newest, shown

LEASE_PATIENCE = timedelta(hours=2)
"""How long another process may prune or mirror the repository before this attempt gives up; a retry may help."""


class Mirror(Step):
    """Bring the copy of a repository in a store up to date: the same encrypted files, each verified by its name."""

    kind: Literal["mirror"]
    store: StoreName
    """Where the copy lives."""
    repository: RepositoryName | None = None
    """Of which repository; the service's own unless said."""

    @property
    def subject(self) -> str:
        """The store."""
        return self.store

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        spec = scene.stores[self.store]
        lock = f", locked for {spec.lock.days} days ({spec.lock.mode})" if spec.lock else ""
        return f"mirror {self.repository or scene.repository} to {self.store}, {spec.describe()}{lock}"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """No command runs: reading and sending is drorch's own."""
        name = self.repository or scene.repository
        place = "/".join(word for word in (scene.stores[self.store].prefix, name) if word)
        return (
            Planned("controller", ("list", name), note="snapshots, then index, then packs"),
            Planned(
                "controller",
                ("send", "<missing files>", f"{self.store}:{place}/"),
                note="keys, packs, index, snapshots",
            ),
        )

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """Only files that can be read can be mirrored."""
        spec = scene.repositories.get(self.repository or scene.repository)
        if spec is not None and spec.url.startswith("rest:"):
            return (
                (
                    "repository" if self.repository else "",
                    "the files behind a REST server cannot be mirrored",
                    "use {kind: copy, to: …}, or mirror on the machine that has the files",
                ),
            )
        return ()

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Probe when it is time, mirror while nobody prunes, remember how far it got."""
        name = self.repository or tools.scene.repository
        store = tools.store(self.store)
        store.ready()
        seen = self._trusted(tools, store)
        with tools.lease(f"repository:{name}", wait=LEASE_PATIENCE):
            before = ledger.read(tools.memory, self.store, name, store.shown)
            began = tools.clock.now()
            until = ledger.extension(before, store.lock, began)
            clocked = tools.clock.monotonic()
            try:
                passed = transfer(
                    tools.files(name),
                    store,
                    f"{name}/",
                    _known(before, ledger.looked(tools.memory, self.store, name)),
                    extend_until=until,
                    check=ledger.watch(tools.clock, tools.deadline),
                    show=shown(tools),
                )
            except OutOfTime as late:
                return Failure(why=f"mirror to {self.store}: {late.message}", hint=late.hint, timed_out=True)
            after = Ledger(
                config=passed.config,
                seen_until=passed.seen_until,
                locked_until=until or before.locked_until if store.lock else None,
                began=began,
                index=passed.index,
                replaced=passed.replaced_count,
                run=tools.run.id,
                place=store.shown,
            )
            ledger.write(tools.memory, self.store, name, after)
        points = self._points(tools, passed)
        facts: dict[str, Json] = {
            "store": self.store,
            "repository": name,
            "complete": True,
            "grade": seen.grade.value,
            "probed_at": seen.at.isoformat(),
            "objects": passed.objects,
            "bytes": passed.bytes,
            "uploaded": passed.uploaded,
            "uploaded_bytes": passed.uploaded_bytes,
            "looked_at": passed.looked_at,
            "replaced": passed.replaced_count,
            "replaced_keys": passed.replaced,
            "kept": passed.kept,
            "kept_bytes": passed.kept_bytes,
            "strangers": passed.strangers_count,
            "strangers_keys": passed.strangers,
            "extended": passed.extended,
            "locked_until": after.locked_until.isoformat() if after.locked_until else None,
            "snapshots": len(passed.snapshots),
            "points": points,
            "rounds": passed.rounds,
            "config_sha256": passed.config,
            "seconds": round(tools.clock.monotonic() - clocked, 3),
        }
        return self._judged(passed, seen, facts)

    def _trusted(self, tools: Tools, store: Store) -> trust.Known:
        """How far the store can be trusted, as a probe of the last day saw it."""
        seen = trust.remembered(tools.memory, self.store)
        if seen is not None and seen.place == store.shown and trust.fresh(seen, tools.clock.now()):
            return seen
        tools.progress(Progress(step=tools.step, text=f"probing {self.store}"))
        return trust.remember(tools.memory, self.store, store.probe(), tools.clock.now(), place=store.shown)

    def _points(self, tools: Tools, passed: Passed) -> dict[str, Json]:
        """The newest complete recovery point of each source that is in the copy."""
        scene = tools.scene
        snapshots = tools.repository(self.repository).snapshots(tools.controller(), tags={"service": scene.service})
        return newest(tools, (snapshot for snapshot in snapshots if snapshot.id in passed.snapshots))

    def _judged(self, passed: Passed, seen: trust.Known, facts: Mapping[str, Json]) -> Outcome:
        if seen.worse:
            return Failure(
                why=f"the copy is up to date, but {self.store} got worse: it was seen to be {seen.best.value!r} and "
                f"now is {seen.grade.value!r}",
                hint=f"drorch store probe {self.store} shows what it takes now; with --accept that becomes the measure",
                facts=dict(facts),
            )
        exceptions = [
            f"{key} in the copy had been overwritten or damaged, and was written again" for key in passed.replaced
        ]
        exceptions += [
            f"{key} at the source does not match its name (bit rot), and was not copied" for key in passed.rotten
        ]
        exceptions += [
            f"{key} came to the copy after the last pass, and the repository does not have it: a pass that was cut "
            "sent it, or somebody else with the writer's key"
            for key in passed.strangers
        ]
        trusted = seen.grade is not Grade.NEITHER
        if not trusted:
            exceptions.append(
                f"{self.store} takes content that does not match its checksum, so nothing is known of what it holds "
                "until it is read back: add {kind: audit}"
            )
        levels = dict.fromkeys(facts["points"], ProofLevel.COPIED) if trusted else {}
        return Evidence(facts=dict(facts), levels=levels, exceptions=tuple(exceptions))


def _known(before: Ledger, look: ledger.Looked | None) -> Known:
    """What the pass may take for right: not what an audit found to be wrong."""
    if look is None or look.more:
        return Known(before.config, None if look else before.seen_until)
    return Known(before.config, before.seen_until, frozenset(look.altered))
