"""Mirrors read where they lie, by real restic: nothing is ever written to them, and no other host gets their keys."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import RepositoryError, RepositoryMissing
from drorch.core.host import Command, Host, HostSpec
from drorch.core.model import SecretRef
from drorch.core.repository import Repository, Snapshot
from drorch.core.secret import Secret
from drorch.core.source import Tree
from drorch.core.store import Reading
from drorch.hosts import open_host
from drorch.repositories import open_mirror
from drorch.repositories.restic.gate import Gate, reads
from drorch.repositories.restic.mirrored import stored
from drorch.repositories.restic.repository import ResticRepository
from drorch.stores.directory import DirectoryStore
from drorch.stores.s3 import S3Store
from support.dumping import Known
from support.processes import eventually
from support.rclone import RcloneS3
from support.sshd import Sshd
from support.vaults import NOW, PASSWORD, SECRETS, Vault, contents, tags

OpenMirror = Callable[[Reading], ResticRepository]


@dataclass(frozen=True)
class Mirrored:
    """A copy of a repository's files in a store with an awkward path; the repository itself is gone."""

    folder: Path
    """Where the copy lies."""
    reading: Reading
    """How the store says to read it."""
    taken: Snapshot
    """Its one snapshot."""
    source: Path
    """What was backed up: all that names and files can be."""
    open: OpenMirror
    """Opens a mirror, known to the other machine too; closed with the test."""

    def mirror(self) -> ResticRepository:
        """This one."""
        return self.open(self.reading)

    def restore(self, at: Host, into: Path, repository: ResticRepository | None = None) -> None:
        """Restore it there, compare, and look at what came."""
        repository = repository or self.mirror()
        (found,) = repository.snapshots(at, tags={"service": "shop"})
        assert found.id == self.taken.id
        repository.restore(at, found, str(into), progress=lambda _: None)
        assert repository.compare(at, found, str(into)).differing == ()
        assert contents(into / str(self.source)[1:]) == contents(self.source)


@pytest.fixture
def web(sshd: Sshd, restic: Path) -> Iterator[tuple[Host, HostSpec]]:
    """A machine that is reached by SSH and has restic on its PATH."""
    spec = sshd.spec.model_copy(update={"env": {"PATH": f"{restic.parent}:/usr/bin:/bin"}})
    host = open_host("web", spec, secrets=SECRETS, halt=Halt())
    yield host, spec
    host.close()


@pytest.fixture
def mirrored(vault: Vault, web: tuple[Host, HostSpec], oddities: Path, tmp_path: Path) -> Iterator[Mirrored]:
    """A repository with one snapshot, copied to a store and lost."""
    opened: list[ResticRepository] = []

    def opener(reading: Reading) -> ResticRepository:
        found = open_mirror(
            "vault@offsite",
            reading,
            SecretRef(secret="vault"),
            secrets=SECRETS,
            controller=vault.controller,
            state=tmp_path / "state",
            hosts={"web": web[1]},
        )
        assert isinstance(found, ResticRepository)
        opened.append(found)
        return found

    taken = vault.taken(vault.take(Tree(paths=(str(oddities),))).snapshot)
    folder = tmp_path / 'off "site: x' / "vault"
    shutil.copytree(vault.folder, folder, ignore=shutil.ignore_patterns("locks"))
    shutil.rmtree(vault.folder)
    reading = DirectoryStore(kind="directory", path=str(folder.parent)).reading("vault", SECRETS)
    assert reading is not None
    yield Mirrored(folder, reading, taken, oddities, opener)
    for each in opened:
        each.close()


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its times of change, which any writing moves."""
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns) for path in paths}


def test_all_reading_leaves_a_mirror_untouched(vault: Vault, mirrored: Mirrored, tmp_path: Path) -> None:
    """Listing, restoring, comparing and checking work without the repository and write nothing, not even a lock."""
    before = everything(mirrored.folder)
    mirror = mirrored.mirror()
    assert mirror.identify(vault.controller)
    mirrored.restore(vault.here, tmp_path / "into", mirror)
    mirror.check(vault.controller, subset=(1, 1))
    assert everything(mirrored.folder) == before


@pytest.mark.parametrize(
    "write",
    [
        lambda repository, at: repository.create(at),
        lambda repository, at: repository.unlock(at),
        lambda repository, at: repository.forget(at, ["a" * 64], prune=False),
        lambda repository, at: repository.forget(at, [], prune=True),
        lambda repository, at: repository.backup(
            at, Tree(paths=("/etc/hostname",)), tags(), time=NOW, progress=lambda _: None
        ),
        lambda repository, at: repository.copy_from(at, repository, [], progress=lambda _: None),
    ],
    ids=["create", "unlock", "forget", "prune", "backup", "copy"],
)
def test_what_writes_is_refused(vault: Vault, mirrored: Mirrored, write: Callable[[Repository, Host], object]) -> None:
    """Nothing that changes a repository begins on a mirror."""
    before = everything(mirrored.folder)
    with pytest.raises(RepositoryError, match="only read"):
        write(mirrored.mirror(), vault.here)
    assert everything(mirrored.folder) == before


def test_a_lock_in_a_mirror_is_no_obstacle_and_stays(vault: Vault, mirrored: Mirrored) -> None:
    """A lock that somebody copied along keeps nobody from reading, and is left alone."""
    (mirrored.folder / "locks").mkdir()
    (mirrored.folder / "locks" / ("a" * 64)).write_bytes(b"not even a lock")
    assert mirrored.mirror().snapshots(vault.controller)
    assert (mirrored.folder / "locks" / ("a" * 64)).exists()


def test_no_mirror_there_says_so(vault: Vault, mirrored: Mirrored, tmp_path: Path) -> None:
    """An empty place is no reason to create a repository there."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(RepositoryMissing, match="no mirror") as caught:
        mirrored.open(Reading(str(tmp_path / "empty"))).snapshots(vault.controller)
    assert "create" not in caught.value.hint
    assert not any((tmp_path / "empty").iterdir())


def test_what_restic_kept_of_the_repository_proves_nothing(vault: Vault, mirrored: Mirrored, tmp_path: Path) -> None:
    """Files that the mirror has lost are missed, although restic read them from the repository a moment ago."""
    mirrored.restore(vault.here, tmp_path / "whole")
    kept = [*(tmp_path / "home").rglob(f"*/snapshots/*/{mirrored.taken.id}")]
    assert kept, "restic keeps nothing, so this shows nothing"
    (mirrored.folder / "snapshots" / mirrored.taken.id).unlink()
    assert mirrored.mirror().snapshots(vault.here) == ()
    for index in (mirrored.folder / "index").iterdir():
        index.write_bytes(bytes(len(index.read_bytes())))
    with pytest.raises(RepositoryError):
        mirrored.mirror().restore(vault.here, mirrored.taken, str(tmp_path / "into"), progress=lambda _: None)


def test_nothing_is_kept_of_a_mirror(vault: Vault, mirrored: Mirrored, tmp_path: Path) -> None:
    """What restic kept while it read is gone after closing, and the mirror can be read again."""
    mirror = mirrored.mirror()
    for _ in range(2):
        mirror.snapshots(vault.here)
        (parent,) = tmp_path.rglob("mirrors")
        assert len(list(parent.iterdir())) == 1
        mirror.close()
        assert not list(parent.iterdir())


def test_another_machine_reads_through_the_controller(
    mirrored: Mirrored, web: tuple[Host, HostSpec], tmp_path: Path
) -> None:
    """A mirror in a folder of the controller is restored and compared on another machine, and stays untouched."""
    before = everything(mirrored.folder)
    mirrored.restore(web[0], tmp_path / "into")
    assert everything(mirrored.folder) == before


def test_another_machine_cannot_write(
    mirrored: Mirrored, web: tuple[Host, HostSpec], restic: Path, tmp_path: Path
) -> None:
    """Whoever has the repository's password and the run's own still adds no snapshot and no lock."""
    mirror, (host, _) = mirrored.mirror(), web
    mirror.snapshots(host)
    before = everything(mirrored.folder)
    with mirror.reach.opened(host) as place:
        env = {**place, "RESTIC_PASSWORD": Secret("p", PASSWORD), "RESTIC_CACHE_DIR": str(tmp_path / "cache")}
        for words in (("backup", "--no-lock", "/etc/hostname"), ("forget", "--no-lock", mirrored.taken.id)):
            assert not host.run(Command((str(restic), *words), env=env, timeout=5)).ok
        listed = host.run(Command((str(restic), "--no-lock", "snapshots"), env=env, timeout=15))
    assert listed.ok, listed.errors
    assert everything(mirrored.folder) == before


@pytest.fixture
def bucket(mirrored: Mirrored, rclone_s3: RcloneS3) -> Reading:
    """The mirror in a bucket instead, as the store says to read it."""
    name = rclone_s3.bucket()
    shutil.copytree(mirrored.folder, rclone_s3.folder / name / "acme" / "vault")
    shutil.rmtree(mirrored.folder)
    store = S3Store(
        kind="s3", endpoint=rclone_s3.endpoint, bucket=name, prefix="acme", credentials=SecretRef(secret="writer")
    )
    reading = store.reading("vault", Known({"writer": f"{rclone_s3.access_key}:{rclone_s3.secret_key}"}))
    assert reading is not None
    return reading


def test_a_bucket_is_read_by_the_controller_itself(
    vault: Vault, mirrored: Mirrored, bucket: Reading, tmp_path: Path
) -> None:
    """A mirror in a bucket is restored where it lies."""
    mirrored.restore(vault.here, tmp_path / "into", mirrored.open(bucket))


def test_another_machine_reads_a_bucket_without_its_key(
    mirrored: Mirrored, bucket: Reading, rclone_s3: RcloneS3, web: tuple[Host, HostSpec], tmp_path: Path
) -> None:
    """A mirror in a bucket is restored on another machine, which is never given the bucket's key."""
    mirror, (host, _) = mirrored.open(bucket), web
    mirrored.restore(host, tmp_path / "into", mirror)
    with mirror.reach.opened(host) as place:
        given = "\n".join(value if isinstance(value, str) else value.reveal() for value in place.values())
    assert "rest:http://127.0.0.1:" in given
    assert rclone_s3.secret_key not in given
    assert rclone_s3.access_key not in given


def test_a_certificate_goes_to_the_server() -> None:
    """The authority of a store's certificate reaches rclone where rclone is who connects."""
    found = stored(
        "s3:https://s3.example.com/bucket/vault",
        Reading("", {"AWS_ACCESS_KEY_ID": "id"}, ("-o", "s3.bucket-lookup=path", "--cacert=/etc/ca.pem")),
    )
    assert found.remote == ":s3:bucket/vault"
    assert found.env["RCLONE_CA_CERT"] == "/etc/ca.pem"


@pytest.mark.parametrize(
    ("head", "passes"),
    [
        ("GET /config HTTP/1.1\r\nHost: x", True),
        ("HEAD /data/ab HTTP/1.1\r\nContent-Length: 0", True),
        ("GET /snapshots/ HTTP/1.0", True),
        ("POST /locks/ab HTTP/1.1\r\nContent-Length: 5", False),
        ("DELETE /snapshots/ab HTTP/1.1", False),
        ("PUT /x HTTP/1.1", False),
        ("get /config HTTP/1.1", False),
        ("GET /config HTTP/1.1\r\nContent-Length: 5", False),
        ("GET /config HTTP/1.1\r\nContent-Length : 0005", False),
        ("GET /config HTTP/1.1\r\nTRANSFER-ENCODING: chunked", False),
        ("GET /config HTTP/1.1\r\nUpgrade: h2c", False),
        ("GET /config HTTP/1.1\nContent-Length: 5", False),
        ("GET /config HTTP/1.1\r\nHost: x\nContent-Length: 5", False),
        ("GET /config HTTP/1.1\r\n\nDELETE /config HTTP/1.1", False),
        ("GET /config HTTP/1.1\r\nHost: x\r\n folded: yes", False),
        ("GET /config HTTP/1.1\r\nHost: x\rContent-Length: 5", False),
        ("PRI * HTTP/2.0", False),
        ("", False),
    ],
)
def test_only_reading_requests_pass(head: str, passes: bool) -> None:  # noqa: FBT001 - a case
    """What could write, carry a body or change the protocol is no reading request."""
    assert reads(head.encode()) is passes


def test_a_request_behind_a_reading_one_is_looked_at_too(tmp_path: Path) -> None:
    """On one connection each request is judged: the second one, sent at once with the first, never arrives."""
    behind = socket.socket(socket.AF_UNIX)
    behind.bind(str(tmp_path / "r"))
    behind.listen()
    gate = Gate(tmp_path / "g", tmp_path / "r")
    with behind, socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(10)
        visitor.connect(str(tmp_path / "g"))
        visitor.sendall(b"GET /a HTTP/1.1\r\n\r\nDELETE /a HTTP/1.1\r\n\r\n")
        server, _ = behind.accept()
        with server:
            server.settimeout(10)
            got = b""
            while data := server.recv(1000):
                got += data
        assert got == b"GET /a HTTP/1.1\r\n\r\n"
        assert visitor.recv(1000).startswith(b"HTTP/1.1 403")
    gate.close()
    assert eventually(lambda: _refused(tmp_path / "g"))


def _refused(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(os.fspath(path)) != 0
