"""The disk of a lab host: its own changes, in memory, over a layer over this machine's files."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab import layer, raze
from lab.waiting import LabFailed

_SIZE = "256m"


@dataclass(frozen=True)
class Disk:
    """A disk; it can be read and written from here, whether its host is on or off."""

    folder: Path
    """Where this machine keeps it."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Further disks in it: where they are mounted, and how large they are."""

    @property
    def root(self) -> Path:
        """Its root folder as seen from here. What the host mounts while it runs, such as ``/run``, is not in it."""
        return self.folder / "root"

    def make(self, below: Path) -> None:
        """Make it, empty, over a layer."""
        self.folder.mkdir(parents=True)
        _mount("tmpfs", self.folder, f"size={_SIZE},mode=755")
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir()
        upper, work = self.folder / "upper", self.folder / "work"
        _mount("overlay", self.root, f"lowerdir={below}:/,upperdir={upper},workdir={work}")
        for needed in layer.NEEDED:
            if needed.stat().st_dev != Path("/").stat().st_dev:  # a mount of its own, which the overlay does not show
                self._at(needed).mkdir(parents=True, exist_ok=True)
                subprocess.run(["mount", "--bind", needed, self._at(needed)], check=True)
        for where, size in self.volumes.items():
            self._at(where).mkdir(parents=True, exist_ok=True)
            _mount("tmpfs", self._at(where), f"size={size},mode=755")

    def remove(self) -> None:
        """Throw it away."""
        raze.unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644, owner: str = "root") -> None:
        """A file, with its folders."""
        file = self._at(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        shutil.chown(file, owner, owner)

    def read(self, path: str) -> str:
        """The text of a file."""
        return self._at(path).read_text()

    def fill(self, where: str = "/") -> None:
        """Leave no byte free: of all, or of one of the `volumes`."""
        file = self._filling(where)
        with file.open("wb") as filling, contextlib.suppress(OSError):
            while True:
                free = os.statvfs(file)
                block = max(free.f_bavail * free.f_frsize, free.f_frsize)
                os.posix_fallocate(filling.fileno(), os.fstat(filling.fileno()).st_size, block)

    def free(self, where: str = "/") -> None:
        """Take away what `fill` put there."""
        self._filling(where).unlink(missing_ok=True)

    def _filling(self, where: str) -> Path:
        return self._at(where) / ".filling"

    def _at(self, path: str | Path) -> Path:
        return self.root / str(path).lstrip("/")


def _mount(kind: str, where: Path, options: str) -> None:
    words = ("mount", "-t", kind, "-o", options, kind, where)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabFailed(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
