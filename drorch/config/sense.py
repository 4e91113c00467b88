"""What is wrong with a runbook beyond its form: drills that prove nothing or touch what is live, steps out of order."""

import base64
import binascii
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from drorch.config.holes import Stands, wrong_holes
from drorch.config.inventory import Inventory, Service
from drorch.config.names import Known
from drorch.config.runbook import Runbook
from drorch.config.salvage import Salvaged
from drorch.config.shape import at, exists
from drorch.config.yaml import Path
from drorch.core.errors import Problem
from drorch.core.host import HostSpec, LocalHostSpec, SshHostSpec
from drorch.core.refs import references
from drorch.core.scene import Scene
from drorch.core.source import Restored
from drorch.core.step import Step

_ALWAYS_LAST: Final = 1 << 20
"""Turn of the first block that runs after everything else."""

RESTORE_FACTS: Final = frozenset(Restored.model_fields) | {
    "directory",
    "token",
    "repository",
    "point",
    "snapshot",
    "snapshot_time",
    "age_seconds",
    "bytes",
    "files",
    "seconds",
}
"""What a restore leaves for later steps."""


@dataclass(frozen=True, slots=True)
class Case:
    """A runbook with what it is about."""

    salvaged: Salvaged[Runbook]
    runbook: Runbook
    steps: tuple[Stands, ...]
    inventory: Inventory | None
    """What is right in the inventory; None when nothing is."""
    known: Known

    @property
    def service(self) -> Service | None:
        """The service, when the inventory says something usable about it."""
        return self.inventory.services.get(self.runbook.service) if self.inventory else None

    @property
    def target(self) -> str | None:
        """Where a drill restores, or the service is led to: a way back leads home unless it says otherwise."""
        said = {"drill": self.runbook.standby, "failover": self.runbook.to, "failback": self.runbook.to}
        if self.runbook.kind not in said:
            return None
        if self.runbook.kind == "failback" and self.service is not None:
            return self.runbook.to or self.service.primary
        return said[self.runbook.kind] or next(iter(self.service.standbys if self.service else ()), None)

    @property
    def start(self) -> str:
        """Where the service lives when such a run begins: a way home begins at another host, the one that it fences."""
        service = self.service
        if service is None:
            return ""
        if not self.runbook.moves or self.target != service.primary:
            return service.primary
        fenced = [stands.step.subject for stands in self.steps if stands.step.kind == "fence"]
        return next((host for host in (*fenced, *service.standbys) if host != self.target), service.primary)

    @property
    def whole(self) -> bool:
        """Whether no step had to be left out, so that what is missing is missing."""
        return not any(path[:1] == ("steps",) for path in self.salvaged.kept.removed)

    def said(self, key: str) -> bool:
        """Whether a top key could be read; where not, something stands in for it."""
        return not self.salvaged.left_out((key,))

    def problem(self, path: Path, message: str, hint: str) -> Problem:
        """A problem at a path of the model."""
        return self.salvaged.problem(path, message, hint)


def case(salvaged: Salvaged[Runbook], inventory: Inventory | None, known: Known) -> Case | None:
    """The runbook with its steps in order; None when nothing of it could be read."""
    runbook = salvaged.model
    if runbook is None:
        return None
    placed = tuple(runbook.placed())
    last = {one.block for one in placed} - {one.block for one in placed if not one.step.always}
    steps = []
    for block, path, name, step, _ in placed:
        turn = block + (_ALWAYS_LAST if block in last else 0)
        steps.append(Stands(step, path, name, turn, at(salvaged.document.data, salvaged.original(path))))
    return Case(salvaged, runbook, tuple(steps), inventory, known)


def senseless(one: Case) -> Iterator[Problem]:
    """Everything that is wrong with it."""
    for check in _CHECKS:
        yield from check(one)


def _ids(one: Case) -> Iterator[Problem]:
    first: dict[str, Path] = {}
    made = {stands.id for stands in one.steps if stands.step.id is None}
    for stands in one.steps:
        said = stands.step.id
        if said is None:
            continue
        path = (*stands.path, "id")
        if said in first:
            line = one.salvaged.document.line(one.salvaged.original(first[said]))
            yield one.problem(path, f"two steps have the id {said}, the first in line {line}", "give one another id")
        elif said in made:
            yield one.problem(path, f"another step is called {said} by itself", "give this one another id")
        first.setdefault(said, path)


def _people(one: Case) -> Iterator[Problem]:
    for stands in one.steps:
        if stands.step.always and stands.turn < _ALWAYS_LAST:
            yield one.problem(
                (*stands.path, "always"),
                "the steps beside it do not run whatever happened, so neither would it",
                "say always on all steps of the block, or take it out of the block",
            )
        if stands.step.kind == "manual" and "parallel" in stands.path:
            yield one.problem(
                stands.path, "a manual step cannot wait side by side with others", "put it before or after the block"
            )


def _order(one: Case) -> Iterator[Problem]:
    for stands in one.steps:
        if stands.step.kind != "verify" or not one.whole:
            continue
        source = stands.step.subject
        if source not in one.known.get("source", (source,)):
            continue  # said already, of the name
        before = [s for s in one.steps if s.step.kind == "restore" and s.step.subject == source]
        if not any(other.turn < stands.turn for other in before):
            yield one.problem(
                (*stands.path, "source"),
                f"nothing restores {source} before this step",
                "it is only over when its block is: move it after the restore" if before else "add a restore step",
            )


def _texts(one: Case) -> Iterator[Problem]:
    facts = {stands.id: RESTORE_FACTS for stands in one.steps if stands.step.kind == "restore"}
    for stands in one.steps:
        if one.whole:
            for path, message, hint in wrong_holes(stands, one.steps, facts):
                yield one.problem((*stands.path, *path), message, hint)


def _drill(one: Case) -> Iterator[Problem]:
    if one.runbook.kind != "drill" or not one.said("kind"):
        if one.runbook.standby is not None and one.said("kind"):
            yield one.problem(("standby",), f"a {one.runbook.kind} has no standby", "only drills do; remove it")
        return
    if one.whole and one.runbook.rehearses is None:
        if not any(stands.step.kind == "restore" for stands in one.steps):
            yield one.problem(("steps",), "a drill without a restore proves nothing", "add {kind: restore, source: …}")
        if not any(_probes(stands) for stands in one.steps):
            yield one.problem(
                ("steps",), "a drill without a check proves nothing", "add {kind: verify, source: …} after the restore"
            )
    if one.service is not None and one.said("service") and one.said("standby"):
        yield from _apart(one, one.service)


def _moves(one: Case) -> Iterator[Problem]:
    """What a failover or failback must have, and what only they may have."""
    book = one.runbook
    if not one.said("kind"):
        return
    if not book.moves:
        yield from _stays(one)
        return
    if book.schedule is not None:
        yield one.problem(("schedule",), f"a {book.kind} never begins by itself", "a person decides; remove it")
    if one.inventory is not None and book.approval is not None and one.said("approval"):
        may = book.approval.by or tuple(one.inventory.people)
        if len(may) < book.approval.required:
            message = f"{book.approval.required} must agree, but only {len(may)} may"
            yield one.problem(("approval",), message, "name them, with their keys, under people: in the inventory")
    if one.whole:
        yield from _fenced_first(one)


def _stays(one: Case) -> Iterator[Problem]:
    """What means something only where a service is led to another host."""
    book = one.runbook
    for key in ("to", "approval", "commit"):
        if getattr(book, key) is not None:
            yield one.problem((key,), f"a {book.kind} knows no {key}", "only failover and failback do; remove it")
    for stands in one.steps:
        if stands.step.when is not None:
            yield one.problem((*stands.path, "when"), f"a {book.kind} is neither planned nor unplanned", "remove it")
    if book.rehearses is not None and book.kind != "drill":
        yield one.problem(("rehearses",), f"a {book.kind} rehearses nothing", "only drills do; remove it")


def _fenced_first(one: Case) -> Iterator[Problem]:
    """Nothing irreversible without a fence before it, and no roll-back over it."""
    fences = [stands.turn for stands in one.steps if stands.step.kind == "fence" and stands.step.when is None]
    final = [stands for stands in one.steps if stands.step.irreversible]
    for stands in one.steps:
        if stands.step.kind == "fence" and stands.step.subject == one.target:
            message = f"{one.target} is where {one.runbook.service} is led to: fenced, it could serve nobody"
            yield one.problem((*stands.path, "host"), message, "fence the host that it is led away from")
    for stands in final:
        if not any(turn < stands.turn for turn in fences):
            yield one.problem(
                stands.path,
                f"{stands.step.kind} without a fence before it: two primaries would take writes",
                "add {kind: fence, host: …, ladder: […]} before it",
            )
    for stands in one.steps if fences else ():
        if _serves(stands, one.target) and not any(turn < stands.turn for turn in fences):
            yield one.problem(
                stands.path,
                f"{stands.step.kind} before the fence: while the old host lives, both would serve",
                "move it behind the fence",
            )
    if not fences and not final:
        place: Path = ("steps",)
        yield one.problem(place, "nothing fences the old primary", "begin with {kind: fence, host: …, ladder: […]}")
    if final and one.runbook.commit is not None:
        yield one.problem(
            ("commit",),
            f"nothing can be taken back after {final[0].id}",
            "leave commit out; the way back is a failback",
        )


def _serves(stands: Stands, target: str | None) -> bool:
    """Whether customers, or work in the background, are at the new host from that step on."""
    step = stands.step
    starts = step.kind == "service" and getattr(step, "start", None) and getattr(step, "host", None) == target
    return step.kind == "switch" or bool(starts)


def _probes(stands: Stands) -> bool:
    kind = stands.step.kind
    return kind in {"verify", "http"} or (kind == "command" and not getattr(stands.step, "background", False))


def _apart(one: Case, service: Service) -> Iterator[Problem]:
    """The standby must be another machine than every one on which the service lives."""
    place: Path = ("standby",) if one.runbook.standby else ("service",)
    standby = one.target
    if standby is None:
        yield one.problem(
            place, f"{one.runbook.service} has no standby to drill on", "name one under standbys: in the inventory"
        )
        return
    hosts = one.inventory.hosts if one.inventory else {}
    live = {service.primary: "the primary"}
    for name, source in service.sources.items():
        if source.host is not None:
            live.setdefault(source.host, f"where source {name} lives")
    for host, role in live.items():
        if standby == host:
            yield one.problem(place, f"a drill never works on what is live, and {standby} is {role}", "name a standby")
        elif standby in hosts and host in hosts and (same := same_machine(hosts[standby], hosts[host])):
            yield one.problem(
                place, f"{standby} and {host}, {role}, are one machine: they have {same}", "name another machine"
            )


def same_machine(one: HostSpec, other: HostSpec) -> str:
    """Why two declared hosts are certainly one machine; empty when nothing says so."""
    if one.machine_id is not None and one.machine_id == other.machine_id:
        return "the same machine_id"
    if isinstance(one, LocalHostSpec) and isinstance(other, LocalHostSpec):
        return "the same home" if one.home == other.home else ""
    if isinstance(one, SshHostSpec) and isinstance(other, SshHostSpec):
        if (one.address.lower(), one.port) == (other.address.lower(), other.port):
            return "the same address"
        if one.host_key and is_host_key(one.host_key) and _key(one.host_key) == _key(other.host_key or ""):
            return "the same host_key"
    return ""


def is_host_key(text: str) -> bool:
    """Whether it can be a public host key: a type, then base64."""
    words = text.split()
    try:
        return len(words) > 1 and bool(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError):
        return False


def _key(text: str) -> list[str]:
    return text.split()[:2]


def doubtful(one: Case) -> Iterator[Problem]:
    """Warnings: what the steps themselves find doubtful in their scene."""
    yield from _asked(one, lambda step, scene: step.doubts(scene))


def _own_words(one: Case) -> Iterator[Problem]:
    """What the steps themselves find wrong in their scene."""
    yield from _asked(one, lambda step, scene: step.problems(scene))


def _asked(one: Case, ask: Callable[[Step, Scene], Iterable[tuple[str, str, str]]]) -> Iterator[Problem]:
    """What the steps answer about their scene."""
    service, inventory = one.service, one.inventory
    if service is None or inventory is None or not (one.said("kind") and one.said("service") and one.said("standby")):
        return
    if service.repository not in inventory.repositories or service.primary not in inventory.hosts:
        return
    scene = scene_of(one, inventory, service)
    there: dict[str, Container[str]] = {
        "host": inventory.hosts,
        "repository": inventory.repositories,
        "source": service.sources,
        "store": inventory.stores,
        "notify": inventory.notify,
    }
    for stands in one.steps:
        if any(mark.to in there and name not in there[mark.to] for _, mark, name in references(stands.step)):
            continue  # said already, of the name
        for key, message, hint in ask(stands.step, scene):
            if key == "host" and not exists(stands.data, ("host",)) and one.runbook.kind == "drill":
                continue  # said already, of the runbook's own standby
            yield one.problem((*stands.path, *key.split(".")) if key else stands.path, message, hint)


def scene_of(one: Case, inventory: Inventory, service: Service) -> Scene:
    """What a plan of the runbook will be about."""
    runbook = one.runbook
    return Scene(
        kind=runbook.kind,
        service=runbook.service,
        objectives=service.objectives,
        primary=one.start,
        target=one.target,
        sources=service.sources,
        repository=service.repository,
        repositories=inventory.repositories,
        hosts=frozenset(inventory.hosts),
        controller_side=frozenset(name for name, spec in inventory.hosts.items() if isinstance(spec, LocalHostSpec)),
        work={name: spec.work for name, spec in inventory.hosts.items()},
        snapshot=runbook.point,
        stores=inventory.stores,
        store=runbook.store,
        addresses={name: spec.address for name, spec in inventory.hosts.items() if isinstance(spec, SshHostSpec)},
        ports={name: spec.port for name, spec in inventory.hosts.items() if isinstance(spec, SshHostSpec)},
        mode={"failover": "unplanned", "failback": "planned"}.get(runbook.kind),  # type: ignore[arg-type]  # both are modes
        runbook=runbook.runbook,
    )


_CHECKS: Final[tuple[Callable[[Case], Iterator[Problem]], ...]] = (
    _ids,
    _people,
    _order,
    _texts,
    _drill,
    _moves,
    _own_words,
)


def sources_of(inventory: object) -> Mapping[str, tuple[str, ...]]:
    """The names of each service's sources in an inventory's data, also where what is said about them is wrong."""
    services = at(inventory, ("services",))
    names = services if isinstance(services, Mapping) else {}
    return {
        str(name): tuple(str(source) for source in found)
        for name in names
        if isinstance(found := at(inventory, ("services", name, "sources")), Mapping)
    }
