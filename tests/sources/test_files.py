"""Files: what a restore brings back is found, counted, and put in place by renames."""

import os
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from drorch.core.errors import Interrupted
from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Host
from drorch.core.source import Destination, Expectation, Restored, Tree
from drorch.sources.files import Files
from support.dumping import Cut, Known, carry, cuts, destination, machine

HOSTILE = (b"-rf", b"new\nline", b"esc\x1b[2Jape", b"bad\xff\xfeutf8", b"$(touch pwned)", b"a b", b"'\"`", b"*?[x]\\")


def hostile_tree(folder: Path) -> int:
    """Fill a folder with names that hurt; gives their number."""
    folder.mkdir(parents=True)
    for name in HOSTILE:
        (folder / os.fsdecode(name)).write_bytes(b"12345")
    (folder / "sub").mkdir()
    (folder / "sub" / "link").symlink_to("nowhere")
    return len(HOSTILE)


def restored(source: Files, host: Host, into: Destination) -> Restored:
    """Load, which must succeed."""
    outcome = source.load(host, into, Known())
    assert isinstance(outcome, Restored), outcome
    return outcome


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("srv/shop", "must be absolute"),
        (["/srv/../etc"], "must not hold `..`"),
        (["~"], "must be absolute"),
        (["~/"], "the whole home"),
        (["~other/x"], "must be absolute"),
        ([], "at least 1 item"),
        (["/srv", "/srv/shop"], "is backed up with '/srv' already"),
        (["/srv", "/srv/"], "is backed up with '/srv' already"),
        (["/", "/srv"], "is backed up with '/' already"),
        (["/a\0b"], "NUL"),
    ],
)
def test_paths_that_cannot_be_meant_are_refused(paths: object, message: str) -> None:
    """A path that is relative, climbs, repeats or lies in another is refused with the reason."""
    with pytest.raises(ValidationError, match=message):
        Files.model_validate({"kind": "files", "paths": paths})


def test_a_single_path_needs_no_list() -> None:
    """A text stands for a list of one, and slashes that mean nothing are dropped."""
    source = Files.model_validate({"kind": "files", "paths": "/srv//shop/./media/", "excludes": "*.tmp"})
    assert source.parts() == (Tree(paths=("/srv/shop/media",), excludes=("*.tmp",)),)
    assert Files.model_validate(source.model_dump(mode="json")) == source


def test_one_path_is_found_with_every_hostile_name_counted(tmp_path: Path) -> None:
    """Names with line breaks, escapes, broken UTF-8 and leading dashes change no count."""
    host, live = machine("web1", tmp_path / "home"), tmp_path / "srv" / "me dia"
    count = hostile_tree(live)
    source, into = Files(kind="files", paths=(str(live),)), destination(tmp_path / "into")
    carry(source, host, into)
    found = restored(source, host, into)
    assert found.path == f"{into.directory}/tree{live}"
    evidence = source.verify(host, found, Expectation(files=count), Known())
    assert isinstance(evidence, Evidence), evidence
    assert evidence.level is ProofLevel.RESTORED
    assert evidence.facts["files"] == count
    assert evidence.facts["bytes"] == 5 * count
    assert evidence.facts["folders"] == 2
    assert evidence.facts["links"] == 1
    assert not list(tmp_path.rglob("pwned"))


def test_too_few_files_fail(tmp_path: Path) -> None:
    """Fewer files than expected, or none at all when nothing was said, is a failure with the counts."""
    host, live = machine("web1", tmp_path / "home"), tmp_path / "empty"
    live.mkdir()
    source, into = Files(kind="files", paths=(str(live),)), destination(tmp_path / "into")
    carry(source, host, into)
    found = restored(source, host, into)
    for expect in (Expectation(), Expectation(files=3)):
        outcome = source.verify(host, found, expect, Known())
        assert isinstance(outcome, Failure)
        assert outcome.facts["files"] == 0
    assert isinstance(source.verify(host, found, Expectation(files=0), Known()), Evidence)


def test_a_path_that_did_not_come_back_fails_the_check_but_not_the_restore(tmp_path: Path) -> None:
    """In need, what there is can be used; a proof needs all of it."""
    host, live = machine("web1", tmp_path / "home"), tmp_path / "live"
    hostile_tree(live)
    into = destination(tmp_path / "into")
    carry(Files(kind="files", paths=(str(live),)), host, into)
    source = Files(kind="files", paths=(str(live), str(tmp_path / "gone")))
    found = restored(source, host, into)
    assert found.facts["missing"] == [str(tmp_path / "gone")]
    assert found.path == f"{into.directory}/tree"
    failure = source.verify(host, found, Expectation(), Known())
    assert isinstance(failure, Failure)
    assert "gone" in failure.why
    moved = source.swap(host, found, into, Known())
    assert isinstance(moved, Failure)
    assert live.is_dir()


@pytest.mark.parametrize("recorded", [False, True])
def test_what_home_meant_on_the_other_machine_is_found(tmp_path: Path, *, recorded: bool) -> None:
    """``~/`` is the backed-up machine's home, wherever that was, not the standby's."""
    primary, standby = machine("web1", tmp_path / "deep" / "er" / "one"), machine("web2", tmp_path / "two")
    (tmp_path / "deep/er/one/sh[o]p/in").mkdir(parents=True)
    (tmp_path / "deep/er/one/sh[o]p/in/file").write_text("x")
    (tmp_path / "deep/er/one/other").write_text("y")
    source = Files(kind="files", paths=("~/sh[o]p", "~/other"))
    into = destination(tmp_path / "into")
    carry(source, primary, into)
    if recorded:
        paths = tuple(f"{tmp_path}/deep/er/one/{name}" for name in ("other", "sh[o]p"))
        into = into.model_copy(update={"recorded": {"tree": paths}})
    found = restored(source, standby, into)
    assert found.facts["places"]["~/sh[o]p"] == f"{into.directory}/tree{tmp_path}/deep/er/one/sh[o]p"
    evidence = source.verify(standby, found, Expectation(), Known())
    assert isinstance(evidence, Evidence)
    assert evidence.facts["files"] == 2


def test_a_home_that_is_a_riddle_is_not_guessed(tmp_path: Path) -> None:
    """A user called like the folder in their home is found only by what the snapshot recorded."""
    primary, standby = machine("web1", tmp_path / "shop"), machine("web2", tmp_path / "two")
    (tmp_path / "shop/shop").mkdir(parents=True)
    (tmp_path / "shop/shop/file").write_text("x")
    source, into = Files(kind="files", paths=("~/shop",)), destination(tmp_path / "into")
    carry(source, primary, into)
    guess = source.load(standby, into, Known())
    assert isinstance(guess, Failure)
    into = into.model_copy(update={"recorded": {"tree": (f"{tmp_path}/shop/shop",)}})
    assert restored(source, standby, into).path == f"{into.directory}/tree{tmp_path}/shop/shop"


def make_swap(tmp_path: Path, name: str) -> tuple[Files, Host, Destination, Restored, list[Path]]:
    """Two live paths (a folder and a file) that changed after their backup, restored beside; a third is not live."""
    base = tmp_path / name
    host, into = machine("web1", base / "home"), destination(base / "into", drill=False)
    live = [base / "srv" / "me\ndia", base / "srv" / "-conf", base / "elsewhere" / "new"]
    hostile_tree(live[0])
    live[1].write_text("old")
    live[2].mkdir(parents=True)
    (live[2] / "f").write_text("old")
    source = Files(kind="files", paths=tuple(map(str, live)))
    carry(source, host, into)
    (live[0] / "-rf").write_text("changed")
    live[1].write_text("changed")
    shutil.rmtree(base / "elsewhere")
    return source, host, into, restored(source, host, into), live


def check_swapped(into: Destination, outcome: object, live: list[Path]) -> None:
    """The restored state is live, the changed one is kept, nothing else lies there."""
    assert isinstance(outcome, Evidence), outcome
    kept = [f"{path}.drorch-before-{into.token[-12:]}" for path in live[:2]]
    assert [each["kept"] for each in outcome.facts["swapped"]] == [*kept, None]
    assert (live[0] / "-rf").read_text() == "12345"
    assert (Path(kept[0]) / "-rf").read_text() == "changed"
    assert (live[1].read_text(), Path(kept[1]).read_text()) == ("old", "changed")
    assert (live[2] / "f").read_text() == "old"
    assert sorted(live[0].parent.iterdir()) == sorted([*live[:2], *map(Path, kept)])
    assert list(live[2].parent.iterdir()) == [live[2]]


def test_a_swap_cut_at_any_command_is_taken_up(tmp_path: Path) -> None:
    """Whatever command a stop comes before or after, doing it again ends as if nothing had happened; twice is once."""
    source, host, into, found, live = make_swap(tmp_path, "whole")
    ways = cuts(lambda each: source.swap(each, found, into, Known()), host)
    check_swapped(into, source.swap(host, found, into, Known()), live)
    for number, way in enumerate(ways):
        source, host, into, found, live = make_swap(tmp_path, str(number))
        with pytest.raises(Interrupted):
            source.swap(Cut(host, way.at, way.after), found, into, Known())
        check_swapped(into, source.swap(host, found, into, Known()), live)


@pytest.mark.parametrize("word", ["mv", "cp", "sync"])
def test_a_swap_killed_inside_its_script_is_taken_up(tmp_path: Path, word: str) -> None:
    """A kill at any rename within the script loses nothing: the next time ends it, also from another file system."""
    number = 0
    while True:
        number += 1
        source, host, into, found, live = make_swap(tmp_path, f"{word}{number}")
        count, dies = tmp_path / f"{word}{number}.count", tmp_path / f"{word}{number}.died"
        tools = tmp_path / f"tools{number}{word}"
        tools.mkdir()
        # the copying branch is taken when the two places seem to be on different devices
        devices = 'case $* in *--*) echo "$$";; *) exec /usr/bin/stat "$@";; esac' if word in {"cp", "sync"} else ""
        if devices:
            (tools / "stat").write_text(f"#!/bin/sh\n{devices}\n")
            (tools / "stat").chmod(0o755)
        (tools / word).write_text(
            f"#!/bin/sh\necho x >> '{count}'\n"
            f"if [ $(wc -l < '{count}') -eq {number} ] && [ ! -e '{dies}' ]; then\n"
            f"  touch '{dies}'; kill -9 $PPID; exit 1\nfi\nexec /usr/bin/{word} \"$@\"\n"
        )
        (tools / word).chmod(0o755)
        slow = machine("web1", Path(host.identity().home), {"PATH": f"{tools}:/usr/bin:/bin"})
        first = source.swap(slow, found, into, Known())
        if not dies.exists():
            check_swapped(into, first, live)
            break
        assert isinstance(first, Failure)
        check_swapped(into, source.swap(slow, found, into, Known()), live)
    assert number > 1


def test_nothing_that_is_in_the_way_is_overwritten(tmp_path: Path) -> None:
    """A file that carries the name under which the live one would be kept stops the swap before anything moves."""
    source, host, into, found, live = make_swap(tmp_path, "x")
    stranger = Path(f"{live[0]}.drorch-before-{into.token[-12:]}")
    stranger.write_text("mine")
    outcome = source.swap(host, found, into, Known())
    assert isinstance(outcome, Failure)
    assert stranger.read_text() == "mine"
    assert (live[0] / "-rf").read_text() == "changed"


def test_a_foreign_token_is_never_worked_on(tmp_path: Path) -> None:
    """Swap and discard refuse a destination that no run of drorch made."""
    host, into = machine("web1", tmp_path), Destination(token="shop", directory=str(tmp_path), drill=True)
    source = Files(kind="files", paths=("/srv",))
    assert isinstance(source.discard(host, into, Known()), Failure)
    assert isinstance(source.swap(host, Restored(host="web1"), into, Known()), Failure)
