"""``reclaim``: remove from an off-site copy what its repository no longer has. Only what a person has agreed to."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import StringConstraints

from drorch.core.errors import Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.model import Duration, Json, RepositoryName, StoreName
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.mirror import ledger
from drorch.mirror.ledger import OutOfTime
from drorch.mirror.names import REMOVED
from drorch.mirror.reclaim import GRACE, forget, grace_for, look, noted, reclaim, ripe
from drorch.steps import _intent as intent
from drorch.steps._copied import shown

LEASE_PATIENCE = timedelta(hours=1)


class Reclaim(Step):
    """Remove from the copy of a repository exactly those files that `drorch reclaim` showed, snapshots first."""

    kind: Literal["reclaim"]
    store: StoreName
    """Where the copy lives."""
    agreed: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """The digest of the files that a person agreed to, as `drorch reclaim` shows it: it cannot be scheduled."""
    repository: RepositoryName | None = None
    """Of which repository; the service's own unless said."""
    grace: Duration = GRACE
    """How long ago it must have been noted that they are gone; never shorter than locks last."""
    shrink: bool = False
    """Remove even more than half of the copy."""

    @property
    def subject(self) -> str:
        """The store."""
        return self.store

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        name = self.repository or scene.repository
        return f"remove from the copy in {self.store} what {name} no longer has, as agreed in {self.agreed[:16]}"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The check that comes first, then the deletion."""
        name = self.repository or scene.repository
        return (
            Planned("controller", ("restic", "check"), note=f"of {name}: nothing is removed unless it is sound"),
            Planned(
                "controller",
                ("remove", f"{self.store}:{name}/<file>"),
                note="snapshots, then indexes, then packs; by the deleter's credential",
            ),
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Look again, check the repository, and remove what was agreed to while nobody prunes or mirrors."""
        name = self.repository or tools.scene.repository
        store = tools.store(self.store)
        store.ready()
        key = f"reclaim:{self.store}:{name}"
        check = ledger.watch(tools.clock, tools.deadline)
        with tools.lease(f"repository:{name}", wait=LEASE_PATIENCE):
            gone = look(tools.files(name), store, f"{name}/", check)
            begun = intent.noted(tools, key)
            if begun is None:
                found = ripe(
                    gone,
                    noted(tools.memory, self.store, name),
                    ledger.read(tools.memory, self.store, name),
                    grace=grace_for(store.lock, self.grace),
                    now=tools.clock.now(),
                    shrink=self.shrink,
                )
                if found.token != self.agreed:
                    raise Refused(
                        "what is gone now is not what was agreed to",
                        hint=f"look at it again: drorch reclaim {self.store}",
                    )
                checked = tools.repository(name).check(tools.controller(), subset=None).seconds
                begun = {
                    "ids": {kind.value: sorted(found.files[kind]) for kind in REMOVED},
                    "bytes": found.size,
                    "check_seconds": checked,
                }
                intent.note(tools, key, begun)
            try:
                done = reclaim(store, f"{name}/", gone.only(begun["ids"]), check=check, show=shown(tools))
            except OutOfTime as late:
                return Failure(why=f"reclaim from {self.store}: {late.message}", hint=late.hint, timed_out=True)
            forget(tools.memory, self.store, name)
        facts: dict[str, Json] = {
            "store": self.store,
            "repository": name,
            "removed": {kind: len(ids) for kind, ids in begun["ids"].items()},
            "objects": sum(len(ids) for ids in begun["ids"].values()),
            "bytes": begun["bytes"],
            "versions": done.versions,
            "agreed": self.agreed,
            "check_seconds": begun["check_seconds"],
        }
        return Evidence(facts=facts)
