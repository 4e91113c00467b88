"""What only a real restic shows: damage, locks, refusals, hostile names, a full disk, and how often it is run."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drorch.core.errors import RepositoryError, RepositoryLocked, RepositoryMissing, WrongPassword
from drorch.core.evidence import Progress
from drorch.core.source import Stream, Tree
from drorch.hosts.local import LocalHost
from support.dumping import Known
from support.processes import eventually
from support.vaults import NOW, PASSWORD, OpenVault, Vault, contents, tags


def test_hostile_names_come_back_byte_for_byte(vault: Vault, oddities: Path, tmp_path: Path) -> None:
    """Names with newlines, escapes and bytes that are no text, links, pipes and empty folders are restored alike."""
    snapshot = vault.round(oddities, tmp_path / "into")
    assert contents(tmp_path / "into" / str(oddities)[1:]) == contents(oddities)
    found = vault.repository.compare(vault.here, snapshot, str(tmp_path / "into"))
    assert found.differing == ()
    restored = tmp_path / "into" / str(oddities)[1:]
    (restored / os.fsdecode(b"new\nline")).write_bytes(b"other")
    (restored / os.fsdecode(b"esc\x1b[31m")).unlink()
    found = vault.repository.compare(vault.here, snapshot, str(tmp_path / "into"))
    assert found.differing_count == 2
    assert all(line.isprintable() for line in found.differing)


def test_a_hard_link_that_was_cut_is_found(vault: Vault, oddities: Path, tmp_path: Path) -> None:
    """Both names of one file are compared: a second one that became a file of its own is told."""
    snapshot = vault.round(oddities, tmp_path / "into")
    second = tmp_path / "into" / str(oddities)[1:] / "second name"
    facts = second.stat()
    second.unlink()
    second.write_text("plaim")
    os.utime(second, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    found = vault.repository.compare(vault.here, snapshot, str(tmp_path / "into"))
    assert [line.rpartition("/")[2] for line in found.differing] == ["second name (no longer a hard link)"]


def test_progress_is_shown_and_bounded(vault: Vault, tmp_path: Path) -> None:
    """What restic tells while it works arrives as progress, never more done than there is."""
    (tmp_path / "big").write_bytes(os.urandom(30_000_000))
    seen: list[Progress] = []
    vault.repository.backup(
        vault.here, Tree(paths=(str(tmp_path / "big"),)), tags(), time=NOW, progress=seen.append, repeated=False
    )
    assert all(0 <= each.done_bytes <= max(each.total_bytes, each.done_bytes) for each in seen)
    assert all("backup of media/tree on here" in each.text for each in seen)


def test_a_wrong_password_is_told_apart(open_vault: OpenVault) -> None:
    """The password that opens no key is that, not a missing repository; it appears in no message."""
    wrong = open_vault(secrets=Known({"vault": "wrong-9d3e"}))
    with pytest.raises(WrongPassword) as caught:
        wrong.repository.identify(wrong.controller)
    assert "wrong-9d3e" not in str(caught.value)


def test_an_unmounted_disk_is_no_reason_to_create(open_vault: OpenVault, tmp_path: Path) -> None:
    """An empty folder where a repository should be stays empty, and says what it may be."""
    (tmp_path / "mount").mkdir()
    gone = open_vault(url=str(tmp_path / "mount"))
    for _ in range(2):
        with pytest.raises(RepositoryMissing, match="an unmounted disk looks just the same"):
            gone.take(Tree(paths=(str(tmp_path / "mount"),)))
    assert not any((tmp_path / "mount").iterdir())


def test_a_flipped_byte_in_a_pack_is_found_by_reading(vault: Vault, tmp_path: Path) -> None:
    """The structure alone looks sound; the part of the packs that holds the damage does not."""
    (tmp_path / "big").write_bytes(os.urandom(200_000))
    vault.take(Tree(paths=(str(tmp_path / "big"),)))
    pack = max((path for path in (vault.folder / "data").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[1000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    assert vault.repository.check(vault.controller, subset=None).subset == "structure"
    told = [error for n in (1, 2) if (error := _refusal(vault, (n, 2))) is not None]
    (damage,) = told  # exactly one of the parts holds it
    assert f"pack {pack.name} is damaged" in damage.message
    assert "keep every copy" in damage.hint


def _refusal(vault: Vault, subset: tuple[int, int]) -> RepositoryError | None:
    try:
        vault.repository.check(vault.controller, subset=subset)
    except RepositoryError as error:
        return error
    return None


def test_a_lost_pack_is_found_by_the_structure(vault: Vault, tmp_path: Path) -> None:
    """A missing pack is damage even when no byte is read."""
    (tmp_path / "file").write_text("x")
    vault.take(Tree(paths=(str(tmp_path / "file"),)))
    next(path for path in (vault.folder / "data").rglob("*") if path.is_file()).unlink()
    with pytest.raises(RepositoryError, match=r"the repository is damaged: pack [0-9a-f]{64}: does not exist"):
        vault.repository.check(vault.controller, subset=None)


class Holder:
    """A restic that holds a lock until it is killed."""

    def __init__(self, vault: Vault, restic: Path) -> None:
        self._locks = vault.folder / "locks"
        self._process = subprocess.Popen(
            [restic, "-r", vault.folder, "backup", "--stdin", "--no-cache"],
            env={"RESTIC_PASSWORD": PASSWORD, "PATH": os.environ["PATH"], "HOME": str(vault.folder.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert eventually(lambda: bool(self.locks))

    @property
    def locks(self) -> tuple[Path, ...]:
        """The lock files, whole ones."""
        return tuple(path for path in self._locks.iterdir() if len(path.name) == 64)

    def kill(self) -> None:
        """End it at once; its lock stays."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def holder(vault: Vault, restic: Path) -> Iterator[Holder]:
    """One that is ended with the test."""
    held = Holder(vault, restic)
    yield held
    held.kill()


def test_the_lock_of_a_killed_restic_is_got_past(vault: Vault, holder: Holder) -> None:
    """A dead restic's lock on this machine does not stop an exclusive check, and is gone afterwards."""
    holder.kill()
    assert len(holder.locks) == 1
    vault.repository.check(vault.controller, subset=None)
    assert not holder.locks


def test_a_live_lock_stays(vault: Vault, holder: Holder) -> None:
    """While another restic works, what is exclusive fails and says who holds it; its lock is never removed."""
    with pytest.raises(RepositoryLocked, match="locked by PID") as caught:
        vault.repository.check(vault.controller, subset=None)
    assert caught.value.retryable
    with pytest.raises(RepositoryLocked, match="locked by PID"):  # its errors come as text, not as JSON
        vault.repository.forget(vault.controller, (), prune=True)
    vault.repository.unlock(vault.controller)
    assert len(holder.locks) == 1


def test_a_backup_goes_on_beside_a_live_lock(vault: Vault, holder: Holder, tmp_path: Path) -> None:
    """Backups need no exclusive lock."""
    (tmp_path / "file").write_text("x")
    assert vault.take(Tree(paths=(str(tmp_path / "file"),))).files == 1
    assert len(holder.locks) == 1


def test_a_backup_that_was_killed_is_done_again(vault: Vault, holder: Holder, tmp_path: Path) -> None:
    """A repeated attempt clears the dead one's lock and takes the snapshot that it did not finish."""
    (tmp_path / "file").write_text("x")
    holder.kill()
    taken = vault.take(Tree(paths=(str(tmp_path / "file"),)), repeated=True)
    assert not holder.locks
    assert vault.taken(taken.snapshot).origin == tags()


def test_a_command_may_not_take_restics_own_variables(vault: Vault) -> None:
    """A dump's environment that would redirect restic is refused before anything runs."""
    part = Stream(name="dump", filename="x", argv=("true",), env={"RESTIC_REPOSITORY": "/elsewhere"})
    with pytest.raises(RepositoryError, match="RESTIC_REPOSITORY"):
        vault.take(part)


def test_an_inherited_environment_changes_nothing(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """RESTIC_ variables of drorch's own environment never reach restic."""
    monkeypatch.setenv("RESTIC_PASSWORD", "other")
    monkeypatch.setenv("RESTIC_REPOSITORY", "/elsewhere")
    monkeypatch.setenv("RESTIC_PASSWORD_COMMAND", "false")
    assert len(vault.repository.identify(vault.controller)) == 64


def test_a_note_of_the_users_own_is_not_overwritten(vault: Vault, tmp_path: Path) -> None:
    """Where drorch would note what it restores, a file that is not such a note is in the way."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "into.snapshot").write_text("mine " * 1000)
    with pytest.raises(RepositoryError, match="is in the way"):
        vault.round(tmp_path / "file", tmp_path / "into")
    assert (tmp_path / "into.snapshot").read_text().startswith("mine")
    assert not (tmp_path / "into").exists()


@pytest.mark.root
def test_a_full_disk_is_no_restore(vault: Vault, tmp_path: Path, megabyte: Path) -> None:
    """Though restic's summary counts all files as restored, the restore fails, names the disk, and can go on later."""
    (tmp_path / "big").write_bytes(os.urandom(2_000_000))
    taken = vault.taken(vault.take(Tree(paths=(str(tmp_path / "big"),))).snapshot)
    with pytest.raises(RepositoryError, match="no space left on device") as caught:
        vault.repository.restore(vault.here, taken, str(megabyte / "into"), progress=lambda _: None)
    assert "free space" in caught.value.hint
    subprocess.run(["mount", "-o", "remount,size=8m", megabyte], check=True)
    done = vault.repository.restore(vault.here, taken, str(megabyte / "into"), progress=lambda _: None)
    assert done.bytes == 2_000_000
    assert vault.repository.compare(vault.here, taken, str(megabyte / "into")).differing == ()


def test_each_act_runs_restic_no_more_than_it_must(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside one look at the version, a backup and a restore are one restic each, a comparison two."""
    ran: list[tuple[str, ...]] = []
    run = LocalHost.run

    def counted(self: LocalHost, *args: object, **kwargs: object) -> object:
        ran.append(args[0].argv)  # type: ignore[attr-defined]  # it is a command
        return run(self, *args, **kwargs)  # type: ignore[arg-type]  # whatever it takes

    monkeypatch.setattr(LocalHost, "run", counted)

    def verbs() -> list[str]:
        found = [argv[1] for argv in ran if argv[0].endswith("restic")]
        ran.clear()
        return found

    (tmp_path / "file").write_text("x")
    taken = vault.take(Tree(paths=(str(tmp_path / "file"),)))
    assert verbs() == ["version", "backup"]
    vault.take(Tree(paths=(str(tmp_path / "file"),)), run="nightly@2")
    assert [argv[1] for argv in ran] == ["backup"]  # and nothing else at all
    snapshot = vault.taken(taken.snapshot)
    ran.clear()
    vault.repository.restore(vault.here, snapshot, str(tmp_path / "into"), progress=lambda _: None)
    assert verbs() == ["restore"]
    vault.repository.compare(vault.here, snapshot, str(tmp_path / "into"))
    assert verbs() == ["ls", "restore"]


def test_secrets_stand_in_no_argument(vault: Vault, tmp_path: Path) -> None:
    """While a dump runs, no process's arguments hold the repository's password."""
    script = "cat /proc/[0-9]*/cmdline 2>/dev/null; true"
    taken = vault.take(Stream(name="dump", filename="seen", argv=("sh", "-c", script)))
    vault.repository.restore(vault.here, vault.taken(taken.snapshot), str(tmp_path / "into"), progress=lambda _: None)
    seen = (tmp_path / "into" / "seen").read_bytes()
    assert script.encode() in seen
    assert PASSWORD.encode() not in seen


def test_an_old_answer_is_not_kept_for_long(vault: Vault, tmp_path: Path) -> None:
    """A bare restic's own snapshots are seen at once, without an origin."""
    (tmp_path / "file").write_text("x")
    before = time.time()
    assert vault.bare("backup", str(tmp_path / "file")).returncode == 0
    (found,) = vault.repository.snapshots(vault.controller)
    assert found.origin is None
    assert found.time.timestamp() >= before - 1


def test_a_damaged_cache_is_done_without(vault: Vault, oddities: Path, tmp_path: Path) -> None:
    """What an attacker or a race left in restic's cache does not keep anybody from restoring."""
    vault.round(oddities, tmp_path / "one")
    versions = list((tmp_path / "home").rglob("cache/*/version"))
    assert versions
    for version in versions:
        version.write_bytes(os.urandom(64))
    vault.round(oddities, tmp_path / "two")
    assert contents(tmp_path / "two" / str(oddities)[1:]) == contents(oddities)
