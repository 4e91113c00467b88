"""Plans: a runbook resolved against the inventory. Pure: nothing connects, the clock is not asked.

A plan is immutable JSON text; its digest names it for ever. It carries only what its run may touch, so that an edit
elsewhere in the inventory leaves the digest, and the proof bound to it, alone. Defaults are left out of the text, so
a new version of drorch that adds a field leaves it alone too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import groupby
from typing import Literal

from pydantic import Field

from drorch.config.adhoc import readable
from drorch.config.inventory import AnyHostSpec, Inventory, Service
from drorch.config.runbook import Runbook
from drorch.core.errors import Refused
from drorch.core.host import LocalHostSpec, SshHostSpec
from drorch.core.model import Duration, Frozen, Name
from drorch.core.refs import references
from drorch.core.repository import RepositorySpec
from drorch.core.scene import MOVING, Mode, RunKind, Scene
from drorch.core.secret import SecretSpec
from drorch.core.step import OnFailure, Planned, Step
from drorch.engine.moving import around, new_home
from drorch.notifiers import AnyRoute
from drorch.steps import AnyStep
from drorch.steps.cleanup import Cleanup
from drorch.stores import AnyStore


class PlannedStep(Frozen):
    """A step with the id under which its evidence is kept."""

    id: Name
    step: AnyStep
    part: Literal["perform", "rehearse", "forget"] = "perform"
    """What of it is done: in the rehearsal of a failover it is rehearsed, and what that left is removed afterwards."""
    of: Name | None = None
    """Of what is removed afterwards: the id of the step that was rehearsed."""


class Block(Frozen):
    """Steps that start together: one, or several side by side."""

    steps: tuple[PlannedStep, ...]


class Plan(Frozen):
    """Everything a run needs to know, and nothing secret."""

    format: Literal[1] = 1
    runbook: Name
    kind: RunKind
    service_name: Name
    service: Service
    target: Name | None = None
    mode: Mode | None = None
    """Of a failover or failback: how it begins; a person may make it unplanned while it runs."""
    commit: Duration | None = None
    """How long it waits at its end for a person's word that it may stay so."""
    snapshot: str = "latest"
    store: Name | None = None
    """The store whose mirror recovery points are restored from; None for the repository itself."""
    blocks: tuple[Block, ...]
    afterwards: tuple[PlannedStep, ...] = ()
    """The steps that run whatever happened, in order; a drill's clean-up is the last."""
    hosts: dict[Name, AnyHostSpec]
    repositories: dict[Name, RepositorySpec]
    stores: dict[Name, AnyStore] = Field(default_factory=dict)
    routes: dict[Name, AnyRoute] = Field(default_factory=dict)
    secrets: dict[Name, SecretSpec] = Field(default_factory=dict)
    tell: Name | None = None
    """The route that hears of a failed or paused run."""

    @cached_property
    def text(self) -> str:
        """The plan as canonical JSON."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `text`, hexadecimal."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    @classmethod
    def read(cls, text: str) -> "Plan":
        """The plan that has this text."""
        return cls.model_validate_json(text)

    @cached_property
    def scene(self) -> Scene:
        """The names, resolved."""
        return Scene(
            kind=self.kind,
            service=self.service_name,
            objectives=self.service.objectives,
            primary=self.service.primary,
            target=self.target,
            sources=self.service.sources,
            repository=self.service.repository,
            repositories=self.repositories,
            hosts=frozenset(self.hosts),
            controller_side=frozenset(name for name, spec in self.hosts.items() if isinstance(spec, LocalHostSpec)),
            work={name: spec.work for name, spec in self.hosts.items()},
            snapshot=self.snapshot,
            stores=self.stores,
            store=self.store,
            addresses={name: spec.address for name, spec in self.hosts.items() if isinstance(spec, SshHostSpec)},
            ports={name: spec.port for name, spec in self.hosts.items() if isinstance(spec, SshHostSpec)},
            mode=self.mode,
            runbook=self.runbook,
        )

    def steps(self) -> Iterator[PlannedStep]:
        """All steps in the order in which they start."""
        for block in self.blocks:
            yield from block.steps
        yield from self.afterwards

    def step(self, step_id: str) -> PlannedStep:
        """The step of that id; KeyError for none."""
        for planned in self.steps():
            if planned.id == step_id:
                return planned
        raise KeyError(step_id)

    def answer_to_failure(self, step: Step) -> OnFailure:
        """What a step's final failure leads to."""
        return step.on_failure or ("pause" if self.kind in MOVING else "abort")

    def preview(self) -> Iterator[tuple[PlannedStep, str, tuple[Planned, ...]]]:
        """Each step with its sentence and its commands, for the printed plan."""
        for planned in self.steps():
            run = f"{self.runbook}@<slot>"
            yield planned, planned.step.describe(self.scene), planned.step.preview(self.scene, run)


def make_plan(
    inventory: Inventory,
    runbook: Runbook,
    *,
    target: str | None = None,
    snapshot: str | None = None,
    store: str | None = None,
    mode: Mode | None = None,
    take_over: str | None = None,
) -> Plan:
    """Resolve a runbook. Both documents have passed the loader's checks, so every name exists.

    ``target``, ``snapshot`` and ``store`` override the runbook's own host, recovery point, and place that it is
    restored from; ``mode`` how a failover (unplanned) or failback (planned) is done; ``take_over`` says why another
    controller's claim of the service is ended.

    Raises:
        Refused: a drill would have no standby, or one where the service lives; a failover would lead where the service
            lives already, or fences another host; restic cannot read the store.
        UnknownName: there is no such store.
    """
    service = inventory.services[runbook.service]
    store = store or runbook.store
    if store is not None:
        readable(inventory, store)
    moves = runbook.moves
    if runbook.kind == "drill":
        target = _standby(inventory, service, runbook, target)
    named = list(_blocks(runbook))
    blocks = [block for block in named if not _is_afterwards(block)]
    afterwards = [planned for block in named if _is_afterwards(block) for planned in block.steps]
    if moves:
        target = new_home(inventory, service, runbook, target)
        mode = mode or ("planned" if runbook.kind == "failback" else "unplanned")
        first, last = around(inventory, service, runbook, take_over)
        blocks = [*(Block(steps=(PlannedStep(id=name, step=step),)) for name, step in first), *blocks]
        afterwards.extend(PlannedStep(id=name, step=step) for name, step in last)
    else:
        service = service.model_copy(update={"lease": None, "vantages": (), "probe": None})
    if runbook.rehearses is not None:
        afterwards.extend(_forgotten(blocks))
    if runbook.kind == "drill" and not any(isinstance(planned.step, Cleanup) for planned in afterwards):
        afterwards.append(PlannedStep(id="cleanup", step=Cleanup(kind="cleanup", always=True)))

    used = _Used(inventory)
    used.follow(service, skip_standbys=True)
    for planned in (*(planned for block in blocks for planned in block.steps), *afterwards):
        used.follow(planned.step)
    if target:
        used.add("host", target)
    if store:
        used.add("store", store)
    tell = runbook.on_failure.notify if runbook.on_failure else None
    if tell:
        used.add("notify", tell)
    return Plan(
        runbook=runbook.runbook,
        kind=runbook.kind,
        service_name=runbook.service,
        service=service.model_copy(update={"standbys": ()}),
        target=target,
        mode=mode if moves else None,
        commit=runbook.commit,
        snapshot=snapshot or runbook.point,
        store=store,
        blocks=tuple(blocks),
        afterwards=tuple(afterwards),
        hosts={name: inventory.hosts[name] for name in sorted(used.names["host"])},
        repositories={name: inventory.repositories[name] for name in sorted(used.names["repository"])},
        stores={name: inventory.stores[name] for name in sorted(used.names["store"])},
        routes={name: inventory.notify[name] for name in sorted(used.names["notify"])},
        secrets={name: inventory.secrets[name] for name in sorted(used.names["secret"])},
        tell=tell,
    )


def _standby(inventory: Inventory, service: Service, runbook: Runbook, said: str | None) -> str:
    target = said or runbook.standby or next(iter(service.standbys), None)
    if target is None:
        raise Refused(f"{runbook.runbook} has no standby", hint="name one under standbys: of the service")
    if target not in inventory.hosts:
        raise Refused(f"no host {target} in the inventory", hint=f"there is {', '.join(inventory.hosts)}")
    if target in {service.primary, *(source.host for source in service.sources.values())}:
        raise Refused(f"a drill never works on the primary, and {target} is where {runbook.service} lives")
    return target


def _is_afterwards(block: Block) -> bool:
    return all(planned.step.always for planned in block.steps)


def _blocks(runbook: Runbook) -> Iterator[Block]:
    for _, placed in groupby(runbook.placed(), key=lambda placed: placed.block):
        yield Block(
            steps=tuple(
                PlannedStep(id=one.id, step=one.step, part="rehearse" if one.rehearsed else "perform") for one in placed
            )
        )


def _forgotten(blocks: list[Block]) -> Iterator[PlannedStep]:
    """What removes the traces of rehearsed steps that leave some, the newest first."""
    rehearsed = [planned for block in blocks for planned in block.steps if planned.part == "rehearse"]
    for planned in reversed(rehearsed):
        if type(planned.step).forget is not Step.forget:
            yield PlannedStep(id=f"forget-{planned.id}"[:63], step=planned.step, part="forget", of=planned.id)


class _Used:
    """The inventory's entries that a plan needs, found by following marked names."""

    def __init__(self, inventory: Inventory) -> None:
        self._entries: Mapping[str, Mapping[str, Frozen]] = {
            "host": inventory.hosts,
            "repository": inventory.repositories,
            "store": inventory.stores,
            "notify": inventory.notify,
            "secret": inventory.secrets,
        }
        self.names: dict[str, set[str]] = {kind: set() for kind in self._entries}

    def add(self, kind: str, name: str) -> None:
        """Take an entry and whatever it names in turn."""
        if kind in self.names and name not in self.names[kind]:
            self.names[kind].add(name)
            self.follow(self._entries[kind][name])

    def follow(self, value: Frozen, *, skip_standbys: bool = False) -> None:
        """Take everything that a value names."""
        for path, mark, name in references(value):
            if not (skip_standbys and path[0] == "standbys"):
                self.add(mark.to, name)
