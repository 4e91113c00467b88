"""Hosts: machines on which commands run.

A host is one of three connectors: `LocalHostSpec`, `SshHostSpec`, `FakeHostSpec`. The code above never asks which.
"""

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, Protocol

from pydantic import Field, StringConstraints

from drorch.core.evidence import Failure
from drorch.core.model import Duration, Frozen, SecretRef, parse_duration
from drorch.core.secret import Secret

OUTPUT_LIMIT = 1 << 20
"""Bytes of a command's standard output, and of its standard error, that are kept unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class Command:
    """Words to execute: never shell text. Quoting happens once, in the SSH host."""

    argv: tuple[str, ...]
    """The program and its arguments. Bytes that are no UTF-8 travel as surrogate escapes."""
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    """Added to the host's own clean environment; a secret never appears in an argument list on either side."""
    stdin: bytes | Path | BinaryIO | Secret | None = None
    """None is an empty input, never the terminal's. A path is a file of the controller, streamed."""
    timeout: float | None = None
    """Seconds after which it is ended on both sides; None is the host's own limit."""
    cwd: str | None = None
    output_limit: int = OUTPUT_LIMIT
    """Bytes kept per stream; the rest is read and thrown away, and `Completed.truncated` is set."""


class Ended(StrEnum):
    """How a command came to its end."""

    EXITED = "exited"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"
    """The connection broke: it may have run, be running, or never have started."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of a command. Only ``ok`` means success; everything unknown is not."""

    command: Command
    ended: Ended
    exit_code: int | None
    """As the process gave it; 128 + n for signal n; None unless `ended` is ``exited``."""
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Ended by itself with exit code 0."""
        return self.ended is Ended.EXITED and self.exit_code == 0

    @property
    def text(self) -> str:
        """Standard output as text; undecodable bytes are replaced."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        """The last lines of standard error, made safe to print (no control characters), at most 2,000 characters."""
        return printable(self.stderr.decode("utf-8", "replace").strip())[-2000:]

    def failure(self, what: str, *, hint: str = "", retryable: bool = False) -> Failure:
        """The failure that this end means; ``what`` names the action, such as ``pg_dump of shop``."""
        if self.ended is Ended.TIMED_OUT:
            return Failure(
                why=f"{what}: not finished after {self.seconds:.0f} s", hint=hint, retryable=retryable, timed_out=True
            )
        if self.ended is Ended.UNKNOWN:
            return Failure(
                why=f"{what}: the connection broke, the outcome is unknown",
                hint=hint or "look at the host before trying again",
                retryable=retryable,
                unknown=True,
            )
        detail = f": {self.errors}" if self.errors else ""
        return Failure(why=f"{what}: exit code {self.exit_code}{detail}", hint=hint, retryable=retryable)


def printable(text: str) -> str:
    """The text with control characters, terminal escapes among them, shown as backslash codes; tabs, newlines stay."""
    return "".join(
        char
        if char in "\n\t" or char.isprintable()
        else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in text.encode("utf-8", "backslashreplace").decode("utf-8")
    )


class Identity(Frozen):
    """What tells one machine from another."""

    machine_id: str
    """``/etc/machine-id``; for a local host with a folder of its own, that folder is part of it."""
    host_key: str
    """The SSH host key as ``type base64``; empty for a local host."""
    hostname: str
    user: str
    home: str

    def same_machine(self, other: "Identity") -> bool:
        """Whether both are certainly one machine: never let a drill work where this is true."""
        if self.host_key or other.host_key:
            return self.host_key == other.host_key
        return self.machine_id == other.machine_id


LineSink = Callable[[bytes], None]
"""Called with each complete line of standard output, without its newline; lines over 4 MiB arrive cut."""


class Host(Protocol):
    """A machine on which commands run. One object may be used from several threads."""

    @property
    def name(self) -> str:
        """Its name in the inventory."""
        ...

    @property
    def is_controller(self) -> bool:
        """Whether commands run on the very machine on which drorch runs, as the same user."""
        ...

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        """Execute and wait.

        With ``on_line`` the lines of standard output go there and are not kept in ``stdout``.

        Raises:
            Unreachable: no connection could be made, so the command certainly did not start.
            UntrustedHost: the host showed another key than the pinned one.
            Interrupted: a stop was asked for; the command was told to end and has ended, where it could be reached.
        """
        ...

    def put(self, path: str, content: bytes | Path, *, mode: int = 0o600) -> None:
        """Write a file there, whole or not at all (a temporary name, then renamed); parents must exist.

        Raises:
            HostError: it could not be written.
        """
        ...

    def get(self, path: str, *, limit: int = OUTPUT_LIMIT) -> bytes:
        """Read a file there.

        Raises:
            HostError: it cannot be read, or is larger than ``limit`` bytes.
        """
        ...

    def identity(self) -> Identity:
        """Ask the machine who it is; checked before anything destructive.

        Raises:
            WrongHost: the inventory pins another machine id.
            HostError: it cannot be asked.
        """
        ...

    def dial(self, address: str, port: int, *, timeout: float = 10.0) -> AbstractContextManager[socket.socket]:
        """Connect to a TCP port as seen from that host; the socket behaves like a plain connected one.

        Raises:
            HostError: nothing answers there.
        """
        ...

    def publish(self, path: Path) -> AbstractContextManager[int]:
        """Offer a Unix socket of the controller on a loopback TCP port of that host; gives the port.

        No port of the controller or of a public address is opened; the offer ends with the context.
        """
        ...

    def close(self) -> None:
        """Give back connections; it can be used again afterwards."""
        ...


class Domain(Frozen):
    """What can fail together; two copies in one domain are one copy."""

    provider: str = ""
    """Who runs it: ``hetzner``, ``own``."""
    region: str = ""
    """Where it stands."""
    account: str = ""
    """Under which account; whoever takes that over reaches everything in it."""
    payer: str = ""
    """Who pays: one unpaid bill or blocked card ends everything that it pays for."""
    key_holder: str = ""
    """Who holds its passwords and keys."""
    dns: str = ""
    """Under which domain name's registrar its address is found."""


class _HostSpec(Frozen):
    work: str = "~/.drorch"
    """Folder on the host for what drorch puts there: restic's binary and cache, restored trees. Mode 0700."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment of every command on this host, such as PATH or PGPORT. No secrets here."""
    install_restic: bool = False
    """Whether the controller's restic may be uploaded when the host has none new enough."""
    machine_id: str | None = None
    """Pinned identity; `drorch host trust NAME` writes it. Another machine is refused before anything destructive."""
    domain: Domain = Domain()


class LocalHostSpec(_HostSpec):
    """The machine on which drorch runs, optionally a folder of it that plays a machine."""

    connector: Literal["local"] = "local"
    home: str | None = None
    """A folder that stands for this host's home; two local hosts with different homes count as two machines."""


class SshHostSpec(_HostSpec):
    """A machine reached by SSH."""

    connector: Literal["ssh"] = "ssh"
    address: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:%\[\]][A-Za-z0-9_.:%\[\]-]*$")]
    """Name or IP address; never starts with ``-``."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*$")] = "root"
    key: str | None = None
    """Private key file of the controller; without it the SSH agent is asked."""
    key_passphrase: SecretRef | None = None
    host_key: str | None = None
    """Pinned, as ``ssh-ed25519 AAAA…``; a host without a pin is refused. `drorch host trust NAME` writes it."""
    connect_timeout: Duration = parse_duration("10s")


class FakeHostSpec(_HostSpec):
    """A machine that exists only in memory: for rehearsals and tests."""

    connector: Literal["fake"]


HostSpec = LocalHostSpec | SshHostSpec | FakeHostSpec
"""Told apart by ``connector``; without one, an ``address`` means ``ssh`` and its absence ``local``."""
