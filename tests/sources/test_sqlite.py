"""SQLite: a consistent copy of a database in use, or no copy at all."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from drorch.core.errors import Interrupted
from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Host
from drorch.core.source import Destination, Expectation, Restored, Stream
from drorch.sources.sqlite import Sqlite
from support.dumping import Cut, Known, carry, cuts, destination, dump, machine

NAMES = ("shop.db", "-rf", "new\nline.db", "per%20cent?mode=rwc#x.db", "a b'\".db", "database")

_WRITER = """
import sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print("ready", flush=True)
number = 0
while True:
    number += 1
    base.execute("BEGIN IMMEDIATE")
    base.execute("UPDATE pair SET value = ? WHERE name = 'left'", (number,))
    base.execute("INSERT INTO filler SELECT randomblob(2000) FROM (SELECT 1 LIMIT 1)")
    base.execute("UPDATE pair SET value = ? WHERE name = 'right'", (number,))
    base.execute("COMMIT")
    time.sleep(0.001)
"""


def make(path: Path, *, wal: bool = False, rows: int = 3) -> None:
    """A database with two tables, one of a hostile name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as base:
        if wal:
            base.execute("PRAGMA journal_mode = wal")
        base.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
        base.execute('CREATE TABLE "dr""op; table\n" (x)')
        base.executemany("INSERT INTO orders (note) VALUES (?)", [(f"order {number}",) for number in range(rows)])
        base.commit()


def main_part(source: Sqlite) -> Stream:
    """The source's stream."""
    (part,) = source.parts()
    assert isinstance(part, Stream)
    return part


def loaded(source: Sqlite, host: Host, into: Destination) -> Restored:
    """Load, which must succeed."""
    outcome = source.load(host, into, Known())
    assert isinstance(outcome, Restored), outcome
    return outcome


@pytest.mark.parametrize("name", NAMES)
def test_a_database_of_any_name_comes_back(tmp_path: Path, name: str) -> None:
    """The copy has the database's own name and every row, whatever characters the name is made of."""
    host = machine("web1", tmp_path / "home")
    make(tmp_path / "srv" / name)
    source, into = Sqlite(kind="sqlite", path=str(tmp_path / "srv" / name)), destination(tmp_path / "into")
    carry(source, host, into)
    first = loaded(source, host, into)
    assert loaded(source, host, into) == first
    evidence = source.verify(host, first, Expectation(tables={"orders": 3}), Known())
    assert isinstance(evidence, Evidence), evidence
    assert evidence.level is ProofLevel.RESTORED
    assert evidence.facts["tables"] == {"orders": 3, 'dr"op; table\n': 0}
    assert evidence.facts["integrity_check"] == "ok"
    assert [path.name for path in (tmp_path / "srv").iterdir()] == [name]


def test_home_is_the_hosts_own(tmp_path: Path) -> None:
    """``~/`` is the home of the host's user, on the way out and on the way back."""
    host = machine("web1", tmp_path / "home")
    make(tmp_path / "home" / "shop.db")
    source, into = Sqlite(kind="sqlite", path="~/shop.db"), destination(tmp_path / "into")
    carry(source, host, into)
    assert loaded(source, host, into).path == f"{into.directory}/shop.db"


def _shadow(folder: Path) -> dict[str, str]:
    """An environment whose PATH holds what the fallback needs and no python3."""
    folder.mkdir()
    for tool in ("sh", "mktemp", "rm", "cat", "sqlite3", "env", "setsid", "timeout", "kill", "cp", "mv", "stat"):
        found = shutil.which(tool, path="/usr/bin:/bin")
        if found:
            (folder / tool).symlink_to(found)
    return {"PATH": str(folder)}


@pytest.mark.parametrize("python", [True, False])
@pytest.mark.parametrize(
    ("content", "sign"),
    [
        (None, ("No such file", "no database there")),
        (b"", ("is empty", "empty file")),
        (b"no database at all, but long enough to be looked at" * 50, ("not a database", "not a database")),
    ],
)
def test_what_is_no_database_gives_no_backup(
    tmp_path: Path, content: bytes | None, sign: tuple[str, str], *, python: bool
) -> None:
    """A missing, empty or foreign file is a failed command without output, and is not created or changed."""
    if not python and not shutil.which("sqlite3"):
        pytest.skip("no sqlite3 program on this machine")
    path = tmp_path / "shop.db"
    if content is not None:
        path.write_bytes(content)
    host = machine("web1", tmp_path / "home", None if python else _shadow(tmp_path / "tools"))
    source = Sqlite(kind="sqlite", path=str(path))
    done = dump(host, main_part(source), Known())
    assert not done.ok
    assert done.stdout == b""
    assert sign[0 if python else 1] in done.errors
    assert path.exists() == (content is not None)
    if content is not None:
        assert path.read_bytes() == content


def test_a_damaged_database_gives_no_backup(tmp_path: Path) -> None:
    """Damage in the live file is found before a byte of it is kept."""
    path = tmp_path / "shop.db"
    make(path, rows=5000)
    content = bytearray(path.read_bytes())
    content[4096 * 4 : 4096 * 5] = b"\xff" * 4096
    path.write_bytes(content)
    host, source = machine("web1", tmp_path / "home"), Sqlite(kind="sqlite", path=str(path))
    done = dump(host, main_part(source), Known())
    assert not done.ok
    assert done.stdout == b""
    assert "restore" in source.remedy(done.errors)


def test_without_python_the_sqlite_program_does_it(tmp_path: Path) -> None:
    """A host that has only the sqlite3 program gives the same rows."""
    if not shutil.which("sqlite3"):
        pytest.skip("no sqlite3 program on this machine")
    make(tmp_path / "home" / "a'b shop.db", wal=True)
    bare, host = machine("web1", tmp_path / "home", _shadow(tmp_path / "tools")), machine("web2", tmp_path / "two")
    source, into = Sqlite(kind="sqlite", path="~/a'b shop.db"), destination(tmp_path / "into")
    carry(source, bare, into)
    evidence = source.verify(host, loaded(source, host, into), Expectation(tables={"orders": 3}), Known())
    assert isinstance(evidence, Evidence), evidence


@pytest.mark.parametrize("wal", [True, False])
def test_a_database_that_is_written_to_is_copied_whole(tmp_path: Path, *, wal: bool) -> None:
    """A copy taken while transactions run holds whole transactions only, and the writer goes on meanwhile."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as base:
        base.execute(f"PRAGMA journal_mode = {'wal' if wal else 'delete'}")
        base.execute("CREATE TABLE pair (name, value)")
        base.execute("CREATE TABLE filler (blob)")
        base.execute("INSERT INTO pair VALUES ('left', 0), ('right', 0)")
        base.executemany("INSERT INTO filler VALUES (randomblob(?))", [(2000,)] * 8000)
        base.commit()
    host, source = machine("web1", tmp_path / "home"), Sqlite(kind="sqlite", path=str(path))
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        for number in range(3):
            into = destination(tmp_path / f"into{number}")
            carry(source, host, into)
            found = loaded(source, host, into)
            assert isinstance(source.verify(host, found, Expectation(), Known()), Evidence)
            with closing(sqlite3.connect(found.path)) as copy:
                left, right = (value for (value,) in copy.execute("SELECT value FROM pair ORDER BY name"))
                assert left == right
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_backup_leaves_no_copy(tmp_path: Path, number: signal.Signals) -> None:
    """After a stop the temporary copy is gone: at once, or, after a kill, with the next backup."""
    path, temporary = tmp_path / "shop.db", tmp_path / "tmp"
    temporary.mkdir()
    make(path)
    part = main_part(Sqlite(kind="sqlite", path=str(path)))
    host = machine("web1", tmp_path / "home", {"TMPDIR": str(temporary)})
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("BEGIN EXCLUSIVE")  # the backup waits for us, its copy begun
        running = subprocess.Popen(
            part.argv,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 20
        while not list(temporary.glob("*/copy")) and time.monotonic() < end:
            time.sleep(0.01)
        assert [oct(folder.stat().st_mode & 0o777) for folder in temporary.iterdir()] == ["0o700"]
        running.send_signal(number)
        running.wait(20)
    if number is signal.SIGKILL:
        assert dump(host, part, Known()).ok
    assert list(temporary.iterdir()) == []


def test_a_reader_that_goes_away_leaves_no_copy(tmp_path: Path) -> None:
    """When nobody takes the stream any more the command fails and its copy is gone."""
    path, temporary = tmp_path / "shop.db", tmp_path / "tmp"
    temporary.mkdir()
    make(path, rows=200_000)
    part = main_part(Sqlite(kind="sqlite", path=str(path)))
    running = subprocess.Popen(part.argv, env={**os.environ, "TMPDIR": str(temporary)}, stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.read(10)
    running.stdout.close()
    assert running.wait(30) != 0
    assert list(temporary.iterdir()) == []


def test_damage_of_the_restored_copy_is_found(tmp_path: Path) -> None:
    """A flipped page in the restored file fails the check, with what SQLite says."""
    host = machine("web1", tmp_path / "home")
    make(tmp_path / "shop.db", rows=5000)
    source, into = Sqlite(kind="sqlite", path=str(tmp_path / "shop.db")), destination(tmp_path / "into")
    carry(source, host, into)
    found = loaded(source, host, into)
    content = bytearray(Path(found.path).read_bytes())
    content[4096 * 4 : 4096 * 5] = b"\xff" * 4096
    Path(found.path).write_bytes(content)
    failure = source.verify(host, found, Expectation(), Known())
    assert isinstance(failure, Failure)


@pytest.mark.parametrize(
    ("tables", "why"), [({"orders": 4}, "at least 4"), ({"gone": 0}, "no table gone"), ({"orders": 3}, "")]
)
def test_expected_rows_are_counted(tmp_path: Path, tables: dict[str, int], why: str) -> None:
    """A table with fewer rows than expected, or none of that name, fails."""
    host = machine("web1", tmp_path / "home")
    make(tmp_path / "shop.db")
    source, into = Sqlite(kind="sqlite", path=str(tmp_path / "shop.db")), destination(tmp_path / "into")
    carry(source, host, into)
    outcome = source.verify(host, loaded(source, host, into), Expectation(tables=tables), Known())
    assert (why in outcome.why) if isinstance(outcome, Failure) else not why


def make_swap(base: Path) -> tuple[Sqlite, Host, Destination]:
    """A live WAL database that changed after its backup and was left with its log by a crash."""
    host, into, path = machine("web1", base / "home"), destination(base / "into", drill=False), base / "srv/shop.db"
    make(path, wal=True)
    path.chmod(0o640)
    source = Sqlite(kind="sqlite", path=str(path))
    carry(source, host, into)
    with closing(sqlite3.connect(path)) as live:
        live.execute("DELETE FROM orders")
        live.commit()
        for side in ("", "-wal", "-shm"):
            shutil.copy2(f"{path}{side}", f"{path}{side}.crash")
    for side in ("", "-wal", "-shm"):
        os.replace(f"{path}{side}.crash", f"{path}{side}")  # noqa: PTH105 - the endings are no suffixes
    return source, host, into


def act(source: Sqlite, host: Host, into: Destination) -> Evidence:
    """Load and swap, as a restore step does, from the beginning each time."""
    found = source.load(host, into, Known())
    assert isinstance(found, Restored), found
    outcome = source.swap(host, found, into, Known())
    assert isinstance(outcome, Evidence), outcome
    return outcome


def test_a_swap_cut_at_any_command_is_taken_up(tmp_path: Path) -> None:
    """Whatever command a stop comes before or after, the restored rows end up live, and the log stays with the old."""
    source, host, into = make_swap(tmp_path / "count")
    ways = cuts(lambda each: act(source, each, into), host)
    for number, way in enumerate(ways):
        source, host, into = make_swap(tmp_path / str(number))
        with pytest.raises(Interrupted):
            act(source, Cut(host, way.at, way.after), into)
        outcome = act(source, host, into)
        assert act(source, host, into) == outcome
        live, kept = Path(outcome.facts["live"]), Path(outcome.facts["kept"])
        assert oct(live.stat().st_mode & 0o777) == "0o640"
        assert {path.name for path in live.parent.iterdir()} == {
            live.name, *(f"{kept.name}{side}" for side in ("", "-wal", "-shm"))
        }  # fmt: skip
        for path, rows in ((live, 3), (kept, 0)):
            with closing(sqlite3.connect(path)) as base:
                assert base.execute("SELECT count(*) FROM orders").fetchone() == (rows,)


def test_a_restored_copy_in_use_is_not_swapped(tmp_path: Path) -> None:
    """A restored database with a log of its own is still in use: nothing is moved."""
    source, host, into = make_swap(tmp_path)
    found = loaded(source, host, into)
    Path(f"{found.path}-wal").write_bytes(b"x")
    failure = source.swap(host, found, into, Known())
    assert isinstance(failure, Failure)
    assert "in use" in failure.why
    assert Path(source.path).exists()
