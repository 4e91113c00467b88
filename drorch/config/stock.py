"""The inventory beyond its form: places made absolute, addresses that hold passwords, what deserves a warning."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from drorch.config.inventory import AnyHostSpec, Inventory
from drorch.config.salvage import Salvaged
from drorch.config.sense import is_host_key, same_machine
from drorch.core.errors import Problem
from drorch.core.host import Domain, LocalHostSpec, SshHostSpec
from drorch.core.repository import RepositorySpec
from drorch.core.secret import SecretSpec
from drorch.core.store import StoreSpec
from drorch.stores.directory import DirectoryStore
from drorch.stores.s3 import S3Store

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_BACKENDS: Final = ("sftp", "rest", "s3")


def absolute(path: str, folder: Path) -> str:
    """A path of the controller: ``~`` is the home of drorch's user, a relative one counts from the folder."""
    return os.path.normpath(folder / os.path.expanduser(path))  # noqa: PTH111 - text in, text out: `~x` may stay


def with_absolute_paths(inventory: Inventory, folder: Path) -> Inventory:
    """The inventory with every path of the controller absolute; ``folder`` is that of ``drorch.yaml``."""
    return inventory.model_copy(
        update={
            "hosts": {name: _host(spec, folder) for name, spec in inventory.hosts.items()},
            "repositories": {name: _repository(spec, folder) for name, spec in inventory.repositories.items()},
            "stores": {name: _store(spec, folder) for name, spec in inventory.stores.items()},
            "secrets": {name: _secret(spec, folder) for name, spec in inventory.secrets.items()},
        }
    )


def _host(spec: AnyHostSpec, folder: Path) -> AnyHostSpec:
    if isinstance(spec, SshHostSpec):
        return spec.model_copy(update={"key": absolute(spec.key, folder)}) if spec.key else spec
    if isinstance(spec, LocalHostSpec):
        update: dict[str, str] = {}
        if spec.home is not None:
            update["home"] = absolute(spec.home, folder)
        if not spec.work.startswith("~"):  # `~` is the host's own home, which it knows best
            update["work"] = absolute(spec.work, folder)
        return spec.model_copy(update=update) if update else spec
    return spec


def _repository(spec: RepositorySpec, folder: Path) -> RepositorySpec:
    if not spec.is_path:
        return spec
    return spec.model_copy(update={"url": absolute(spec.url.removeprefix("local:"), folder)})


def _store(spec: StoreSpec, folder: Path) -> StoreSpec:
    if isinstance(spec, DirectoryStore):
        return spec.model_copy(update={"path": absolute(spec.path, folder)})
    if isinstance(spec, S3Store) and spec.certificate:
        return spec.model_copy(update={"certificate": absolute(spec.certificate, folder)})
    return spec


def _secret(spec: SecretSpec, folder: Path) -> SecretSpec:
    return spec.model_copy(update={"file": absolute(spec.file, folder)}) if spec.file else spec


def wrong_stock(salvaged: Salvaged[Inventory]) -> Iterator[Problem]:
    """What is wrong beyond form and names."""
    inventory = salvaged.model
    if inventory is None:
        return
    for name, repository in inventory.repositories.items():
        path = ("repositories", name, "url")
        scheme = _SCHEME.match(repository.url)
        if scheme and scheme[1] not in {*_BACKENDS, "local"}:
            yield salvaged.problem(
                path, "no backend that drorch knows", f"a folder, or an address with {', '.join(_BACKENDS)}"
            )
        elif _has_password(repository.url):
            yield salvaged.problem(
                path,
                "holds a password",
                "leave it out of the address, and put a secret under credentials:, such as RESTIC_REST_PASSWORD",
            )
    for name, service in inventory.services.items():
        for index, standby in enumerate(service.standbys):
            if standby == service.primary:
                yield salvaged.problem(
                    ("services", name, "standbys", index), f"{standby} is the primary", "a standby is another machine"
                )


def _has_password(url: str) -> bool:
    scheme, _, rest = url.partition(":")
    if scheme == "sftp" and not rest.startswith("//"):
        return False
    try:
        return urlsplit(rest if scheme in {"rest", "s3"} else url).password is not None
    except ValueError:
        return "@" in rest


def doubtful_stock(salvaged: Salvaged[Inventory]) -> Iterator[Problem]:
    """Warnings: it works, but not as anybody would wish."""
    inventory = salvaged.model
    if inventory is None:
        return
    for name, host in inventory.hosts.items():
        if isinstance(host, SshHostSpec):
            path = ("hosts", name, "host_key")
            if host.host_key is None:
                yield salvaged.problem(path, "no key is pinned: it will be refused", f"drorch host trust {name}")
            elif not is_host_key(host.host_key):
                yield salvaged.problem(path, "is no public host key: it will be refused", f"drorch host trust {name}")
    for name, store in inventory.stores.items():
        if store.lock is not None and store.lock.mode == "compliance":
            yield salvaged.problem(
                ("stores", name, "lock"),
                f"compliance: for {store.lock.days} days after each extension nobody can delete what is there, "
                "not you, not the provider, whatever it costs",
                "governance yields to a credential that you keep elsewhere",
            )
    for name, service in inventory.services.items():
        yield from _together(salvaged, inventory, name)
        if not service.standbys:
            yield salvaged.problem(
                ("services", name), "has no standby, so nothing proves its backups", "name one under standbys:"
            )


def _together(salvaged: Salvaged[Inventory], inventory: Inventory, name: str) -> Iterator[Problem]:
    """What would be lost together with the primary."""
    service = inventory.services[name]
    primary = inventory.hosts.get(service.primary)
    repository = inventory.repositories.get(service.repository)
    if primary is None:
        return
    if repository is not None and _one_domain(primary.domain, repository.domain):
        yield salvaged.problem(
            ("services", name, "repository"),
            f"{service.repository} and the primary can fail together: they have one domain",
            "keep the backups at another provider, region or account",
        )
    for index, standby in enumerate(service.standbys):
        spec = inventory.hosts.get(standby)
        if spec is None or standby == service.primary:
            continue
        path = ("services", name, "standbys", index)
        if same := same_machine(primary, spec):
            yield salvaged.problem(path, f"{standby} is the primary's machine: {same}", "name another machine")
        elif _one_domain(primary.domain, spec.domain):
            yield salvaged.problem(
                path, f"{standby} and the primary can fail together: they have one domain", "keep it elsewhere"
            )


def _one_domain(one: Domain, other: Domain) -> bool:
    return one == other and one != Domain()
