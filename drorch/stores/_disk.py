"""`core.files.Files` on a disk of the controller."""

import errno
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from drorch.core.files import Found, moment

_CHUNK = 1 << 20
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Disk:
    """The files below a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def scan(self, folder: str) -> list[Found]:
        """All regular files and folders in a folder."""
        found = []
        with os.scandir(self._path(folder)) as names:
            for name in names:
                try:
                    facts = name.stat()
                except FileNotFoundError:  # gone meanwhile, or a link to nowhere
                    continue
                if (one := _found(name.name, facts)) is not None:
                    found.append(one)
        return found

    def look(self, path: str) -> Found | None:
        """What is there."""
        try:
            return _found(path.rpartition("/")[2], self._path(path).stat())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str, most: int) -> bytes:
        """The first bytes of a file."""
        descriptor = os.open(os.path.join(self.root, path), os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH118 - of many files
        try:
            # What is asked for is set aside before it is read, and most files are far smaller than the limit.
            content = os.read(descriptor, min(most, os.fstat(descriptor).st_size + 1))
            if not content or len(content) == most:
                return content
            parts = [content]
            while further := os.read(descriptor, min(most - sum(map(len, parts)), _CHUNK)):
                parts.append(further)
        finally:
            os.close(descriptor)
        return b"".join(parts) if len(parts) > 1 else content

    def digest(self, path: str) -> str:
        """SHA-256, read from the medium where the system agrees to forget what it remembers."""
        digest = hashlib.sha256()
        with self._path(path).open("rb", buffering=0) as file:
            with suppress(OSError):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def create(self, path: str, content: bytes) -> None:
        """Write a new file, readable by its owner only."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(self._path(path), flags, 0o600), "wb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())

    def move(self, old: str, new: str, *, replace: bool) -> None:
        """Give a file another name."""
        before, after = self._path(old), self._path(new)
        if replace:
            before.replace(after)
        else:
            try:
                after.hardlink_to(before)
            except OSError as error:
                # FAT and some network disks have no hard links, and the system offers nothing else that is atomic.
                if error.errno not in _NO_LINKS or after.exists():
                    raise
                before.replace(after)
            else:
                before.unlink()
        _sync(after.parent)

    def remove(self, path: str) -> None:
        """Remove a file."""
        place = self._path(path)
        try:
            place.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        _sync(place.parent)

    def make(self, folder: str) -> None:
        """Make a folder and those above it."""
        place = self.root
        for part in folder.split("/"):
            above, place = place, place / part
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
            _sync(above)  # also when it was there: whoever made it may have been killed before this

    def free(self) -> int | None:
        """What this user may still write."""
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize

    def mounted(self) -> bool:
        """Whether it is a mount point."""
        return os.path.ismount(self.root)

    def close(self) -> None:
        """Nothing is held."""

    def _path(self, path: str) -> Path:
        return self.root / path if path else self.root


def _found(name: str, facts: os.stat_result) -> Found | None:
    folder = stat.S_ISDIR(facts.st_mode)
    if not folder and not stat.S_ISREG(facts.st_mode):
        return None
    return Found(name, facts.st_size, moment(facts.st_mtime), folder=folder)


def _sync(folder: Path) -> None:
    """Make names in it last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems know no such thing
            raise
    finally:
        os.close(descriptor)
