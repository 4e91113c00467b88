"""The run report: what the signed records say, whole and readable."""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.model import Json
from drorch.core.step import RunState
from drorch.engine.journal import Journal, Run
from drorch.engine.plan import Plan, make_plan
from drorch.reports.events import Answered, Attempted
from drorch.reports.evidence import RunReport, altered, run_report
from drorch.reports.listing import listed
from drorch.reports.show import fact, run_lines
from drorch.reports.text import render, to_json
from drorch.vault.signing import Signer

BEGAN = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
RUN = "shop-drill@2026-11-20T10:00Z"
SNAPSHOT = "a" * 64


def drill_plan() -> Plan:
    """A drill of two sources."""
    inventory = Inventory.model_validate(
        {
            "site": "acme",
            "hosts": {"web1": {}, "web2": {"home": "/tmp/web2"}},
            "repositories": {"nas": {"url": "/srv/nas", "password": {"secret": "nas"}}},
            "services": {
                "shop": {
                    "objectives": {"rpo": "24h", "rto": "10m"},
                    "primary": "web1",
                    "standbys": ["web2"],
                    "repository": "nas",
                    "sources": {"media": {"kind": "files", "paths": ["/srv/media"]}},
                }
            },
            "secrets": {"nas": {"env": "NAS"}},
        }
    )
    steps = [{"kind": "restore", "source": "media"}, {"kind": "verify", "source": "media"}]
    runbook = {"runbook": "shop-drill", "kind": "drill", "service": "shop", "steps": steps}
    return make_plan(inventory, Runbook.model_validate(runbook))


def attempt(step: str, number: int, after: float, took: float, **outcome: Json) -> dict[str, Json]:
    """An attempt as the engine records it."""
    start = BEGAN + timedelta(seconds=after)
    state = "succeeded" if "evidence" in outcome else "failed"
    return {
        "what": "attempt",
        "state": state,
        "step": step,
        "number": number,
        "started": start.isoformat(),
        "ended": (start + timedelta(seconds=took)).isoformat(),
        **outcome,
    }


class Story:
    """A real journal with one drill."""

    def __init__(self, folder: Path) -> None:
        self.plan = drill_plan()
        self.journal = Journal(folder / "journal.sqlite", lambda: Signer.open(folder / "keys"))
        self.at = BEGAN
        run = Run(
            id=RUN,
            runbook="shop-drill",
            kind="drill",
            service="shop",
            slot="",
            plan=self.plan.digest,
            state=RunState.PENDING,
            started=BEGAN,
            ended=None,
            detail={},
        )
        body: dict[str, Json] = {
            "what": "started",
            "runbook": "shop-drill",
            "kind": "drill",
            "service": "shop",
            "plan": self.plan.digest,
            "slot": "",
            "by": "ada@ctl",
            "drorch": "0.1.0",
        }
        self.journal.begin(run, self.plan.text, body)

    def tell(self, key: str, body: Mapping[str, Json]) -> None:
        """Append a record, a second after the one before."""
        self.at += timedelta(seconds=1)
        self.journal.append(RUN, key, self.at, body)

    def end(self, state: RunState, **detail: Json) -> None:
        """The run is over."""
        body = {"what": "ended", "state": state.value, "why": "", "hint": "", "exceptions": [], **detail}
        self.journal.append(RUN, "ended", BEGAN + timedelta(minutes=12), body, state=state, detail=body)

    def report(self, *, alive: bool = False) -> RunReport:
        """What `drorch show` would say."""
        return run_report(self.run, tuple(self.journal.records(RUN)), self.plan, alive=alive)

    @property
    def run(self) -> Run:
        """The run as it stands."""
        return self.journal.run(RUN)

    def text(self, wide: int | None = 80) -> str:
        """The report as text."""
        return render(run_lines(self.report(), ZoneInfo("UTC")), columns_wide=wide, colour=False)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A drill that has begun."""
    return Story(tmp_path)


@pytest.fixture
def told(story: Story) -> Story:
    """A drill whose verification failed, was retried by a person, and ended well."""
    restored = {"snapshot": SNAPSHOT, "snapshot_time": "2026-11-20T06:00:00+00:00", "bytes": 1_234_567, "host": "web2"}
    story.tell(
        "attempt restore-media#1", attempt("restore-media", 1, 1, 60, evidence={"facts": restored, "source": "media"})
    )
    failure = {"why": "pg_dump said \x1b[31mno\x1b[0m", "hint": "look at web2", "unknown": True}
    story.tell("attempt verify-media#1", attempt("verify-media", 1, 62, 3, failure=failure))
    story.tell(
        "answer verify-media#1",
        {"what": "answer", "step": "verify-media", "verb": "retry", "by": "ada@ctl", "note": "disk was full"},
    )
    proof = {"facts": {"files": 12, "differing": []}, "source": "media", "level": "restored", "exceptions": ["one"]}
    story.tell("attempt verify-media#2", attempt("verify-media", 2, 100, 4, evidence=proof))
    story.end(
        RunState.COMPLETED_WITH_EXCEPTIONS,
        exceptions=["verify-media: one"],
        measured={
            "rto_seconds": 700.0,
            "rpo_seconds": 14400.0,
            "levels": {"media": "restored"},
            "skipped": {"media": ["copied", "intact"]},
        },
        points={"media": {"snapshot": SNAPSHOT, "time": "2026-11-20T06:00:00+00:00", "level": "restored"}},
    )
    return story


def test_the_timeline_is_the_records(told: Story) -> None:
    """Every attempt and answer stands in the order in which it happened."""
    events = [
        (event.step, event.state) if isinstance(event, Attempted) else (event.by, event.verb)
        for event in told.report().timeline
    ]
    assert events == [
        ("restore-media", "succeeded"),
        ("verify-media", "failed"),
        ("ada@ctl", "retry"),
        ("verify-media", "succeeded"),
    ]


def test_levels_reached_and_skipped_are_told_apart(told: Story) -> None:
    """A report never lets a high level hide that a lower one was not shown."""
    (point,) = told.report().points
    assert (point.reached, point.skipped, point.open[0]) == ("restored", ("copied", "intact"), "consistent")


@pytest.mark.parametrize(
    "words",
    [
        "completed with exceptions",
        "back in 11 min 40 s (✗ the objective is 10 min)",
        "lost at most 4 h (✓ within 1 d)",
        "skipped copied, intact",
        r"pg_dump said \x1b[31mno",
        "what to do: look at web2",
        "ada@ctl: retry, “disk was full”",
        "what it did is unknown",
        "bytes 1.2 MB",
        "not begun: cleanup",
        "started by ada@ctl with drorch 0.1.0",
    ],
)
def test_a_person_reads_what_counts(told: Story, words: str) -> None:
    """Times against objectives, failures with hints, answers with names: all of it printable."""
    text = told.text(None)
    assert words in text
    assert "\x1b" not in text


def test_the_report_fits_its_terminal(told: Story) -> None:
    """No line is wider than asked for."""
    assert max(len(row) for row in told.text(60).splitlines()) <= 60


def test_the_report_is_json(told: Story) -> None:
    """A script finds the same evidence."""
    said = to_json(told.report())
    assert (said["rto_seconds"], said["timeline"][0]["facts"]["host"], said["attention"]) == (700.0, "web2", None)


@pytest.mark.parametrize(("alive", "state"), [(True, "running"), (False, "interrupted")])
def test_a_cut_run_is_told_from_a_running_one(story: Story, alive: bool, state: str) -> None:  # noqa: FBT001 - a case
    """A run that nobody works on says so, and how to go on."""
    story.journal.stand(RUN, RunState.RUNNING, BEGAN)
    report = story.report(alive=alive)
    assert (report.state, listed(story.run, alive=alive).state) == (state, state)
    assert (report.attention is None) is alive


def test_a_waiting_run_shows_its_answers(story: Story) -> None:
    """What can be said to a paused run stands in its report, also while a process has it open."""
    failure = {"why": "no", "hint": ""}
    detail = {
        "step": "verify-media",
        "topic": "verify-media#1",
        "failure": failure,
        "verbs": ["retry", "skip", "abort"],
    }
    story.journal.stand(RUN, RunState.PAUSED_FAILED, BEGAN, detail)
    report = story.report(alive=True)
    assert report.attention is not None
    assert report.attention.commands[0] == f"drorch retry {RUN}"


def test_no_answer_in_time_is_a_line_too(story: Story) -> None:
    """Silence is recorded like an answer."""
    story.tell("answer x", {"what": "answer", "step": "verify-media", "verb": "no answer in time"})
    (event,) = story.report().timeline
    assert isinstance(event, Answered)
    assert "no answer in time" in story.text()


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        ("SELECT 1", ""),
        ("UPDATE runs SET state = 'completed'", ""),  # how it ended is read from its record alone
        ("UPDATE runs SET detail = replace(detail, '700.0', '60.0')", ""),
        ("UPDATE runs SET service = 'bank'", "its record says service shop"),
        ("DELETE FROM records WHERE key = 'ended'", "no record tells that it ended"),
        ("DELETE FROM records WHERE key = 'started'", "no record tells that it started"),
    ],
)
def test_the_list_is_held_against_the_records(told: Story, tmp_path: Path, tamper: str, found: str) -> None:
    """The unsigned list of runs cannot say what no signed record says."""
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute(tamper)
    assert found in altered(told.run, tuple(told.journal.records(RUN)))
    assert bool(found) is bool(altered(told.run, tuple(told.journal.records(RUN))))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("bytes_added", 1500, "bytes added 1.5 kB"),
        ("age_seconds", 90, "age 1 min 30 s"),
        ("seconds", 1.25, "seconds 1.2 s"),
        ("files", 12, "files 12"),
        ("swapped", True, "swapped yes"),
        ("pin", None, "pin no"),
        ("snapshot", SNAPSHOT, "snapshot aaaaaaaa…"),
        ("tables", {"orders": 5, "items": 7}, "tables (orders 5, items 7)"),
        ("tables", {str(at): at for at in range(9)}, "tables (9 entries)"),
        ("differing", [], "differing none"),
        ("deep", {"a": {"b": 1}}, "deep (1 entries)"),
        ("out", "x" * 500, "out " + "x" * 160 + "…"),
    ],
)
def test_a_fact_is_a_few_words(key: str, value: Json, words: str) -> None:
    """Units are said, and what is long is cut."""
    assert fact(key, value) == words
