"""Runbooks that nobody wrote, for one step on an off-site copy: `drorch mirror`, `audit`, `recover`, `reclaim`."""

from collections.abc import Iterator, Mapping

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.errors import RunError, UnknownName
from drorch.core.model import Json


def offsite_runbook(
    inventory: Inventory,
    runbooks: Mapping[str, Runbook],
    verb: str,
    store: str,
    repository: str | None,
    **fields: Json,
) -> Runbook:
    """A runbook of one step of the kind ``verb``, about the copy of a repository in a store.

    Without a repository, the one that a runbook mirrors there, or the only one that there is.

    Raises:
        UnknownName: the inventory has no such store or repository.
        RunError: several could be meant, or no service uses the repository.
    """
    if store not in inventory.stores:
        raise UnknownName(
            f"no store {store} in the inventory", hint=f"there is {', '.join(inventory.stores) or 'none'}"
        )
    if repository is not None and repository not in inventory.repositories:
        names = ", ".join(inventory.repositories) or "none"
        raise UnknownName(f"no repository {repository} in the inventory", hint=f"there is {names}")
    chosen = repository or _meant(inventory, runbooks, store)
    service = next((name for name, spec in inventory.services.items() if spec.repository == chosen), None)
    service = service or next(
        (service for service, name in _mirrored(inventory, runbooks, store) if name == chosen), None
    )
    if service is None:
        raise RunError(f"no service uses the repository {chosen}", hint="runs are kept by service: add one that does")
    step = {"kind": verb, "store": store, "repository": chosen, **fields}
    return Runbook.model_validate(
        {"runbook": f"{service}-{verb}-{store}"[:63], "kind": "maintenance", "service": service, "steps": [step]}
    )


def _meant(inventory: Inventory, runbooks: Mapping[str, Runbook], store: str) -> str:
    mirrored = {name for _, name in _mirrored(inventory, runbooks, store)}
    used = mirrored or {service.repository for service in inventory.services.values()}
    if len(used) == 1:
        return used.pop()
    names = ", ".join(sorted(used)) or "none"
    raise RunError(f"which repository's copy in {store}?", hint=f"say --repository; there is {names}")


def mirrors(inventory: Inventory, runbooks: Mapping[str, Runbook]) -> Iterator[tuple[str, str]]:
    """Every (store, repository) that a runbook mirrors."""
    for store in inventory.stores:
        for name in dict.fromkeys(name for _, name in _mirrored(inventory, runbooks, store)):
            yield store, name


def _mirrored(inventory: Inventory, runbooks: Mapping[str, Runbook], store: str) -> Iterator[tuple[str, str]]:
    """Every (service, repository) that a runbook mirrors to a store."""
    for runbook in runbooks.values():
        for placed in runbook.placed():
            step = placed.step
            if step.kind == "mirror" and getattr(step, "store", None) == store:
                own = inventory.services[runbook.service].repository
                yield runbook.service, getattr(step, "repository", None) or own
