"""Proving a restored source: against its snapshots, byte by byte, and by its own checks."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import AwareDatetime, ConfigDict, Field

from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Host
from drorch.core.model import Frozen, Json
from drorch.core.repository import Repository, Snapshot
from drorch.core.source import Expectation, Restored, Tree
from drorch.core.step import Earlier, Tools
from drorch.steps._folder import exists

NAMED = 3
"""How many differences a failure names."""


class Origin(NamedTuple):
    """Where a recovery point is read from: a repository, or its mirror in a store."""

    repository: str
    store: str | None

    def open(self, tools: Tools) -> Repository:
        """It; of a mirror's repository nothing is touched.

        Raises:
            DrorchError: it cannot be opened.
        """
        if self.store is None:
            return tools.repository(self.repository)
        return tools.mirrored(self.repository, self.store)

    def facts(self) -> dict[str, Json]:
        """As evidence: ``repository``, and ``store`` where it is a mirror."""
        return {"repository": self.repository, **({"store": self.store} if self.store is not None else {})}


class RestoreFacts(Frozen):
    """What a `restore` step's evidence tells the steps after it."""

    model_config = ConfigDict(extra="ignore")

    host: str
    repository: str
    store: str | None = None
    """The store whose mirror it was restored from."""
    directory: str
    snapshot: str
    snapshots: dict[str, str]
    """Snapshot ids by `Part.name`."""
    snapshot_time: AwareDatetime
    age_seconds: float
    name: str = ""
    path: str = ""
    facts: dict[str, Json] = Field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """Where it came from."""
        return Origin(self.repository, self.store)

    @property
    def restored(self) -> Restored:
        """What `Source.load` returned."""
        return Restored(host=self.host, name=self.name, path=self.path, facts=self.facts)


def restored_before(earlier: Earlier, source: str) -> RestoreFacts:
    """What the last `restore` step of that source left.

    Raises:
        DrorchError: there was none.
    """
    for evidence in reversed(list(earlier.values())):
        if evidence.source == source and {"directory", "snapshots"} <= evidence.facts.keys():
            return RestoreFacts.model_validate(evidence.facts)
    raise DrorchError(f"{source} was not restored in this run", hint=f"put a restore step of {source} before this one")


def snapshots_of(tools: Tools, repository: Repository, source: str, ids: Mapping[str, str]) -> dict[str, Snapshot]:
    """The snapshots with these ids, by the same keys.

    Raises:
        DrorchError: one is gone.
    """
    tags = {"service": tools.scene.service, "source": source}
    there = {snapshot.id: snapshot for snapshot in repository.snapshots(tools.controller(), tags=tags)}
    missing = [id_ for id_ in ids.values() if id_ not in there]
    if missing:
        raise DrorchError(
            f"snapshot {missing[0][:12]} of {source} is no longer in {repository.name}",
            hint="was it removed while the run ran?",
        )
    return {part: there[id_] for part, id_ in ids.items()}


def prove(tools: Tools, source: str, facts: RestoreFacts, expect: Expectation) -> Evidence | Failure:
    """Compare what was restored with its snapshots and ask it whether it is whole.

    A tree must be there; a stream's staged file is compared where the source has not used it up.
    """
    host = tools.host(facts.host)
    repository = facts.origin.open(tools)
    model = tools.scene.sources[source]
    snapshots = snapshots_of(tools, repository, source, facts.snapshots)
    trees = {part.name for part in model.parts() if isinstance(part, Tree)}
    files, size = 0, 0
    compared: list[str] = []
    for part, snapshot in snapshots.items():
        staged = f"{facts.directory}/{part}"
        there = exists(host, staged)
        if isinstance(there, Failure):
            return there
        if not there:
            if part in trees:
                return Failure(why=f"{staged} on {facts.host} is gone", hint="restore it again", facts={"part": part})
            continue
        found = _compared(repository, host, snapshot, staged, part)
        if isinstance(found, Failure):
            return found
        files, size = files + found[0], size + found[1]
        compared.append(part)
    asked = model.verify(host, facts.restored, expect, tools.secrets)
    if isinstance(asked, Failure):
        return asked
    return Evidence(
        facts={
            **asked.facts,
            "snapshot": facts.snapshot,
            "snapshots": dict(facts.snapshots),
            **originals(snapshots),
            "snapshot_time": facts.snapshot_time.isoformat(),
            "age_seconds": facts.age_seconds,
            "compared": list(compared),
            "compared_files": files,
            "compared_bytes": size,
            "host": facts.host,
            **facts.origin.facts(),
        },
        source=source,
        level=asked.level or ProofLevel.RESTORED,
        exceptions=asked.exceptions,
    )


def originals(snapshots: Mapping[str, Snapshot]) -> dict[str, Json]:
    """For snapshots that are copies, what they are copies of: facts for the evidence; the main part is the last."""
    found = {part: snapshot.original for part, snapshot in snapshots.items() if snapshot.original}
    main = list(snapshots.values())[-1].original
    return {**({"original": main} if main else {}), **({"originals": found} if found else {})}


def _compared(
    repository: Repository, host: Host, snapshot: Snapshot, path: str, part: str
) -> tuple[int, int] | Failure:
    """Files and bytes that equal the snapshot's."""
    found = repository.compare(host, snapshot, path)
    if not found.differing_count:
        return found.files, found.bytes
    named = "; ".join(found.differing[:NAMED])
    more = found.differing_count - min(NAMED, len(found.differing))
    return Failure(
        why=f"{path} on {host.name} differs from snapshot {snapshot.id[:12]} in {found.differing_count} places: {named}"
        + (f"; and {more} more" if more else ""),
        hint="did something write there after the restore? if not, run a check of the repository",
        facts={"part": part, "differing": list(found.differing), "differing_count": found.differing_count},
    )
