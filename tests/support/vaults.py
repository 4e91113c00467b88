"""A real repository, made once and copied for each test, and machines that back up to it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.host import HostSpec, LocalHostSpec
from drorch.core.model import SecretRef
from drorch.core.repository import BackedUp, RepositorySpec, Snapshot, Tags
from drorch.core.source import Part, Tree
from drorch.hosts.local import LocalHost
from drorch.repositories.restic.repository import ResticRepository
from support.dumping import Known, machine
from support.quickkey import quicken

PASSWORD = "planted-repository-password-3e1f"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COPY_PASSWORD = "planted-copy-password-9b0d"
SECRETS = Known({"vault": PASSWORD, "copy": COPY_PASSWORD, "dump": "planted-dump-password-77aa"})


def tags(run: str = "nightly@1", part: str = "tree") -> Tags:
    """The tags of a part of one source."""
    return Tags(service="shop", source="media", part=part, run=run, plan="0123456789abcdef")


@dataclass(frozen=True)
class Vault:
    """A repository of the test's own."""

    repository: ResticRepository
    folder: Path
    """Where it lies."""
    here: LocalHost
    controller: LocalHost
    bare: Callable[..., subprocess.CompletedProcess[str]]
    """Bare restic on it."""

    def take(self, part: Part, *, run: str = "nightly@1", repeated: bool = False) -> BackedUp:
        """One snapshot."""
        return self.repository.backup(
            self.here, part, tags(run, part.name), time=NOW, progress=lambda _: None, repeated=repeated
        )

    def taken(self, identifier: str) -> Snapshot:
        """A snapshot by its id."""
        (found,) = [each for each in self.repository.snapshots(self.here) if each.id == identifier]
        return found

    def round(self, folder: Path, into: Path) -> Snapshot:
        """Back a folder up and restore it."""
        snapshot = self.taken(self.take(Tree(paths=(str(folder),))).snapshot)
        self.repository.restore(self.here, snapshot, str(into), progress=lambda _: None)
        return snapshot


@pytest.fixture(scope="session")
def empty_vault(restic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository that is cheap to open."""
    folder = tmp_path_factory.mktemp("template") / "vault"
    env = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_CACHE_DIR": str(folder.parent / "cache"), "PATH": os.environ["PATH"]}
    subprocess.run([restic, "init", "-r", folder], env=env, check=True, capture_output=True)
    quicken(folder, PASSWORD)
    return folder


@pytest.fixture(scope="session")
def empty_copy(empty_vault: Path, restic: Path) -> Path:
    """An empty repository for copies of those that `empty_vault` is the template of; cheap to open."""
    folder = empty_vault.parent / "copy"
    env = {
        "RESTIC_PASSWORD": COPY_PASSWORD,
        "RESTIC_FROM_PASSWORD": PASSWORD,
        "RESTIC_FROM_REPOSITORY": str(empty_vault),
        "RESTIC_CACHE_DIR": str(folder.parent / "cache"),
        "PATH": os.environ["PATH"],
    }
    subprocess.run([restic, "init", "-r", folder, "--copy-chunker-params"], env=env, check=True, capture_output=True)
    quicken(folder, COPY_PASSWORD)
    return folder


OpenVault = Callable[..., Vault]
OpenCopy = Callable[..., Vault]


@pytest.fixture
def open_vault(empty_vault: Path, restic: Path, tmp_path: Path) -> Iterator[OpenVault]:
    """Opens repositories, given other words of their declaration; all are closed with the test."""
    opened: list[ResticRepository] = []
    folder = tmp_path / "vault"
    shutil.copytree(empty_vault, folder)

    def bare(*words: str) -> subprocess.CompletedProcess[str]:
        env = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_CACHE_DIR": str(tmp_path / "cache"), "PATH": os.environ["PATH"]}
        return subprocess.run(
            [restic, "-r", folder, *words],
            env=env,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def opener(
        *, name: str = "vault", hosts: Mapping[str, HostSpec] | None = None, secrets: Known = SECRETS, **words: object
    ) -> Vault:
        declared = {"url": str(folder), "password": SecretRef(secret="vault"), **words}
        controller = LocalHost("controller", LocalHostSpec(), halt=Halt())
        here = machine("here", tmp_path / "home")
        repository = ResticRepository(
            name,
            RepositorySpec.model_validate(declared),
            secrets=secrets,
            controller=controller,
            state=tmp_path / "state",
            hosts=hosts or {"here": LocalHostSpec(home=str(tmp_path / "home"))},
            first_wait="0s",
            lock_wait="1s",
        )
        opened.append(repository)
        return Vault(repository, folder, here, controller, bare)

    yield opener
    for each in opened:
        each.close()


@pytest.fixture
def open_copy(empty_copy: Path, open_vault: OpenVault, tmp_path: Path) -> OpenCopy:
    """Opens a second repository, for copies of the first, given other words of its declaration."""
    folder = tmp_path / "copy"
    shutil.copytree(empty_copy, folder)

    def opener(**words: object) -> Vault:
        vault = open_vault(**{"name": "copy", "url": str(folder), "password": SecretRef(secret="copy"), **words})
        return replace(vault, folder=folder)

    return opener


@pytest.fixture
def vault(open_vault: OpenVault) -> Vault:
    """A repository on this machine."""
    return open_vault()


@pytest.fixture
def oddities(tmp_path: Path) -> Path:
    """A folder with all that file systems hold and names can be."""
    folder = tmp_path / "oddities"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "plain").write_text("plain")
    (folder / "nothing").write_bytes(b"")
    (folder / "sub" / "deep" / "big").write_bytes(os.urandom(700_000))
    (folder / "private").write_text("private")
    (folder / "private").chmod(0o600)
    (folder / "link").symlink_to("plain")
    (folder / "dangling").symlink_to("not there\nat all")
    os.link(folder / "plain", folder / "second name")
    os.mkfifo(folder / "pipe")
    for name in (b"-rf", b"new\nline", b"esc\x1b[31m", b"bad\xff", b"bad\xfe", b" blank ", b"$(id)", "ü".encode()):
        (folder / os.fsdecode(name)).write_bytes(name)
    return folder


def contents(root: Path) -> dict[bytes, object]:
    """Everything below a folder that a restore must bring back, by its path in bytes."""
    found: dict[bytes, object] = {}
    for path in root.rglob("*"):
        facts = path.lstat()
        if path.is_symlink():
            content: object = os.fsencode(path.readlink())
        else:
            content = (path.read_bytes() if path.is_file() else b"", facts.st_mtime_ns)
        found[os.fsencode(path.relative_to(root))] = (facts.st_mode, facts.st_uid, facts.st_gid, content)
    return found
