"""Take a source's parts to files and put them where a restore puts them, without a repository between."""

import hashlib
import json
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from drorch.core.clock import Halt
from drorch.core.errors import Interrupted, SecretError
from drorch.core.host import OUTPUT_LIMIT, Command, Completed, Host, Identity, LineSink, LocalHostSpec
from drorch.core.model import Json, SecretRef
from drorch.core.secret import Secret
from drorch.core.source import Destination, Source, Stream, Tree
from drorch.hosts.local import LocalHost

_LIMIT = 64 << 20


def machine(name: str, home: Path, env: Mapping[str, str] | None = None) -> LocalHost:
    """A folder that plays a machine."""
    home.mkdir(parents=True, exist_ok=True)
    return LocalHost(name, LocalHostSpec(home=str(home), env=dict(env or {})), halt=Halt())


@dataclass
class Known:
    """Secrets given in the test."""

    values: Mapping[str, str] = field(default_factory=dict)

    def get(self, ref: SecretRef) -> Secret:
        """The value, or an error."""
        if ref.secret not in self.values:
            raise SecretError(ref.secret)
        return Secret(ref.secret, self.values[ref.secret])

    def redact(self, text: str) -> str:
        """Every value replaced."""
        for name, value in self.values.items():
            text = text.replace(value, f"[secret {name}]")
        return text

    def redact_json(self, value: Json) -> Json:
        """The same for a JSON value."""
        return json.loads(self.redact(json.dumps(value, ensure_ascii=False)))


def destination(directory: Path, *, drill: bool = True, of: str = "x") -> Destination:
    """A fresh place, with a token of its own."""
    digest = hashlib.sha256(f"{directory}{of}".encode()).hexdigest()[:12]
    directory.mkdir(parents=True, exist_ok=True)
    return Destination(token=f"drorch_test_{digest}", directory=str(directory), drill=drill)


def dump(host: Host, part: Stream, secrets: Known) -> Completed:
    """Run the part's command as a backup does."""
    env: dict[str, str | Secret] = {
        name: secrets.get(value) if isinstance(value, SecretRef) else value for name, value in part.env.items()
    }
    return host.run(Command(part.argv, env=env, output_limit=_LIMIT))


def carry(source: Source, host: Host, into: Destination, secrets: Known | None = None) -> None:
    """Back up the source's parts and lay them into the destination, as a restore does."""
    for part in source.parts():
        folder = Path(into.directory) / part.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if isinstance(part, Tree):
            for path in part.paths:
                place = path.replace("~", host.identity().home, 1) if path[0] == "~" else path
                (folder / place[1:]).parent.mkdir(parents=True, exist_ok=True)
                done = host.run(Command(("cp", "-a", "-T", "--", place, f"{folder}{place}")))
                assert done.ok, done.errors
        else:
            done = dump(host, part, secrets or Known())
            assert done.ok, done.errors
            assert not done.truncated
            (folder / part.filename).write_bytes(done.stdout)


@dataclass
class Cut:
    """A host on which a stop comes at one command: before it begins, or when it has ended and nobody heard."""

    host: Host
    at: int
    """The command's number, from 1; 0 for never."""
    after: bool = False
    count: int = 0
    commands: list[Command] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The host's."""
        return self.host.name

    @property
    def is_controller(self) -> bool:
        """The host's."""
        return self.host.is_controller

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        """Execute, or stop."""
        self.count += 1
        self.commands.append(command)
        if self.count == self.at and not self.after:
            raise Interrupted
        done = self.host.run(command, on_line=on_line)
        if self.count == self.at:
            raise Interrupted
        return done

    def put(self, path: str, content: bytes | Path, *, mode: int = 0o600) -> None:
        """Write, or stop."""
        self.count += 1
        if self.count == self.at and not self.after:
            raise Interrupted
        self.host.put(path, content, mode=mode)
        if self.count == self.at:
            raise Interrupted

    def get(self, path: str, *, limit: int = OUTPUT_LIMIT) -> bytes:
        """The host's."""
        return self.host.get(path, limit=limit)

    def identity(self) -> Identity:
        """The host's."""
        return self.host.identity()

    def dial(self, address: str, port: int, *, timeout: float = 10.0) -> AbstractContextManager[socket.socket]:
        """The host's."""
        return self.host.dial(address, port, timeout=timeout)

    def publish(self, path: Path) -> AbstractContextManager[int]:
        """The host's."""
        return self.host.publish(path)

    def close(self) -> None:
        """The host's."""
        self.host.close()


def cuts(action: Callable[[Host], object], host: Host) -> list[Cut]:
    """Every way to cut the action, one host each: before and after each of its commands; performs it once to count."""
    whole = Cut(host, 0)
    action(whole)
    return [Cut(host, at, after) for at in range(1, whole.count + 1) for after in (False, True)]
