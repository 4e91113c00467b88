"""The journal: nothing is told twice, nothing can be changed unseen."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drorch.core.errors import NoSuchRun, SettingsError
from drorch.core.step import RunState
from drorch.engine.journal import Journal, Run
from drorch.vault.signing import Signer, verify

NOW = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
PLAN = '{"runbook":"nightly"}'
PLAN_DIGEST = "db20907a3ef07b344b2af81132c745f718d64ddc009a18342130ec096d3f6da1"


def a_run(name: str = "nightly@2026-03-01T02:30Z", **changes: object) -> Run:
    """A run as it begins."""
    fields: dict[str, object] = {
        "id": name,
        "runbook": "nightly",
        "kind": "backup",
        "service": "shop",
        "slot": NOW.isoformat(),
        "plan": PLAN_DIGEST,
        "state": RunState.PENDING,
        "started": NOW,
        "ended": None,
        "detail": {},
    }
    return Run(**{**fields, **changes})  # type: ignore[arg-type]  # a table of fields


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path, tmp_path: Path) -> Journal:
    """A journal with one run of three records."""
    journal = Journal(path, lambda: Signer.open(tmp_path / "keys"))
    journal.begin(a_run(), PLAN, {"what": "started"})
    journal.append(a_run().id, "attempt media#1", NOW, {"what": "attempt", "bytes": 12})
    journal.append(a_run().id, "ended", NOW, {"what": "ended", "state": "completed"}, state=RunState.COMPLETED)
    return journal


def test_an_untouched_journal_verifies(journal: Journal) -> None:
    """Every record is chained to the one before and signed."""
    assert journal.verify(verify) is None


def test_a_record_is_told_once(journal: Journal) -> None:
    """Appending under a known key changes nothing, so a replay tells nothing twice."""
    before = list(journal.records())
    journal.append(a_run().id, "attempt media#1", NOW, {"what": "attempt", "bytes": 99})
    assert list(journal.records()) == before


def test_a_run_begins_once(journal: Journal) -> None:
    """A second start of one id is refused, so a slot never runs twice."""
    assert not journal.begin(a_run(), PLAN, {"what": "started"})


@pytest.mark.parametrize(
    ("tamper", "where"),
    [
        ("UPDATE records SET body = replace(body, '12', '13') WHERE seq = 2", 2),
        ("UPDATE records SET at = '2027-01-01T00:00:00+00:00' WHERE seq = 2", 2),
        ("UPDATE records SET key = 'attempt media#2' WHERE seq = 2", 2),
        ("DELETE FROM records WHERE seq = 2", 2),
        ("UPDATE records SET signature = (SELECT signature FROM records WHERE seq = 1) WHERE seq = 3", 3),
        ("DELETE FROM records WHERE seq = 1", 1),
        ("DELETE FROM records WHERE seq = 3", 3),
        ("DELETE FROM records WHERE seq > 1", 2),
        ("DELETE FROM head", 4),
        ("DELETE FROM runs", 1),
    ],
)
def test_an_altered_record_is_found(journal: Journal, path: Path, tamper: str, where: int) -> None:
    """Whatever is altered or removed, the chain breaks there."""
    with sqlite3.connect(path) as db:
        db.execute(tamper)
    broken = journal.verify(verify)
    assert broken is not None
    assert broken.seq == where


def test_another_key_is_not_believed(journal: Journal) -> None:
    """A whole chain signed by somebody else is not ours."""
    broken = journal.verify(verify, trusted="another")
    assert broken is not None
    assert broken.seq == 1


def test_how_a_run_ended_is_read_from_its_record(journal: Journal, path: Path) -> None:
    """A better ending written into the list of runs is not believed."""
    with sqlite3.connect(path) as db:
        db.execute("""UPDATE runs SET state = 'failed', detail = '{"measured": {"rto_seconds": 1}}'""")
    run = journal.run(a_run().id)
    assert run.state is RunState.COMPLETED
    assert "measured" not in run.detail


def test_an_altered_plan_is_refused(journal: Journal, path: Path) -> None:
    """A plan is what its digest names, or it is not used."""
    with sqlite3.connect(path) as db:
        db.execute("UPDATE plans SET text = text || ' '")
    with pytest.raises(SettingsError, match="altered"):
        journal.plan_text(PLAN_DIGEST)


@pytest.mark.parametrize("wanted", ["nightly@2026-03-01T02:30Z", "nightly"])
def test_a_run_is_found_by_any_unique_beginning(journal: Journal, wanted: str) -> None:
    """A tired person types as little as is unambiguous."""
    assert journal.run(wanted).state is RunState.COMPLETED


def test_an_ambiguous_beginning_is_refused(journal: Journal) -> None:
    """Two candidates are named instead of one being guessed."""
    journal.begin(a_run("nightly@2026-03-02T02:30Z"), PLAN, {"what": "started"})
    with pytest.raises(NoSuchRun, match="could be any of"):
        journal.run("nightly@2026-03-0")


def test_a_beginning_is_no_pattern(journal: Journal) -> None:
    """Wildcards of the database mean themselves."""
    with pytest.raises(NoSuchRun):
        journal.run("%")


def test_an_ended_run_stays_ended(journal: Journal) -> None:
    """A replay that passes through earlier states does not reopen a run."""
    journal.stand(a_run().id, RunState.RUNNING, NOW)
    assert journal.run(a_run().id).state is RunState.COMPLETED


@pytest.mark.usefixtures("journal")
def test_reading_needs_no_key(path: Path) -> None:
    """Status can be read by a process that cannot sign."""
    assert Journal(path).run("nightly").service == "shop"
    with pytest.raises(SettingsError, match="reading only"):
        Journal(path).append("x", "y", NOW, {})


def test_the_newest_scheduled_slot_is_known_for_each_runbook(journal: Journal) -> None:
    """Only scheduled runs count; one that a person started does not move the schedule."""
    journal.begin(a_run("nightly@2026-03-05T00:00:00Z", slot=""), PLAN, {"what": "started"})
    assert journal.newest_slots() == {"nightly": NOW}


def test_a_reader_of_nothing_sees_nothing(tmp_path: Path) -> None:
    """Asking about runs never creates a state folder."""
    journal = Journal(tmp_path / "absent" / "journal.sqlite")
    assert journal.runs() == ()
    assert not (tmp_path / "absent").exists()


@pytest.fixture
def memory(journal: Journal) -> Callable[[], object]:
    """What is remembered under one key."""
    return lambda: journal.get("checked:nas")


def test_a_fact_is_remembered(journal: Journal, memory: Callable[[], object]) -> None:
    """The newest value stays, and nothing is None."""
    assert memory() is None
    journal.put("checked:nas", {"next": 2})
    journal.put("checked:nas", {"next": 3})
    assert memory() == {"next": 3}


def test_of_old_attempts_the_last_of_each_step_is_told(journal: Journal) -> None:
    """All recent attempts, and of earlier ones the last success and failure of each step; of much earlier ones none."""
    for day, state in ((40, "succeeded"), (9, "failed"), (8, "succeeded"), (7, "succeeded"), (2, "succeeded")):
        at = NOW - timedelta(days=day)
        run = a_run(f"nightly@{at:%Y-%m-%dT%H:%MZ}", started=at)
        journal.begin(run, PLAN, {"what": "started"})
        journal.append(run.id, "attempt media#1", at, {"what": "attempt", "state": state})
        journal.append(run.id, "ended", at, {"what": "ended", "state": "completed"}, state=RunState.COMPLETED)
    told = journal.attempts(NOW - timedelta(days=5), last_since=NOW - timedelta(days=30))
    assert [(NOW - record.at).days for record in told] == [0, 9, 7, 2]
    assert len(journal.runs(since=NOW - timedelta(days=8))) == 4
