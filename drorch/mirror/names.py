"""The files of a restic repository by their names. Pure.

``config`` apart, each is named by the SHA-256 of its content (restic's design, *Repository Layout*), so a name is a
checksum. What does not look like that is none of the repository's: locks, temporary names, foreign files.
"""

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from drorch.core.store import Entry

CONFIG: Final = "config"
CONFIG_LIMIT: Final = 1 << 20
"""Bytes; a real one has about 150."""
FILE_LIMIT: Final = 1 << 30
"""Bytes of one file that are read at most; restic's packs have up to 128 MiB, an index may be larger."""

_ID = re.compile(r"[0-9a-f]{64}")


class Kind(StrEnum):
    """Folders of a repository whose files are named by their content."""

    KEYS = "keys"
    DATA = "data"
    INDEX = "index"
    SNAPSHOTS = "snapshots"


LISTED: Final = (Kind.SNAPSHOTS, Kind.INDEX, Kind.DATA, Kind.KEYS)
"""In which order a source is listed: what a snapshot needs is then in the later lists."""
UPLOADED: Final = (Kind.KEYS, Kind.DATA, Kind.INDEX, Kind.SNAPSHOTS)
"""In which order files reach a copy, all of one kind before the first of the next: whatever is there at a moment has
all that it needs."""
REMOVED: Final = (Kind.SNAPSHOTS, Kind.INDEX, Kind.DATA)
"""In which order files leave a copy. Keys never do by themselves."""


class File(NamedTuple):
    """One file named by its content."""

    kind: Kind
    id: str
    """64 hexadecimal digits."""

    @property
    def key(self) -> str:
        """Where it lies below the repository."""
        if self.kind is Kind.DATA:
            return f"data/{self.id[:2]}/{self.id}"
        return f"{self.kind.value}/{self.id}"


def file_at(key: str) -> File | None:
    """The file that lies there; None for what is not named by its content."""
    head, _, rest = key.partition("/")
    if head == Kind.DATA.value:
        folder, _, rest = rest.partition("/")
        if folder != rest[:2]:
            return None
    elif head not in _FOLDERS:
        return None
    return File(Kind(head), rest) if _ID.fullmatch(rest) else None


_FOLDERS: Final = frozenset(kind.value for kind in Kind)


def digest(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(slots=True)
class Files:
    """Many files of one kind with their sizes, in 40 bytes each."""

    kind: Kind
    _ids: bytearray = field(default_factory=bytearray)
    _sizes: "array[int]" = field(default_factory=lambda: array("Q"))
    bytes: int = 0

    def add(self, id_: str, size: int) -> None:
        """One more."""
        self._ids += bytearray.fromhex(id_)
        self._sizes.append(size)
        self.bytes += size

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> "Iterator[tuple[File, int]]":
        for at, size in enumerate(self._sizes):
            yield File(self.kind, self._ids[32 * at : 32 * at + 32].hex()), size


class Pair(NamedTuple):
    """One key that is in a source, in a copy, or in both."""

    key: str
    source: Entry | None
    copy: Entry | None


def paired(source: Iterable[Entry], copy: Iterable[Entry], folder: str) -> Iterator[Pair]:
    """Two listings side by side, each in the order of keys; ``folder`` stands before the copy's keys only.

    Both are read as they are needed, so that memory does not grow with them.
    """
    here, there = iter(source), iter(copy)
    one, other = next(here, None), next(there, None)
    cut = len(folder)
    while one is not None or other is not None:
        far = other.key[cut:] if other is not None else ""
        if other is None or (one is not None and one.key < far):
            assert one is not None  # noqa: S101 - one of the two is there
            yield Pair(one.key, one, None)
            one = next(here, None)
        elif one is None or far < one.key:
            yield Pair(far, None, other)
            other = next(there, None)
        else:
            yield Pair(far, one, other)
            one, other = next(here, None), next(there, None)
