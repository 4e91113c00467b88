"""``restore``: bring a recovery point back, beside the live thing or on a standby."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from drorch.core.errors import DrorchError, HostError, Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.finding import Finding
from drorch.core.host import Host
from drorch.core.model import HostName, Json, RepositoryName, SourceName, StoreName
from drorch.core.replication import Loss
from drorch.core.repository import Repository
from drorch.core.scene import Scene
from drorch.core.source import Destination, Expectation
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.repositories.restic import argv
from drorch.steps._apart import identified
from drorch.steps._folder import destination, exists, levels, make, make_command, run_folder
from drorch.steps._points import Chosen, choose
from drorch.steps._proof import Origin, RestoreFacts, originals, prove


def _real_time(selection: str) -> str:
    if selection.startswith("before:") and datetime.fromisoformat(selection.removeprefix("before:")).tzinfo is None:
        raise ValueError("the time needs a zone, as in before:2026-10-01T00:00:00Z")
    return selection


Selection = Annotated[
    str,
    StringConstraints(pattern=r"^(latest|random|before:\S+|[0-9a-f]{8,64})$"),
    AfterValidator(_real_time),
    Field(examples=["latest", "random", "before:2026-10-01T00:00:00Z", "4f2a91c0"]),
]
"""Which recovery point."""


class Restore(Step):
    """Restore one source's recovery point into a fresh folder or database of the run's own."""

    kind: Literal["restore"]
    source: SourceName
    """What to restore."""
    host: HostName | None = None
    """Where to; in a drill its standby, else the source's own host, beside the live thing, unless said."""
    snapshot: Selection | None = None
    """Which recovery point: ``latest``, ``random``, ``before:2026-10-01T00:00:00Z`` or a snapshot id; the runbook's own
    choice unless said. Only complete ones (a snapshot of every part of the source) are taken."""
    repository: RepositoryName | None = None
    """Where from; the service's own repository unless said."""
    store: StoreName | None = None
    """Where from, when not from the repository: its mirror in this store, read where it lies; the runbook's own choice
    unless said. The repository itself is not needed then, only its password."""
    swap: bool = False
    """Put the restored thing in the live one's place once it is proven whole; the live one is kept beside it.
    Never in a drill."""

    @property
    def subject(self) -> str:
        """The source."""
        return self.source

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        what = scene.sources[self.source].describe()
        place = "in the place of the live one" if self.swap else "beside whatever is there"
        host = self.host or scene.target or scene.home_of(self.source)
        origin = self._origin(scene)
        store = f" from the mirror of {origin.repository} in {origin.store}" if origin.store else ""
        return f"restore {what} ({self.snapshot or scene.snapshot}){store} on {host}, {place}"

    def _origin(self, scene: Scene) -> Origin:
        return Origin(self.repository or scene.repository, self.store or scene.store)

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """A drill must not touch what is live."""
        found: list[tuple[str, str, str]] = []
        if scene.drill and self.swap:
            found.append(("swap", "a drill never replaces what is live", "leave swap out"))
        store = self._origin(scene).store
        if store is not None and store in scene.stores and not scene.stores[store].readable:
            found.append(
                (
                    "store" if self.store else "",
                    f"restic cannot read {store}, {scene.stores[store].describe()}, where it lies",
                    f"drorch recover {store} --to FOLDER, then restore from there",
                )
            )
        if self.source in scene.sources:
            try:
                scene.restore_host(self.source, self.host)
            except Refused as refused:
                found.append(("host", refused.message, refused.hint))
        return tuple(found)

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The choice of the point, then what runs on the host that it is restored to."""
        source = scene.sources[self.source]
        host = scene.restore_host(self.source, self.host)
        into = scene.destination(run, self.source, host)
        store = self._origin(scene).store
        common = argv.Common(reading=store is not None)
        tags = (f"service={scene.service}",)
        takes = f"takes {self.snapshot or scene.snapshot}{f' in {store}' if store else ''}"
        return (
            Planned("controller", argv.snapshots(common, tags), note=takes),
            Planned(host, make_command(levels(scene.folder(run, host), self.source)).argv),
            *(
                Planned(host, argv.restore(common, "<snapshot>", f"{into.directory}/{part.name}"), note=part.name)
                for part in source.parts()
            ),
            *(Planned(host, command.argv) for command in source.preview_load(into)),
            *([Planned(host, ("swap", source.describe()), note="the live one is kept beside it")] if self.swap else []),
        )

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """Whether there is a recovery point, and how old it is: what is newer would be lost."""
        scene, store = tools.scene, self.store or tools.scene.store
        name = self.repository or scene.repository
        repository = tools.mirrored(name, store) if store else tools.repository(name)
        now = tools.clock.now()
        chosen = choose(
            repository.snapshots(tools.controller(), tags={"service": scene.service}),
            scene,
            self.source,
            self.snapshot or scene.snapshot,
            run=tools.run.id,
            now=now,
        )
        age = max(0.0, (now - chosen.time).total_seconds())
        where = f"{name}'s copy in {store}" if store else name
        known = Loss(seconds=age, mode="backup", basis=f"the newest recovery point in {where}")
        yield Finding(
            about=self.source,
            what=f"snapshot {chosen.main.id[:8]} in {where} is {known.words.removeprefix('at most ')} old",
            facts={"source": self.source, "loss": known.model_dump(mode="json"), "snapshot": chosen.main.id},
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Choose, restore, load; with `swap`, prove and put in place."""
        scene, run = tools.scene, tools.run
        if scene.drill and self.swap:
            raise Refused("a drill never replaces what is live", hint="leave swap out")
        name = scene.restore_host(self.source, self.host)
        identity = identified(tools, name, "restores")
        host = tools.host(name)
        into = destination(scene, run.id, self.source, name, identity)
        folder = run_folder(scene, run.id, name, identity)
        failure = make(host, levels(folder, self.source))
        if failure is not None:
            return failure
        origin = self._origin(scene)
        repository = origin.open(tools)
        chosen = self._chosen(tools, repository, host, f"{folder}/{self.source}.point")
        into = into.model_copy(update={"recorded": {part: snap.paths for part, snap in chosen.parts.items()}})
        trees = [
            repository.restore(host, snapshot, f"{into.directory}/{part}", progress=tools.progress)
            for part, snapshot in chosen.parts.items()
        ]
        source = scene.sources[self.source]
        restored = source.load(host, into, tools.secrets)
        if isinstance(restored, Failure):
            return restored
        facts: dict[str, Json] = {
            **restored.facts,
            **restored.model_dump(mode="json"),
            "directory": into.directory,
            "token": into.token,
            **origin.facts(),
            "point": chosen.run,
            "snapshot": chosen.main.id,
            "snapshots": {part: snapshot.id for part, snapshot in chosen.parts.items()},
            **originals(chosen.parts),
            "snapshot_time": chosen.time.isoformat(),
            "age_seconds": round((run.started - chosen.time).total_seconds(), 3),
            "bytes": sum(tree.bytes for tree in trees),
            "files": sum(tree.files for tree in trees),
            "seconds": round(sum(tree.seconds for tree in trees), 3),
            "machine_id": identity.machine_id,
        }
        done = Evidence(facts=facts, source=self.source)
        return self._swapped(tools, host, into, done) if self.swap else done

    def _chosen(self, tools: Tools, repository: Repository, host: Host, path: str) -> Chosen:
        """The recovery point; the one that a former attempt chose, should it have begun to restore it."""
        scene, run = tools.scene, tools.run
        snapshots = repository.snapshots(tools.controller(), tags={"service": scene.service})
        store = self._origin(scene).store
        if store and not snapshots:
            raise DrorchError(
                f"{store} holds no snapshot of {scene.service}", hint="mirror to it first; or is this the wrong store?"
            )
        selection = _former_choice(host, path) if tools.repeated else None
        chosen = choose(
            snapshots,
            scene,
            self.source,
            selection or self.snapshot or scene.snapshot,
            run=run.id,
            now=run.started,
        )
        host.put(path, chosen.main.id.encode())
        return chosen

    def _swapped(self, tools: Tools, host: Host, into: Destination, done: Evidence) -> Outcome:
        """Put it in the live one's place once it is proven whole."""
        proof = prove(tools, self.source, RestoreFacts.model_validate(done.facts), Expectation())
        if isinstance(proof, Failure):
            return proof
        restored = RestoreFacts.model_validate(done.facts).restored
        swapped = tools.scene.sources[self.source].swap(host, restored, into, tools.secrets)
        if isinstance(swapped, Failure):
            return swapped
        return done.model_copy(
            update={
                "facts": {**proof.facts, **done.facts, **swapped.facts, "swapped": swapped.facts.get("swapped", True)},
                "level": proof.level,
                "exceptions": (*proof.exceptions, *swapped.exceptions),
            }
        )


def _former_choice(host: Host, path: str) -> str | None:
    there = exists(host, path)
    if isinstance(there, Failure):
        raise HostError(there.why)
    return host.get(path).decode("ascii", "replace").strip() or None if there else None
