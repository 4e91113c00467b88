"""The inventory's models: what there is and where."""

from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, Tag

from drorch.core.host import FakeHostSpec, LocalHostSpec, SshHostSpec
from drorch.core.model import Frozen, HostName, Name, RepositoryName
from drorch.core.repository import RepositorySpec
from drorch.core.scene import Objectives
from drorch.core.schedule import TimeZone
from drorch.core.secret import SecretSpec
from drorch.notifiers import AnyRoute
from drorch.sources import AnySource


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


class Service(Frozen):
    """What the business must keep running."""

    objectives: Objectives = Objectives()
    primary: HostName
    standbys: Annotated[tuple[HostName, ...], BeforeValidator(_one_or_many)] = ()
    repository: RepositoryName
    sources: Annotated[dict[Name, AnySource], Field(min_length=1)]


class Inventory(Frozen):
    """The whole inventory document."""

    site: str
    timezone: TimeZone = "UTC"
    hosts: Annotated[dict[Name, AnyHostSpec], Field(min_length=1)]
    repositories: dict[Name, RepositorySpec] = Field(default_factory=dict)
    services: dict[Name, Service] = Field(default_factory=dict)
    notify: dict[Name, AnyRoute] = Field(default_factory=dict)
    secrets: dict[Name, SecretSpec] = Field(default_factory=dict)
