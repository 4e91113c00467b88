"""Files below one folder of a machine, as far as objects are kept in them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Found:
    """One name in a folder."""

    name: str
    size: int
    modified: datetime
    """UTC, by that machine's clock."""
    folder: bool = False
    """Whether it is a folder, or a link to one."""


class Files(Protocol):
    """Files below a root. Paths are relative to it, with ``/``; an empty path is the root. Links are followed.

    May be used from several threads. Methods raise an `OSError` as the file system does, by errno where it is known
    (ENOENT, EEXIST, EACCES, ENOSPC), and for a machine that cannot be reached a `HostError`.
    """

    def scan(self, folder: str) -> list[Found]:
        """All regular files and folders in a folder, in no order. What vanishes meanwhile is left out."""
        ...

    def look(self, path: str) -> Found | None:
        """What is there; None for nothing, or something that is neither file nor folder."""
        ...

    def read(self, path: str, most: int) -> bytes:
        """The first ``most`` bytes of a file."""
        ...

    def digest(self, path: str) -> str:
        """SHA-256 of a file, hexadecimal, read from as near to the medium as can be."""
        ...

    def create(self, path: str, content: bytes) -> None:
        """Write a new file (EEXIST where there is one); its content is durable when this returns, if at all possible.
        When it raises, a part of the file may be left.
        """
        ...

    def move(self, old: str, new: str, *, replace: bool) -> None:
        """Give a file another name in its folder, durably and at once.

        Without ``replace``, EEXIST where there is one of that name.
        """
        ...

    def remove(self, path: str) -> None:
        """Remove a file, durably; gone already is as good."""
        ...

    def make(self, folder: str) -> None:
        """Make a folder and those above it up to the root, which is never made; there already is as good."""
        ...

    def free(self) -> int | None:
        """Bytes that can still be written; None where nobody tells."""
        ...

    def mounted(self) -> bool:
        """Whether the root is certainly where another file system begins."""
        ...

    def close(self) -> None:
        """Give back connections; it can be used again afterwards."""
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """A host whose folders can be opened without executing a command there."""

    def open_files(self, root: str, *, lanes: int) -> Files:
        """The files below a folder; nothing connects yet. ``lanes`` is how many threads work on them at most."""
        ...


def moment(seconds: float) -> datetime:
    """A file's time, in UTC; a nonsensical one is the epoch."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)
