"""`core.files.Files` over SFTP. The account needs no shell: nothing is executed there."""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from drorch.core.clock import Halt
from drorch.core.errors import HostError, Unreachable
from drorch.core.files import Found
from drorch.core.host import printable
from drorch.hosts.ssh.connection import Connection, Lost, NoSession, leave, subsystem
from drorch.hosts.ssh.sftp import PATIENCE, POSIX_RENAME, Session, Stalled

_OPENING = 30.0  # seconds for a channel
_WHOLE = 1 << 62  # bytes: no file has more
_SETTLE = 2.0  # seconds for which a server that refuses every session is asked again


class SshFiles:
    """The files below a folder of a machine; each thread works in a session of its own while it does."""

    def __init__(
        self,
        name: str,
        root: str,
        connect: Callable[[], Connection],
        *,
        halt: Halt,
        lanes: int,
        patience: float = PATIENCE,
    ) -> None:
        self._name = name
        self._root = os.fsencode("." if root == "~" else root.removeprefix("~/")).rstrip(b"/") or b"/"
        self._connect = connect
        self._halt = halt
        self._patience = patience
        self._lanes = threading.BoundedSemaphore(lanes)
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._connection: Connection | None = None
        self._idle: list[tuple[Connection, Session]] = []
        self._busy = 0

    def scan(self, folder: str) -> list[Found]:
        """All regular files and folders in a folder."""
        path = self._path(folder)
        with self._session() as session:
            found = []
            links = []
            for name, facts in session.scan(path):
                text = os.fsdecode(name)
                if facts.unclear:
                    links.append(text)
                elif (one := facts.found(text)) is not None:
                    found.append(one)
            for text in links:
                facts_behind = session.look(path + b"/" + os.fsencode(text))
                if facts_behind is not None and (one := facts_behind.found(text)) is not None:
                    found.append(one)
            return found

    def look(self, path: str) -> Found | None:
        """What is there."""
        with self._session() as session:
            facts = session.look(self._path(path))
            return None if facts is None else facts.found(path.rpartition("/")[2])

    def read(self, path: str, most: int) -> bytes:
        """The first bytes of a file."""
        data = bytearray()
        with self._session() as session:
            session.read(self._path(path), most, data.extend)
        return bytes(data)

    def digest(self, path: str) -> str:
        """SHA-256 of what the server gives back."""
        digest = hashlib.sha256()
        with self._session() as session:
            session.read(self._path(path), _WHOLE, digest.update)
        return digest.hexdigest()

    def create(self, path: str, content: bytes) -> None:
        """Write a new file; durable where the server can make it so."""
        with self._session() as session:
            try:
                session.create(self._path(path), content)
            except OSError as error:
                raise self._why(session, path, len(content), error) from error

    def move(self, old: str, new: str, *, replace: bool) -> None:
        """Give a file another name."""
        before, after = self._path(old), self._path(new)
        with self._session() as session:
            if replace and POSIX_RENAME in session.abilities:
                session.replace(before, after)
                return
            if replace:
                # Nothing that is atomic replaces a file there. The new content is safe under its other name, and to
                # have nothing for a moment is what a killed put may leave too.
                session.remove(after)
            try:
                session.rename(before, after)
            except OSError as error:
                if session.look(after) is not None:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from error
                raise

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._session() as session:
            session.remove(self._path(path))

    def make(self, folder: str) -> None:
        """Make a folder and those above it."""
        with self._session() as session:
            if session.look(self._path(folder)) is not None:
                return
            parts = folder.split("/")
            for count in range(1, len(parts) + 1):
                path = self._path("/".join(parts[:count]))
                try:
                    session.make(path)
                except OSError:
                    # Servers tell by a general failure that it is there already.
                    if session.look(path) is None:
                        raise

    def free(self) -> int | None:
        """What may still be written, where the server tells it."""
        with self._session() as session:
            return session.free(self._root)

    def mounted(self) -> bool:
        """Nobody can tell from here."""
        return False

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._idle.clear()
        if connection is not None:
            connection.close()

    def _path(self, path: str) -> bytes:
        return self._root.rstrip(b"/") + b"/" + os.fsencode(path) if path else self._root

    def _why(self, session: Session, path: str, size: int, error: OSError) -> OSError:
        """What a failed write means: the protocol has no word for a full disk."""
        if error.errno == errno.EREMOTEIO:
            with suppress(OSError):
                free = session.free(self._root)
                if free is not None and free < size + (1 << 20):
                    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return error

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A session for one thing to do; one that broke is not used again.

        Raises:
            Unreachable: the server is not there, hangs, or makes no sense; what was asked for may have been done.
        """
        self._halt.check()
        while not self._lanes.acquire(timeout=0.1):
            self._halt.check()
        try:
            connection, session = self._take()
            try:
                yield session
            except (EOFError, Stalled) as error:
                session.close()
                self._give_up(connection)
                why = str(error) or "the connection broke"
                raise Unreachable(f"{self._name}: SFTP: {why}", hint="the machine may hang, or be restarted") from error
            except OSError:
                self._give_back(connection, session)
                raise
            except BaseException:
                session.close()
                raise
            else:
                self._give_back(connection, session)
            finally:
                with self._lock:
                    self._busy -= 1
        finally:
            self._lanes.release()

    def _take(self) -> tuple[Connection, Session]:
        """An idle session, or a new one; where the server grants no more, the next that becomes idle."""
        refused_since: float | None = None
        while True:
            with self._lock:
                if self._idle:
                    taken = self._idle.pop()
                    if not taken[0].alive:
                        continue
                    self._busy += 1
                    return taken
            self._halt.check()
            try:
                taken = self._begin()
            except NoSession as error:
                now = time.monotonic()
                refused_since = refused_since or now
                if not self._busy and now - refused_since > _SETTLE:
                    raise HostError(
                        f"{self._name}: the server grants no session: {error}", hint="MaxSessions in its sshd_config"
                    ) from error
                self._halt.wait(0.05)
            except Lost as error:
                raise Unreachable(f"{self._name}: the connection broke: {error}") from error
            else:
                with self._lock:
                    self._busy += 1
                return taken

    def _begin(self) -> tuple[Connection, Session]:
        connection = self._connected()
        try:
            channel = connection.session(_OPENING)
        except Lost:
            self._give_up(connection)
            raise
        asked = time.monotonic()
        if not subsystem(channel, "sftp", self._patience):
            if not connection.alive or time.monotonic() - asked >= self._patience:
                self._give_up(connection)
                raise Lost("it ended, or hung, when SFTP was asked for")
            leave(channel)
            raise HostError(
                f"{self._name}: the server offers no SFTP", hint="set `Subsystem sftp internal-sftp` in its sshd_config"
            )
        session = Session(channel, self._halt, patience=self._patience)
        try:
            session.begin()
        except (EOFError, OSError, Stalled) as error:
            session.close()
            if _dies(connection):
                self._give_up(connection)
                raise Lost("it ended when SFTP began") from error
            why = printable(str(error)) or "it ended at once"
            raise HostError(
                f"{self._name}: no SFTP: {why}", hint="is the account locked into a folder that is not there?"
            ) from error
        except BaseException:
            session.close()
            raise
        return connection, session

    def _connected(self) -> Connection:
        with self._connecting:
            with self._lock:
                if self._connection is not None and self._connection.alive:
                    return self._connection
            fresh = self._connect()
            with self._lock:
                self._connection = fresh
            return fresh

    def _give_back(self, connection: Connection, session: Session) -> None:
        with self._lock:
            if self._connection is connection:
                self._idle.append((connection, session))
                return
        session.close()

    def _give_up(self, connection: Connection) -> None:
        """The connection is gone, or its server hangs: what others do on it would hang too."""
        with self._lock:
            if self._connection is connection:
                self._connection = None
            self._idle = [idle for idle in self._idle if idle[0] is not connection]
        connection.close()


def _dies(connection: Connection) -> bool:
    """Whether a channel's end was the connection's: that is noticed a moment later."""
    until = time.monotonic() + _LAST_WORDS
    while connection.alive and time.monotonic() < until:
        time.sleep(0.02)
    return not connection.alive


_LAST_WORDS = 1.0
