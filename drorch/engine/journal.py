"""The journal: what happened, in the order in which it happened, hash-chained and signed.

Each record's hash covers its content and the hash before it; each hash is signed with the state folder's Ed25519 key,
and so is which record is the last. Who alters, removes or inserts a record breaks the chain from there on, who cuts off
its end contradicts the signed one (`verify` says where). What this cannot show: a whole older copy of the file put in
its place. Appending is idempotent by (run, key): a replay after a kill appends nothing twice.

`runs` is a projection of the records, written in the same transaction, so that reading needs neither the chain nor the
engine. How an ended run ended is read from its record, never from the projection. The file is SQLite in WAL mode:
readers never wait.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from drorch.core.errors import NoSuchRun, SettingsError
from drorch.core.model import Json
from drorch.core.step import RunState

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL,
    UNIQUE (run, key)
);
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY,
    runbook TEXT NOT NULL,
    kind TEXT NOT NULL,
    service TEXT NOT NULL,
    slot TEXT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    started TEXT NOT NULL,
    ended TEXT,
    detail TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS runs_by_service ON runs (service, kind, started);
CREATE INDEX IF NOT EXISTS runs_by_runbook ON runs (runbook, slot);
CREATE TABLE IF NOT EXISTS head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, signature TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS plans (digest TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS memory (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_GENESIS = "0" * 64


class Signs(Protocol):
    """Signs hashes; `drorch.vault.signing.Signer` is one."""

    @property
    def public(self) -> str:
        """The public key."""
        ...

    def sign(self, message: bytes) -> str:
        """The signature."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened."""

    seq: int
    run: str
    key: str
    at: datetime
    body: Mapping[str, Json]
    hash: str
    signature: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands."""

    id: str
    runbook: str
    kind: str
    service: str
    slot: str
    """The scheduled instant, ISO 8601 UTC; empty for a run that a person started."""
    plan: str
    state: RunState
    started: datetime
    ended: datetime | None
    detail: Mapping[str, Json]
    """While it waits: ``step``, ``topic``, ``question`` or ``failure``. When over: ``measured``, ``why``, …"""


@dataclass(frozen=True, slots=True)
class Broken:
    """Where the chain stops being believable."""

    seq: int
    why: str


def canonical(body: Mapping[str, Json]) -> str:
    """The one JSON text of a value."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _chained(before: str, run: str, key: str, at: str, body: str) -> str:
    content = json.dumps([before, run, key, at, body], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _head(seq: int, digest: str) -> bytes:
    return f"head {seq} {digest}".encode()


_RUNS = (
    "SELECT runs.*, records.body AS ending FROM runs"
    " LEFT JOIN records ON records.run = runs.id AND records.key = 'ended'"
)
_ATTEMPTS = """
WITH attempts AS MATERIALIZED (
    SELECT records.seq, records.key, records.body, runs.runbook, runs.plan, runs.ended
    FROM runs CROSS JOIN records ON records.run = runs.id  -- in this order, so by the indexes
    WHERE (runs.ended IS NULL OR runs.ended >= ?2) AND records.key >= 'attempt ' AND records.key < 'attempt!'
)
SELECT * FROM records WHERE seq IN (
    SELECT seq FROM attempts WHERE ended IS NULL OR ended >= ?1
    UNION
    SELECT max(seq) FROM attempts WHERE ended < ?1 GROUP BY runbook, plan, key, json_extract(body, '$.state')
) ORDER BY seq
"""


class Journal:
    """The journal of one state folder. One object may be used from several threads."""

    def __init__(self, path: Path, signer: Callable[[], Signs] | None = None) -> None:
        """``signer`` is asked for at the first append only, so that reading stays cheap."""
        self._path = path
        self._make_signer = signer
        self._signer: Signs | None = None
        self._ready = False

    # -- writing ---------------------------------------------------------------------------------------------------

    def begin(self, run: Run, plan_text: str, body: Mapping[str, Json]) -> bool:
        """Record that a run starts; False when it is known already (nothing is changed then)."""
        with self._writing() as db:
            if db.execute("SELECT 1 FROM runs WHERE id = ?", (run.id,)).fetchone():
                return False
            db.execute("INSERT OR IGNORE INTO plans VALUES (?, ?)", (run.plan, plan_text))
            db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, '{}')",
                (run.id, run.runbook, run.kind, run.service, run.slot, run.plan, run.state, run.started.isoformat()),
            )
            self._append(db, run.id, "started", run.started, body)
        return True

    def append(
        self,
        run: str,
        key: str,
        at: datetime,
        body: Mapping[str, Json],
        *,
        state: RunState | None = None,
        detail: Mapping[str, Json] | None = None,
    ) -> None:
        """Record something about a run, once per key; ``state`` and ``detail`` change how the run stands."""
        with self._writing() as db:
            if db.execute("SELECT 1 FROM records WHERE run = ? AND key = ?", (run, key)).fetchone():
                return
            self._append(db, run, key, at, body)
            if state is not None:
                self._stand(db, run, state, at, detail)

    def stand(self, run: str, state: RunState, at: datetime, detail: Mapping[str, Json] | None = None) -> None:
        """Change how a run stands without a record: for what a replay passes through again."""
        with self._writing() as db:
            self._stand(db, run, state, at, detail)

    def put(self, key: str, value: Json) -> None:
        """Remember a small fact that outlives runs."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (key, canonical({"value": value})))

    def _stand(
        self, db: sqlite3.Connection, run: str, state: RunState, at: datetime, detail: Mapping[str, Json] | None
    ) -> None:
        db.execute(
            "UPDATE runs SET state = ?, ended = ?, detail = ? WHERE id = ? AND ended IS NULL",
            (state, at.isoformat() if state.final else None, canonical(detail or {}), run),
        )

    def _append(self, db: sqlite3.Connection, run: str, key: str, at: datetime, body: Mapping[str, Json]) -> None:
        if self._signer is None:
            if self._make_signer is None:
                raise SettingsError("this journal was opened for reading only")
            self._signer = self._make_signer()
        row = db.execute("SELECT hash FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        text, moment = canonical({**body, "signer": self._signer.public}), at.isoformat()
        digest = _chained(row[0] if row else _GENESIS, run, key, moment, text)
        db.execute(
            "INSERT INTO records (run, key, at, body, hash, signature) VALUES (?, ?, ?, ?, ?, ?)",
            (run, key, moment, text, digest, self._signer.sign(digest.encode())),
        )
        (seq,) = db.execute("SELECT max(seq) FROM records").fetchone()
        db.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", (seq, self._signer.sign(_head(seq, digest))))

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Json:
        """A remembered fact, or None."""
        row = self._one("SELECT value FROM memory WHERE key = ?", (key,))
        return json.loads(row[0])["value"] if row else None

    def plan_text(self, digest: str) -> str:
        """A plan's text.

        Raises:
            NoSuchRun: no run ever had that plan.
            SettingsError: the stored text is not the one that was run.
        """
        row = self._one("SELECT text FROM plans WHERE digest = ?", (digest,))
        if row is None:
            raise NoSuchRun(f"no plan {digest[:16]} here")
        text = str(row[0])
        if hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() != digest:
            raise SettingsError(f"the stored plan {digest[:16]} was altered", hint="restore the state folder")
        return text

    def run(self, wanted: str) -> Run:
        """The run of that id, or the only one whose id begins so.

        Raises:
            NoSuchRun: none, or several.
        """
        rows = self._all(f"{_RUNS} WHERE id = ?", (wanted,)) or self._all(
            f"{_RUNS} WHERE substr(id, 1, length(?1)) = ?1 ORDER BY started DESC", (wanted,)
        )
        if not rows:
            raise NoSuchRun(f"no run {wanted}", hint="drorch runs lists them")
        if len(rows) > 1:
            ids = ", ".join(str(row["id"]) for row in rows[:5])
            raise NoSuchRun(f"{wanted} could be any of {ids}", hint="give the whole id")
        return _run(rows[0])

    def runs(
        self,
        *,
        service: str | None = None,
        limit: int | None = None,
        unfinished: bool = False,
        since: datetime | None = None,
    ) -> tuple[Run, ...]:
        """Runs, newest first; with ``since`` those that ended since then or go on."""
        rows = self._all(
            f"{_RUNS} WHERE (?1 IS NULL OR service = ?1) AND (NOT ?2 OR ended IS NULL)"
            " AND (?4 IS NULL OR ended IS NULL OR ended >= ?4)"
            " ORDER BY started DESC, runs.rowid DESC LIMIT ?3",
            (service, unfinished, -1 if limit is None else limit, since.astimezone(UTC).isoformat() if since else None),
        )
        return tuple(_run(row) for row in rows)

    def newest_slots(self) -> Mapping[str, datetime]:
        """The newest scheduled slot of each runbook that has one."""
        rows = self._all("SELECT runbook, max(slot) AS slot FROM runs WHERE slot <> '' GROUP BY runbook", ())
        return {row["runbook"]: datetime.fromisoformat(row["slot"]).astimezone(UTC) for row in rows}

    def records(self, run: str | None = None) -> Iterator[Record]:
        """All records, or those of one run, oldest first."""
        for row in self._all("SELECT * FROM records WHERE ?1 IS NULL OR run = ?1 ORDER BY seq", (run,)):
            yield _record(row)

    def said(self, run: str, key: str) -> Mapping[str, Json]:
        """What a run's record of that key holds; empty when there is none."""
        row = self._one("SELECT body FROM records WHERE run = ? AND key = ?", (run, key))
        found: dict[str, Json] = json.loads(row["body"]) if row else {}
        return found

    def attempts(self, since: datetime, *, last_since: datetime) -> Iterator[Record]:
        """The records of attempts, oldest first: all of the runs that ended since then or go on; of those that ended
        earlier, but after ``last_since``, the last in each state of each step of each plan.
        """
        rows = self._all(_ATTEMPTS, (since.astimezone(UTC).isoformat(), last_since.astimezone(UTC).isoformat()))
        yield from map(_record, rows)

    def verify(self, check: Callable[[str, bytes, str], bool], trusted: str | None = None) -> Broken | None:
        """The first record that cannot be believed; None when all can.

        ``check(public, message, signature)`` verifies a signature; with ``trusted`` only that key's are believed.
        """
        before, expected = _GENESIS, 1
        for row in self._all("SELECT * FROM records ORDER BY seq", ()):
            seq = row["seq"]
            if seq != expected:
                return Broken(expected, "a record is missing")
            digest = _chained(before, row["run"], row["key"], row["at"], row["body"])
            if digest != row["hash"]:
                return Broken(seq, "its content or place was altered")
            public = json.loads(row["body"]).get("signer", "")
            if trusted is not None and public != trusted:
                return Broken(seq, "it was signed with another key")
            if not check(public, digest.encode(), row["signature"]):
                return Broken(seq, "its signature is wrong")
            before, expected = digest, seq + 1
        return self._end(check, before, expected - 1, trusted)

    def _end(
        self, check: Callable[[str, bytes, str], bool], digest: str, last: int, trusted: str | None
    ) -> Broken | None:
        """What is wrong with the end of the chain, or with the list of runs beside it."""
        if last == 0:
            return None
        head = self._one("SELECT seq, signature FROM head", ())
        row = self._one("SELECT body FROM records WHERE seq = ?", (last,))
        public = trusted or (json.loads(row["body"]).get("signer", "") if row else "")
        if head is None or head["seq"] != last or not check(public, _head(last, digest), head["signature"]):
            return Broken(last + 1, "the end of the journal was cut off")
        lost = self._one(
            "SELECT seq, run FROM records WHERE key = 'started' AND run NOT IN (SELECT id FROM runs) ORDER BY seq", ()
        )
        return Broken(lost["seq"], f"{lost['run']} was removed from the list of runs") if lost else None

    # -- the file --------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                if not self._ready:
                    self._path.chmod(0o600)
                    db.execute("PRAGMA journal_mode = WAL")
                    db.executescript(_SCHEMA)
                    self._ready = True
                db.execute("PRAGMA synchronous = FULL")
                yield db
        except (sqlite3.Error, OSError) as error:
            raise SettingsError(
                f"the journal {self._path} cannot be used: {error}",
                hint="check the state folder's owner, free space and file system",
            ) from error

    def _all(self, query: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        if not self._path.exists():
            return []
        with self._opened() as db:
            return db.execute(query, values).fetchall()

    def _one(self, query: str, values: tuple[object, ...]) -> sqlite3.Row | None:
        rows = self._all(query, values)
        return rows[0] if rows else None


def _record(row: sqlite3.Row) -> Record:
    return Record(
        seq=row["seq"],
        run=row["run"],
        key=row["key"],
        at=datetime.fromisoformat(row["at"]),
        body=json.loads(row["body"]),
        hash=row["hash"],
        signature=row["signature"],
    )


def _run(row: sqlite3.Row) -> Run:
    state, detail = RunState(row["state"]), json.loads(row["detail"])
    if row["ending"] is not None:
        detail = {key: value for key, value in json.loads(row["ending"]).items() if key != "signer"}
        state = RunState(detail["state"])
    elif state.final:
        detail = {}  # no record tells how it ended, so nothing is believed of it
    return Run(
        id=row["id"],
        runbook=row["runbook"],
        kind=row["kind"],
        service=row["service"],
        slot=row["slot"],
        plan=row["plan"],
        state=state,
        started=datetime.fromisoformat(row["started"]),
        ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
        detail=detail,
    )
