"""The disk of a lab host: its own changes, in memory, over a layer over this machine's files."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab import layer, raze
from lab.waiting import LabFailed

_SIZE = "8g"  # of which only what is written takes memory


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

    def fill(self, where: str = "/", *, but: int = 0) -> None:
        """Leave no byte free, or so many, on the disk or on one of its `volumes`: it shrinks around what it holds."""
        now = os.statvfs(self._mounted(where))
        _remount(self._mounted(where), f"size={(now.f_blocks - now.f_bfree) * now.f_frsize + but}")

    def free(self, where: str = "/") -> None:
        """Undo `fill`."""
        _remount(self._mounted(where), f"size={self.volumes.get(where, _SIZE)}")

    def _mounted(self, where: str) -> Path:
        return self.folder if where == "/" else self._at(where)

    def _at(self, path: str | Path) -> Path:
        return self.root / str(path).lstrip("/")


def _remount(where: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", where], check=True)


def _mount(kind: str, where: Path, options: str) -> None:
    words = ("mount", "-t", kind, "-o", options, kind, where)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabFailed(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
