"""A machine that exists only in memory: for rehearsals, and for faults that no real machine shows on demand."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from drorch.core.clock import Halt
from drorch.core.errors import HostError, Interrupted, Unreachable, WrongHost
from drorch.core.host import OUTPUT_LIMIT, Command, Completed, Ended, FakeHostSpec, Identity, LineSink
from drorch.hosts.feed import pieces, readable
from drorch.hosts.output import Sink
from drorch.hosts.relay import end
from drorch.hosts.words import NOT_FOUND, check, encoded


class Fault(StrEnum):
    """What a machine may do instead of answering."""

    HANG = "hang"
    """It never ends: the command's timeout passes at once; without one the caller is interrupted."""
    FLOOD = "flood"
    """It says far more than is kept, and succeeds."""
    LOST = "lost"
    """The connection breaks: outcome unknown."""
    GONE = "gone"
    """No connection: `Unreachable`."""
    LIE = "lie"
    """It claims success and did nothing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command answers."""

    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""


Answer = Reply | Completed | Fault | BaseException
"""An exception is raised."""
Answers = Mapping[tuple[str, ...], Answer] | Callable[[Command], Answer | None]
"""By the first words of the command, the longest match first, or as a function that gives None where it knows none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One command that was run, and the whole of its input; environments hold what the caller put there."""

    command: Command
    stdin: bytes


@dataclass
class FakeHost:
    """A scripted machine. A command that no answer fits is not found there (exit code 127)."""

    name: str
    spec: FakeHostSpec = field(default_factory=lambda: FakeHostSpec(connector="fake"))
    answers: Answers = field(default_factory=dict)
    halt: Halt = field(default_factory=Halt)
    files: dict[str, bytes] = field(default_factory=dict)
    """By path, ``~/`` already replaced by the home."""
    modes: dict[str, int] = field(default_factory=dict)
    services: dict[tuple[str, int], Callable[[socket.socket], None]] = field(default_factory=dict)
    """What answers at an address and port of it: called in a thread with the served end."""
    is_controller: bool = False
    reachable: bool = True
    hostname: str = ""
    user: str = "root"
    home: str = "/root"
    asked: list[Asked] = field(default_factory=list)
    published: list[Path] = field(default_factory=list)

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        """The words of every command so far, oldest first."""
        return tuple(each.command.argv for each in self.asked)

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        """Answer as scripted."""
        self._present()
        check(command)
        readable(command.stdin)
        self.asked.append(Asked(command, b"".join(pieces(command.stdin))))
        answer = self._answer(command)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Completed):
            return answer
        if isinstance(answer, Fault):
            return self._fail(answer, command, on_line)
        return _completed(answer, command, on_line)

    def put(self, path: str, content: bytes | Path, *, mode: int = 0o600) -> None:
        """Keep a file."""
        self._present()
        try:
            data = content.read_bytes() if isinstance(content, Path) else content
        except OSError as error:
            raise HostError(f"cannot read {content!r}: {error.strerror}") from error
        self.files[self._path(path)] = data
        self.modes[self._path(path)] = mode

    def get(self, path: str, *, limit: int = OUTPUT_LIMIT) -> bytes:
        """Give a file back."""
        self._present()
        data = self.files.get(self._path(path))
        if data is None:
            raise HostError(f"{self.name}: cannot read {path!r}: no such file")
        if len(data) > limit:
            raise HostError(f"{self.name}: {path!r} is larger than {limit} bytes")
        return data

    def identity(self) -> Identity:
        """Itself; the machine id is made of its name."""
        self._present()
        machine_id = encoded(self.name).hex().ljust(32, "0")[:32]
        if self.spec.machine_id not in (None, machine_id):
            raise WrongHost(
                f"{self.name}: this is machine {machine_id}, and the inventory means {self.spec.machine_id}"
            )
        return Identity(
            machine_id=machine_id,
            host_key=f"fake {self.name}",
            hostname=self.hostname or self.name,
            user=self.user,
            home=self.home,
        )

    @contextmanager
    def dial(self, address: str, port: int, *, timeout: float = 10.0) -> Iterator[socket.socket]:
        """Connect to one of its services."""
        self._present()
        service = self.services.get((address, port))
        if service is None:
            raise HostError(f"{self.name}: nothing answers at {address}:{port}")
        ours, theirs = socket.socketpair()
        server = threading.Thread(target=service, args=(theirs,), name="drorch-fake-service", daemon=True)
        server.start()
        ours.settimeout(timeout)
        try:
            yield ours
        finally:
            end(ours)
            end(theirs)
            with suppress(RuntimeError):
                server.join(1)

    @contextmanager
    def publish(self, path: Path) -> Iterator[int]:
        """Note the socket and give a port that nobody serves."""
        self._present()
        self.published.append(path)
        yield 40_000 + len(self.published)

    def close(self) -> None:
        """Nothing is held."""

    def _present(self) -> None:
        self.halt.check()
        if not self.reachable:
            raise Unreachable(f"{self.name}: no connection")

    def _path(self, path: str) -> str:
        return f"{self.home}/{path[2:]}" if path.startswith("~/") else path

    def _answer(self, command: Command) -> Answer:
        missing = Reply(NOT_FOUND, stderr=b"drorch: " + encoded(command.argv[0]) + b": not found\n")
        if callable(self.answers):
            return self.answers(command) or missing
        for length in range(len(command.argv), -1, -1):
            if (answer := self.answers.get(command.argv[:length])) is not None:
                return answer
        return missing

    def _fail(self, fault: Fault, command: Command, on_line: LineSink | None) -> Completed:
        match fault:
            case Fault.HANG if command.timeout is None:
                raise Interrupted
            case Fault.HANG:
                return Completed(command, Ended.TIMED_OUT, None, seconds=command.timeout or 0.0)
            case Fault.LOST:
                return Completed(command, Ended.UNKNOWN, None)
            case Fault.GONE:
                raise Unreachable(f"{self.name}: no connection")
            case Fault.LIE:
                return Completed(command, Ended.EXITED, 0)
            case Fault.FLOOD:
                flood = b"y\n" * (command.output_limit // 2 + 1)
                return _completed(Reply(stdout=flood, stderr=flood), command, on_line)


def _completed(reply: Reply, command: Command, on_line: LineSink | None) -> Completed:
    out, err = Sink(command.output_limit, on_line), Sink(command.output_limit)
    out.feed(reply.stdout)
    out.finish()
    err.feed(reply.stderr)
    truncated = out.truncated or err.truncated
    return Completed(command, Ended.EXITED, reply.exit_code, out.data, err.data, truncated)
