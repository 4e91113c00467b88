"""What every repository promises, asked of the one in memory and of real restic."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from drorch.core.errors import RepositoryError, RepositoryMissing, StreamFailed
from drorch.core.host import Host
from drorch.core.model import SecretRef
from drorch.core.repository import BackedUp, Copied, Repository, Snapshot
from drorch.core.source import Part, Stream, Tree
from drorch.repositories.memory import MemoryRepository
from drorch.repositories.restic.endings import UNHEARD
from drorch.repositories.restic.repository import ResticRepository
from support.dumping import machine
from support.vaults import NOW, SECRETS, OpenCopy, OpenVault, contents, tags


@dataclass(frozen=True)
class Kit:
    """A repository, a machine, and a folder to back up."""

    repository: Repository
    missing: Callable[[], Repository]
    """One that was never created."""
    here: Host
    folder: Path
    into: Path
    copy: Repository
    """One for copies of it, with a password of its own."""

    def take(self, part: Part | None = None, *, run: str = "nightly@1", days: int = 0, **words: bool) -> BackedUp:
        """One snapshot, of the folder unless said."""
        part = part or Tree(paths=(str(self.folder),))
        when = NOW + timedelta(days=days)
        return self.repository.backup(
            self.here, part, tags(run, part.name), time=when, progress=lambda _: None, **words
        )

    def snapshot(self, taken: BackedUp) -> Snapshot:
        """Its entry in the listing."""
        (found,) = [each for each in self.repository.snapshots(self.here) if each.id == taken.snapshot]
        return found

    def restored(self, into: Path | None = None) -> Snapshot:
        """The folder, backed up and restored."""
        snapshot = self.snapshot(self.take())
        self.repository.restore(self.here, snapshot, str(into or self.into), progress=lambda _: None)
        return snapshot

    def differing(self, snapshot: Snapshot) -> tuple[str, ...]:
        """How what was restored differs, each without the place of the folder."""
        found = self.repository.compare(self.here, snapshot, str(self.into))
        assert found.differing_count == len(found.differing)
        return tuple(sorted(line.replace(f"{self.folder}/", "") for line in found.differing))


@pytest.fixture(params=["memory", "restic"])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    """Each implementation in turn."""
    folder = tmp_path / "shop"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("hello")
    (folder / "sub" / "b").write_bytes(b"x" * 5000)
    (folder / "link").symlink_to("a")
    if request.param == "restic":
        opener: OpenVault = request.getfixturevalue("open_vault")
        vault = opener()
        missing = lambda: opener(url=str(tmp_path / "unmounted")).repository  # noqa: E731 - one of two
        second: OpenCopy = request.getfixturevalue("open_copy")
        yield Kit(vault.repository, missing, vault.here, folder, tmp_path / "into", second().repository)
    else:
        memory, copy = MemoryRepository("vault", SECRETS), MemoryRepository("copy", SECRETS)
        here = machine("here", tmp_path / "home")
        memory.create(here)
        copy.create(here, like=memory)
        yield Kit(memory, lambda: MemoryRepository("other"), here, folder, tmp_path / "into", copy)


def test_a_missing_repository_is_never_created(kit: Kit) -> None:
    """Every verb but `create` says that there is none, however often it is asked."""
    missing = kit.missing()
    for _ in range(2):
        with pytest.raises(RepositoryMissing):
            missing.snapshots(kit.here)
        with pytest.raises(RepositoryMissing):
            missing.identify(kit.here)
        with pytest.raises(RepositoryMissing):
            missing.backup(kit.here, Tree(paths=(str(kit.folder),)), tags(), time=NOW, progress=lambda _: None)
        with pytest.raises(RepositoryMissing):
            missing.check(kit.here, subset=None)


def test_a_repository_is_created_once(kit: Kit) -> None:
    """`create` gives the id that `identify` gives, and refuses where one is."""
    missing = kit.missing()
    assert missing.create(kit.here) == missing.identify(kit.here)
    with pytest.raises(RepositoryError, match="already"):
        missing.create(kit.here)


def test_a_backup_is_found_by_its_tags(kit: Kit) -> None:
    """What was taken is listed with time, host, paths and tags; other tags find nothing; oldest come first."""
    second = kit.take(run="nightly@2", days=1)
    first = kit.take(run="nightly@1")
    assert (first.files, first.bytes_processed, first.unreadable) == (2, 5005, ())
    listed = kit.repository.snapshots(kit.here)
    assert [each.id for each in listed] == [first.snapshot, second.snapshot]
    assert (listed[0].time, listed[0].host, listed[0].paths) == (NOW, "here", (str(kit.folder),))
    assert listed[0].origin == tags("nightly@1")
    assert [each.id for each in kit.repository.snapshots(kit.here, tags={"run": "nightly@2", "service": "shop"})] == [
        second.snapshot
    ]
    assert kit.repository.snapshots(kit.here, tags={"run": "nightly@1", "service": "other"}) == ()


def test_a_repeated_backup_of_one_run_takes_none_again(kit: Kit) -> None:
    """The same run and part give the first snapshot's facts, even from another plan text; another part is taken."""
    first = kit.take()
    (kit.folder / "a").write_text("changed since")
    assert kit.take(repeated=True).snapshot == first.snapshot
    assert len(kit.repository.snapshots(kit.here)) == 1
    other = kit.take(Tree(name="other", paths=(str(kit.folder),)))
    assert other.snapshot != first.snapshot


def test_a_restore_equals_what_was_backed_up(kit: Kit) -> None:
    """Content, permissions, times and links come back below the fresh folder, which only its owner can enter."""
    (kit.folder / "sub").chmod(0o750)
    os.utime(kit.folder / "a", (1_000_000_000, 1_000_000_000))
    before = contents(kit.folder)
    snapshot = kit.restored()
    assert contents(Path(f"{kit.into}{kit.folder}")) == before
    assert kit.into.stat().st_mode & 0o777 == 0o700
    assert kit.differing(snapshot) == ()


@pytest.mark.parametrize("state", ["foreign", "file", "link"])
def test_a_restore_goes_only_where_nothing_is(kit: Kit, state: str, tmp_path: Path) -> None:
    """A folder with other content, a file and a link are refused and left as they are."""
    snapshot = kit.snapshot(kit.take())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if state == "foreign":
        kit.into.mkdir()
        (kit.into / "mine").write_text("mine")
    elif state == "file":
        kit.into.write_text("mine")
    else:
        kit.into.symlink_to(elsewhere)
    with pytest.raises(RepositoryError, match=r"is not empty|is no directory"):
        kit.repository.restore(kit.here, snapshot, str(kit.into), progress=lambda _: None)
    assert not any(elsewhere.iterdir())
    assert (
        [path.name for path in kit.into.iterdir()] == ["mine"]
        if state == "foreign"
        else not kit.into.is_dir() or (kit.into.is_symlink())
    )


def test_a_restore_goes_on_where_a_former_one_of_the_same_snapshot_stopped(kit: Kit) -> None:
    """What a cut attempt left is completed and mended; another snapshot is refused the same folder."""
    snapshot = kit.restored()
    (Path(f"{kit.into}{kit.folder}") / "a").write_text("torn")
    (Path(f"{kit.into}{kit.folder}") / "sub" / "b").unlink()
    kit.repository.restore(kit.here, snapshot, str(kit.into), progress=lambda _: None)
    assert kit.differing(snapshot) == ()
    other = kit.snapshot(kit.take(run="nightly@2"))
    with pytest.raises(RepositoryError, match="is not empty"):
        kit.repository.restore(kit.here, other, str(kit.into), progress=lambda _: None)


def _flip(path: Path) -> None:
    facts = path.stat()
    path.write_bytes(b"jello")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("sub")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda root: (root / "sub" / "b").unlink(), "missing sub/b"),
    "extra": (lambda root: (root / "new").write_text(""), "unexpected new"),
    "mode": (lambda root: (root / "a").chmod(0o777), "altered a (permissions)"),
    "folder mode": (lambda root: (root / "sub").chmod(0o777), "altered sub (permissions)"),
    "flipped": (lambda root: _flip(root / "a"), "altered a (content)"),
    "link": (lambda root: _retarget(root / "link"), "altered link (target)"),
    "time": (lambda root: os.utime(root / "a", (1, 1)), "altered a (time)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_compare_finds_each_difference(kit: Kit, damage: str) -> None:
    """A byte flipped at the same size and time is found, and so is everything missing, unexpected or altered."""
    snapshot = kit.restored()
    before = contents(kit.into)
    alter, line = DAMAGES[damage]
    alter(Path(f"{kit.into}{kit.folder}"))
    altered = contents(kit.into)
    assert before != altered
    assert kit.differing(snapshot) == (line,)
    assert contents(kit.into) == altered  # comparing changes nothing


def test_an_incomplete_backup_keeps_its_snapshot(kit: Kit) -> None:
    """A path that is not there leaves the others backed up, and is listed; the repeated attempt says so again."""
    part = Tree(paths=(str(kit.folder), str(kit.folder / "no\x1bsuch")))
    taken = kit.take(part)
    assert len(taken.unreadable) == 1
    assert "does not exist" in taken.unreadable[0]
    assert taken.unreadable[0].isprintable()
    assert taken.files == 2
    assert kit.snapshot(taken).id == taken.snapshot
    assert kit.take(part).unreadable == taken.unreadable


def test_a_backup_of_nothing_is_a_failure(kit: Kit) -> None:
    """When no path exists there is no snapshot."""
    with pytest.raises(RepositoryError):
        kit.take(Tree(paths=(str(kit.folder / "gone"),)))
    assert kit.repository.snapshots(kit.here) == ()


def test_excludes_are_left_out(kit: Kit) -> None:
    """A pattern leaves out a folder with all that is in it."""
    assert kit.take(Tree(paths=(str(kit.folder),), excludes=("sub",))).files == 1


def test_a_path_of_the_home_is_the_hosts_users(kit: Kit) -> None:
    """`~/` is expanded on the host, and the snapshot records the whole path."""
    home = Path(kit.here.identity().home)
    (home / "x").write_text("x")
    taken = kit.take(Tree(paths=("~/x",)))
    assert kit.snapshot(taken).paths == (f"{home}/x",)
    with pytest.raises(RepositoryError, match="not an absolute path"):
        kit.take(Tree(paths=("x",)), run="nightly@2")


def _stream(script: str, **env: str | SecretRef) -> Stream:
    return Stream(name="dump", filename="shop.dump", argv=("sh", "-c", script), env=dict(env))


def test_a_stream_is_one_file(kit: Kit) -> None:
    """The command's output, with its environment, secrets included, is the file of that name."""
    taken = kit.take(_stream('printf "%s-%s\\0\\377" "$WORD" "$WORDS"', WORD="a", WORDS=SecretRef(secret="dump")))
    kit.repository.restore(kit.here, kit.snapshot(taken), str(kit.into), progress=lambda _: None)
    assert (kit.into / "shop.dump").read_bytes() == b"a-planted-dump-password-77aa\0\xff"
    assert taken.files == 1


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo half; echo 'no table \x1b[31mx' >&2; exit 3", "failed, so no snapshot was taken: exit"),
        ("echo 'no table \\x1b[31mx' >&2", "gave no data"),
    ],
    ids=["fails", "empty"],
)
def test_a_failed_stream_leaves_no_snapshot(kit: Kit, script: str, words: str, repeated: bool) -> None:  # noqa: FBT001 - a column
    """A command that fails or gives nothing is named with what it said, and no snapshot is kept. What restic loses of
    those words (it does, now and then, of a command that ends at once) is told to be lost.
    """
    with pytest.raises(StreamFailed, match=words) as caught:
        kit.take(_stream(script), repeated=repeated)
    assert "`sh`" in caught.value.message
    lost = "" if isinstance(kit.repository, ResticRepository) else None
    assert caught.value.errors in {"no table \\x1b[31mx", lost}
    assert caught.value.errors in caught.value.message
    if "gave no data" in words:
        assert (caught.value.errors or UNHEARD) in caught.value.message
    assert kit.repository.snapshots(kit.here) == ()


def test_exactly_the_named_snapshots_are_removed(kit: Kit) -> None:
    """The others stay; removing what is gone already is as good; what is no id is refused before anything."""
    taken = [kit.take(run=f"nightly@{n}", days=n).snapshot for n in range(3)]
    done = kit.repository.forget(kit.here, taken[:2], prune=True)
    assert (set(done.removed), done.kept) == (set(taken[:2]), (taken[2],))
    again = kit.repository.forget(kit.here, [taken[0]], prune=True)
    assert again.kept == (taken[2],)
    assert [each.id for each in kit.repository.snapshots(kit.here)] == [taken[2]]
    with pytest.raises(RepositoryError, match="no whole snapshot id"):
        kit.repository.forget(kit.here, [taken[2], "latest"], prune=False)
    assert len(kit.repository.snapshots(kit.here)) == 1


def test_a_check_says_what_it_read(kit: Kit) -> None:
    """Structure alone and a part of the bytes are told apart."""
    kit.take()
    assert kit.repository.check(kit.here, subset=None).subset == "structure"
    assert kit.repository.check(kit.here, subset=(2, 3)).subset == "2/3"
    kit.repository.unlock(kit.here)


def test_a_snapshot_that_is_gone_is_no_success(kit: Kit) -> None:
    """Restoring or comparing a removed snapshot is an error."""
    snapshot = kit.restored()
    kit.repository.forget(kit.here, [snapshot.id], prune=False)
    with pytest.raises(RepositoryError):
        kit.repository.compare(kit.here, snapshot, str(kit.into))
    with pytest.raises(RepositoryError):
        kit.repository.restore(kit.here, snapshot, f"{kit.into}2", progress=lambda _: None)


def _copy(kit: Kit, *snapshots: Snapshot) -> Copied:
    return kit.copy.copy_from(kit.here, kit.repository, snapshots, progress=lambda _: None)


def test_a_copy_is_the_same_in_another_repository(kit: Kit) -> None:
    """It has an id of its own, and time, host, paths, tags and tree of its original; what it restores is the same."""
    first, second = (kit.snapshot(kit.take(run=f"nightly@{n}", days=n)) for n in range(2))
    done = _copy(kit, first)
    (copy,) = kit.copy.snapshots(kit.here)
    assert (done.copies, done.new) == ({first.id: copy.id}, (first.id,))
    assert copy.id != first.id
    assert copy.copies(first)
    assert not copy.copies(second)
    assert copy.origin == first.origin
    assert copy.model_copy(update={"id": first.id, "original": ""}) == first
    kit.copy.restore(kit.here, copy, str(kit.into), progress=lambda _: None)
    assert contents(Path(f"{kit.into}{kit.folder}")) == contents(kit.folder)
    assert kit.copy.compare(kit.here, copy, str(kit.into)).differing == ()
    assert kit.copy.check(kit.here, subset=(1, 1)).subset == "1/1"


def test_nothing_is_copied_twice(kit: Kit) -> None:
    """What is there already is found, whatever else is asked for with it, and nothing is written for it."""
    first, second = (kit.snapshot(kit.take(run=f"nightly@{n}", days=n)) for n in range(2))
    before = _copy(kit, first)
    both = _copy(kit, first, second)
    assert both.new == (second.id,)
    assert both.copies[first.id] == before.copies[first.id]
    again = _copy(kit, first, second)
    assert (again.copies, again.new, again.bytes_written) == (both.copies, (), 0)
    assert {each.id for each in kit.copy.snapshots(kit.here)} == set(both.copies.values())
    assert _copy(kit).copies == {}


def test_a_copy_goes_back_where_its_original_is_gone(kit: Kit) -> None:
    """Copied back, the original is found if it is there; a lost one comes back as a copy of what it was."""
    first, second = (kit.snapshot(kit.take(run=f"nightly@{n}", days=n)) for n in range(2))
    _copy(kit, first, second)
    kit.repository.forget(kit.here, [second.id], prune=True)
    back = kit.repository.copy_from(kit.here, kit.copy, kit.copy.snapshots(kit.here), progress=lambda _: None)
    assert len(back.new) == 1
    stayed, returned = kit.repository.snapshots(kit.here)
    assert stayed == first
    assert returned == second.model_copy(update={"id": returned.id, "original": second.id})
    assert _copy(kit, stayed, returned).new == ()


def test_a_snapshot_that_is_gone_is_not_copied(kit: Kit) -> None:
    """Neither is silently left out what the source no longer has; a copy of it that was there stays, and is found."""
    first, second = (kit.snapshot(kit.take(run=f"nightly@{n}", days=n)) for n in range(2))
    there = _copy(kit, first)
    kit.repository.forget(kit.here, [first.id, second.id], prune=True)
    assert _copy(kit, first).copies == there.copies
    with pytest.raises(RepositoryError, match=second.id[:12]):
        _copy(kit, second)


def test_a_repository_is_no_copy_of_itself(kit: Kit) -> None:
    """Copying within one repository, or from or into one that is not there, is refused."""
    first = kit.snapshot(kit.take())
    with pytest.raises(RepositoryError):
        kit.repository.copy_from(kit.here, kit.repository, [first], progress=lambda _: None)
    with pytest.raises(RepositoryMissing):
        kit.copy.copy_from(kit.here, kit.missing(), [first], progress=lambda _: None)
    assert [each.id for each in kit.repository.snapshots(kit.here)] == [first.id]
