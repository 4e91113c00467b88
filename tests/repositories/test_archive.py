"""Fetching restic from a Debian archive of the test's own, by real apt: what is not signed and whole is not used."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import ResticUnusable
from drorch.core.host import LocalHostSpec
from drorch.hosts.local import LocalHost
from drorch.repositories.restic.debian import Mirror, fetch

CONTROL = """\
Package: restic
Version: {version}-1
Architecture: {architecture}
Maintainer: tests <tests@example.org>
Description: a stand-in
"""
RELEASE = """\
Origin: Debian
Suite: {suite}
Codename: {suite}
Date: Thu, 01 Jan 2026 00:00:00 UTC
Architectures: {architecture}
Components: main
SHA256:
 {digest} {size} main/binary-{architecture}/Packages
"""

if missing := [name for name in ("apt-get", "dpkg-deb", "gpg") if shutil.which(name) is None]:
    pytest.skip(f"no {missing[0]} here: apt-get install apt dpkg gnupg", allow_module_level=True)


@dataclass(frozen=True)
class Archive:
    """An archive in a folder, signed with a key of its own."""

    folder: Path
    architecture: str

    @property
    def keyring(self) -> Path:
        """Whom to trust."""
        return self.folder / "archive.gpg"

    @property
    def mirror(self) -> Mirror:
        """As a sources list names it."""
        return Mirror(f"file:{self.folder}/archive", str(self.keyring))

    @property
    def package(self) -> Path:
        """The newest package."""
        return max((self.folder / "archive" / "pool").iterdir())

    def release(self, suite: str) -> Path:
        """What vouches for a suite."""
        return self.folder / "archive" / "dists" / suite / "InRelease"

    def offer(self, suite: str, version: str) -> None:
        """Put a package that says its version into a suite."""
        root = self.folder / f"package-{version}"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "usr" / "bin").mkdir(parents=True)
        control = CONTROL.format(version=version, architecture=self.architecture)
        (root / "DEBIAN" / "control").write_text(control)
        (root / "usr" / "bin" / "restic").write_text(f"#!/bin/sh\necho {version}\n")
        package = self.folder / "archive" / "pool" / f"restic_{version}-1_{self.architecture}.deb"
        package.parent.mkdir(parents=True, exist_ok=True)
        _run("dpkg-deb", "--root-owner-group", "--build", str(root), str(package))
        index = self.release(suite).parent / "main" / f"binary-{self.architecture}" / "Packages"
        index.parent.mkdir(parents=True)
        facts = f"Filename: pool/{package.name}\nSize: {package.stat().st_size}\nSHA256: {_digest(package)}\n\n"
        index.write_text(control + facts)
        words = {"digest": _digest(index), "size": index.stat().st_size, "architecture": self.architecture}
        plain = self.release(suite).with_name("Release")
        plain.write_text(RELEASE.format(suite=suite, **words))

    def sign(self, key: "Key") -> None:
        """Vouch for every suite with a key, which is the one to trust."""
        shutil.copy(key.public, self.keyring)
        for plain in (self.folder / "archive" / "dists").glob("*/Release"):
            key.sign(plain, self.release(plain.parent.name))


@dataclass(frozen=True)
class Key:
    """A signing key."""

    home: Path
    """A short path: the agent's socket lies in it."""

    @property
    def public(self) -> Path:
        """What others need to trust it."""
        return self.home / "public.gpg"

    def make(self) -> None:
        """Come into being."""
        self._gpg("--quick-gen-key", "tests@example.org", "rsa2048", "sign", "never")
        self._gpg("--output", str(self.public), "--export")

    def sign(self, plain: Path, signed: Path) -> None:
        """Write the text again, signed."""
        self._gpg("--yes", "--clearsign", "--output", str(signed), str(plain))

    def _gpg(self, *words: str) -> None:
        home = ("--homedir", str(self.home))
        _run("gpg", *home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", *words)


@contextmanager
def new_key() -> Iterator[Key]:
    """A key that is gone afterwards, with its agent."""
    with tempfile.TemporaryDirectory(prefix="gpg-", ignore_cleanup_errors=True) as home:
        key = Key(Path(home))
        key.make()
        try:
            yield key
        finally:
            _run("gpgconf", "--homedir", home, "--kill", "all")


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """An archive with an old suite and a new one."""
    made = Archive(tmp_path_factory.mktemp("archive"), _run("dpkg", "--print-architecture").strip())
    made.offer("trixie", "0.18.0")
    made.offer("sid", "0.19.7")
    with new_key() as key:
        made.sign(key)
    return made


@pytest.fixture
def archive(signed: Archive, tmp_path: Path) -> Archive:
    """A copy that a test may spoil."""
    shutil.copytree(signed.folder / "archive", tmp_path / "mine" / "archive")
    shutil.copy(signed.keyring, tmp_path / "mine")
    return Archive(tmp_path / "mine", signed.architecture)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Where it shall lie: apt must not stumble over the name."""
    folder = tmp_path / "drorch's tools"
    folder.mkdir()
    return folder


def machine() -> LocalHost:
    """This one."""
    return LocalHost("controller", LocalHostSpec(), halt=Halt())


def test_the_recommended_version_is_fetched_and_nothing_else_left(archive: Archive, into: Path) -> None:
    """A suite that is missing or older is passed over; what apt needed is gone afterwards."""
    path = fetch(machine(), into, lambda _: None, mirror=archive.mirror)
    assert list(into.iterdir()) == [path]
    assert path.name == "restic-0.19.7"
    assert _run(str(path)) == "0.19.7\n"


def test_an_older_usable_one_is_better_than_none(archive: Archive, into: Path) -> None:
    """Where nothing recommended is offered, the newest that is usable is taken."""
    shutil.rmtree(archive.release("sid").parent)
    assert fetch(machine(), into, lambda _: None, mirror=archive.mirror).name == "restic-0.18.0"


def test_several_can_fetch_at_once(archive: Archive, into: Path) -> None:
    """Processes that begin together on a new machine do not disturb each other."""
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(fetch, machine(), into, lambda _: None, mirror=archive.mirror) for _ in range(3)]
        (path,) = {each.result() for each in asked}
    assert list(into.iterdir()) == [path]


def unsign(archive: Archive) -> None:
    """Keep the content, drop the signature."""
    for suite in ("trixie", "sid"):
        archive.release(suite).unlink()


def trust_another(archive: Archive) -> None:
    """Trust somebody who signed nothing here."""
    with new_key() as stranger:
        shutil.copy(stranger.public, archive.keyring)


def alter_package(archive: Archive) -> None:
    """Flip a bit of what is signed for, the size unchanged."""
    content = bytearray(archive.package.read_bytes())
    content[-10] ^= 1
    archive.package.write_bytes(content)


@pytest.mark.parametrize("spoil", [unsign, trust_another, alter_package])
def test_what_is_not_vouched_for_is_not_used(archive: Archive, into: Path, spoil: Callable[[Archive], None]) -> None:
    """No signature, a stranger's signature, or another content: nothing is left, and the remedy is told."""
    spoil(archive)
    with pytest.raises(ResticUnusable) as caught:
        fetch(machine(), into, lambda _: None, mirror=archive.mirror)
    assert "on the PATH" in caught.value.hint
    assert list(into.iterdir()) == []
