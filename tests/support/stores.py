"""Stores of every kind, each a fresh place of the test's own, so that one suite serves them all."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from drorch.core.clock import Clock, FakeClock, Halt, SystemClock
from drorch.core.host import Host, HostSpec, LocalHostSpec, SshHostSpec
from drorch.core.model import SecretRef
from drorch.core.store import Grade, Means, Store
from drorch.hosts import open_host
from drorch.stores.directory import DirectoryStore
from drorch.stores.memory import MemoryStore
from drorch.stores.s3 import S3Store
from drorch.stores.sftp import SftpStore
from support.dumping import Known
from support.sshd import Sshd, SshdFactory

SUBSYSTEM = "Subsystem sftp internal-sftp\n"
NO_SHELL = "ForceCommand internal-sftp\n"
OLD = "ForceCommand internal-sftp -P posix-rename,fsync,statvfs,hardlink,limits\n"
"""A server that knows nothing beyond the protocol itself."""


@dataclass(frozen=True)
class Stage:
    """A place for a store."""

    open: Callable[[], Store]
    """The store; each call gives one that knows nothing of the others, as another process would."""
    folder: Path | None = None
    """Where its objects lie, for kinds that keep files."""
    many: int = 1100
    """More objects than one answer to a listing tells."""
    grade: Grade = Grade.REFUSES
    """What an honest probe finds."""
    conditional: bool = True
    """Whether it refuses by itself to put what is there already; two at once may both win where it does not."""


@dataclass
class Hosts:
    """Hosts by name, opened when first asked for."""

    specs: dict[str, HostSpec]
    secrets: Known = field(default_factory=Known)
    halt: Halt = field(default_factory=Halt)
    opened: dict[str, Host] = field(default_factory=dict)

    def __call__(self, name: str) -> Host:
        """One of them."""
        if name not in self.opened:
            self.opened[name] = open_host(name, self.specs[name], secrets=self.secrets, halt=self.halt)
        return self.opened[name]


def means(
    *, hosts: dict[str, HostSpec] | None = None, clock: Clock | None = None, secrets: Known | None = None
) -> Means:
    """What a store is opened with."""
    known = secrets or Known()
    here: dict[str, HostSpec] = {"here": LocalHostSpec()}
    return Means(secrets=known, clock=clock or SystemClock(), host=Hosts(here | (hosts or {}), known))


def sha(content: bytes) -> str:
    """The checksum that a store is given."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Given:
    """What a kind may make its place of."""

    fixture: Callable[[str], object]
    """Another fixture's value, by name."""
    place: Path
    """An empty folder."""
    stack: ExitStack
    """Unwound with the test."""


Opener = Callable[[Given], Stage]


def _memory(_: Given) -> Stage:
    store = MemoryStore(clock=FakeClock(), versioned=False)
    return Stage(lambda: store)


def _memory_versioned(_: Given) -> Stage:
    store = MemoryStore(clock=FakeClock())
    return Stage(lambda: store)


def _directory(given: Given) -> Stage:
    spec = DirectoryStore(kind="directory", path=str(given.place), prefix="a/site")
    spec.open("disk", means()).create()
    return Stage(lambda: spec.open("disk", means()), folder=given.place)


def _sftp(options: str, *, many: int) -> Opener:
    def open_(given: Given) -> Stage:
        machine = cast("SshdOf", given.fixture("sshd_of"))(SUBSYSTEM + options)
        return sftp_stage(machine.spec, given.place, given.stack, many=many)

    return open_


SshdOf = Callable[[str], Sshd]


@pytest.fixture(scope="session")
def sshd_of(sshd_factory: SshdFactory) -> SshdOf:
    """A machine with these options, started once per session; do not cut or stop it."""
    return functools.cache(lambda options: sshd_factory(options=options))


def sftp_stage(
    spec: SshHostSpec, place: Path, stack: ExitStack, *, many: int = 300, clock: Clock | None = None
) -> Stage:
    """A folder behind an SSH server."""
    declared = SftpStore(kind="sftp", host="far", path=str(place), prefix="site")

    def open_() -> Store:
        store = declared.open("far", means(hosts={"far": spec}, clock=clock))
        stack.callback(store.close)
        return store

    first = declared.open("far", means(hosts={"far": spec}))
    first.create()
    first.close()
    return Stage(open_, folder=place, many=many)


class Server(Protocol):
    """A real S3 server of the tests."""

    endpoint: str
    access_key: str
    secret_key: str


def _s3(fixture: str, bucket: Callable[[Any], str], *, many: int = 1100, conditional: bool = True) -> Opener:
    def open_(given: Given) -> Stage:
        server: Any = given.fixture(fixture)
        return replace(s3_stage(server, bucket(server), given.stack), many=many, conditional=conditional)

    return open_


def s3_stage(server: Server, bucket: str, stack: ExitStack) -> Stage:
    """A bucket in the hands of its owner, who may delete."""
    owner = SecretRef(secret="owner")
    declared = S3Store(
        kind="s3", endpoint=server.endpoint, bucket=bucket, prefix="a/site", credentials=owner, deleter=owner
    )

    def open_() -> Store:
        store = declared.open("bucket", means(secrets=Known({"owner": f"{server.access_key}:{server.secret_key}"})))
        stack.callback(store.close)
        return store

    return Stage(open_)


KINDS: dict[str, Opener] = {
    "memory": _memory,
    "memory-versioned": _memory_versioned,
    "directory": _directory,
    "sftp": _sftp("", many=300),
    "sftp-without-shell": _sftp(NO_SHELL, many=300),
    "sftp-old-server": _sftp(OLD, many=120),
    "ceph": _s3("ceph", lambda ceph: ceph.bucket()),
    "ceph-versioned": _s3("ceph", lambda ceph: ceph.bucket(versioned=True), many=40, conditional=False),
}


@pytest.fixture(params=KINDS)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Each kind of store in turn, in an empty place."""
    place = tmp_path / "store"
    place.mkdir()
    with ExitStack() as stack:
        yield KINDS[request.param](Given(request.getfixturevalue, place, stack))


@pytest.fixture
def store(stage: Stage) -> Store:
    """The store itself."""
    return stage.open()
