"""Hosts of both real connectors, so that one suite serves both."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import SecretError
from drorch.core.host import LocalHostSpec, SshHostSpec
from drorch.core.model import Json, SecretRef
from drorch.core.secret import Secret
from drorch.hosts.local import LocalHost
from drorch.hosts.ssh import SshHost
from support.sshd import Sshd

GRACE = 0.4
RealHost = LocalHost | SshHost


class Known:
    """Secrets given in the test."""

    def __init__(self, **values: str) -> None:
        self._values = values

    def get(self, ref: SecretRef) -> Secret:
        """One of them."""
        if ref.secret not in self._values:
            raise SecretError(ref.secret)
        return Secret(ref.secret, self._values[ref.secret])

    def redact(self, text: str) -> str:
        """Unused here."""
        return text

    def redact_json(self, value: Json) -> Json:
        """Unused here."""
        return value


class Machine(Protocol):
    """A machine of one connector, on which hosts can be opened."""

    connector: str
    home: Path

    def open(self, *, halt: Halt | None = None, machine_id: str | None = None) -> RealHost:
        """A host that is closed with the test."""
        ...


class LocalMachine:
    """A folder of this machine."""

    connector = "local"

    def __init__(self, home: Path) -> None:
        self.home = home

    def open(self, *, halt: Halt | None = None, machine_id: str | None = None) -> LocalHost:
        """A host there."""
        return LocalHost(
            "here", LocalHostSpec(home=str(self.home), machine_id=machine_id), halt=halt or Halt(), grace=GRACE
        )


class SshMachine:
    """A real sshd."""

    connector = "ssh"

    def __init__(self, sshd: Sshd) -> None:
        self.sshd = sshd
        self.home = sshd.home
        self._opened: list[SshHost] = []

    def open(self, *, halt: Halt | None = None, machine_id: str | None = None) -> SshHost:
        """A host there."""
        host = open_ssh(self.sshd.spec.model_copy(update={"machine_id": machine_id}), halt=halt)
        self._opened.append(host)
        return host

    def close(self) -> None:
        """End all connections."""
        for host in self._opened:
            host.close()


def open_ssh(spec: SshHostSpec, *, halt: Halt | None = None, **secrets: str) -> SshHost:
    """A host with a short grace."""
    return SshHost("there", spec, secrets=Known(**secrets), halt=halt or Halt(), grace=GRACE)


@pytest.fixture(params=["local", "ssh"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Each connector in turn."""
    if request.param == "local":
        home = tmp_path / "home"
        home.mkdir()
        yield LocalMachine(home)
        return
    remote = SshMachine(request.getfixturevalue("sshd"))
    yield remote
    remote.close()


@pytest.fixture
def host(machine: Machine) -> RealHost:
    """A host of each connector."""
    return machine.open()


@pytest.fixture
def ssh() -> Iterator[Callable[..., SshHost]]:
    """Opens SSH hosts that are closed with the test."""
    opened: list[SshHost] = []

    def opener(spec: SshHostSpec, *, halt: Halt | None = None, **secrets: str) -> SshHost:
        opened.append(open_ssh(spec, halt=halt, **secrets))
        return opened[-1]

    yield opener
    for each in opened:
        each.close()
