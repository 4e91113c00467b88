"""What is peculiar to a mirrored repository: how it is offered to other hosts, and what restic may keep of it."""

import secrets as randomness
import threading
from contextlib import suppress

from drorch.core.errors import DrorchError, Interrupted, RepositoryError
from drorch.core.host import Command, Host
from drorch.core.secret import Secret
from drorch.core.store import Reading
from drorch.repositories.restic.serve import Storage, storage

ABANDONED = 3
"""Days after which a cache belongs to no run any more."""
_LAST_WORD = 60.0
"""Seconds that a host gets to remove a cache at the end."""
_CERTIFICATE = "--cacert="


def stored(url: str, reading: Reading) -> Storage:
    """What rclone needs to serve a mirror; pure.

    Raises:
        RepositoryError: such a storage cannot be served.
    """
    credentials = {
        name: Secret(name, value) if isinstance(value, str) else value for name, value in reading.env.items()
    }
    found = storage(url, credentials)
    authorities = [word.removeprefix(_CERTIFICATE) for word in reading.options if word.startswith(_CERTIFICATE)]
    return Storage(found.remote, {**found.env, "RCLONE_CA_CERT": authorities[-1]}) if authorities else found


class Caches:
    """Restic's caches of one mirror: one for each host, of this process's own, empty at first.

    What restic keeps of the repository itself, which has the same id, or of an earlier look at the mirror, would stand
    in for bytes that the store may have lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, tuple[Host, str]] = {}

    def at(self, host: Host, work: str) -> str:
        """The folder on a host, made at the first call.

        Raises:
            RepositoryError: it cannot be made.
        """
        with self._lock:
            if host.name not in self._made:
                self._made[host.name] = (host, _make(host, f"{work}/mirrors"))
            return self._made[host.name][1]

    def close(self) -> None:
        """Remove them where their hosts answer; the next run there removes what stays."""
        with self._lock:
            made, self._made = self._made, {}
        for host, path in made.values():
            with suppress(DrorchError, Interrupted):
                host.run(Command(("rm", "-rf", "--", path), timeout=_LAST_WORD))


def _make(host: Host, parent: str) -> str:
    path = f"{parent}/{randomness.token_hex(8)}"
    old = (
        "find",
        parent,
        "-mindepth",
        "1",
        "-maxdepth",
        "1",
        "-mtime",
        f"+{ABANDONED}",
        "-exec",
        "rm",
        "-rf",
        "{}",
        "+",
    )
    for words in (("mkdir", "-p", "-m", "700", "--", parent), old, ("mkdir", "-m", "700", "--", path)):
        made = host.run(Command(words, timeout=300))
        if not made.ok:
            raise RepositoryError(f"{host.name}: {parent} cannot be made ready: {made.errors}", hint="look at it there")
    return path
