"""The composition root: settings → adapters → tools. The only place that makes clocks, hosts and repositories."""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn, Self

from drorch.config.home import settled
from drorch.config.load import Documents, load
from drorch.config.settings import Settings
from drorch.core.clock import Clock, Halt, SystemClock
from drorch.core.errors import DrorchError, SecretError, StoreError
from drorch.core.host import Host, HostSpec, LocalHostSpec
from drorch.core.model import Json, SecretRef
from drorch.core.repository import Repository, RepositorySpec
from drorch.core.route import Route
from drorch.core.secret import SecretSpec
from drorch.core.step import Notifier
from drorch.core.store import Means, Reading, Shelf, Store, StoreSpec
from drorch.engine.journal import Journal
from drorch.engine.lease import Leases
from drorch.engine.plan import Plan
from drorch.engine.runs import Runs
from drorch.hosts import open_host
from drorch.repositories import open_mirror, open_repository
from drorch.stores.shelves import open_shelf
from drorch.vault.secrets import SecretStore
from drorch.vault.signing import Signer

if TYPE_CHECKING:
    from drorch.engine.probe import Prober

CONTROLLER = "controller"
"""The name of the machine on which drorch runs."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A route with the secrets it needs."""

    route: Route
    secrets: SecretStore

    def send(self, title: str, body: str) -> None:
        self.route.send(title, body, self.secrets)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """`core.step.Memory` in the journal's file."""

    journal: Journal

    def get(self, key: str) -> Json:
        return self.journal.get(key)

    def put(self, key: str, value: Json) -> None:
        self.journal.put(key, value)


@dataclass(frozen=True, slots=True)
class _Stock:
    """What a box may open, by name."""

    hosts: Mapping[str, HostSpec]
    repositories: Mapping[str, RepositorySpec]
    stores: Mapping[str, StoreSpec]
    routes: Mapping[str, Route]
    secrets: Mapping[str, SecretSpec]


class Box:
    """`core.step.Toolbox`: hosts and repositories, opened when first asked for, shared by all threads."""

    def __init__(self, app: "App", stock: _Stock, *, former: "Box | None" = None) -> None:
        """``former``: is not used any more; its hosts' connections are gone on with."""
        self._app = app
        self._stock = stock
        self._former: Mapping[str, Host] = former.opened if former else {}
        self._hosts: dict[str, Host] = {}
        self._repositories: dict[str, Repository] = {}
        self._stores: dict[str, Store] = {}
        self._shelves: dict[str, Shelf] = {}
        self._lock = threading.RLock()
        self.clock: Clock = app.clock
        self.memory = _Remembered(app.journal)

    @cached_property
    def secrets(self) -> SecretStore:
        """Values by name, from the definitions that the plan carries."""
        return SecretStore(self._stock.secrets, self.controller(), os.environ)

    def host(self, name: str) -> Host:
        """A host by name."""
        with self._lock:
            if name not in self._hosts:
                spec = self._stock.hosts[name]
                former = self._former.get(name)
                self._hosts[name] = open_host(name, spec, secrets=self.secrets, halt=self._app.halt, former=former)
            return self._hosts[name]

    @property
    def opened(self) -> Mapping[str, Host]:
        """The hosts that were asked for."""
        return self._hosts

    def controller(self) -> Host:
        """The machine on which drorch runs."""
        return self._app.controller

    def repository(self, name: str) -> Repository:
        """A repository by name."""
        with self._lock:
            if name not in self._repositories:
                self._repositories[name] = open_repository(
                    name,
                    self._stock.repositories[name],
                    secrets=self.secrets,
                    controller=self.controller(),
                    state=self._app.settings.state,
                    hosts=self._stock.hosts,
                )
            return self._repositories[name]

    def mirrored(self, repository: str, store: str) -> Repository:
        """The mirror of a repository, read where it lies."""
        reading = self._stock.stores[store].reading(repository, self.secrets)
        if reading is None:
            raise StoreError(
                f"restic cannot read {store} in place", hint=f"drorch recover {store} --to FOLDER, then restore"
            )
        return self._elsewhere(f"{repository}@{store}", repository, reading)

    def elsewhere(self, repository: str, reading: Reading) -> Repository:
        """A copy of a repository's files in another place, read where it lies."""
        return self._elsewhere(f"{repository}@{reading.url}", repository, reading)

    def _elsewhere(self, name: str, repository: str, reading: Reading) -> Repository:
        with self._lock:
            if name not in self._repositories:
                self._repositories[name] = open_mirror(
                    name,
                    reading,
                    self._stock.repositories[repository].password,
                    secrets=self.secrets,
                    controller=self.controller(),
                    state=self._app.settings.state,
                    hosts=self._stock.hosts,
                )
            return self._repositories[name]

    def store(self, name: str) -> Store:
        """A store by name."""
        with self._lock:
            if name not in self._stores:
                self._stores[name] = self._stock.stores[name].open(name, self._means())
            return self._stores[name]

    def files(self, repository: str) -> Shelf:
        """The files of a repository as they lie there."""
        with self._lock:
            if repository not in self._shelves:
                self._shelves[repository] = open_shelf(
                    repository, self._stock.repositories[repository], self._means(), self._stock.hosts
                )
            return self._shelves[repository]

    def _means(self) -> Means:
        return Means(secrets=self.secrets, clock=self.clock, host=self.host)

    def lease(self, name: str, *, wait: timedelta) -> AbstractContextManager[None]:
        """Hold a name alone."""
        return self._app.leases.hold(name, wait=wait.total_seconds())

    def notifier(self, name: str) -> Notifier:
        """A route by name."""
        if name not in self._stock.routes:
            raise DrorchError(f"no route {name}", hint="define it under notify: in the inventory")
        return _Told(self._stock.routes[name], self.secrets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back connections and servers."""
        with self._lock:
            for repository in self._repositories.values():
                closer: Callable[[], None] | None = getattr(repository, "close", None)
                if closer is not None:
                    closer()
            for shelf in (*self._stores.values(), *self._shelves.values()):
                shelf.close()
            for host in self._hosts.values():
                host.close()


class App:
    """One drorch process."""

    def __init__(self, settings: Settings, *, halt: Halt | None = None) -> None:
        self.settings = settings
        self.halt = halt or Halt()
        self.clock: Clock = SystemClock(self.halt)

    @cached_property
    def written(self) -> Documents:
        """Inventory and runbooks as their files have them.

        Raises:
            ConfigError: they are wrong.
        """
        return load(self.settings.config, self.settings.runbooks)

    @cached_property
    def documents(self) -> Documents:
        """Inventory and runbooks; each service's primary is the host on which it lives by now.

        Raises:
            ConfigError: they are wrong.
        """
        documents = self.written
        homes = {name: home["host"] for name in documents.inventory.services if (home := self.home(name))}
        return replace(documents, inventory=settled(documents.inventory, homes)) if homes else documents

    def home(self, service: str) -> Mapping[str, Json] | None:
        """Where a failover has led a service: ``host``, ``since``, ``run``; None while no failover ever did."""
        found = self.journal.get(f"home:{service}")
        return found if isinstance(found, dict) else None

    @cached_property
    def controller(self) -> Host:
        """The machine on which drorch runs."""
        spec = LocalHostSpec(work=str(self.settings.state / "work"))
        return open_host(CONTROLLER, spec, secrets=_NoSecrets(), halt=self.halt)

    @cached_property
    def journal(self) -> Journal:
        """What happened."""
        return Journal(self.settings.state / "journal.sqlite", lambda: Signer.open(self.settings.state / "keys"))

    @cached_property
    def leases(self) -> Leases:
        """Who works on what."""
        return Leases(self.settings.state / "leases", self.clock)

    @cached_property
    def runs(self) -> Runs:
        """The runs."""
        return Runs(self.journal, self.leases, self.clock, self.settings.database_url)

    def box(self, plan: Plan, *, former: Box | None = None) -> Box:
        """The tools of a plan: only what it carries; ``former`` as `Box` says."""
        stock = _Stock(plan.hosts, plan.repositories, plan.stores, plan.routes, plan.secrets)
        return Box(self, stock, former=former)

    def prober(self, plan: Plan) -> "Prober | None":
        """A probe that asks from now on as customers do; None where the plan moves nothing, or nothing says how."""
        probe = plan.service.probe
        if probe is None or not plan.scene.moves:
            return None
        from drorch.engine.probe import Prober  # noqa: PLC0415 - only who moves a service pays

        box = self.box(plan)  # its own connections: it asks on while others wait
        return Prober(probe, lambda: box.host(probe.host) if probe.host else self.controller, self.clock, box.memory)

    def everything(self) -> Box:
        """The tools of the whole inventory, for verbs that work on hosts and repositories directly."""
        inventory = self.documents.inventory
        return Box(
            self,
            _Stock(inventory.hosts, inventory.repositories, inventory.stores, inventory.notify, inventory.secrets),
        )


class _NoSecrets:
    """The controller itself needs none."""

    def get(self, ref: SecretRef) -> NoReturn:
        raise SecretError(f"the controller itself has no secret {ref.secret}")

    def redact(self, text: str) -> str:
        return text

    def redact_json(self, value: Json) -> Json:
        return value
