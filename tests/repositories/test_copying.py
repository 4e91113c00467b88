"""Copies between real repositories: keys, chunkers, locks, kills, a full disk, damage."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import (
    Interrupted,
    RepositoryError,
    RepositoryLocked,
    RepositoryMissing,
    WrongPassword,
)
from drorch.core.evidence import Progress
from drorch.core.host import LocalHostSpec
from drorch.core.model import SecretRef
from drorch.core.repository import Copied, Snapshot
from drorch.core.source import Tree
from drorch.core.store import Reading
from drorch.hosts.local import LocalHost
from drorch.repositories import open_mirror
from drorch.repositories.restic import argv, serve
from support.dumping import Known
from support.processes import eventually
from support.quickkey import quicken
from support.site import free_port
from support.vaults import COPY_PASSWORD, NOW, PASSWORD, SECRETS, OpenCopy, OpenVault, Vault, contents, tags


@pytest.fixture
def copy(open_copy: OpenCopy) -> Vault:
    """An empty repository for copies."""
    return open_copy()


def _taken(vault: Vault, folder: Path, run: str = "nightly@1", size: int = 100_000) -> Snapshot:
    folder.mkdir(exist_ok=True)
    (folder / run).write_bytes(os.urandom(size))
    return vault.taken(vault.take(Tree(paths=(str(folder),)), run=run).snapshot)


def _copy(copy: Vault, vault: Vault, *snapshots: Snapshot, seen: Callable[[Progress], None] | None = None) -> Copied:
    return copy.repository.copy_from(copy.controller, vault.repository, snapshots, progress=seen or (lambda _: None))


def _there(copy: Vault) -> tuple[Snapshot, ...]:
    return copy.repository.snapshots(copy.controller)


def _restic(folder: Path, password: str, *words: str, feed: bool = False) -> subprocess.Popen[bytes]:
    """Bare restic on a repository, not waited for."""
    return subprocess.Popen(
        ["restic", "-r", folder, "--no-cache", *words],
        env={"RESTIC_PASSWORD": password, "PATH": os.environ["PATH"], "HOME": str(folder.parent)},
        stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_only_one_of_two_keys_opens_a_copy(vault: Vault, copy: Vault, tmp_path: Path) -> None:
    """The source's password does not open the copy, and what is written is measured and shown while it goes."""
    snapshot = _taken(vault, tmp_path / "shop", size=3_000_000)
    shown: list[Progress] = []
    done = _copy(copy, vault, snapshot, seen=shown.append)
    assert done.bytes_written is not None
    assert 3_000_000 <= done.bytes_written < 3_100_000
    assert shown
    assert all((each.total_files, each.done_files) == (1, 0) for each in shown)
    assert "packs" in shown[-1].text
    with _restic(copy.folder, PASSWORD, "cat", "config") as leaked:
        assert leaked.wait() == 12


def test_no_argument_holds_a_password(
    vault: Vault, copy: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both passwords travel in the environment; restic is run no more often than it must be."""
    snapshot = _taken(vault, tmp_path / "shop")
    ran: list[tuple[str, ...]] = []
    run = LocalHost.run

    def noted(self: LocalHost, *args: object, **kwargs: object) -> object:
        ran.append(args[0].argv)  # type: ignore[attr-defined]  # it is a command
        return run(self, *args, **kwargs)  # type: ignore[arg-type]  # whatever it takes

    monkeypatch.setattr(LocalHost, "run", noted)
    _copy(copy, vault, snapshot)
    _copy(copy, vault, snapshot)
    every_word = " ".join(word for command in ran for word in command)
    assert PASSWORD not in every_word
    assert COPY_PASSWORD not in every_word
    verbs = [words[1] for words in ran if words[0].endswith("restic") and words[1] != "version"]
    assert verbs == ["cat", "cat", "snapshots", "copy", "snapshots", "cat", "cat", "snapshots"]


def test_one_password_for_both_is_refused(open_vault: OpenVault, vault: Vault, copy: Vault, tmp_path: Path) -> None:
    """Under whatever names: neither is a repository made that way, nor is anything copied into one."""
    known = Known({"vault": PASSWORD, "copy": PASSWORD})
    twin = open_vault(name="twin", url=str(tmp_path / "twin"), password=SecretRef(secret="copy"), secrets=known)
    with pytest.raises(RepositoryError, match="the same password"):
        twin.repository.create(twin.controller, like=vault.repository)
    assert not (tmp_path / "twin").exists()
    same = open_vault(name="copy", url=str(copy.folder), password=SecretRef(secret="copy"), secrets=known)
    with pytest.raises(RepositoryError, match="the same password"):
        _copy(same, vault, _taken(vault, tmp_path / "shop"))


def test_a_repository_is_made_like_another(open_vault: OpenVault, vault: Vault, tmp_path: Path) -> None:
    """What is made so takes copies; it is made once, and not at all when the other one cannot be opened."""
    words = {"name": "fresh", "url": str(tmp_path / "fresh"), "password": SecretRef(secret="copy")}
    fresh = open_vault(**words)
    missing = open_vault(name="gone", url=str(tmp_path / "gone"))
    with pytest.raises(RepositoryMissing, match="gone"):
        fresh.repository.create(fresh.controller, like=missing.repository)
    wrong = open_vault(secrets=Known({"vault": "wrong"}))
    with pytest.raises(WrongPassword, match="vault"):
        fresh.repository.create(fresh.controller, like=wrong.repository)
    assert not (tmp_path / "fresh").exists()
    made = fresh.repository.create(fresh.controller, like=vault.repository)
    assert made == fresh.repository.identify(fresh.controller) != vault.repository.identify(vault.controller)
    assert _copy(fresh, vault, _taken(vault, tmp_path / "shop")).new
    with pytest.raises(RepositoryError, match="already"):
        fresh.repository.create(fresh.controller, like=vault.repository)


def test_another_way_of_cutting_is_refused(open_vault: OpenVault, vault: Vault, tmp_path: Path) -> None:
    """A target that was made on its own is refused before anything is written, with what makes a fit one."""
    with _restic(tmp_path / "stranger", COPY_PASSWORD, "init") as making:
        assert making.wait() == 0
    stranger = open_vault(name="stranger", url=str(tmp_path / "stranger"), password=SecretRef(secret="copy"))
    snapshot = _taken(vault, tmp_path / "shop")
    before = contents(tmp_path / "stranger" / "data")
    with pytest.raises(RepositoryError, match="can never be changed") as caught:
        _copy(stranger, vault, snapshot)
    assert "drorch repository create stranger --like vault" in caught.value.hint
    assert contents(tmp_path / "stranger" / "data") == before
    assert _there(stranger) == ()


def test_a_twin_is_no_copy(open_vault: OpenVault, vault: Vault, tmp_path: Path) -> None:
    """The same repository in another folder, under another password, is found out by its id."""
    snapshot = _taken(vault, tmp_path / "shop")
    shutil.copytree(vault.folder, tmp_path / "twin")
    fed = _restic(tmp_path / "twin", PASSWORD, "key", "passwd", "--new-password-file=/dev/stdin", feed=True)
    fed.communicate(COPY_PASSWORD.encode())
    assert fed.returncode == 0
    quicken(tmp_path / "twin", COPY_PASSWORD)
    twin = open_vault(name="twin", url=str(tmp_path / "twin"), password=SecretRef(secret="copy"))
    with pytest.raises(RepositoryError, match="are one repository"):
        _copy(twin, vault, snapshot)


def test_whose_password_is_wrong_is_said(open_vault: OpenVault, vault: Vault, copy: Vault, tmp_path: Path) -> None:
    """Restic says the same of both; the error names the one that does not open."""
    snapshot = _taken(vault, tmp_path / "shop")
    known = Known({"vault": "wrong", "copy": COPY_PASSWORD})
    with pytest.raises(WrongPassword, match="opens no key of vault"):
        _copy(copy, open_vault(secrets=known), snapshot)
    known = Known({"vault": PASSWORD, "copy": "wrong"})
    shut = open_vault(name="copy", url=str(copy.folder), password=SecretRef(secret="copy"), secrets=known)
    with pytest.raises(WrongPassword, match="opens no key of copy"):
        _copy(shut, vault, snapshot)


def test_two_accounts_of_s3_are_refused(open_vault: OpenVault) -> None:
    """Nothing is sent anywhere when one process cannot hold the credentials of both, and the error tells other ways."""
    known = Known({**SECRETS.values, "one": "planted-1", "other": "planted-2"})
    opened = [
        open_vault(
            name=name,
            url=f"s3:http://127.0.0.1:9/{name}",
            password=SecretRef(secret=password),
            credentials={"AWS_ACCESS_KEY_ID": SecretRef(secret=secret)},
            secrets=known,
        )
        for name, password, secret in (("here", "vault", "one"), ("there", "copy", "other"))
    ]
    source, target = (each.repository.reach for each in opened)
    with pytest.raises(RepositoryError, match="AWS_ACCESS_KEY_ID") as caught:
        target.execute(opened[1].controller, lambda _: ("true",), "copying", source=source)
    assert "mirror" in caught.value.hint
    assert "planted" not in str(caught.value)


@contextmanager
def _rest(folder: Path, user: str, password: str) -> Iterator[str]:
    """The address of a REST server that lets in only this user."""
    address = f"127.0.0.1:{free_port()}"
    server = subprocess.Popen(
        [serve.rclone(), "serve", "restic", "--addr", address, "--", folder],
        env={"RCLONE_USER": user, "RCLONE_PASS": password, "RCLONE_CONFIG": "", "HOME": str(folder.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    host, port = address.split(":")
    try:
        assert eventually(lambda: _answers(host, int(port)))
        yield f"rest:http://{address}/"
    finally:
        server.kill()
        server.wait()


def _answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_two_users_of_two_rest_servers(open_vault: OpenVault, vault: Vault, copy: Vault, tmp_path: Path) -> None:
    """A copy goes from one REST server to another, each with its own user, whatever characters their passwords have."""
    snapshot = _taken(vault, tmp_path / "shop")
    passwords = {"one": "a/b@c%2F :ü", "other": "x?y#z&"}
    known = Known({**SECRETS.values, **passwords, "user": "shop", "guest": "guest"})
    with (
        _rest(vault.folder, "shop", passwords["one"]) as here,
        _rest(copy.folder, "guest", passwords["other"]) as there,
    ):
        source, target = (
            open_vault(
                name=name,
                url=url,
                password=SecretRef(secret=name),
                credentials={
                    "RESTIC_REST_USERNAME": SecretRef(secret=user),
                    "RESTIC_REST_PASSWORD": SecretRef(secret=password),
                },
                secrets=known,
            )
            for name, url, user, password in (("vault", here, "user", "one"), ("copy", there, "guest", "other"))
        )
        assert _copy(target, source, snapshot).new == (snapshot.id,)
    assert len(_there(copy)) == 1


def test_only_the_controller_holds_both_keys(vault: Vault, copy: Vault, tmp_path: Path) -> None:
    """A copy is refused on any other machine."""
    snapshot = _taken(vault, tmp_path / "shop")

    class Elsewhere(LocalHost):
        is_controller = False

    there = Elsewhere("web1", LocalHostSpec(home=str(tmp_path / "home")), halt=Halt())
    with pytest.raises(RepositoryError):
        copy.repository.copy_from(there, vault.repository, [snapshot], progress=lambda _: None)


def test_a_mirror_can_be_copied_from_and_not_to(vault: Vault, copy: Vault, tmp_path: Path) -> None:
    """What is only read is read without a lock, and never written to."""
    snapshot = _taken(vault, tmp_path / "shop")
    mirror = open_mirror(
        "vault@store",
        Reading(url=str(vault.folder)),
        SecretRef(secret="vault"),
        secrets=SECRETS,
        controller=vault.controller,
        state=tmp_path / "state",
    )
    before = contents(vault.folder)
    assert copy.repository.copy_from(copy.controller, mirror, [snapshot], progress=lambda _: None).new
    assert contents(vault.folder) == before
    with pytest.raises(RepositoryError, match="only read"):
        mirror.copy_from(copy.controller, copy.repository, _there(copy), progress=lambda _: None)


# --- locks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def held() -> Iterator[Callable[[Vault, str], subprocess.Popen[bytes]]]:
    """Holds a repository exclusively until the test ends."""
    began: list[subprocess.Popen[bytes]] = []

    def hold(vault: Vault, password: str) -> subprocess.Popen[bytes]:
        process = _restic(vault.folder, password, "check", "--read-data", "--limit-download=20")
        began.append(process)
        locks = vault.folder / "locks"
        assert eventually(lambda: any(len(path.name) == 64 for path in locks.iterdir()))
        return process

    yield hold
    for process in began:
        process.kill()
        process.wait()


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_live_lock_is_waited_for_and_stays(
    vault: Vault, copy: Vault, tmp_path: Path, held: Callable[[Vault, str], subprocess.Popen[bytes]], which: str
) -> None:
    """While another restic holds either alone, nothing is copied, a retry may help, and the right one is named."""
    first, second = (_taken(vault, tmp_path / "shop", f"nightly@{n}") for n in range(2))
    _copy(copy, vault, first)
    busy, password = (vault, PASSWORD) if which == "source" else (copy, COPY_PASSWORD)
    process = held(busy, password)
    with pytest.raises(RepositoryLocked, match=rf"holds {busy.repository.name} .* locked exclusively by PID") as caught:
        _copy(copy, vault, second)
    assert caught.value.retryable
    assert process.poll() is None
    assert list((busy.folder / "locks").iterdir())


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_dead_lock_is_got_past(
    vault: Vault, copy: Vault, tmp_path: Path, held: Callable[[Vault, str], subprocess.Popen[bytes]], which: str
) -> None:
    """What a killed restic left locked, on either side, is unlocked once, and the copy goes on."""
    first, second = (_taken(vault, tmp_path / "shop", f"nightly@{n}") for n in range(2))
    _copy(copy, vault, first)
    busy, password = (vault, PASSWORD) if which == "source" else (copy, COPY_PASSWORD)
    process = held(busy, password)
    process.kill()
    process.wait()
    assert list((busy.folder / "locks").iterdir())
    build = partial(argv.copy, snapshots=(second.id,))  # without the looks before it, which would meet the lock first
    copy.repository.reach.execute(copy.controller, build, "copying", source=vault.repository.reach)
    assert _copy(copy, vault, second).new == ()
    assert not list((busy.folder / "locks").iterdir())


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_copy_that_was_cut_is_done_again(
    open_copy: OpenCopy, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while packs are written, it leaves no snapshot that is not whole; repeated, everything is there, once."""
    monkeypatch.setattr("drorch.repositories.restic.copying.FIRST_BATCH", 1)
    snapshots = [_taken(vault, tmp_path / "shop", f"nightly@{n}", 20_000_000) for n in range(2)]
    copy = open_copy()
    halt = Halt()
    stopped = LocalHost("controller", LocalHostSpec(), halt=halt)
    packs = copy.folder / "data"

    def stop_it() -> None:
        assert eventually(lambda: any(path.is_file() for path in packs.rglob("*")))
        halt.request()

    watcher = threading.Thread(target=stop_it)
    watcher.start()
    with pytest.raises(Interrupted):
        copy.repository.copy_from(stopped, vault.repository, snapshots, progress=lambda _: None)
    watcher.join()
    left = _there(copy)
    assert len(left) < 2
    done = _copy(copy, vault, *snapshots)
    assert set(done.copies) == {each.id for each in snapshots}
    assert len(_there(copy)) == 2
    assert copy.repository.check(copy.controller, subset=(1, 1)).subset == "1/1"


def test_a_first_copy_arrives_newest_first_in_batches(
    vault: Vault, copy: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut leaves whole batches behind: the newest recovery points soon, the others after them."""
    monkeypatch.setattr("drorch.repositories.restic.copying.FIRST_BATCH", 1)
    monkeypatch.setattr("drorch.repositories.restic.copying.LARGEST_BATCH", 2)
    (tmp_path / "file").write_text("x")
    part = Tree(paths=(str(tmp_path / "file"),))
    for night in range(4):
        when = NOW + timedelta(days=night)
        vault.repository.backup(vault.here, part, tags(f"nightly@{night}"), time=when, progress=lambda _: None)
    snapshots = vault.repository.snapshots(vault.here)
    copied: list[tuple[str, ...]] = []
    run = LocalHost.run

    def noted(self: LocalHost, *args: object, **kwargs: object) -> object:
        words: tuple[str, ...] = args[0].argv  # type: ignore[attr-defined]  # it is a command
        if words[1] == "copy":
            copied.append(words[words.index("--") + 1 :])
        return run(self, *args, **kwargs)  # type: ignore[arg-type]  # whatever it takes

    monkeypatch.setattr(LocalHost, "run", noted)
    done = _copy(copy, vault, *snapshots)
    oldest_first = [each.id for each in snapshots]
    assert [id_ for batch in copied for id_ in batch] == oldest_first[::-1]
    assert [len(batch) for batch in copied] == [1, 2, 1]
    assert list(done.new) == oldest_first


@pytest.mark.root
def test_a_full_disk_is_no_copy(open_copy: OpenCopy, vault: Vault, tmp_path: Path) -> None:
    """It fails, names the disk, leaves no snapshot, and goes on when there is room."""
    snapshot = _taken(vault, tmp_path / "shop", size=3_000_000)
    copy = open_copy()
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs root and the right to mount: {mounted.stderr.strip()}")
    try:
        shutil.move(copy.folder / "data", place / "data")
        (copy.folder / "data").symlink_to(place / "data")
        with pytest.raises(RepositoryError, match="no space left on device") as caught:
            _copy(copy, vault, snapshot)
        assert "free space" in caught.value.hint
        assert _there(copy) == ()
        subprocess.run(["mount", "-o", "remount,size=16m", place], check=True)
        assert _copy(copy, vault, snapshot).new == (snapshot.id,)
        copy.repository.check(copy.controller, subset=(1, 1))
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_rot_in_the_source_is_not_copied(vault: Vault, copy: Vault, tmp_path: Path) -> None:
    """A flipped bit in a pack that is read stops the copy with a word about rescue; no snapshot arrives."""
    snapshot = _taken(vault, tmp_path / "shop", size=3_000_000)
    pack = max(
        (path for path in (vault.folder / "data").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    with pytest.raises(RepositoryError) as caught:
        _copy(copy, vault, snapshot)
    assert "restic repair" in caught.value.hint, caught.value
    assert _there(copy) == ()


def test_an_altered_copy_is_no_copy(vault: Vault, copy: Vault, tmp_path: Path) -> None:
    """A snapshot in the target that claims the same original, with other tags, is not taken for it: a right one is
    written beside it.
    """
    snapshot = _taken(vault, tmp_path / "shop")
    before = _copy(copy, vault, snapshot).copies[snapshot.id]
    with _restic(copy.folder, COPY_PASSWORD, "tag", "--add=forged", before) as tagging:
        assert tagging.wait() == 0
    done = _copy(copy, vault, snapshot)
    assert done.new == (snapshot.id,)
    assert len(_there(copy)) == 2
    assert {each.id for each in _there(copy) if each.copies(snapshot)} == {done.copies[snapshot.id]}
