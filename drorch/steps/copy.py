"""``copy``: keep recovery points in another repository too, under a key of its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from pydantic import AwareDatetime

from drorch.core import retention
from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Outcome, ProofLevel
from drorch.core.host import Domain
from drorch.core.model import Frozen, Json, RepositoryName, SourceName
from drorch.core.repository import Copied, Repository, Snapshot
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.repositories.restic import argv
from drorch.steps._intent import note, noted
from drorch.steps.check import LEASE_PATIENCE, Readings, Subset, coverage, key_of, parts_of, read_next


class Copy(Step):
    """Copy recovery points from the service's repository into another one, decrypted and encrypted under its own key.

    One leaked password does not open both. Unlike a mirror, the machine that copies holds both keys and must read
    whatever it copies.
    """

    kind: Literal["copy"]
    to: RepositoryName
    """Where to; made once by ``drorch repository create NAME --like OTHER``, with a password of its own."""
    sources: tuple[SourceName, ...] = ()
    """Which sources' recovery points; all of the service unless said."""
    only: Literal["latest", "all"] = "all"
    """``latest`` takes the newest complete recovery point of each source, ``all`` every one that is not there yet. Say
    ``latest`` when the copy is retained for a shorter time: else what was removed there would come back."""
    subset: Subset | None = None
    """The share of the copy's bytes that is read back afterwards, the next one each time, such as ``1/30`` or ``10%``;
    only its structure, when something was copied, unless said."""

    @property
    def subject(self) -> str:
        """Where to."""
        return self.to

    @property
    def default_timeout(self) -> timedelta:
        """A first copy may take long."""
        return timedelta(hours=48)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        which = "the newest recovery point" if self.only == "latest" else "every recovery point"
        what = ", ".join(self.sources or scene.sources)
        share = f", and read back the next {self.subset} of it" if self.subset else ""
        return f"copy {which} of {what} from {scene.repository} to {self.to}, under its own key{share}"

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """A copy must be another repository, which another password opens and one process can reach beside it."""
        own, other = scene.repositories[scene.repository], scene.repositories[self.to]
        make = f"make another by: drorch repository create NAME --like {scene.repository}"
        if self.to == scene.repository:
            return (("to", f"{self.to} is the service's own repository", make),)
        if own.url == other.url:
            return (("to", f"{self.to} and {scene.repository} are one place", make),)
        found = []
        if own.password == other.password:
            found.append(
                (
                    "to",
                    f"{self.to} and {scene.repository} have the same password, so one that leaks would open both",
                    f"give {self.to} a password of its own",
                )
            )
        if own.url.startswith("s3:") and other.url.startswith("s3:") and own.credentials != other.credentials:
            found.append(
                (
                    "to",
                    f"{self.to} and {scene.repository} are S3 under two accounts, which restic cannot use at once",
                    "put the copy at sftp: or rest:, or mirror to a store instead",
                )
            )
        return tuple(found)

    def doubts(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """A copy beside the original is lost with it."""
        own, other = scene.repositories[scene.repository].domain, scene.repositories[self.to].domain
        if own == Domain() or own != other:
            return ()
        message = f"{self.to} and {scene.repository} can fail together: they have one domain"
        return (("to", message, "keep the copy at another provider, region or account"),)

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """What it lists, copies and checks, on the controller."""
        common = argv.Common()
        listing = argv.snapshots(common, (f"service={scene.service}",))
        share = (f"--read-data-subset=<next>/{parts_of(self.subset)}",) if self.subset else ()
        return (
            Planned("controller", listing, note=f"of {scene.repository}, then of {self.to}"),
            Planned("controller", argv.copy(common, ("<snapshots>",)), note="only those that are not there"),
            Planned(
                "controller",
                (*argv.check(common, None), *share),
                note=f"of {self.to}" + ("" if share else ", when something was copied"),
            ),
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Copy what is missing and see that it is there, while nobody else works on either exclusively."""
        source, target = tools.repository(), tools.repository(self.to)
        at = tools.controller()
        tags = {"service": tools.scene.service}
        key = f"copy:{source.name}:{target.name}:{tools.scene.service}"
        with _leases(tools, source.name, target.name):
            wanted = _choose(tools, self.sources, self.only, source.snapshots(at, tags=tags), earlier)
            there = target.snapshots(at, tags=tags)
            missing = {each.id for each in wanted.snapshots if not any(copy.copies(each) for copy in there)}
            former = set(noted(tools, key) or ())
            note(tools, key, sorted(missing | former))
            copied = target.copy_from(at, source, wanted.snapshots, progress=tools.progress)
            checked = self._checked(tools, target, copied)
        new = (missing | former) & copied.copies.keys()
        return Evidence(
            facts={
                "repository": source.name,
                "to": target.name,
                "copied": len(new),
                "there_already": len(copied.copies) - len(new),
                # What an attempt that was cut has written is not known.
                "bytes_written": copied.bytes_written if new <= set(copied.new) else None,
                "new": {
                    name: [copied.copies[each.id] for each in snapshots if each.id in new]
                    for name, snapshots in wanted.by_source.items()
                },
                "points": {name: _point(point, copied) for name, point in wanted.newest.items()},
                "seconds": copied.seconds,
                **checked,
            },
            levels=dict.fromkeys(wanted.newest, ProofLevel.COPIED),
            exceptions=wanted.exceptions,
        )

    def _checked(self, tools: Tools, target: Repository, copied: Copied) -> dict[str, Json]:
        """Read the next share of it; without one, look at its structure unless that was done with all of this there."""
        parts = parts_of(self.subset) if self.subset else 0
        if parts:
            key = key_of(tools, target, parts)
            before = Readings.model_validate(tools.memory.get(key) or {})
            if (before.run, before.step) != (tools.run.id, tools.step):
                before = read_next(tools, target, parts, before)
                tools.memory.put(key, before.model_dump(mode="json"))
            return {"check": coverage(before, parts, target.name)}
        key = f"copied:{target.identify(tools.controller())}:{tools.scene.service}:{tools.step}"
        last = _Looked.model_validate(tools.memory.get(key) or {})
        ids = tuple(sorted(copied.copies.values()))
        if not set(ids) <= set(last.copies) or last.at is None:
            read_next(tools, target, 0, Readings())
            last = _Looked(at=tools.run.started, copies=ids)
            tools.memory.put(key, last.model_dump(mode="json"))
        at = last.at.isoformat() if last.at else None
        return {"check": {"repository": target.name, "subset": "structure", "at": at}}


class _Looked(Frozen):
    """When a copy's structure was last found whole, and which copies were there then; remembered beyond the run."""

    at: AwareDatetime | None = None
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be copied."""

    by_source: Mapping[str, Sequence[Snapshot]]
    """Oldest first."""
    newest: Mapping[str, Mapping[str, Snapshot]]
    """The newest complete point of each source that has one: its snapshots by `Part.name`, the main one last."""
    exceptions: tuple[str, ...]

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """All of them."""
        return tuple(each for snapshots in self.by_source.values() for each in snapshots)


def _choose(
    tools: Tools, sources: Sequence[str], only: str, snapshots: Sequence[Snapshot], earlier: Earlier
) -> _Wanted:
    """The points of these sources among the service's snapshots.

    Raises:
        DrorchError: there is none at all, or this run took one that is not there.
    """
    scene = tools.scene
    names = tuple(sources or scene.sources)
    parts = {(scene.service, name): tuple(part.name for part in scene.sources[name].parts()) for name in names}
    points = retention.points(snapshots, parts)
    by_id = {each.id: each for each in snapshots}
    by_source: dict[str, Sequence[Snapshot]] = {}
    newest: dict[str, Mapping[str, Snapshot]] = {}
    exceptions = []
    for name in names:
        mine = points.get((scene.service, name), ())
        whole = [point for point in mine if point.complete and point.time <= tools.run.started]
        if whole:
            there = {each.origin.part: each for each in map(by_id.__getitem__, whole[-1].snapshots) if each.origin}
            newest[name] = {part: there[part] for part in parts[scene.service, name]}
        else:
            exceptions.append(f"{scene.repository} has no complete recovery point of {name}, so none was copied")
        taken = whole[-1:] if only == "latest" else mine
        by_source[name] = [by_id[id_] for point in taken for id_ in point.snapshots]
        if gone := _taken(earlier, name, scene.repository) - by_id.keys():
            raise DrorchError(
                f"snapshot {min(gone)[:12]} of {name}, which this run took, is not in {scene.repository}",
                hint="who removed it? see the repository's own log, and change its password if nobody knows",
            )
    if not newest:
        raise DrorchError(
            f"{scene.repository} has no complete recovery point of {' or '.join(names)}", hint="run a backup first"
        )
    return _Wanted(by_source, newest, tuple(exceptions))


def _taken(earlier: Earlier, source: str, repository: str) -> set[str]:
    """The snapshots that this run's backups took of a source."""
    return {
        id_
        for evidence in earlier.values()
        if evidence.source == source
        and evidence.level is ProofLevel.TAKEN
        and evidence.facts.get("repository") == repository
        for id_ in evidence.facts["snapshots"].values()
    }


def _point(point: Mapping[str, Snapshot], copied: Copied) -> dict[str, Json]:
    """A copied recovery point: its main snapshot here and there, and the moment up to which it holds everything."""
    main = list(point.values())[-1]
    return {
        "snapshot": main.id,
        "copy": copied.copies[main.id],
        "copies": {part: copied.copies[each.id] for part, each in point.items()},
        "time": min(each.time for each in point.values()).isoformat(),
    }


@contextmanager
def _leases(tools: Tools, *repositories: str) -> Iterator[None]:
    """Both, always in the same order, so that two steps never wait for each other."""
    with ExitStack() as held:
        for name in sorted(repositories):
            held.enter_context(tools.lease(f"repository:{name}", wait=LEASE_PATIENCE))
        yield
