"""One SQLite database, copied while it is in use."""

import json
from typing import Literal

from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Command, Host
from drorch.core.secret import Secrets
from drorch.core.source import Destination, Expectation, Part, Restored, Source, Stream
from drorch.sources._places import HostPath, absolute, basename, foreign, suffix
from drorch.sources._swap import Exchange, exchange
from drorch.sources._tables import unmet

_PART = "database"
_FILE = "database.sqlite"
_REPORT_LIMIT = 16 << 20
_SIDES = ("-wal", "-shm", "-journal")

_DUMP = r"""
import fcntl, os, shutil, signal, sqlite3, sys, tempfile, time
from pathlib import Path
from urllib.parse import quote

PREFIX = "drorch-sqlite-"
PATIENCE = 300
RESTARTS = 3


class Restless(Exception):
    pass


def stop(number, frame):
    sys.exit(128 + number)


def sweep():
    # copies that a killed backup left: nobody holds their lock
    for old in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            if old.is_symlink() or old.stat().st_uid != os.geteuid():
                continue
            held = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old)
            finally:
                os.close(held)
        except OSError:
            continue


def copy(source, target, wal):
    seen = {"left": None, "moved": time.monotonic(), "restarts": 0}

    def progress(status, left, total):
        now = time.monotonic()
        if seen["left"] is not None and left > seen["left"]:
            seen["restarts"] += 1
        if left != seen["left"]:
            seen["moved"] = now
        seen["left"] = left
        if now - seen["moved"] > PATIENCE:
            raise TimeoutError("locked by another process for %d s" % PATIENCE)
        if seen["restarts"] > RESTARTS:
            raise Restless

    if wal:
        source.execute("BEGIN")  # one state for the whole copy; writers of a WAL database do not wait for readers
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    try:
        source.backup(target, pages=2048, progress=progress, sleep=0.05)
    except Restless:
        seen.update(left=None, moved=time.monotonic(), restarts=-1e9)
        source.backup(target, pages=-1, progress=progress, sleep=0.05)  # in one go: writers wait for it


def main(path):
    path = os.path.abspath(os.path.expanduser(path))
    if os.stat(path).st_size == 0:
        raise ValueError("the file is empty, it holds no database")
    with open(path, "rb") as header:
        wal = header.read(19)[18:] == b"\2"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    os.umask(0o077)
    sweep()
    folder = tempfile.mkdtemp(prefix=PREFIX)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        beside = os.path.join(folder, "copy")
        source = sqlite3.connect("file:%s?mode=ro" % quote(os.fsencode(path)), uri=True, timeout=1)
        target = sqlite3.connect(beside, isolation_level=None)
        target.execute("PRAGMA synchronous = OFF")
        copy(source, target, wal)
        target.close()
        source.close()
        check = sqlite3.connect("file:%s?mode=ro&immutable=1" % quote(os.fsencode(beside)), uri=True)
        answers = [row[0] for row in check.execute("PRAGMA quick_check(5)")]
        check.close()
        if answers != ["ok"]:
            raise ValueError("the database is damaged: " + "; ".join(answers))
        with open(beside, "rb") as done:
            shutil.rmtree(folder)
            shutil.copyfileobj(done, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


try:
    main(sys.argv[1])
except (OSError, ValueError, sqlite3.Error) as error:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing more can be written, also not at exit
    sys.exit("%s: %s" % (ascii(sys.argv[1])[1:-1], error))
"""

_CHOOSE = r"""
if python3 -I -c 'import sqlite3; sqlite3.Connection.backup' 2>/dev/null; then
  exec python3 -I -c "$1" "$2"
fi
command -v sqlite3 >/dev/null || { echo 'neither python3 nor sqlite3 is installed on this host' >&2; exit 69; }
set -eu
case $2 in '~/'*) path=$HOME/${2#'~/'} ;; *) path=$2 ;; esac
[ -s "$path" ] || { printf '%s\n' "$path: no database there, or an empty file" >&2; exit 66; }
umask 077
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
trap 'exit 143' TERM INT HUP
cd -- "$folder"
sqlite3 -bail -batch -readonly "$path" '.timeout 300000' '.backup main copy'
[ "$(sqlite3 -batch -readonly copy 'PRAGMA quick_check')" = ok ] || { echo 'the database is damaged' >&2; exit 65; }
cat copy
"""

_PLACE = r"""
set -eu
[ -s "$1" ]
rm -f -- "$2-wal" "$2-shm" "$2-journal"
cp --reflink=auto -T -- "$1" "$2.part"
mv -T -- "$2.part" "$2"
"""

_INSPECT = r"""
import json, sqlite3, sys
from urllib.parse import quote

path = sys.argv[1]
try:
    base = sqlite3.connect("file:%s?mode=ro" % quote(path), uri=True, timeout=60)
    base.execute("BEGIN")
    check = [row[0] for row in base.execute("PRAGMA integrity_check(20)")]
    broken = base.execute("SELECT count(*) FROM pragma_foreign_key_check").fetchone()[0]
    tables = {}
    for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if name.startswith("sqlite_"):
            continue
        tables[name] = base.execute('SELECT count(*) FROM "%s"' % name.replace('"', '""')).fetchone()[0]
    pages = base.execute("PRAGMA page_count").fetchone()[0] * base.execute("PRAGMA page_size").fetchone()[0]
except sqlite3.Error as error:
    sys.exit("%s: %s" % (ascii(path)[1:-1], error))
report = {"check": check, "broken": broken, "tables": tables, "bytes": pages, "version": sqlite3.sqlite_version}
print(json.dumps(report))
"""

_LIKE = r"""
set -eu
[ -e "$1" ] && [ -e "$2" ] || exit 0
chmod --reference="$1" -- "$2"
chown --reference="$1" -- "$2"
"""


class Sqlite(Source):
    """A SQLite database, backed up through SQLite's own online backup while it is in use, checked before it is kept."""

    kind: Literal["sqlite"]
    path: HostPath
    """The database file: absolute, or ``~/…`` for the home of the host's user. It must exist: a missing file is a
    failed backup, never an empty one. The copy needs as much room in the host's temporary folder (TMPDIR)."""

    def describe(self) -> str:
        """The file."""
        return f"SQLite database {self.path}"

    def parts(self) -> tuple[Part, ...]:
        """The copy that the online backup made."""
        return (Stream(name=_PART, filename=_FILE, argv=("sh", "-c", _CHOOSE, "sh", _DUMP, self.path)),)

    def remedy(self, errors: str) -> str:
        """What a failed copy asks for."""
        known = {
            "unable to open database file": "is the path right, and may the host's user read it and write beside it?",
            "No such file": "is the path right? a missing database is never backed up as an empty one",
            "no database there": "is the path right? a missing database is never backed up as an empty one",
            "not a database": "the file is encrypted or no SQLite database: use kind `files` or `command` for it",
            "damaged": "the live database is damaged: restore the newest proven snapshot beside it and compare",
            "locked": "another process keeps the database locked: look for a long transaction",
            "disk is full": "the copy needs room in the temporary folder: set TMPDIR under the host's `env`",
            "neither python3": "install python3 or sqlite3 there",
        }
        return next((hint for sign, hint in known.items() if sign in errors), "")

    def preview_load(self, into: Destination) -> tuple[Command, ...]:
        """The copy."""
        return (self._place(into.directory),)

    def load(self, host: Host, into: Destination, secrets: Secrets) -> Restored | Failure:
        """Give a copy of it the database's own name, in the destination's folder.

        What restic wrote stays as it is beside it, so that it can be compared with the snapshot whatever is done to
        the copy; where the file system can, both share their blocks.
        """
        directory = absolute(host, into.directory)
        done = host.run(self._place(directory))
        if not done.ok:
            return done.failure(f"putting the restored {self.path} in place", hint="restore it again")
        return Restored(host=host.name, path=self._restored(directory))

    def verify(self, host: Host, restored: Restored, expect: Expectation, secrets: Secrets) -> Evidence | Failure:
        """Ask SQLite to check every page and index, count the rows of every table; no table at all is a failure."""
        done = host.run(
            Command(("python3", "-I", "-c", _INSPECT, restored.path), output_limit=_REPORT_LIMIT),
        )
        if not done.ok or done.truncated:
            return done.failure(f"checking {restored.path}", hint="the check needs python3 (3.7 or newer) on the host")
        try:
            report = json.loads(done.stdout)
            tables: dict[str, int] = report["tables"]
            check: list[str] = report["check"]
            facts = {
                "tables": tables,
                "rows": sum(tables.values()),
                "bytes": report["bytes"],
                "integrity_check": "; ".join(check)[:2000],
                "broken_foreign_keys": report["broken"],
                "sqlite_version": report["version"],
                "skipped": ["rows were counted, not compared with the source"],
            }
        except (ValueError, KeyError, TypeError):
            return Failure(why=f"checking {restored.path} on {host.name} gave no report")
        if check != ["ok"]:
            return Failure(
                why=f"{restored.path} is damaged: {check[0] if check else 'no answer'}",
                hint="drill an older snapshot, and check the live database",
                facts=facts,
            )
        if (missing := unmet(tables, expect.tables)) is not None:
            return missing.model_copy(update={"facts": facts})
        broken = int(report["broken"])
        return Evidence(
            facts=facts,
            level=ProofLevel.RESTORED,
            exceptions=(f"{broken} rows break a foreign key of theirs",) if broken else (),
        )

    def discard(self, host: Host, into: Destination, secrets: Secrets) -> Failure | None:
        """Everything lies in the destination's folder."""
        return foreign(into)

    def swap(self, host: Host, restored: Restored, into: Destination, secrets: Secrets) -> Evidence | Failure:
        """Rename the live database, with its write-ahead log, to ``PATH.drorch-before-…`` and the restored one to PATH.

        Stop what uses it first: a process that has it open goes on with the old one. Owner and mode are the live one's.
        """
        if (refusal := foreign(into)) is not None:
            return refusal
        live = absolute(host, self.path)
        like = host.run(Command(("sh", "-c", _LIKE, "sh", live, restored.path)))
        if not like.ok:
            return like.failure(f"giving the restored database the owner and mode of {live}")
        marker = f"{absolute(host, into.directory)}/.swapped"
        outcome = exchange(host, Exchange(live, restored.path, marker, suffix(into), _SIDES))
        return outcome if isinstance(outcome, Failure) else Evidence(facts=outcome)

    def _restored(self, directory: str) -> str:
        name = basename(self.path)
        return f"{directory}/{f'{name}.sqlite' if name == _PART else name}"

    def _place(self, directory: str) -> Command:
        return Command(("sh", "-c", _PLACE, "sh", f"{directory}/{_PART}/{_FILE}", self._restored(directory)))
