"""The machine on which drorch runs."""

import getpass
import os
import secrets as randomness
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from drorch.core.clock import Halt
from drorch.core.errors import HostError
from drorch.core.host import OUTPUT_LIMIT, Command, Completed, Ended, Identity, LineSink, LocalHostSpec
from drorch.hosts import relay
from drorch.hosts.attend import Attendance, group
from drorch.hosts.feed import Feed
from drorch.hosts.guard import guarded, watching
from drorch.hosts.output import Sink
from drorch.hosts.pin import checked
from drorch.hosts.words import LANG, NOT_EXECUTABLE, NOT_FOUND, check, encoded, environment, exit_code, shown

GRACE = 20.0
"""Seconds between asking a command to end and ending it."""
LIMIT = 86_400.0
"""Seconds that a command without a timeout of its own may take."""

WATCH_GRACE = 10.0
"""Seconds that commands are given to end when drorch itself was killed."""

_CHUNK = 1 << 18
_INHERITED = (
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""What commands keep of drorch's own environment, beside PATH: how to reach things, never what to do there."""


class LocalHost:
    """The machine on which drorch runs, or a folder of it that plays a machine."""

    is_controller = True

    def __init__(
        self, name: str, spec: LocalHostSpec, *, halt: Halt, grace: float = GRACE, limit: float = LIMIT
    ) -> None:
        self.name = name
        self._spec = spec
        self._halt = halt
        self._grace = grace
        self._limit = limit

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        """Execute and wait."""
        self._halt.check()
        check(command)
        started = time.monotonic()
        out, err = Sink(command.output_limit, on_line), Sink(command.output_limit)

        def completed(ended: Ended, code: int | None) -> Completed:
            truncated = out.truncated or err.truncated
            return Completed(command, ended, code, out.data, err.data, truncated, time.monotonic() - started)

        with ExitStack() as stack:
            try:
                process = self._start(command, stack)
            except _CannotStart as error:
                err.feed(error.text)
                return completed(Ended.EXITED, error.code)
            stack.enter_context(_WATCH.over(process.pid))
            feed = stack.enter_context(_feeding(process.stdin, command)) if process.stdin else None
            deadline = started + (self._limit if command.timeout is None else command.timeout)
            attendance = Attendance(process, self._halt, deadline=deadline, grace=self._grace)
            ended, code = attendance.until_end(out, err, feed)
        if ended is Ended.EXITED:
            out.finish()
        return completed(ended, code)

    @contextmanager
    def spawn(self, command: Command) -> Iterator["Background"]:
        """Keep a program running beside drorch; it ends with the context, and with drorch however drorch ends.

        Its input is empty and its output thrown away, errors apart; `Command.stdin`, `Command.timeout` and
        `Command.output_limit` mean nothing here.

        Raises:
            HostError: it cannot be started.
        """
        self._halt.check()
        check(command)
        try:
            process = subprocess.Popen(  # noqa: S603 words, never shell text
                [encoded(word) for word in guarded(command.argv)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=self._environment(command),
                cwd=self._folder(command),
                start_new_session=True,
            )
        except OSError as error:
            raise HostError(f"{shown(command.argv)}: {error.strerror}") from error
        background = Background(process)
        try:
            yield background
        finally:
            background.end(self._grace)

    def put(self, path: str, content: bytes | Path, *, mode: int = 0o600) -> None:
        """Write a file, whole or not at all."""
        target = self._path(path)
        temporary = target.with_name(f".drorch-{randomness.token_hex(8)}.tmp")
        try:
            with os.fdopen(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb"
            ) as new:
                if isinstance(content, Path):
                    with content.open("rb") as source:
                        while chunk := source.read(_CHUNK):
                            self._halt.check()
                            new.write(chunk)
                else:
                    new.write(content)
                new.flush()
                os.fchmod(new.fileno(), mode)
                os.fsync(new.fileno())
            temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise HostError(f"{self.name}: cannot write {path!r}: {error.strerror}") from error
        finally:
            with suppress(OSError):
                temporary.unlink()

    def get(self, path: str, *, limit: int = OUTPUT_LIMIT) -> bytes:
        """Read a file."""
        try:
            with self._path(path).open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise HostError(f"{self.name}: cannot read {path!r}: {error.strerror}") from error
        if len(data) > limit:
            raise HostError(f"{self.name}: {path!r} is larger than {limit} bytes")
        return data

    def identity(self) -> Identity:
        """Who this machine is."""
        machine_id = _machine_id()
        home = str(self._home())
        identity = Identity(
            machine_id=f"{machine_id}:{home}" if self._spec.home else machine_id,
            host_key="",
            hostname=socket.gethostname(),
            user=getpass.getuser(),
            home=home,
        )
        return checked(self.name, self._spec, identity)

    @contextmanager
    def dial(self, address: str, port: int, *, timeout: float = 10.0) -> Iterator[socket.socket]:
        """Connect to a TCP port."""
        try:
            connection = socket.create_connection((address, port), timeout=timeout)
        except OSError as error:
            raise HostError(f"{self.name}: nothing answers at {address}:{port}: {error.strerror or error}") from error
        with connection:
            yield connection

    @contextmanager
    def publish(self, path: Path) -> Iterator[int]:
        """Offer a Unix socket on a loopback TCP port."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            doorman = threading.Thread(target=_admit, args=(server, path), name="drorch-publish", daemon=True)
            doorman.start()
            try:
                yield int(server.getsockname()[1])
            finally:
                relay.end(server)

    def close(self) -> None:
        """Nothing is held."""

    def _start(self, command: Command, stack: ExitStack) -> subprocess.Popen[bytes]:
        folder = self._folder(command)
        if not folder.is_dir():
            raise _CannotStart(NOT_EXECUTABLE, f"cannot enter {folder}")
        stdin: int | IO[bytes] = subprocess.PIPE
        if command.stdin is None:
            stdin = subprocess.DEVNULL
        elif isinstance(command.stdin, Path):
            try:
                stdin = stack.enter_context(command.stdin.open("rb"))
            except OSError as error:
                raise HostError(f"cannot read {command.stdin}: {error.strerror}") from error
        try:
            process = subprocess.Popen(  # noqa: S603 words, never shell text
                [encoded(word) for word in command.argv],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=self._environment(command),
                cwd=folder,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise _CannotStart(NOT_FOUND, f"{command.argv[0]}: not found") from error
        except OSError as error:
            raise _CannotStart(NOT_EXECUTABLE, f"{command.argv[0]}: {error.strerror}") from error
        return stack.enter_context(_owned(process))

    def _environment(self, command: Command) -> dict[bytes, bytes]:
        user = getpass.getuser()
        base = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home()),
            "USER": user,
            "LOGNAME": user,
            "LANG": LANG,
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        }
        return {encoded(k): encoded(v) for k, v in environment(base, self._spec.env, command).items()}

    def _home(self) -> Path:
        return Path(self._spec.home or "~").expanduser().absolute()

    def _path(self, path: str) -> Path:
        """``~`` is this host's home, which need not be the user's."""
        home = self._home()
        return home / path[2:] if path.startswith("~/") else home if path == "~" else home / path

    def _folder(self, command: Command) -> Path:
        """Where a command begins: the home, as over SSH, never wherever drorch was called."""
        if command.cwd is not None:
            return self._path(command.cwd)
        return home if (home := self._home()).is_dir() else Path("/")


class _Watch:
    """Ends the commands that still run when this process is gone, however it went; one shell, started when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shell: subprocess.Popen[bytes] | None = None

    @contextmanager
    def over(self, group: int) -> Iterator[None]:
        """Watch a process group meanwhile."""
        self._tell("+", group)
        try:
            yield
        finally:
            self._tell("-", group)

    def _tell(self, sign: str, group: int) -> None:
        with self._lock, suppress(OSError):  # without a shell there is no watch, and the command is no worse for it
            if self._shell is None:
                self._shell = subprocess.Popen(  # noqa: S603 words, never shell text
                    watching(WATCH_GRACE),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                    cwd="/",
                    start_new_session=True,
                )
            if self._shell.stdin is not None:
                self._shell.stdin.write(f"{sign} {group}\n".encode())


_WATCH = _Watch()
"""This process's own, shared by all local hosts."""


class Background:
    """A program that runs beside drorch."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._said = bytearray()
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="drorch-background", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process group's id."""
        return self._process.pid

    @property
    def stderr(self) -> bytes:
        """The last that it said, at most 64 KiB."""
        with self._lock:
            return bytes(self._said)

    def poll(self) -> int | None:
        """Its exit code (128 + n for signal n), or None while it runs."""
        code = self._process.poll()
        return None if code is None else exit_code(code)

    def end(self, grace: float) -> None:
        """Ask its process group to end, then end it."""
        group(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(1)
        for pipe in (self._process.stdin, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        pipe = self._process.stderr
        with suppress(OSError, ValueError):
            while pipe is not None and (data := os.read(pipe.fileno(), _CHUNK)):
                with self._lock:
                    self._said += data
                    del self._said[:-65536]


class _CannotStart(Exception):
    """A program that cannot be executed."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = b"drorch: " + encoded(text) + b"\n"


@contextmanager
def _owned(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Leave neither pipe nor zombie behind."""
    try:
        yield process
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        if process.poll() is None:
            group(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _feeding(pipe: IO[bytes], command: Command) -> Iterator[Feed]:
    """Write the command's input into its pipe, which is not closed under the writer's hands."""
    os.set_blocking(pipe.fileno(), False)

    def take(data: memoryview) -> int | None:
        select.select([], [pipe], [], 0.1)
        try:
            return os.write(pipe.fileno(), data)
        except BlockingIOError:
            return None
        except OSError:
            return 0  # it does not read its input, which is its own affair

    with Feed(command.stdin, take, pipe.close).running() as feed:
        yield feed


def _sync_folder(folder: Path) -> None:
    """Make a rename in it last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _machine_id() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with suppress(OSError):
            if text := Path(path).read_text(encoding="ascii", errors="replace").strip():
                return text
    return ""


def _admit(server: socket.socket, path: Path) -> None:
    """Lead whoever connects to the Unix socket, until the server is closed."""
    with suppress(OSError):
        while True:
            visitor, _ = server.accept()
            threading.Thread(target=relay.lead, args=(visitor, path), name="drorch-publish", daemon=True).start()
