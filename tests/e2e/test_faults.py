"""Faults of disks, repositories, secrets and dumps, and kills: what a user sees, and that nothing is lost or left."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from drorch.core.step import RunState
from support.disks import ONLY_ROOT, small_disk
from support.hands import appending, eventually, runbook, running, touched
from support.processes import running_with
from support.site import PASSWORD, Site


def snapshots(site: Site) -> set[str]:
    """The names of all snapshots in the repository."""
    return {path.name for path in (site.folder / "vault" / "snapshots").iterdir()}


def locks(site: Site) -> list[Path]:
    """The locks that lie in the repository."""
    return list((site.folder / "vault" / "locks").iterdir())


def drills(site: Site) -> list[Path]:
    """What of any drill lies on the standby."""
    return list((site.folder / "standby" / ".drorch" / "drills").glob("*"))


def undamaged(site: Site) -> None:
    """The journal's chain and signatures hold, from the first record to the last."""
    site.drorch("show", "last", "--verify")


@contextmanager
def held_by_restic(site: Site, restic: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real restic in the middle of a backup of its own, until it is told to end or is killed."""
    there = site.folder / "held"
    script = f"touch '{there}'; echo data; while [ -e '{there}' ]; do sleep 0.1; done"
    words = [str(restic), "backup", "--stdin-from-command", "--host=elsewhere", "--", "sh", "-c", script]
    env = {**site.env, "RESTIC_REPOSITORY": str(site.folder / "vault"), "RESTIC_PASSWORD": PASSWORD}
    env["RESTIC_CACHE_DIR"] = str(site.folder / "cache")
    process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        eventually(there.exists, "restic holds the repository")
        yield process
    finally:
        there.unlink(missing_ok=True)
        process.kill()
        process.wait()


# Repositories


def test_a_wrong_password_is_told_apart(shop: Site) -> None:
    """A password that opens no key is said to be that, with the secret to compare; nothing is taken."""
    before = snapshots(shop)
    (shop.folder / "config" / "secrets" / "vault").write_text("another\n")
    said = shop.drorch("backup", "shop", expect=1).stderr
    assert "the password opens no key of vault" in said
    assert "what to do: compare the repository's secret" in said
    assert snapshots(shop) == before
    assert locks(shop) == []


@pytest.mark.parametrize(
    "words", [("backup", "shop"), ("drill", "shop"), ("run", "shop-check"), ("repository", "list")]
)
def test_a_missing_repository_is_never_created(shop: Site, words: tuple[str, ...]) -> None:
    """An unmounted disk looks like no repository: every verb says so and none makes one."""
    vault = shop.folder / "vault"
    vault.rename(shop.folder / "unmounted")
    done = shop.drorch(*words, expect=1)
    said = done.stdout + done.stderr
    assert "there is no repository at" in said
    assert str(vault) in said
    assert "mount it" in said
    assert not vault.exists()


def test_a_live_restic_is_waited_for(shop: Site, restic: Path) -> None:
    """While another restic works, backups go on, and what needs the repository alone waits; no lock is broken."""
    with held_by_restic(shop, restic) as other:
        (lock,) = locks(shop)
        runbook(shop, "media", "  - {kind: backup, source: media}\n", kind="backup")
        shop.drorch("run", "media")
        with running(shop, "run", "shop-check") as check:
            eventually(lambda: bool(running_with("--read-data-subset=1/4")), "the check waits for the lock")
            assert check.poll() is None
            assert lock in locks(shop)
            (shop.folder / "held").unlink()
            assert other.wait(30) == 0, "its lock was taken from it"
            check.communicate(timeout=60)
        assert check.returncode == 0


def test_a_dead_restic_blocks_nothing(shop: Site, restic: Path) -> None:
    """The lock of a killed restic is removed by what needs the repository alone, without anybody's help."""
    with held_by_restic(shop, restic) as other:
        other.kill()
        other.wait()
    assert len(locks(shop)) == 1
    before = snapshots(shop)
    shop.drorch("backup", "shop")
    assert len(snapshots(shop) - before) == 2
    runbook(shop, "tidy", "  - {kind: retain, keep: {last: 1}}\n  - {kind: check}\n")
    shop.drorch("run", "tidy")
    assert locks(shop) == []
    assert len(snapshots(shop)) == 2


def test_a_flipped_byte_is_found_when_its_share_is_read(shop: Site) -> None:
    """The rotating check finds the damage in the share that holds it, says which pack, and a drill finds it too."""
    pack = max((path for path in (shop.folder / "vault" / "data").glob("??/*")), key=lambda path: path.stat().st_size)
    share = int(pack.name[:2], 16) % 4 + 1
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    for _ in range(share - 1):
        shop.drorch("run", "shop-check")
    said = shop.drorch("run", "shop-check", expect=1).stderr
    assert "the repository is damaged" in said
    assert pack.name[:8] in said
    assert "what to do: keep every copy of it" in said
    said = shop.drorch("drill", "shop", expect=1).stderr
    assert "ciphertext verification failed" in said
    assert "what to do: keep every copy of it" in said
    assert drills(shop) == []


def test_without_restic_it_is_said_how_to_get_one(shop: Site, tmp_path: Path) -> None:
    """Where no restic is and none can be fetched, the message says what to install; the run is a failure."""
    shutil.rmtree(shop.state / "bin", ignore_errors=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            if not program.name.startswith(("restic", "apt")) and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    bare = Site(shop.folder, {**shop.env, "PATH": str(programs)})
    said = bare.drorch("backup", "shop", expect=1).stderr
    assert "restic" in said
    assert "what to do: put restic 0.19.0 or newer (at least 0.17.1) on the PATH" in said


# Secrets

SECRETS: dict[str, tuple[str, str, str]] = {
    "readable": ("{file: secrets/readable}", "can be read by others (mode 0644)", "chmod 600 "),
    "absent": ("{file: secrets/absent}", "cannot be read: No such file", "check the path"),
    "empty": ("{file: secrets/empty}", "is empty", "fill it in"),
    "failing": ("{command: [sh, -c, 'exit 3']}", "sh ended with exit code 3", "run its command by hand"),
    "silent": ("{command: ['true']}", "is empty", "fill it in"),
    "unset": ("{env: NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE is not set", "set it"),
}
"""Where the value comes from, a piece of the message, a piece of the hint."""


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_cannot_be_had(shop: Site, name: str) -> None:
    """The message names the secret, what is wrong with it and what to do, never its value; nothing is done."""
    source, why, hint = SECRETS[name]
    before = snapshots(shop)
    folder = shop.folder / "config" / "secrets"
    (folder / "readable").write_text(PASSWORD)
    (folder / "readable").chmod(0o644)
    (folder / "empty").touch(mode=0o600)
    text = shop.inventory.read_text().replace("{file: secrets/vault}", source)
    shop.inventory.write_text(text)
    said = shop.drorch("backup", "shop", expect=1).stderr
    assert "vault-password" in said
    assert why in said
    assert "what to do:" in said
    assert hint in said
    assert PASSWORD not in said
    assert snapshots(shop) == before


# Dumps


def break_database(site: Site) -> None:
    """Overwrite the middle of the database's pages."""
    path = site.folder / "primary" / "shop.db"
    content = bytearray(path.read_bytes())
    content[5000:60000] = b"\xa5" * 55000
    path.write_bytes(content)


def lose_database(site: Site) -> None:
    """Remove it, as an unmounted disk does."""
    for path in (site.folder / "primary").glob("shop.db*"):
        path.unlink()


DUMPS: dict[str, tuple[str, Callable[[Site], None], str]] = {
    "missing": ("", lose_database, "shop.db"),
    "corrupt": ("", break_database, "the database is damaged"),
    "empty": ("{kind: command, filename: x, backup: ['true']}", lambda _: None, "gave no data"),
    "failing": ("{kind: command, filename: x, backup: [sh, -c, 'echo half; exit 7']}", lambda _: None, "7"),
}
"""The source instead of the shop's database, what happens to that, a piece of the message."""


@pytest.mark.parametrize("name", DUMPS)
def test_a_dump_that_fails_leaves_no_snapshot(shop: Site, name: str) -> None:
    """A dump that cannot be made, breaks off or gives nothing is a failure with its cause, never a recovery point."""
    source, harm, why = DUMPS[name]
    if source:
        text = shop.inventory.read_text().replace("{kind: sqlite, path: ~/shop.db}", source)
        shop.inventory.write_text(text)
    harm(shop)
    before = snapshots(shop)
    runbook(shop, "dump", "  - {kind: backup, source: database}\n", kind="backup")
    said = shop.drorch("run", "dump", expect=1).stderr
    assert why in said
    assert "what to do:" in said
    assert snapshots(shop) == before
    assert locks(shop) == []


# Disks


@ONLY_ROOT
def test_a_full_standby_fails_the_drill_and_is_emptied(shop: Site) -> None:
    """A restore that does not fit is a failure that says so, and what was written of it is removed."""
    with small_disk(shop.folder / "standby" / ".drorch" / "drills", "4m") as disk:
        said = shop.drorch("drill", "shop", expect=1).stderr
        assert "no space left on device" in said
        assert "what to do: free space" in said
        assert list(disk.iterdir()) == []
    undamaged(shop)


@ONLY_ROOT
def test_a_full_repository_fails_the_backup_and_stays_whole(shop: Site) -> None:
    """A backup that does not fit is a failure that says so; with space again the repository serves as before."""
    (shop.folder / "primary" / "media" / "large").write_bytes(os.urandom(20 << 20))
    with small_disk(shop.folder / "vault", "24m"):
        before = snapshots(shop)
        said = shop.drorch("backup", "shop", expect=1).stderr
        assert "no space left on device" in said
        assert "what to do: free space" in said
        (shop.folder / "primary" / "media" / "large").unlink()
        assert len(snapshots(shop) - before) <= 1, "of the database, which fits"
        shop.drorch("backup", "shop")
        runbook(shop, "whole", "  - {kind: check, subset: 1/1}\n")
        shop.drorch("run", "whole")


@ONLY_ROOT
def test_a_full_state_folder_stops_the_run_and_resume_completes_it(shop: Site) -> None:
    """What cannot be recorded does not count as done: the run stops, says how to go on, and goes on with space."""
    fill = shop.state / "fill"
    filling = f"[ -e {shop.folder}/tried ] || {{ touch {shop.folder}/tried; cat /dev/zero > {fill}; true; }}"
    runbook(shop, "filling", appending(shop, "first") + appending(shop, "full", filling) + appending(shop, "last"))
    with small_disk(shop.state, "8m"):
        said = shop.drorch("run", "filling", expect=1).stderr
        fill.unlink()
        run = shop.newest()
        assert "was stopped: the engine's database cannot be used: database or disk is full" in said
        assert "what to do: check the state folder's free space" in said
        assert f"drorch resume {run.id}" in said
        assert not run.state.final
        assert (touched(shop, "first"), touched(shop, "full"), touched(shop, "last")) == (1, 1, 0)
        shop.drorch("resume", run.id)
        assert shop.newest().state is RunState.COMPLETED
        assert (touched(shop, "first"), touched(shop, "full"), touched(shop, "last")) == (1, 2, 1)
        undamaged(shop)


@ONLY_ROOT
def test_on_a_full_state_folder_nothing_begins(shop: Site) -> None:
    """A run that cannot be noted does not start, and the message names the folder."""
    runbook(shop, "work", appending(shop, "work"))
    with small_disk(shop.state, "8m") as disk:
        with suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        said = shop.drorch("run", "work", expect=None).stderr
        assert touched(shop, "work") == 0
        assert str(shop.state) in said
        assert "what to do:" in said
        (disk / "fill").unlink()
        shop.drorch("run", "work")
        undamaged(shop)


# Kills

MOMENTS = ("restore-media", "verify-database", "verify-media", "start", "http", "cleanup")
"""Steps of the shop's drill, in their order."""


@pytest.mark.parametrize("step", MOMENTS)
def test_a_drill_killed_within_a_step_is_completed_and_leaves_nothing(shop: Site, step: str) -> None:
    """While a step's own program runs SIGKILL hits drorch: resume completes the drill, and the standby is as before."""
    standby = shop.folder / "standby"
    with running(shop, "drill", "shop") as process:
        assert process.stderr is not None
        assert any(line.startswith(f"… {step}:") for line in process.stderr), "the step began"
        eventually(lambda: process.poll() is not None or bool(running_with(str(standby))), "its program runs")
        process.kill()
    run = shop.newest()
    shop.drorch("resume", run.id)
    assert shop.newest().state is RunState.COMPLETED
    assert drills(shop) == []
    assert running_with(str(shop.folder)) == ()
    assert {path.name for path in standby.iterdir()} == {".drorch", "shop.py"}
    undamaged(shop)


def test_a_program_that_a_killed_drill_waited_for_never_runs_twice_at_once(shop: Site) -> None:
    """What a killed drorch was waiting for ends with it; the resumed drill runs it anew and cleans up after it."""
    mark = f"94{os.getpid()}"
    holding = appending(shop, "holding", f"test -e {shop.folder}/go || sleep {mark}").replace("primary", "standby", 1)
    steps = "  - {kind: restore, source: database}\n" + holding + "  - {kind: verify, source: database}\n"
    runbook(shop, "shop-drill", steps, kind="drill")
    with running(shop, "drill", "shop") as process:
        eventually(lambda: bool(running_with(f"sleep\0{mark}")), "the program runs")
        process.kill()
    eventually(lambda: not running_with(mark), "the program ends")
    (shop.folder / "go").touch()
    shop.drorch("resume", shop.newest().id)
    assert touched(shop, "holding") == 2


# Two at once


def test_exclusive_work_is_never_done_twice_at_once(shop: Site, restic: Path, tmp_path: Path) -> None:
    """Of runs side by side that need a repository alone, one waits for the other: their restics never overlap."""
    log, wrapped = shop.folder / "exclusive", tmp_path / "programs"
    wrapped.mkdir()
    program = wrapped / "restic"
    program.write_text(
        f"""#!/bin/sh
case $1 in check|forget|prune) ;; *) exec '{restic}' "$@" ;; esac
echo "begin $$ $1" >>'{log}'
sleep 0.5
'{restic}' "$@"
code=$?
echo "end $$ $1" >>'{log}'
exit $code
"""
    )
    program.chmod(0o755)
    watched = Site(shop.folder, {**shop.env, "PATH": f"{wrapped}:{shop.env['PATH']}"})
    watched.drorch("backup", "shop")
    check, retain = "  - {kind: check, subset: 1/1}\n", "  - {kind: retain, keep: {last: 1}}\n"
    runbook(watched, "one", check + retain)
    runbook(watched, "two", retain + check)
    with running(watched, "run", "one") as one, running(watched, "run", "two") as two:
        for process in (one, two):
            _, err = process.communicate(timeout=90)
            assert process.returncode == 0, err
    steps = [line.split() for line in log.read_text().splitlines()]
    assert len(steps) >= 6, "two checks and a removal"
    for begin, end in zip(steps[::2], steps[1::2], strict=True):
        assert (begin[0], end[0], begin[1:]) == ("begin", "end", end[1:])
