"""Mirrors from every kind of repository to every kind of store, judged by restic in the end."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from drorch.core.host import HostSpec
from drorch.core.model import SecretRef
from drorch.core.repository import RepositorySpec
from drorch.core.source import Tree
from drorch.core.store import Shelf, Store
from drorch.mirror.recover import recover
from drorch.mirror.transfer import Known, Stage, transfer
from drorch.stores.directory import DirectoryStore
from drorch.stores.shelves import open_shelf
from support.ceph import Ceph
from support.dumping import Known as Secrets
from support.sshd import Sshd
from support.stores import SUBSYSTEM, SshdOf, means, s3_stage, sftp_stage
from support.vaults import PASSWORD, Vault


@pytest.fixture
def filled(vault: Vault, tmp_path: Path) -> Vault:
    """A repository with two snapshots."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 100_000)
        vault.take(Tree(paths=(str(folder),)), run=f"nightly@{number}")
    return vault


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Unwound with the test."""
    with ExitStack() as stack:
        yield stack


def files(folder: Path) -> dict[str, bytes]:
    """A repository's files, without locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "locks" and not path.name.startswith(".drorch")
    }


def _spec(url: str, **credentials: str) -> RepositorySpec:
    return RepositorySpec(
        url=url,
        password=SecretRef(secret="password"),
        credentials={name: SecretRef(secret=secret) for name, secret in credentials.items()},
    )


def _from_folder(vault: Vault, _: pytest.FixtureRequest) -> Shelf:
    return open_shelf("nas", _spec(str(vault.folder)), means(), {})


def _from_sftp(vault: Vault, request: pytest.FixtureRequest) -> Shelf:
    of: SshdOf = request.getfixturevalue("sshd_of")
    machine: Sshd = of(SUBSYSTEM)
    hosts: dict[str, HostSpec] = {"far": machine.spec}
    return open_shelf("nas", _spec(f"sftp:{machine.spec.user}@far:{vault.folder}"), means(hosts=hosts), hosts)


def _from_bucket(vault: Vault, request: pytest.FixtureRequest) -> Shelf:
    ceph: Ceph = request.getfixturevalue("ceph")
    bucket, client = ceph.bucket(), ceph.client()
    for key, content in files(vault.folder).items():
        client.put_object(Bucket=bucket, Key=f"repo/{key}", Body=content)
    spec = _spec(f"s3:{ceph.endpoint}/{bucket}/repo", AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="key")
    return open_shelf("nas", spec, means(secrets=Secrets({"id": ceph.access_key, "key": ceph.secret_key})), {})


SOURCES: dict[str, Callable[[Vault, pytest.FixtureRequest], Shelf]] = {
    "folder": _from_folder,
    "sftp": _from_sftp,
    "s3": _from_bucket,
}


def _to_directory(place: Path, _: pytest.FixtureRequest, __: ExitStack) -> Store:
    store = DirectoryStore(kind="directory", path=str(place)).open("disk", means())
    DirectoryStore(kind="directory", path=str(place)).creation("disk", means()).create()
    return store


def _to_sftp(place: Path, request: pytest.FixtureRequest, stack: ExitStack) -> Store:
    of: SshdOf = request.getfixturevalue("sshd_of")
    return sftp_stage(of(SUBSYSTEM).spec, place, stack).open()


def _to_bucket(_: Path, request: pytest.FixtureRequest, stack: ExitStack) -> Store:
    ceph: Any = request.getfixturevalue("ceph")
    return s3_stage(ceph, ceph.bucket(lock=True), stack).open()


TARGETS: dict[str, Callable[[Path, pytest.FixtureRequest, ExitStack], Store]] = {
    "directory": _to_directory,
    "sftp": _to_sftp,
    "s3": _to_bucket,
}


@pytest.mark.parametrize(
    "way",
    [(origin, kind) for origin in SOURCES for kind in TARGETS if origin == "folder" or kind == "directory"],
    ids="-".join,
)
def test_from_and_to(
    filled: Vault, tmp_path: Path, request: pytest.FixtureRequest, stack: ExitStack, way: tuple[str, str]
) -> None:
    """What arrives is the repository, byte for byte; restic reads all of it, also after it was recovered."""
    origin, kind = way
    place = tmp_path / "place"
    place.mkdir()
    source = SOURCES[origin](filled, request)
    stack.callback(source.close)
    store = TARGETS[kind](place, request, stack)
    seen: list[Stage] = []
    done = transfer(source, store, "nas/", Known(), show=seen.append)
    assert done.uploaded == done.objects == len(files(filled.folder))
    last = seen[-1]
    assert (last.done, last.done_bytes) == (last.total, last.total_bytes)
    assert last.total_bytes == done.uploaded_bytes - len((filled.folder / "config").read_bytes())
    again = transfer(source, store, "nas/", Known(done.config, done.seen_until))
    assert (again.uploaded, again.looked_at) == (0, 0)

    rebuilt = tmp_path / "rebuilt"
    rebuilt.mkdir()
    recover(store, "nas/", _to_directory(rebuilt, request, stack), as_of=None, config=done.config)
    assert files(rebuilt) == files(filled.folder)
    shutil.rmtree(filled.folder)
    rebuilt.rename(filled.folder)
    checked: subprocess.CompletedProcess[str] = filled.bare("check", "--read-data", "--no-lock")
    assert checked.returncode == 0, checked.stderr
    assert PASSWORD not in checked.stdout
