"""A folder as a shelf or a store, wherever it lies: `core.files.Files` say how its files are reached.

**The marker.** A disk that is not mounted looks like an empty folder, and a mirror would fill the disk beneath it, or
take every copy for lost. So a store's folder holds a file ``.drorch-store``, and without it every verb refuses.
`FolderStore.create` writes it, into a folder that is still empty; nothing else ever does, except that `ready` marks an
empty folder which is certainly a mount point. Whose store it is stands nowhere in it: sites that share a disk under
several prefixes share the marker, and disks that take turns are each a store. A repository's folder is known in the
same way by its ``config``.

**Whole or not at all.** Content goes to a temporary name in the same folder, is made durable, read back from the
medium, compared, and renamed. What a killed process leaves under such a name no listing shows, and a later put into
that folder removes it when it is older than a day.
"""

import errno
import hashlib
import random
import secrets as randomness
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TypeVar

from drorch.core.clock import Clock
from drorch.core.errors import (
    AlreadyThere,
    ContentRefused,
    DrorchError,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnreachable,
    Unreachable,
)
from drorch.core.files import Files, Found
from drorch.core.host import printable
from drorch.core.store import Created, Creation, Entry, Lock, Probe, Receipt, Recorded, Version
from drorch.stores._trials import tried, unlocked

MARKER = ".drorch-store"
LEFTOVER = timedelta(days=1)
"""Age from which a temporary file is nobody's."""
TRIES = 5
LONGEST_WAIT = 20.0
"""Seconds between two tries at most."""

_OWN = ".drorch-"  # names that begin so are no objects
_DEPTH = 16  # folders within folders: more is a link in a circle
_TEXT = b"A store of off-site copies of drorch's. Do not remove this file: it tells this disk from an unmounted one.\n"

_T = TypeVar("_T")


class FolderShelf:
    """Objects in files below a folder."""

    def __init__(
        self, shown: str, files: Files, *, clock: Clock, lanes: int, marker: str, unmarked: str, prefix: str = ""
    ) -> None:
        self.shown = shown
        self.lanes = lanes
        self._files = files
        self._clock = clock
        self._marker = marker
        self._unmarked = unmarked
        self._prefix = f"{prefix}/" if prefix else ""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every object below a folder, in order; one folder's names are in memory at a time, and those above it."""
        self._try(folder, self._marked)
        if folder and not folder.endswith("/"):
            raise StoreError(f"{self.shown}: {folder} is no folder", hint="it must end with /")
        yield from self._below(folder)

    def read(self, key: str, *, limit: int, version: str = "") -> bytes:
        """A whole object."""
        self._known(key, version)
        content = self._try(key, lambda: self._files.read(self._at(key), limit + 1))
        if len(content) > limit:
            raise StoreError(f"{self.shown}: {key} has more than {limit} bytes")
        return content

    def close(self) -> None:
        """Give back connections."""
        self._files.close()

    def _below(self, folder: str, depth: int = 0) -> Iterator[Entry]:
        if depth > _DEPTH:
            raise StoreError(f"{self.shown}: {folder} lies too deep", hint="does a link there lead in a circle?")
        try:
            names = self._try(folder, lambda: self._files.scan(self._at(folder).rstrip("/")))
        except ObjectMissing:
            return
        # With its slash, a folder's name stands where the keys below it belong.
        for order, found in sorted((found.name + "/" * found.folder, found) for found in names if _object(found)):
            key = folder + order
            if found.folder:
                yield from self._below(key, depth + 1)
            else:
                yield Entry(key, found.size, found.modified)

    def _at(self, key: str) -> str:
        """Where an object is, as `Files` take it."""
        return self._prefix + key

    def _known(self, key: str, version: str = "") -> None:
        """Refuse what is no key, or a version: there are none."""
        parts = key.split("/")
        if any(part in {"", ".", ".."} or part.startswith(_OWN) or "\0" in part for part in parts):
            raise StoreError(f"{self.shown}: {key!r} is no key")
        if version:
            raise ObjectMissing(f"{self.shown}: {key} has no versions")

    def _marked(self) -> None:
        """Make sure that this is the place that is meant.

        Raises:
            StoreError: it is not.
        """
        if self._files.look(self._marker) is None:
            if self._files.look("") is None:
                raise StoreError(f"{self.shown}: there is no such folder", hint="is its disk mounted?")
            raise StoreError(f"{self.shown}: {self._marker} is missing there", hint=self._unmarked)

    def _try(self, key: str, attempt: Callable[[], _T]) -> _T:
        """Do it, and again while the machine cannot be reached."""
        for again in range(TRIES - 1):
            try:
                with self._told(key):
                    return attempt()
            except StoreUnreachable:
                self._clock.sleep(random.uniform(0, min(LONGEST_WAIT, 0.5 * 4**again)))  # noqa: S311 - no secret
        with self._told(key):
            return attempt()

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Foreign errors as a store's."""
        try:
            yield
        except StoreError:
            raise
        except Unreachable as error:
            raise StoreUnreachable(f"{self.shown}: {error.message}", hint=error.hint) from error
        except DrorchError as error:
            raise StoreError(f"{self.shown}: {error.message}", hint=error.hint) from error
        except OSError as error:
            raise self._failure(key, error) from error

    def _failure(self, key: str, error: OSError) -> StoreError:
        where = f"{self.shown}: {key}" if key else self.shown
        said = printable(error.strerror or str(error))
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            with self._told(""):
                self._marked()  # nothing is missing where everything is
            return ObjectMissing(f"{where} is not there")
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return StoreError(f"{where}: no space is left: {self._space()}", hint="free some, or use a larger disk")
        if error.errno in {errno.EACCES, errno.EPERM}:
            return StoreDenied(f"{where}: {said}", hint="the user that drorch is must own the folder and what is in it")
        if error.errno == errno.EROFS:
            return StoreDenied(
                f"{where}: {said}", hint="mount it for writing; damaged disks become read-only by themselves"
            )
        if error.errno == errno.EIO:
            return StoreError(f"{where}: {said}", hint="the disk may be failing: see the kernel's log")
        return StoreError(f"{where}: {said}")

    def _space(self) -> str:
        free: int | None = None
        with suppress(OSError, DrorchError):
            free = self._files.free()
        return "how much is free is unknown" if free is None else f"{free / 1e6:.1f} MB are free"


class FolderStore(FolderShelf):
    """`core.store.Store` in a folder.

    It refuses what does not match its checksum, also what came to the medium otherwise than it was sent, because each
    object is read back before it gets its name. It keeps no versions and locks nothing: whoever may write may delete,
    so the writer is the deleter too.
    """

    def __init__(self, name: str, shown: str, files: Files, *, clock: Clock, lanes: int, prefix: str = "") -> None:
        super().__init__(
            f"{name} ({shown})",
            files,
            clock=clock,
            lanes=lanes,
            marker=MARKER,
            unmarked="is its disk mounted? A new, empty folder is made a store once: drorch store create " + name,
            prefix=prefix,
        )
        self.name = name
        self.versioned = False
        self.lock: Lock | None = None
        self._prepared: set[str] = set()
        self._preparing = threading.Lock()

    def close(self) -> None:
        """Give back connections; the folder may be another when it is used again."""
        super().close()
        with self._preparing:
            self._prepared.clear()

    def create(self) -> None:
        """Make an empty folder this store's place, for good; safe to repeat.

        Raises:
            StoreError: it is missing, or there is something in it.
        """

        def mark() -> None:
            if self._files.look(MARKER) is not None:
                return
            if self._files.look("") is None:
                self._marked()
            if strange := self._strange():
                raise StoreError(
                    f"{self.shown}: it is not empty: {printable(strange[0])} is there",
                    hint=f"use an empty folder, or put an empty file {MARKER} into it if it is a store nevertheless",
                )
            temporary = _temporary()
            self._files.create(temporary, _TEXT)
            self._files.move(temporary, MARKER, replace=True)

        self._try("", mark)

    def creation(self) -> Creation:
        """What making it takes, for somebody to agree to."""

        def do() -> Created:
            with self._told(""):
                there = self._files.look(MARKER) is not None
            self.create()
            done = () if there else (f"{MARKER} was written",)
            return Created(done=done, has=(f"{MARKER}, which tells it from a disk that is not mounted",), lacks=())

        return Creation(
            will=(f"{self.shown}: a file {MARKER} is written into the folder, which must be there and empty",),
            warnings=("if the folder is for another disk, that disk must be mounted now",),
            create=do,
        )

    def ready(self) -> None:
        """Check that the folder is there, is the right one, and can be written to."""

        def fresh() -> bool:
            return self._files.look(MARKER) is None and self._files.mounted() and not self._strange()

        def write() -> None:
            self._marked()
            temporary = _temporary()
            self._files.create(temporary, b"ready\n")
            self._files.remove(temporary)

        if self._try("", fresh):
            self.create()
        self._try("", write)

    def put(self, key: str, content: bytes, *, sha256: str, absent: bool = False) -> Receipt:
        """Write an object."""
        self._known(key)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ContentRefused(f"{self.shown}: {key} does not match its checksum")
        return self._put(key, content, sha256, absent=absent)

    def recorded(self, key: str, *, version: str = "") -> Recorded:
        """Size and time: a folder records no checksum."""
        self._known(key, version)
        found = self._try(key, lambda: self._file(key))
        return Recorded(size=found.size, modified=found.modified)

    def extend(self, key: str, *, until: datetime, version: str = "") -> None:
        """Never possible."""
        raise StoreError(f"{self.shown}: a folder cannot lock what it holds", hint="use kind: s3 for that")

    def versions(self, start: str) -> Iterator[Version]:
        """The objects."""
        folder, slash, _ = start.rpartition("/")
        for entry in self.entries(folder + slash):
            if entry.key.startswith(start):
                yield Version(entry.key, "", entry.size, entry.modified, latest=True)

    def remove(self, key: str, *, version: str = "") -> None:
        """Remove an object; the writer may."""
        self._known(key, version)

        def gone() -> None:
            self._marked()
            self._files.remove(self._at(key))

        self._try(key, gone)

    def probe(self) -> Probe:
        """Try what a safe store refuses."""

        def tampered(key: str, content: bytes, sha256: str) -> Receipt:
            return self._put(key, content, sha256, absent=False)

        return tried(self, tampered=tampered, further=lambda _: unlocked("a folder cannot lock what it holds"))

    def _put(self, key: str, content: bytes, sha256: str, *, absent: bool) -> Receipt:
        """Write, read back, compare, rename."""
        place = self._at(key)
        folder = place.rpartition("/")[0]
        temporary = f"{folder}/{_temporary()}" if folder else _temporary()
        named = False

        def attempt() -> Receipt:
            nonlocal named
            self._marked()
            if named and self._files.look(temporary) is None and self._files.look(place) is not None:
                return self._receipt(key, sha256)  # the former attempt did it, and only the answer was lost
            named = False
            if absent and self._files.look(place) is not None:
                raise AlreadyThere(f"{self.shown}: there is {key} already")
            try:
                self._written(temporary, content)
                self._compared(key, temporary, sha256)
                named = True
                self._files.move(temporary, place, replace=not absent)
            except FileExistsError as error:
                self._discard(temporary)
                raise AlreadyThere(f"{self.shown}: there is {key} already") from error
            except Unreachable:
                raise  # it is removed when it is written again
            except BaseException:
                self._discard(temporary)
                raise
            return self._receipt(key, sha256)

        return self._try(key, attempt)

    def _written(self, temporary: str, content: bytes) -> None:
        folder = temporary.rpartition("/")[0]
        self._prepare(folder)
        self._files.remove(temporary)
        try:
            self._files.create(temporary, content)
        except FileNotFoundError:  # somebody removed the folder since
            self._prepared.discard(folder)
            self._prepare(folder)
            self._files.create(temporary, content)

    def _compared(self, key: str, temporary: str, sha256: str) -> None:
        actual = self._files.digest(temporary)
        if actual != sha256:
            raise ContentRefused(
                f"{self.shown}: {key} does not match its checksum: it reads as {actual[:16]}…, "
                f"and {sha256[:16]}… was to be written",
                hint="if this repeats, suspect the disk, the machine's memory, or what lies between",
            )

    def _receipt(self, key: str, sha256: str) -> Receipt:
        return Receipt(at=self._file(key).modified, sha256=sha256)

    def _file(self, key: str) -> Found:
        found = self._files.look(self._at(key))
        if found is None or found.folder:
            self._marked()
            raise ObjectMissing(f"{self.shown}: {key} is not there")
        return found

    def _prepare(self, folder: str) -> None:
        """Once in a process for each folder: make it, and remove what killed attempts left there."""
        with self._preparing:
            if folder in self._prepared:
                return
            if folder:
                self._files.make(folder)
            oldest = self._clock.now() - LEFTOVER
            for found in self._files.scan(folder):
                if found.name.startswith(_OWN) and found.name.endswith(".tmp") and found.modified < oldest:
                    self._files.remove(f"{folder}/{found.name}" if folder else found.name)
            self._prepared.add(folder)

    def _strange(self) -> list[str]:
        """Names in the folder that are not drorch's."""
        return sorted(found.name for found in self._files.scan("") if _object(found))

    def _discard(self, temporary: str) -> None:
        with suppress(OSError, DrorchError):
            self._files.remove(temporary)


def _temporary() -> str:
    return f"{_OWN}{randomness.token_hex(8)}.tmp"


def _object(found: Found) -> bool:
    return not found.name.startswith(_OWN) and not (found.folder and found.name == "lost+found")
