"""Input that means harm: names, documents and machines, end to end, and not a byte of it raw on a screen."""

import json
import os
import pty
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from drorch.core.step import RunState
from support.hands import eventually, runbook, running
from support.processes import running_with
from support.site import Site, free_port
from support.sshd import Sshd, SshdFactory, write_key

NAMES = (
    b"-",
    b"--",
    b"--target=.",
    b" leading and trailing ",
    b"carriage\rreturn",
    b"new\nline\n",
    b"\n",
    b"\x1b]0;title\x07",
    b"\x1b[2J\x1b[31m",
    b"\x08\x08\x7f",
    b"c1 \x9b31m",
    "c1 as utf-8 \u009b31m".encode(),
    "right to left \u202egpj.exe".encode(),
    b"\xff\xfe\xc3\x28",
    b"\xed\xa0\x80",
    b"...",
    b"~",
    b"*",
    b"{{ restore.media.path }}",
    b"$(touch owned)`touch owned`",
    b"x" * 255,
    b"\xc3\xa4" * 127,
)
"""File names that some program or other takes for something else."""


def said(site: Site, *words: str, expect: int) -> str:
    """What drorch prints on both streams, every byte of it harmless to a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "drorch.cli.main", *words],
        env=dict(site.env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == expect, text
    raw = sorted({char for char in text if not char.isprintable() and char != "\n"})
    assert raw == [], text
    return text


def drills(site: Site) -> list[Path]:
    """What of any drill lies on the standby."""
    return list((site.folder / "standby" / ".drorch" / "drills").glob("*"))


def tree(folder: Path) -> dict[bytes, bytes]:
    """All files below a folder with their content."""
    root = os.fsencode(folder)
    found = {}
    for place, _, names in os.walk(root):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118 - a Path is no bytes
            with open(path, "rb") as file:  # noqa: PTH123 - the same
                found[os.path.relpath(path, root)] = file.read()
    return found


@pytest.fixture
def odd(shop: Site) -> Site:
    """A shop whose pictures have every one of the names, on the top and as a folder's name, and lie deep."""
    media = shop.folder / "primary" / "media"
    for number, name in enumerate(NAMES):
        (media / os.fsdecode(name)).write_bytes(b"%d" % number)
        (media / "folders" / os.fsdecode(name)).mkdir(parents=True)
        (media / "folders" / os.fsdecode(name) / os.fsdecode(name)).write_bytes(b"in %d" % number)
    deep = media.joinpath(*["d" * 200] * 12)
    os.makedirs(deep)  # noqa: PTH103 - longer than a Path's own calls take
    (deep / "file").write_bytes(b"deep")
    return shop


def test_odd_names_come_back_byte_for_byte(odd: Site) -> None:
    """Every name is backed up, proven equal by the drill, shown as harmless text and restored to the last byte."""
    assert "completed" in said(odd, "backup", "shop", expect=0)
    assert "completed" in said(odd, "drill", "shop", expect=0)
    for words in (("status",), ("runs",), ("show", "last"), ("show", "last", "--json"), ("repository", "list")):
        said(odd, *words, expect=0)
    assert "completed" in said(odd, "restore", "shop", "media", "--host", "standby", expect=0)
    (restored,) = (odd.folder / "standby" / ".drorch" / "restores").glob("*/media/tree")
    (media,) = restored.rglob("primary/media")
    assert tree(media) == tree(odd.folder / "primary" / "media")
    assert not list(odd.folder.rglob("owned"))


def test_names_in_troubles_are_shown_as_harmless_text(odd: Site) -> None:
    """Names in documents, in what could not be read and in what differs reach every screen and every report tamed."""
    text = odd.inventory.read_text()
    gone = r'"~/go\e]0;title\a\u009b31m\nne"'
    odd.inventory.write_text(text.replace("paths: [~/media]", f"paths: [~/media, {gone}]"))
    runbook(
        odd,
        "shop-drill",
        "  - {kind: restore, source: media}\n"
        f"  - {{kind: command, id: alter, run: [sh, -c, {json.dumps(ALTER)}]}}\n"
        "  - {kind: verify, source: media}\n",
        kind="drill",
    )
    said(odd, "plan", "shop-nightly", expect=0)
    unread = said(odd, "backup", "shop", expect=4)
    assert r"go\x1b]0;title\x07\x9b31m" in unread
    differing = said(odd, "drill", "shop", expect=1)
    assert r"altered" in differing
    assert r"unexpected /new \x1b[31m" in differing
    assert r"title\x07 (size, time)" in differing
    assert drills(odd) == []
    for words in (("status",), ("show", "last"), ("runs",), ("plan", "shop-drill"), ("repository", "list")):
        said(odd, *words, expect=0)


ALTER = r"""
cd .drorch/drills/*/media/tree
find . -type f -name '*title*' -exec sh -c 'for file do echo >"$file"; done' - {} +
touch "new $(printf '\033[31m')"
"""
"""Alters files of odd names in the drill's own folder, and makes one."""


def test_a_terminal_shows_progress_and_no_name_raw(odd: Site) -> None:
    """At a terminal too nothing of a name reaches it as it is, although drorch itself moves the cursor there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "drorch.cli.main", "backup", "shop"],
        env={**odd.env, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()
    with suppress(OSError):  # the end of a terminal
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    assert process.wait(60) == 0, shown.decode()
    assert b"\x1b[" in shown, "no terminal was seen"
    assert not any(piece in shown for piece in (b"title\x07", b"\x1b[2J", b"\x08\x08", b"\x9b31m", "\u202e".encode()))


# Documents

MISTAKEN = """\
runbook: mistaken
kind: drill
service: shop
schedule: {daily: "25:00"}
steps:
  - {kind: restore, source: media}
  - {kind: verify, source: media, expct: {files: 1}}
  - {kind: command, host: primary, run: [rm, -r, /srv]}
"""


def test_three_mistakes_are_three_problems_with_a_remedy_each(shop: Site) -> None:
    """`drorch check` names file, line, key and remedy of every mistake at once, and exits with 3."""
    path = shop.folder / "runbooks" / "mistaken.yaml"
    path.write_text(MISTAKEN)
    text = said(shop, "check", expect=3)
    problems = [line for line in text.splitlines() if line.startswith(str(path))]
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in problems] == ["4", "7", "8"]
    assert 'schedule.daily: must be a time of day such as "02:30"' in problems[0]
    assert "steps.1.expct: unknown key; did you mean expect?" in problems[1]
    assert "primary, where shop lives; name the standby" in problems[2]


BOMBS = {
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "deep": "runbook: " + "[" * 200_000,
    "large": "runbook: x\nkind: backup\nservice: shop\nsteps:\n" + "  - {kind: backup, source: media}\n" * 160_000,
    "keys": "runbook: x\n" + "".join(f"k{number}: 1\n" for number in range(80_000)),
    "control": "runbook: \x1b[2J\x07\nkind: backup\n",
}
"""Documents that a careless reader would choke on."""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_soon(shop: Site, name: str) -> None:
    """Whatever is fed to it, `drorch check` ends within seconds, naming the file, without a traceback."""
    path = shop.folder / "runbooks" / "bomb.yaml"
    path.write_bytes(BOMBS[name].encode("utf-8", "surrogateescape"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = said(shop, "check", expect=3)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 8, "seconds of computing, however busy the machine is"
    assert f"{path}" in text
    assert "Traceback" not in text
    assert len(text) < 50_000


# Machines


def over_ssh(site: Site, machine: Sshd, name: str = "primary", changed: Mapping[str, object] | None = None) -> Site:
    """The same site with one of its folders as the home of a machine that is reached by SSH."""
    for path in (site.folder / name).iterdir():
        if not path.name.startswith("."):
            shutil.move(path, machine.home / path.name)
    spec = {
        **json.loads(machine.spec.model_dump_json(exclude_defaults=True)),
        "install_restic": True,
        **(changed or {}),
    }
    spec["env"] = {"PATH": os.environ["PATH"]}
    text = site.inventory.read_text()
    site.inventory.write_text(
        text.replace(f"  {name}:\n    connector: local\n    home: ../{name}", f"  {name}: {json.dumps(spec)}")
    )
    return site


def snapshots(site: Site) -> set[str]:
    """The names of all snapshots in the repository."""
    return {path.name for path in (site.folder / "vault" / "snapshots").iterdir()}


@pytest.fixture(params=["local", "ssh"])
def either(request: pytest.FixtureRequest, shop: Site) -> Site:
    """A shop whose standby is a folder, or a machine reached by SSH."""
    if request.param == "local":
        return shop
    factory: SshdFactory = request.getfixturevalue("sshd_factory")
    return over_ssh(shop, factory(), "standby")


def test_a_program_that_hangs_ends_at_its_timeout(either: Site) -> None:
    """After its time a hanging program is gone on its host, and the run says that the step took too long."""
    mark = f"92{os.getpid()}"
    step = (
        f"  - {{kind: command, id: hang, host: standby, timeout: 2s, run: [sh, -c, 'sleep {mark} & sleep {mark}']}}\n"
    )
    runbook(either, "hanging", step)
    began = time.monotonic()
    text = said(either, "run", "hanging", expect=1)
    assert time.monotonic() - began < 20
    assert "timed out" in text
    assert "not finished after 2 s" in text
    assert either.newest().state is RunState.TIMED_OUT
    assert running_with(f"sleep\0{mark}") == ()


def test_a_program_that_floods_is_cut_short(either: Site) -> None:
    """Endless output costs neither memory nor state, and ends at the step's timeout; none of it is printed raw."""
    mark = f"93{os.getpid()}"
    line = f"{mark} \x1b[31m"
    step = f"  - {{kind: command, id: flood, host: standby, timeout: 3s, run: ['yes', {json.dumps(line)}]}}\n"
    runbook(either, "flooding", step)
    with running(either, "run", "flooding") as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.02)
        out, err = process.communicate()
    assert process.returncode == 1
    assert "timed out" in err
    assert "\x1b" not in out + err
    assert peak < 160 << 20
    assert running_with(f"yes\0{mark}") == ()
    assert sum(path.stat().st_size for path in either.state.glob("*.sqlite*")) < 8 << 20


def memory(pid: int) -> int:
    """Bytes of memory that a process holds; 0 when it is gone."""
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) << 10 if found else 0


def test_what_programs_say_is_tamed(either: Site) -> None:
    """Escape sequences that a program prints reach neither the terminal nor the reports as such."""
    script = r"printf '\033]0;title\007\033[2J\r\233' ; printf '\033[31mred\r\n\342\200\256' >&2; exit 3"
    runbook(either, "talking", f"  - {{kind: command, id: talk, host: standby, run: [sh, -c, {json.dumps(script)}]}}\n")
    text = said(either, "run", "talking", expect=1)
    assert r"\x1b[31mred" in text
    said(either, "show", "last", expect=0)
    said(either, "show", "last", "--json", expect=0)


@dataclass(frozen=True)
class Trouble:
    """Something wrong with the way to a machine."""

    change: dict[str, object]
    why: str
    what_to_do: str


def _troubles(folder: Path) -> dict[str, Trouble]:
    write_key(folder / "stranger")
    other = write_key(folder / "other")
    return {
        "nobody there": Trouble({"port": free_port()}, "Connection refused", "is the machine"),
        "another machine": Trouble({"host_key": other}, "and the inventory pins", "drorch host trust primary"),
        "no pin": Trouble({"host_key": None}, "no host key is pinned", "drorch host trust primary"),
        "a key not let in": Trouble(
            {"key": str(folder / "stranger")}, "the server takes none of the keys", "authorized_keys"
        ),
        "no key": Trouble({"key": str(folder / "none")}, "cannot read the key", "hosts.primary.key"),
    }


@pytest.mark.parametrize("name", ["nobody there", "another machine", "no pin", "a key not let in", "no key"])
def test_a_machine_that_cannot_be_used(shop: Site, sshd_factory: SshdFactory, tmp_path: Path, name: str) -> None:
    """The message names the host, what is wrong and what to do; nothing is taken, and it is no success."""
    machine = sshd_factory()
    trouble = _troubles(tmp_path)[name]
    over_ssh(shop, machine, changed=trouble.change)
    before = snapshots(shop)
    runbook(shop, "media", "  - {kind: backup, source: media}\n", kind="backup")
    text = said(shop, "run", "media", expect=1)
    assert "✗ backup-media  primary: " in text
    assert trouble.why in text
    assert "what to do: " in text
    assert trouble.what_to_do in text
    assert snapshots(shop) == before


SLOW = (
    "{kind: command, filename: x, backup: "
    "[sh, -c, 'echo begun; touch begun; while [ ! -e go ]; do sleep 0.1; done; echo over']}"
)


@pytest.fixture
def slow(shop: Site, sshd_factory: SshdFactory) -> tuple[Site, Sshd]:
    """A shop on a machine reached by SSH, whose backup lasts until the file ``go`` is there."""
    machine = sshd_factory()
    text = shop.inventory.read_text().replace("{kind: sqlite, path: ~/shop.db}", SLOW)
    shop.inventory.write_text(text)
    runbook(shop, "slow", "  - {kind: backup, source: database}\n", kind="backup")
    return over_ssh(shop, machine), machine


def test_a_cut_connection_is_an_unknown_outcome(slow: tuple[Site, Sshd]) -> None:
    """A backup whose connection breaks is no success: it says so, takes nothing, and can be made again at once."""
    site, machine = slow
    before = snapshots(site)
    with running(site, "run", "slow") as process:
        eventually((machine.home / "begun").exists, "the backup is in its middle", 60)
        machine.cut()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "outcome is unknown" in err
    assert "what to do: " in err
    assert snapshots(site) == before
    assert running_with(str(machine.home)) == ()
    (machine.home / "go").touch()
    assert "completed" in said(site, "run", "slow", expect=0)
    assert len(snapshots(site) - before) == 1


def test_a_killed_drorch_leaves_no_helper(slow: tuple[Site, Sshd]) -> None:
    """Neither restic nor what serves the repository outlives a killed drorch, here or on the machine."""
    site, machine = slow
    with running(site, "run", "slow") as process:
        eventually((machine.home / "begun").exists, "the backup is in its middle", 60)
        assert running_with("serve\0restic")
        process.kill()
    eventually(lambda: not running_with(str(site.folder)), "nothing of the site runs")
    (machine.home / "go").touch()
    eventually(lambda: not running_with(str(machine.home)), "nothing on the machine runs")
    site.drorch("resume", site.newest().id)
    assert site.newest().state is RunState.COMPLETED
