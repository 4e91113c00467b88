"""Runbooks that nobody wrote: what `drorch backup`, `drill` and `restore` do for a service without one."""

from collections.abc import Mapping, Sequence

from drorch.config.inventory import Inventory
from drorch.config.runbook import Parallel, Runbook
from drorch.core.errors import Refused, RunError, UnknownName
from drorch.core.model import Json
from drorch.core.scene import RunKind


def rehearsal_for(runbooks: Mapping[str, Runbook], inventory: Inventory, service: str) -> Runbook:
    """The service's rehearsal of its failover; without one, a plain one of its only failover runbook.

    Raises:
        RunError: the service is unknown, has several, or no failover runbook.
    """
    known(inventory, service)
    mine = [book for book in runbooks.values() if book.rehearses is not None and book.service == service]
    if len(mine) > 1:
        names = ", ".join(book.runbook for book in mine)
        raise RunError(f"{service} has several rehearsals: {names}", hint="say which: drorch run NAME")
    if mine:
        return mine[0]
    failover = runbook_for(runbooks, inventory, "failover", service)
    plain = {"runbook": f"{service}-rehearsal", "kind": "drill", "service": service, "rehearses": failover.runbook}
    return Runbook.model_validate(plain).rehearsing(failover)


def runbook_for(runbooks: Mapping[str, Runbook], inventory: Inventory, kind: RunKind, service: str) -> Runbook:
    """The service's runbook of that kind, rehearsals left out; without one, a plain one over all its sources.

    Raises:
        RunError: the service is unknown, or has several.
        Refused: a drill without a standby.
    """
    known(inventory, service)
    ours = [runbook for runbook in runbooks.values() if runbook.kind == kind and runbook.service == service]
    mine = [runbook for runbook in ours if runbook.rehearses is None]
    if len(mine) > 1:
        names = ", ".join(runbook.runbook for runbook in mine)
        raise RunError(f"{service} has several {kind} runbooks: {names}", hint="say which: drorch run NAME")
    if mine:
        return mine[0]
    sources = tuple(inventory.services[service].sources)
    if kind == "backup":
        steps: list[Json] = [_side_by_side([{"kind": "backup", "source": source} for source in sources])]
    elif kind == "drill":
        if not inventory.services[service].standbys:
            raise Refused(f"{service} has no standby to drill on", hint="name one under standbys: in the inventory")
        steps = [
            _side_by_side([{"kind": "restore", "source": source} for source in sources]),
            *({"kind": "verify", "source": source} for source in sources),
        ]
    else:
        raise RunError(f"{service} has no {kind} runbook", hint="write one; docs/failover.md shows the shape")
    return Runbook.model_validate({"runbook": f"{service}-{kind}", "kind": kind, "service": service, "steps": steps})


def restore_runbook(
    inventory: Inventory,
    service: str,
    sources: Sequence[str],
    *,
    host: str | None,
    snapshot: str,
    swap: bool,
    store: str | None = None,
) -> Runbook:
    """A runbook that restores sources beside the live ones, or in their place; from a store's mirror when one is named.

    Raises:
        RunError: a name is unknown.
        Refused: restic cannot read the store.
    """
    known(inventory, service)
    have = inventory.services[service].sources
    for source in sources:
        if source not in have:
            raise RunError(f"{service} has no source {source}", hint=f"it has {', '.join(have)}")
    if host is not None and host not in inventory.hosts:
        raise RunError(f"no host {host} in the inventory", hint=f"there is {', '.join(inventory.hosts)}")
    if store is not None:
        readable(inventory, store)
    steps: list[Json] = []
    for source in sources or tuple(have):
        step = {"kind": "restore", "source": source, "swap": swap, "snapshot": snapshot}
        steps.append({**step, "host": host} if host else step)
        if not swap:
            steps.append({"kind": "verify", "source": source})
    plain = {"runbook": f"{service}-restore", "kind": "maintenance", "service": service, "steps": steps}
    return Runbook.model_validate({**plain, "snapshot": {"store": store}} if store else plain)


def known(inventory: Inventory, service: str) -> None:
    """Raise `UnknownName` for a service that the inventory does not have."""
    if service not in inventory.services:
        raise UnknownName(
            f"no service {service} in the inventory", hint=f"there is {', '.join(inventory.services) or 'none'}"
        )


def readable(inventory: Inventory, store: str) -> None:
    """Raise `UnknownName` for a store that the inventory does not have, `Refused` for one that restic cannot read."""
    if store not in inventory.stores:
        raise UnknownName(
            f"no store {store} in the inventory", hint=f"there is {', '.join(inventory.stores) or 'none'}"
        )
    spec = inventory.stores[store]
    if not spec.readable:
        raise Refused(
            f"restic cannot read {store}, {spec.describe()}, where it lies",
            hint=f"drorch recover {store} --to FOLDER, then restore from there",
        )


def _side_by_side(steps: Sequence[Json]) -> Json:
    return steps[0] if len(steps) == 1 else {Parallel.model_fields["parallel"].alias or "parallel": list(steps)}
