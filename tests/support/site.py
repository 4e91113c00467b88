"""A whole site for tests: documents, state and machines below one folder, and drorch as a user starts it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drorch.engine.journal import Journal, Record, Run
from support.quickkey import quicken

PROJECT = Path(__file__).resolve().parent.parent.parent
SHOP = PROJECT / "config" / "demo" / "shop.py"
PASSWORD = "planted-vault-password-5f2a"
KILLED = Path(__file__).with_name("killed.py")


@dataclass(frozen=True)
class Site:
    """The folder of a site, laid out as the shipped documents want it."""

    folder: Path
    env: Mapping[str, str]

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    @property
    def inventory(self) -> Path:
        """The inventory document."""
        return self.folder / "config" / "drorch.yaml"

    def start(self, *words: str, prefix: tuple[str, ...] = ("-m", "drorch.cli.main")) -> subprocess.Popen[str]:
        """A drorch process, not waited for."""
        return subprocess.Popen(
            [sys.executable, *prefix, *words],
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )

    def drorch(self, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """A drorch process that ended with the expected exit code; None expects any but a success."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=240)
        met = process.returncode == expect if expect is not None else process.returncode != 0
        assert met, f"exit code {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def json(self, *words: str, expect: int = 0) -> Any:  # noqa: ANN401 - any JSON
        """What it says with ``--json``."""
        return json.loads(self.drorch(*words, "--json", expect=expect).stdout)

    def killed_at(self, boundary: int, *words: str) -> tuple[int, int]:
        """A drorch process that kills itself at that boundary (0: at none); gives exit code and boundaries passed."""
        count = self.folder / "boundaries"
        with self.start(str(boundary), str(count), *words, prefix=(str(KILLED),)) as process:
            out, err = process.communicate(timeout=240)
        assert process.returncode in (0, -9), f"{out}\n{err}"
        return process.returncode, int(count.read_text())

    def records(self, run: str | None = None) -> list[Record]:
        """The journal, or one run's part of it."""
        return list(Journal(self.state / "journal.sqlite").records(run))

    def newest(self) -> Run:
        """The run that was begun last."""
        return Journal(self.state / "journal.sqlite").runs(limit=1)[0]

    def copy(self, to: Path) -> "Site":
        """The same site in another folder; its documents name everything relative to their own."""
        shutil.copytree(self.folder, to, symlinks=True)
        return lay_env(to)


def lay_env(folder: Path) -> Site:
    """The site in a folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DRORCH_", "RESTIC_"))}
    named = {f"DRORCH_{name.upper()}": str(folder / name) for name in ("config", "runbooks", "state")}
    return Site(folder, {**inherited, **named, "PYTHONPATH": str(PROJECT)})


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def lay_out(folder: Path) -> Site:
    """The shipped documents and a shop on the primary; no repository yet."""
    for name in ("config/secrets", "runbooks", "primary", "standby", "offsite"):
        (folder / name).mkdir(parents=True)
    shutil.copy(PROJECT / "config" / "drorch.yaml", folder / "config")
    port = str(free_port())
    for runbook in (PROJECT / "runbooks").glob("*.yaml"):
        (folder / "runbooks" / runbook.name).write_text(runbook.read_text().replace("18080", port))
    secret = folder / "config" / "secrets" / "vault"
    secret.touch(mode=0o600)
    secret.write_text(f"{PASSWORD}\n")
    for machine in ("primary", "standby"):
        shutil.copy(SHOP, folder / machine)
    subprocess.run([sys.executable, SHOP, "make", folder / "primary"], check=True, capture_output=True)
    return lay_env(folder)


@pytest.fixture(scope="session")
def shop_template(tmp_path_factory: pytest.TempPathFactory, restic: Path) -> Site:
    """A shop with a repository and one backup, to be copied."""
    assert restic.exists()
    site = lay_out(tmp_path_factory.mktemp("shop") / "site")
    site.drorch("repository", "create", "vault")
    quicken(site.folder / "vault", PASSWORD)
    site.drorch("store", "create", "offsite", "--yes=offsite")
    site.drorch("backup", "shop")
    return site


@pytest.fixture
def shop(shop_template: Site, tmp_path: Path) -> Site:
    """A site of the test's own: a shop that was backed up once."""
    return shop_template.copy(tmp_path / "site")


MakeSite = Callable[[], Site]


@pytest.fixture
def make_shop(shop_template: Site, tmp_path: Path) -> MakeSite:
    """Makes as many such sites as a test wants."""
    made: list[Site] = []

    def make() -> Site:
        made.append(shop_template.copy(tmp_path / f"site-{len(made)}"))
        return made[-1]

    return make
