"""Places: where a copy lies, with what it would be lost together, and on which medium. Pure; the inventory's word.

Two places are one medium when anything of this is one for both, or when a chain of places links them so:

- the machine: local hosts, folders of the controller and loopback addresses are all the machine on which drorch runs,
  whatever disk or mount they name; hosts with one pinned identity, address or key are one machine;
- the server: the address of an object store or REST server; and all object storage of one provider;
- the account: one provider and account, since whoever takes it over, or ends it, has both.

Everything else counts as another medium, since what is said to be another machine or provider is.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from drorch.config.inventory import Inventory, Service
from drorch.config.sense import same_machine
from drorch.core.host import Domain, SshHostSpec
from drorch.core.repository import RepositorySpec
from drorch.core.store import StoreSpec
from drorch.stores.directory import DirectoryStore
from drorch.stores.s3 import S3Store
from drorch.stores.sftp import SftpStore

CONTROLLER: Final = "the controller"
_LOOPBACK: Final = re.compile(r"localhost|127(\.\d+){3}|::1")
_ADDRESS: Final = re.compile(r"[\d.]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")

FIELDS: Final = tuple(Domain.model_fields)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy lies."""

    what: str
    """Such as ``disk of web1``."""
    ties: tuple[str, ...]
    """Two places that share any of these are one medium."""
    domain: Domain
    domain_key: str
    """Where in ``drorch.yaml`` its domain is written, such as ``repositories.nas.domain``."""
    named: bool = True
    """Whether it is reached by a name that somebody's DNS answers for."""


def live(service: Service, inventory: Inventory) -> Place:
    """Of the live data: the primary and every host on which a source lives."""
    names = dict.fromkeys((service.primary, *(source.host for source in service.sources.values() if source.host)))
    machines = [_machine(name, inventory) for name in names]
    spec = inventory.hosts.get(service.primary)
    domain = spec.domain if spec else Domain()
    words = f"disk of {service.primary}"
    if CONTROLLER in machines:
        words = f"disk of {CONTROLLER}"
    return Place(
        words, _tied(map(_tie, machines), domain), domain, f"hosts.{service.primary}.domain", named=_named(spec)
    )


def of_host(name: str, inventory: Inventory) -> Place:
    """Of a standby."""
    spec = inventory.hosts.get(name)
    domain = spec.domain if spec else Domain()
    machine = _machine(name, inventory)
    return Place(
        f"disk of {machine}",
        _tied([_tie(machine)], domain),
        domain,
        f"hosts.{name}.domain",
        named=_named(spec),
    )


def of_repository(name: str, spec: RepositorySpec, inventory: Inventory) -> Place:
    """Of a repository."""
    key = f"repositories.{name}.domain"
    if spec.is_path:
        return _disk(CONTROLLER, spec.domain, key, inventory)
    scheme, _, rest = spec.url.partition(":")
    address = _host_in(scheme, rest)
    if scheme == "sftp":
        return _disk(address, spec.domain, key, inventory)
    if scheme == "s3":
        return _objects(address, spec.domain, key)
    ties = _tied([f"server {address}", _tie(_at(address, inventory))], spec.domain)
    return Place(f"REST server {address}", ties, spec.domain, key, named=not _ADDRESS.fullmatch(address))


def of_store(name: str, spec: StoreSpec, inventory: Inventory) -> Place:
    """Of a mirror in a store; what its own domain leaves open is its host's, where it has one."""
    key = f"stores.{name}.domain"
    if isinstance(spec, S3Store):
        return _objects(urlsplit(spec.endpoint).hostname or spec.endpoint, spec.domain, key)
    if isinstance(spec, SftpStore):
        return _disk(spec.host, spec.domain, key, inventory)
    if isinstance(spec, DirectoryStore):
        return _disk(CONTROLLER, spec.domain, key, inventory)
    return Place(f"{spec.kind} {name}", _tied([f"store {name}"], spec.domain), spec.domain, key, named=False)


def media(places: Sequence[Place]) -> list[tuple[list[int], list[str]]]:
    """The places, by number, that are one medium each, with the ties that make them one; the first place's first."""
    groups: list[tuple[set[str], list[int]]] = []
    for number, place in enumerate(places):
        ties, members = set(place.ties), [number]
        apart = []
        for group in groups:
            if group[0] & ties:
                ties |= group[0]
                members = [*group[1], *members]
            else:
                apart.append(group)
        groups = [*apart, (ties, members)]
    found = sorted((sorted(members) for _, members in groups), key=lambda members: members[0])
    return [(members, _common([places[number] for number in members])) for members in found]


def _common(places: Sequence[Place]) -> list[str]:
    """What at least two of them share."""
    every = [tie for place in places for tie in place.ties]
    return sorted(tie for tie in dict.fromkeys(every) if every.count(tie) > 1)


def value(domain: Domain, name: str) -> str:
    """What a domain says under one of `FIELDS`; empty for unknown."""
    said: str = getattr(domain, name)
    return said.strip()


def comparable(domain: Domain, name: str) -> str:
    """The same for comparing; an account is one only together with its provider."""
    said = value(domain, name).casefold()
    if name == "account" and said:
        return f"{value(domain, 'provider').casefold()} {said}"
    return said


def _tied(ties: Iterable[str], domain: Domain) -> tuple[str, ...]:
    account = comparable(domain, "account")
    words = f"account {value(domain, 'account')} at {value(domain, 'provider') or 'an unknown provider'}".casefold()
    return tuple(dict.fromkeys((*ties, *([words] if account else ()))))


def _disk(host: str, domain: Domain, key: str, inventory: Inventory) -> Place:
    """A disk of the controller, of a host of the inventory, or of whatever machine has that address."""
    name = host if host in inventory.hosts else next(_having(host, inventory), "")
    spec = inventory.hosts.get(name)
    whole = _filled(domain, spec.domain) if spec else domain
    machine = CONTROLLER if host == CONTROLLER else _at(host, inventory)
    named = host != CONTROLLER and (_named(spec) if spec else not _ADDRESS.fullmatch(host))
    return Place(f"disk of {machine}", _tied([_tie(machine)], whole), whole, key, named=named)


def _objects(address: str, domain: Domain, key: str) -> Place:
    provider = value(domain, "provider").casefold()
    ties = [f"server {address.casefold()}", *([f"provider of object storage, {provider}"] if provider else ())]
    return Place(
        f"object storage at {address}", _tied(ties, domain), domain, key, named=not _ADDRESS.fullmatch(address)
    )


def _filled(own: Domain, other: Domain) -> Domain:
    return Domain(**{name: value(own, name) or value(other, name) for name in FIELDS})


def _at(host: str, inventory: Inventory) -> str:
    """The machine that has this name or address."""
    if _LOOPBACK.fullmatch(host):
        return CONTROLLER
    return _machine(host if host in inventory.hosts else next(_having(host, inventory), host), inventory)


def _having(address: str, inventory: Inventory) -> Iterator[str]:
    for name, spec in inventory.hosts.items():
        if isinstance(spec, SshHostSpec) and spec.address.casefold() == address.casefold():
            yield name


def _machine(name: str, inventory: Inventory) -> str:
    """The machine of a host: the first one of the inventory that is certainly the same names it."""
    spec = inventory.hosts.get(name)
    if spec is None:
        return name
    if spec.connector == "local" or (isinstance(spec, SshHostSpec) and _LOOPBACK.fullmatch(spec.address)):
        return CONTROLLER
    return next(other for other in inventory.hosts if other == name or same_machine(inventory.hosts[other], spec))


def _tie(machine: str) -> str:
    return f"machine ({machine})"


def _named(spec: object) -> bool:
    return isinstance(spec, SshHostSpec) and not (_ADDRESS.fullmatch(spec.address) or _LOOPBACK.fullmatch(spec.address))


def _host_in(scheme: str, rest: str) -> str:
    """The host in a repository's address, without user and port."""
    if scheme == "sftp" and not rest.startswith("//"):
        return rest.partition(":")[0].rpartition("@")[2]
    text = rest if "//" in rest else f"//{rest}"
    try:
        return urlsplit(text).hostname or rest
    except ValueError:
        return rest
