"""Repositories: restic, and one in memory."""

from collections.abc import Mapping
from pathlib import Path

from drorch.core.host import Host, HostSpec
from drorch.core.model import SecretRef
from drorch.core.repository import Repository, RepositorySpec
from drorch.core.secret import Secrets
from drorch.core.store import Reading


def open_repository(
    name: str,
    spec: RepositorySpec,
    *,
    secrets: Secrets,
    controller: Host,
    state: Path,
    hosts: Mapping[str, HostSpec] | None = None,
) -> Repository:
    """The repository of a declaration; nothing connects yet.

    ``state`` is the controller's state folder: a fetched restic lies in its ``bin``. ``hosts`` tells, by name, each
    host's working folder and whether restic may be brought there; a host that is not in it has the defaults.
    A repository that has a ``close`` wants it called at the end.

    Raises:
        RepositoryError: the declaration is one that drorch cannot serve.
    """
    # Loaded when first needed: a plan prints restic's commands without any of this.
    from drorch.repositories.restic.repository import ResticRepository  # noqa: PLC0415

    return ResticRepository(name, spec, secrets=secrets, controller=controller, state=state, hosts=hosts)


def open_mirror(
    name: str,
    reading: Reading,
    password: SecretRef,
    *,
    secrets: Secrets,
    controller: Host,
    state: Path,
    hosts: Mapping[str, HostSpec] | None = None,
) -> Repository:
    """A mirrored repository where it lies in its store: it is only read, without locks."""
    from drorch.repositories.restic.repository import ResticRepository  # noqa: PLC0415 - as above

    # Not checked: a store's folder may hold spaces, which in an inventory's address are slips of the pen.
    spec = RepositorySpec.model_construct(url=reading.url, password=password)
    return ResticRepository(
        name, spec, secrets=secrets, controller=controller, state=state, hosts=hosts, reading=reading
    )
