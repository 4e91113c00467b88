"""The inventory's models: what there is and where."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from drorch.core.host import FakeHostSpec, LocalHostSpec, SshHostSpec
from drorch.core.model import Frozen, HostName, Name, RepositoryName
from drorch.core.repository import RepositorySpec
from drorch.core.scene import Objectives
from drorch.core.schedule import TimeZone
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


class SecretSpec(Frozen):
    """Where a secret's value comes from: exactly one of env, file, command, credential."""

    env: str | None = None
    """Name of an environment variable of the drorch process."""
    file: str | None = None
    """A file; its last newline is dropped. Refused when others than its owner can read it."""
    command: tuple[str, ...] | None = None
    """A command on the controller that prints the value; its last newline is dropped."""
    credential: str | None = None
    """The name of a file in systemd's ``$CREDENTIALS_DIRECTORY``."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        said = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if len(said) != 1:
            msg = f"must have exactly one of env, file, command, credential; has {', '.join(said) or 'none'}"
            raise ValueError(msg)
        return self


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
