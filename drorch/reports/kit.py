"""The recovery kit as it stands: when it was made, whether the documents are still those in it, what it cannot carry.
Pure.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from pydantic import AwareDatetime

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.errors import Refused
from drorch.core.host import LocalHostSpec, SshHostSpec
from drorch.core.model import Frozen, Json
from drorch.engine.plan import Plan, make_plan
from drorch.reports.gaps import Gap
from drorch.reports.text import length
from drorch.stores.directory import DirectoryStore
from drorch.vault.kit import Lack

MADE: Final = "kit:made"
"""Under which a `Made` is remembered."""

STALE: Final = timedelta(days=100)
"""Age from which a kit is too old: a quarter, and some days of grace."""


class Made(Frozen):
    """What is remembered of the newest kit."""

    at: AwareDatetime
    documents: str
    """`documents_digest` of what was put in."""
    left_out: tuple[str, ...] = ()


def documents_digest(inventory: Inventory, runbooks: Mapping[str, Runbook]) -> str:
    """Names what inventory and runbooks say, wherever their secrets, keys and certificates lie.

    It is the same for the opened kit, and wherever that is moved. Comments do not count.
    """
    said: Json = inventory.model_dump(mode="json", exclude_defaults=True)
    said["secrets"] = sorted(inventory.secrets)
    for kind, key in (("hosts", "key"), ("stores", "certificate")):
        for spec in said.get(kind, {}).values():
            if key in spec:
                spec[key] = True
    books = {name: book.model_dump(mode="json", exclude_defaults=True) for name, book in sorted(runbooks.items())}
    text = json.dumps([said, books], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def failover_services(runbooks: Mapping[str, Runbook]) -> tuple[str, ...]:
    """The services that have a runbook for their failover."""
    return tuple(sorted({book.service for book in runbooks.values() if book.kind == "failover"}))


def kit_gaps(name: str, runbooks: Mapping[str, Runbook], remembered: Json, digest: str, now: datetime) -> Iterator[Gap]:
    """What is wrong with the kit, for a service; a risk only for one that is to fail over.

    ``remembered`` is what lies under `MADE`, ``digest`` the documents' of today.
    """
    risk = name in failover_services(runbooks)
    if not remembered:
        yield Gap("there is no recovery kit", "drorch kit make FILE", risk=risk)
        return
    made = Made.model_validate(remembered)
    age = max(now - made.at, timedelta())
    if made.documents != digest:
        what = f"the recovery kit is older than the documents: made {length(age)} ago"
        yield Gap(what, "drorch kit make FILE --force", risk=risk)
    elif age > STALE:
        yield Gap(f"the recovery kit is {length(age)} old", "drorch kit make FILE --force", risk=risk)


def lacks(inventory: Inventory) -> Iterator[Lack]:
    """What a kit cannot carry, to be told where it is opened."""
    for name, host in inventory.hosts.items():
        if isinstance(host, LocalHostSpec):
            yield Lack(what=f"host {name} is the machine where the kit was made; here it means this one")
        elif isinstance(host, SshHostSpec) and host.key is None:
            yield Lack(what=f"host {name} is logged in to with a key of the SSH agent: put that key into this agent")
        if isinstance(host, SshHostSpec) and host.host_key is None:
            yield Lack(what=f"host {name} has no pinned key, so it is refused: drorch host trust {name}")
    for name, repository in inventory.repositories.items():
        if repository.is_path:
            yield _folder(f"repository {name}", repository.url)
        elif repository.url.startswith("sftp:"):
            yield Lack(what=f"repository {name} is reached with this machine's own ssh, keys and known_hosts")
    for name, store in inventory.stores.items():
        if isinstance(store, DirectoryStore):
            yield _folder(f"store {name}", store.path)


def plans_of(inventory: Inventory, runbooks: Mapping[str, Runbook]) -> dict[str, Plan]:
    """The plan of each runbook that has one where its service lives now."""
    found = {}
    for name, book in runbooks.items():
        with suppress(Refused):
            found[name] = make_plan(inventory, book)
    return found


def programs(plans: Mapping[str, Plan]) -> Iterator[Lack]:
    """What failovers execute on the controller itself, and so on the laptop; restic comes along by itself."""
    for name, plan in plans.items():
        if plan.kind != "failover":
            continue
        argvs = [planned.argv for _, _, listed in plan.preview() for planned in listed if planned.host == "controller"]
        for program in dict.fromkeys(argv[0] for argv in argvs):
            if program != "restic":
                yield Lack(what=f"{name} runs {program} on the controller: have it where the kit is opened, logged in")


def _folder(what: str, path: str) -> Lack:
    return Lack(what=f"{what} at {path} is a folder of the machine where the kit was made", path=path)
