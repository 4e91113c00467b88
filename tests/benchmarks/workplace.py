"""A place to measure in: documents, state and repository of drorch's own, and a tree to back up."""

import random
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import run

DRORCH = Path(sys.executable).parent / "drorch"
SERVICE = "data"
PASSWORD = "benchmark"

_INVENTORY = """\
site: benchmark
hosts:
  here: {{connector: local, home: "{home}"}}
repositories:
  vault: {{url: "{repository}", password: {{secret: vault}}}}
services:
  data:
    primary: here
    repository: vault
    sources:
      files: {{kind: files, paths: ["{tree}"]}}
secrets:
  vault: {{file: "{password}"}}
"""

_RUNBOOK = """\
runbook: wait-{steps}
kind: maintenance
service: data
steps: [{waits}]
"""


@dataclass(frozen=True, slots=True)
class Workplace:
    """One drorch of its own."""

    folder: Path
    tree: Path
    """What its service consists of."""

    @property
    def env(self) -> Mapping[str, str]:
        """Leads a drorch process here."""
        return {
            "DRORCH_CONFIG": str(self.folder / "config"),
            "DRORCH_RUNBOOKS": str(self.folder / "runbooks"),
            "DRORCH_STATE": str(self.folder / "state"),
        }

    @property
    def repository(self) -> Path:
        """The restic repository."""
        return self.folder / "repository"

    def drorch(self, *words: str) -> None:
        """Run a verb to its good end."""
        run([DRORCH, *words], self.env)


def workplace(folder: Path, tree: Path, *, quick: bool, waits: tuple[int, ...] = (1,)) -> Workplace:
    """Make one, with its repository, and with a runbook ``wait-N`` of N steps that do nothing for each number.

    Unless in haste, one such run has been made, so that nothing is measured that is made once in a state folder's life.
    """
    for name in ("config", "runbooks", "home"):
        (folder / name).mkdir(parents=True)
    password = folder / "config" / "vault"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    made = Workplace(folder, tree)
    (folder / "config" / "drorch.yaml").write_text(
        _INVENTORY.format(home=folder / "home", repository=made.repository, tree=tree, password=password)
    )
    for count in waits:
        text = _RUNBOOK.format(steps=count, waits=", ".join(["{kind: wait, for: 0s}"] * count))
        (folder / "runbooks" / f"wait-{count}.yaml").write_text(text)
    made.drorch("repository", "create", "vault")
    if not quick:
        made.drorch("run", f"wait-{waits[0]}")
    return made


def fill(tree: Path, *, files: int, size: int) -> None:
    """Write a tree of about so many bytes, the same each time: half noise, half text; few large files, many small."""
    chance = random.Random(7)  # noqa: S311 - the same bytes each time
    shares = [chance.lognormvariate(0, 1.2) for _ in range(files)]
    for number, share in enumerate(shares):
        folder = tree / f"{number % 40:02}"
        folder.mkdir(parents=True, exist_ok=True)
        length = max(1, round(size * share / sum(shares)))
        (folder / f"{number:05}").write_bytes(chance.randbytes(length) if number % 2 else _text(chance, length))


def restic() -> str:
    """The restic that drorch uses here: the first on the PATH."""
    found = shutil.which("restic")
    if found is None:
        raise AssertionError("no restic on the PATH: `make tools` brings one, `make bench` finds it")
    return found


def _text(chance: random.Random, length: int) -> bytes:
    words = [chance.randbytes(5).hex().encode() for _ in range(200)]
    lines = (b" ".join(chance.choices(words, k=12)) + b"\n" for _ in range(length // 130 + 1))
    return b"".join(lines)[:length]
