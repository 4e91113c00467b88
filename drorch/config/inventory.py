"""The inventory's models: what there is and where."""

from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag

from drorch.core.approval import PublicKey
from drorch.core.host import FakeHostSpec, LocalHostSpec, SshHostSpec
from drorch.core.model import Duration, Frozen, HostName, Name, RepositoryName, StoreName, parse_duration
from drorch.core.repository import RepositorySpec
from drorch.core.scene import Objectives
from drorch.core.schedule import TimeZone
from drorch.core.secret import SecretSpec
from drorch.notifiers import AnyRoute
from drorch.sources import AnySource
from drorch.stores import AnyStore


def _connector(value: object) -> str:
    if isinstance(value, dict):
        said = value.get("connector")
        return str(said) if said else ("ssh" if "address" in value else "local")
    return str(getattr(value, "connector", "local"))


AnyHostSpec = Annotated[
    Annotated[LocalHostSpec, Tag("local")] | Annotated[SshHostSpec, Tag("ssh")] | Annotated[FakeHostSpec, Tag("fake")],
    Discriminator(_connector),
]


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Probe(Frozen):
    """How customers would see the service: what is asked again and again while it is moved."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$")]
    """An address that only answers with success while customers are served, such as ``https://shop.example.com/``."""
    host: HostName | None = None
    """From where it is asked; from the controller unless said."""
    every: Duration = parse_duration("250ms")
    """How often."""


class Person(Frozen):
    """Somebody who may approve."""

    key: PublicKey
    """Their public SSH key, as it stands in ``~/.ssh/id_ed25519.pub``."""
    logins: tuple[str, ...] = ()
    """How drorch sees them when they type, as ``anna@laptop`` or ``anna``: whoever asks does not approve."""


class Service(Frozen):
    """What the business must keep running."""

    objectives: Objectives = Objectives()
    """How much may be lost, and how long it may be down: ``{rpo: 24h, rto: 1h}``."""
    primary: HostName
    """The host on which it lives."""
    standbys: Annotated[
        tuple[HostName, ...], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])
    ] = ()
    """Hosts on which it could live; drills restore on the first one unless they say otherwise."""
    repository: RepositoryName
    """Where its snapshots go."""
    sources: Annotated[dict[Name, AnySource], Field(min_length=1)]
    """What of it is backed up, by a name that runbooks use."""
    lease: StoreName | None = None
    """A store in which whoever moves the service claims it first, so that two controllers never act at once."""
    vantages: tuple[HostName, ...] = ()
    """Further hosts from which is looked at who reaches whom before a failover: a third opinion."""
    probe: Probe | None = None
    """How customers would see it, to measure an outage as they do."""


class Inventory(Frozen):
    """The whole inventory document."""

    site: Annotated[str, Field(min_length=1, max_length=200)]
    """Your organisation's or site's name, for reports."""
    timezone: TimeZone = "UTC"
    """In which schedules are meant, such as ``Europe/Berlin``."""
    hosts: Annotated[dict[Name, AnyHostSpec], Field(min_length=1)]
    """The machines, by name. One with an ``address`` is reached by SSH, one without is the machine of drorch."""
    repositories: dict[Name, RepositorySpec] = Field(default_factory=dict)
    """restic repositories, by name. `drorch repository create NAME` makes one."""
    stores: dict[Name, AnyStore] = Field(default_factory=dict)
    """Where off-site copies go, by name."""
    services: dict[Name, Service] = Field(default_factory=dict)
    """What the business must keep running, by name."""
    notify: dict[Name, AnyRoute] = Field(default_factory=dict)
    """Routes: ways to tell people, by name."""
    people: dict[Name, Person] = Field(default_factory=dict)
    """Who may approve what needs a second person, by name."""
    secrets: dict[Name, SecretSpec] = Field(default_factory=dict)
    """Where each secret comes from, by name. The secrets themselves never stand here."""
