"""Repositories of the controller, used by other machines through their SSH connection, and storages elsewhere."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import HostError, RepositoryError
from drorch.core.host import Command, Host, HostSpec
from drorch.core.model import SecretRef
from drorch.core.repository import BackedUp
from drorch.core.source import Part, Stream, Tree
from drorch.hosts import open_host
from drorch.repositories.restic.serve import rclone
from support.dumping import Known
from support.processes import eventually, running_with
from support.sshd import Sshd, SshdFactory
from support.vaults import NOW, PASSWORD, SECRETS, OpenVault, Vault, tags

KEY, HIDDEN = "AKIAPLANTED", "planted-storage-secret-c0ffee"
STORAGE = Known({**SECRETS.values, "key": KEY, "hidden": HIDDEN})
CREDENTIALS = {"AWS_ACCESS_KEY_ID": SecretRef(secret="key"), "AWS_SECRET_ACCESS_KEY": SecretRef(secret="hidden")}
ENVIRONMENT = Stream(name="environment", filename="seen", argv=("cat", "/proc/self/environ"))
EVERYTHING = Stream(name="everything", filename="seen", argv=("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null; true"))


@pytest.fixture
def web(sshd: Sshd, restic: Path) -> Iterator[tuple[Host, HostSpec]]:
    """A machine that is reached by SSH and has restic on its PATH."""
    spec = sshd.spec.model_copy(update={"env": {"PATH": f"{restic.parent}:/usr/bin:/bin"}})
    host = open_host("web", spec, secrets=SECRETS, halt=Halt())
    yield host, spec
    host.close()


@pytest.fixture
def served(open_vault: OpenVault, web: tuple[Host, HostSpec]) -> Vault:
    """A folder of the controller, known to that machine."""
    return open_vault(hosts={"web": web[1]})


def _take(vault: Vault, at: Host, part: Part, *, run: str = "nightly@1") -> BackedUp:
    return vault.repository.backup(at, part, tags(run, part.name), time=NOW, progress=lambda _: None, repeated=False)


def _seen(vault: Vault, at: Host, part: Stream, into: Path) -> bytes:
    """What a command on a machine gave while it was backed up, read back on the controller."""
    taken = _take(vault, at, part)
    vault.repository.restore(vault.controller, vault.taken(taken.snapshot), str(into), progress=lambda _: None)
    return (into / part.filename).read_bytes()


def test_a_machine_backs_up_and_restores_through_its_ssh_connection(
    served: Vault, web: tuple[Host, HostSpec], oddities: Path, tmp_path: Path
) -> None:
    """The data goes through the connection both ways and is equal on the other side."""
    host, _ = web
    taken = served.taken(_take(served, host, Tree(paths=(str(oddities),))).snapshot)
    assert taken.host == "web"
    served.repository.restore(host, taken, str(tmp_path / "into"), progress=lambda _: None)
    assert served.repository.compare(host, taken, str(tmp_path / "into")).differing == ()
    assert served.bare("snapshots", taken.id).returncode == 0


def test_a_machine_cannot_remove_what_it_stored(served: Vault, web: tuple[Host, HostSpec], tmp_path: Path) -> None:
    """Removal from the other side is refused, and the snapshot stays; the controller may."""
    (tmp_path / "file").write_text("x")
    taken = _take(served, web[0], Tree(paths=(str(tmp_path / "file"),))).snapshot
    with pytest.raises(RepositoryError):
        served.repository.forget(web[0], [taken], prune=False)
    assert [each.id for each in served.repository.snapshots(served.controller)] == [taken]
    assert served.repository.forget(served.controller, [taken], prune=True).kept == ()


def test_an_empty_stream_of_a_machine_leaves_no_snapshot(served: Vault, web: tuple[Host, HostSpec]) -> None:
    """Though the machine cannot remove it, what restic left of an empty dump is gone."""
    with pytest.raises(RepositoryError, match="gave no data"):
        _take(served, web[0], Stream(name="dump", filename="x", argv=("true",)))
    assert served.bare("snapshots", "--json").stdout.strip() == "[]"


def test_nothing_secret_stands_in_arguments_or_files(
    served: Vault, web: tuple[Host, HostSpec], sshd: Sshd, tmp_path: Path
) -> None:
    """While a machine backs up, no process's arguments and no file of its home hold a password or user."""
    environment = _seen(served, web[0], ENVIRONMENT, tmp_path / "env")
    secrets = [PASSWORD.encode(), *(_variable(environment, name) for name in _DOOR)]
    arguments = _seen(served, web[0], EVERYTHING, tmp_path / "all")
    files = b"".join(path.read_bytes() for path in sshd.home.rglob("*") if path.is_file())
    for secret in secrets:
        assert len(secret) > 10
        assert secret not in arguments
        assert secret not in files
    assert b"restic" in arguments


_DOOR = ("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD")


def _variable(environment: bytes, name: str) -> bytes:
    pairs = dict(pair.split(b"=", 1) for pair in environment.split(b"\0") if b"=" in pair)
    return pairs[name.encode()]


def test_each_run_has_its_own_user_and_password(
    open_vault: OpenVault, web: tuple[Host, HostSpec], tmp_path: Path
) -> None:
    """What a machine could learn in one run opens nothing in the next."""
    hosts = {"web": web[1]}
    one = _seen(open_vault(hosts=hosts), web[0], ENVIRONMENT, tmp_path / "one")
    two = _seen(open_vault(hosts=hosts), web[0], ENVIRONMENT, tmp_path / "two")
    for name in _DOOR:
        assert _variable(one, name) != _variable(two, name)


def test_who_has_no_password_is_refused(
    served: Vault, web: tuple[Host, HostSpec], tmp_path: Path, restic: Path
) -> None:
    """Another user of the machine who finds the port cannot even list the repository."""
    script = (
        f"unset {' '.join(_DOOR)}; {restic} --no-cache snapshots >/dev/null 2>&1; echo code $?;"
        " printf 'repository %s' \"$RESTIC_REPOSITORY\""
    )
    seen = _seen(served, web[0], Stream(name="s", filename="seen", argv=("sh", "-c", script)), tmp_path / "x")
    assert b"repository rest:http://127.0.0.1:" in seen
    assert not seen.startswith(b"code 0")


def test_closing_ends_the_server(served: Vault, web: tuple[Host, HostSpec], tmp_path: Path) -> None:
    """The server runs from its first use to `close`, and can be used again afterwards."""
    (tmp_path / "file").write_text("x")
    for run in ("nightly@1", "nightly@2"):
        _take(served, web[0], Tree(paths=(str(tmp_path / "file"),)), run=run)
        assert running_with(str(served.folder))
        served.repository.close()
        assert eventually(lambda: not running_with(str(served.folder)))


_KILLED = """
import sys, time
from pathlib import Path
from drorch.core.clock import Halt
from drorch.core.host import LocalHostSpec
from drorch.hosts.local import LocalHost
from drorch.repositories.restic.serve import Server, storage
server = Server(LocalHost("controller", LocalHostSpec(), halt=Halt()), storage(sys.argv[1], {}))
with server.use() as door:
    print(door.socket.parent, flush=True)
    time.sleep(100)
"""


def test_a_killed_drorch_leaves_no_server(served: Vault, web: tuple[Host, HostSpec], tmp_path: Path) -> None:
    """However drorch ends, its server ends, and the next one removes the folder that it left."""
    with subprocess.Popen([sys.executable, "-c", _KILLED, served.folder], stdout=subprocess.PIPE, text=True) as drorch:
        assert drorch.stdout is not None
        folder = Path(drorch.stdout.readline().strip())
        assert running_with(str(served.folder))
        drorch.send_signal(signal.SIGKILL)
    assert eventually(lambda: not running_with(str(served.folder)))
    if folder.exists():
        os.utime(folder, (0, 0))
    (tmp_path / "file").write_text("x")
    _take(served, web[0], Tree(paths=(str(tmp_path / "file"),)))
    assert not folder.exists()


def test_a_folder_of_the_controller_needs_the_controller(open_vault: OpenVault, web: tuple[Host, HostSpec]) -> None:
    """Where serving is switched off, another machine is told that it cannot reach a folder here."""
    apart = open_vault(hosts={"web": web[1]}, through_controller=False)
    with pytest.raises(RepositoryError, match="a folder of the controller"):
        apart.repository.snapshots(web[0])


@contextmanager
def _background(answers: Callable[[], bool], *argv: str, env: dict[str, str] | None = None) -> Iterator[None]:
    """A server that is ended with the context."""
    process = subprocess.Popen(
        argv,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(answers)
        yield
    finally:
        process.kill()
        process.wait()


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(port: int) -> bool:
    """Whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def s3(empty_vault: Path, tmp_path: Path) -> Iterator[str]:
    """A real S3 server on loopback whose bucket holds an empty repository; gives restic's URL of it."""
    (tmp_path / "s3").mkdir()
    subprocess.run(["cp", "-a", empty_vault, tmp_path / "s3" / "bucket"], check=True)
    port = _free()
    words = ("serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{HIDDEN}", str(tmp_path / "s3"))
    with _background(lambda: _open(port), rclone(), *words, env={"RCLONE_CONFIG": ""}):
        yield f"s3:http://127.0.0.1:{port}/bucket"


def test_s3_through_the_controller_gives_no_credential_away(
    open_vault: OpenVault, s3: str, web: tuple[Host, HostSpec], tmp_path: Path
) -> None:
    """A machine stores in S3 without ever holding the storage's key; what it stored is there."""
    vault = open_vault(url=s3, credentials=CREDENTIALS, secrets=STORAGE, hosts={"web": web[1]}, through_controller=True)
    assert HIDDEN.encode() not in _arguments_here(vault)
    environment = _seen(vault, web[0], ENVIRONMENT, tmp_path / "env")
    assert b"RESTIC_REPOSITORY=rest:http://127.0.0.1:" in environment
    assert HIDDEN.encode() not in environment
    assert KEY.encode() not in environment
    with pytest.raises(RepositoryError):
        vault.repository.forget(web[0], [vault.repository.snapshots(web[0])[0].id], prune=False)
    assert len(vault.repository.snapshots(vault.controller)) == 1


def _arguments_here(vault: Vault) -> bytes:
    """The arguments of every process while a server of the repository runs."""
    with vault.repository._reach._serving().use():
        end = vault.controller.run(Command(("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null; true")))
    # The S3 server of this test is told its key by an argument: rclone has no other way.
    return b"".join(part for part in end.stdout.split(b"rclone") if b"--auth-key" not in part)


def test_s3_directly(open_vault: OpenVault, s3: str, tmp_path: Path) -> None:
    """S3 is reached by restic itself with the declared credentials, and its bytes can be read again."""
    (tmp_path / "file").write_text("x")
    vault = open_vault(url=s3, credentials=CREDENTIALS, secrets=STORAGE)
    assert vault.take(Tree(paths=(str(tmp_path / "file"),))).files == 1
    vault.repository.check(vault.controller, subset=(1, 1))


@pytest.fixture
def rest(empty_vault: Path, tmp_path: Path) -> Iterator[int]:
    """A REST server on loopback with an empty repository, its port."""
    subprocess.run(["cp", "-a", empty_vault, tmp_path / "rest"], check=True)
    port = _free()
    words = ("serve", "restic", "--addr", f"127.0.0.1:{port}", str(tmp_path / "rest"))
    env = {"RCLONE_CONFIG": "", "RCLONE_USER": "someone", "RCLONE_PASS": HIDDEN}
    with _background(lambda: _open(port), rclone(), *words, env=env):
        yield port


def test_rest_directly(open_vault: OpenVault, rest: int, web: tuple[Host, HostSpec], tmp_path: Path) -> None:
    """A REST server is used by each machine itself, with credentials by environment."""
    (tmp_path / "file").write_text("x")
    vault = open_vault(
        url=f"rest:http://127.0.0.1:{rest}/",
        hosts={"web": web[1]},
        secrets=Known({**SECRETS.values, "user": "someone", "hidden": HIDDEN}),
        credentials={
            "RESTIC_REST_USERNAME": SecretRef(secret="user"),
            "RESTIC_REST_PASSWORD": SecretRef(secret="hidden"),
        },
    )
    taken = _take(vault, web[0], Tree(paths=(str(tmp_path / "file"),))).snapshot
    assert vault.repository.forget(vault.controller, [taken], prune=True).kept == ()


def test_a_storage_that_is_away_can_be_tried_again(open_vault: OpenVault) -> None:
    """Nobody listening is a failure that a retry may mend, and the URL's password is not shown."""
    vault = open_vault(url=f"rest:http://someone:{HIDDEN}@127.0.0.1:{_free()}/")
    vault.controller._limit = 3.0  # restic itself tries for minutes
    with pytest.raises(RepositoryError) as caught:
        vault.repository.identify(vault.controller)
    assert caught.value.retryable
    assert HIDDEN not in str(caught.value)


def test_sftp_directly(
    open_vault: OpenVault,
    sshd_factory: SshdFactory,
    empty_vault: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the machine's own ssh, with drorch's options, a repository at an SFTP server holds snapshots."""
    client = shutil.which("ssh")
    if client is None:
        pytest.skip("no ssh client here: apt-get install openssh-client")
    server = sshd_factory(options="Subsystem sftp internal-sftp")
    subprocess.run(["cp", "-a", empty_vault, server.home / "vault"], check=True)
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "ssh"  # stands for the user's ~/.ssh/config
    wrapper.write_text(
        f'#!/bin/sh\nexec {client} -F none -i {server.key} -o UserKnownHostsFile={tmp_path}/known "$@"\n'
    )
    wrapper.chmod(0o700)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    vault = open_vault(url=f"sftp://{getpass.getuser()}@127.0.0.1:{server.port}/{server.home}/vault")
    (tmp_path / "file").write_text("x")
    taken = vault.take(Tree(paths=(str(tmp_path / "file"),))).snapshot
    assert [each.id for each in vault.repository.snapshots(vault.controller)] == [taken]


def test_a_machine_that_is_gone_is_unreachable(open_vault: OpenVault, sshd: Sshd) -> None:
    """No connection is an error of the host, not of the repository."""
    spec = sshd.spec.model_copy(update={"port": _free(), "connect_timeout": timedelta(seconds=2)})
    host = open_host("gone", spec, secrets=SECRETS, halt=Halt())
    vault = open_vault(hosts={"gone": spec})
    with pytest.raises(HostError):
        vault.repository.snapshots(host)
