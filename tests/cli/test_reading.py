"""The verbs that only read: what they say, and with which exit code."""

import sqlite3
import subprocess
import sys
from datetime import timedelta

import pytest

from drorch.cli.watch import amount
from drorch.core.evidence import Progress
from drorch.core.exits import Exit
from drorch.core.step import RunState
from support.place import Place

HEAVY = ("dbos", "paramiko", "boto3", "apprise", "cryptography", "rich", "sqlalchemy", "schedule")


def test_status_of_nothing_says_so_and_leaves_no_trace(place: Place) -> None:
    """Without a run everything is unprotected, and asking creates no state."""
    said = place.drorch("status").stdout
    assert "UNPROTECTED: no backup of shop was ever taken" in said
    assert not place.state.exists()


def test_status_says_the_sentence(place: Place) -> None:
    """What a drill has shown is said in one sentence, with the command behind every gap, in no more than a screen."""
    _, drill = place.proven()
    said = place.drorch("status").stdout
    assert "If web1 died now, you would lose at most 4 h 1 min and be back in about 9 min" in said
    assert f"(drill {drill.id})" in said
    assert len(said.splitlines()) <= 11


@pytest.mark.parametrize(("proven", "code"), [(True, Exit.OK), (False, Exit.AT_RISK)])
def test_status_can_be_watched(place: Place, proven: bool, code: Exit) -> None:  # noqa: FBT001 - a case
    """With --check the exit code tells whether anything is at risk; without it the question was answered."""
    if proven:
        place.proven()
    said = place.json("status", "--check", expect=code)
    assert said["good"] is proven
    place.drorch("status", "shop")


def test_an_edited_drill_proves_nothing(place: Place) -> None:
    """A proof is bound to the text that ran: any edit of the drill drops it."""
    place.proven()
    runbook = place.folder / "config" / "runbooks" / "rehearsal.yaml"
    runbook.write_text(runbook.read_text().replace("1s", "2s"))
    (shop,) = place.json("status", "--check", expect=Exit.AT_RISK)["services"]
    assert shop["verdict"] == "unproven"
    assert "edited since" in shop["headline"]


def test_an_edit_elsewhere_leaves_the_proof_alone(place: Place) -> None:
    """A new service is not an edit of this one's drill."""
    place.proven()
    more = "  wiki: {primary: web2, repository: nas, sources: {pages: {kind: files, paths: [/srv/wiki]}}}\nsecrets:\n"
    place.inventory.write_text(place.inventory.read_text().replace("secrets:\n", more))
    verdicts = {one["service"]: one["verdict"] for one in place.json("status")["services"]}
    assert verdicts == {"shop": "proven", "wiki": "unprotected"}


def test_status_imports_nothing_heavy(place: Place) -> None:
    """A question that is asked often is answered without the engine and its libraries."""
    place.proven()
    script = (
        "import os, sys\nfrom drorch.cli import main\n"
        f"main._leave = lambda code: print('LOADED', [name for name in {HEAVY} if name in sys.modules])\n"
        "main.main(['status'])"
    )
    env = {"DRORCH_CONFIG": str(place.inventory.parent), "DRORCH_STATE": str(place.state), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_a_service_that_is_not_there(place: Place) -> None:
    """An unknown name has its own exit code and names what there is."""
    assert "there is shop" in place.drorch("status", "shpo", expect=Exit.UNKNOWN).stderr


def test_a_waiting_run_is_shown_with_its_answers(place: Place) -> None:
    """Status, runs and show agree on a run that waits for a person."""
    detail = {"step": "verify-media", "topic": "verify-media#1", "failure": {"why": "no"}, "verbs": ["retry", "skip"]}
    run = place.ran("rehearsal", timedelta(hours=1), RunState.PAUSED_FAILED, **detail)
    assert f"→ drorch retry {run.id} (or skip, abort)" in place.drorch("status").stdout
    assert place.json("runs", "--unfinished")["runs"][0]["state"] == "paused_failed"
    assert place.json("show", "last")["attention"]["commands"][0] == f"drorch retry {run.id}"


def test_a_cut_run_is_told_from_one_in_progress(place: Place) -> None:
    """A run is interrupted when its lease is free, and running while a process holds it."""
    run = place.ran("nightly", timedelta(minutes=1), RunState.RUNNING)
    assert place.json("runs")["runs"][0]["state"] == "interrupted"
    with place.leases.hold(f"run:{run.id}"):
        assert place.json("runs")["runs"][0]["state"] == "running"
        assert place.json("status")["services"][0]["running"] == [run.id]


def test_a_daemon_is_seen_by_its_lease(place: Place) -> None:
    """That nobody serves the schedules is said in the first line."""
    assert "no daemon runs" in place.drorch("status").stdout.splitlines()[0]
    with place.leases.hold("daemon"):
        assert "no daemon" not in place.drorch("status").stdout


def test_runs_are_listed_newest_first(place: Place) -> None:
    """One row a run; service and number can be narrowed."""
    backup, drill = place.proven()
    assert [row.split()[0] for row in place.drorch("runs").stdout.splitlines()] == [drill.id, backup.id]
    assert [run["run"] for run in place.json("runs", "--limit", "1")["runs"]] == [drill.id]
    assert place.drorch("runs", "--service", "bank").stdout == "no runs of bank\n"


def test_history_is_readable_with_broken_documents(place: Place) -> None:
    """In an outage nobody has to mend YAML to see what happened."""
    _, drill = place.proven()
    place.inventory.write_text("hosts: [")
    assert drill.id in place.drorch("runs").stdout
    assert drill.id in place.drorch("show", "rehearsal").stdout
    place.drorch("status", expect=Exit.CONFIG)


def test_show_verifies_the_journal(place: Place) -> None:
    """An untouched journal is believed; one altered record is named, with exit code 1."""
    place.proven()
    assert "✓ every record" in place.drorch("show", "last", "--verify").stdout
    with sqlite3.connect(place.state / "journal.sqlite") as db:
        db.execute("UPDATE records SET body = replace(body, '3600.0', '60.0')")
    said = place.json("show", "last", "--verify", expect=Exit.FAILED)
    assert not said["believable"]
    assert said["doubts"][0].startswith("the journal, from record 4 on: its content or place was altered")


def test_a_journal_signed_by_another_is_not_believed(place: Place) -> None:
    """Whoever writes a whole new chain has another key than the one in the state folder."""
    place.proven()
    (place.state / "keys" / "signing.key").unlink()
    place.ran("nightly", timedelta(minutes=5))
    assert place.json("show", "last", "--verify", expect=Exit.FAILED)["doubts"][0].endswith("signed with another key")


@pytest.mark.parametrize("wanted", ["nothing", "last"])
def test_a_run_that_is_not_there(place: Place, wanted: str) -> None:
    """Asking for an unknown run, or for the last of none, says what to do."""
    assert "what to do" in place.drorch("show", wanted, expect=Exit.UNKNOWN).stderr


def test_the_plan_is_printed_whole(place: Place) -> None:
    """Steps with their sentences, commands with their hosts, rules, and the digest that a run will carry."""
    said = place.drorch("plan", "rehearsal").stdout
    for words in (
        "side by side, 2 at once",
        "web2 $ restic restore",
        "on failure: abort",
        "afterwards, whatever happened",
    ):
        assert words in said
    document = place.json("plan", "rehearsal")
    assert document["digest"][:16] in said
    assert [step["id"] for step in document["steps"]] == ["restore-media", "pause", "verify-media", "cleanup"]
    assert document["steps"][0]["beside"] == ["pause"]
    assert document["plan"]["runbook"] == "rehearsal"
    assert not place.state.exists()


def test_a_service_is_planned_by_kind(place: Place) -> None:
    """`drorch backup shop` has a plan to look at, too; a bare service is asked which."""
    assert place.json("plan", "shop", "--kind", "backup")["runbook"] == "nightly"
    assert "--kind backup" in place.drorch("plan", "shop", expect=Exit.UNKNOWN).stderr
    assert "there is nightly, rehearsal" in place.drorch("plan", "nothing", expect=Exit.UNKNOWN).stderr
    assert "no host web9" in place.drorch("plan", "rehearsal", "--standby", "web9", expect=Exit.UNKNOWN).stderr


def test_three_mistakes_are_three_lines(place: Place) -> None:
    """Every mistake of every file at once, each with file, line and remedy; nothing is done."""
    runbook = place.folder / "config" / "runbooks" / "nightly.yaml"
    runbook.write_text(NIGHTLY_WRONG)
    done = place.drorch("check", expect=Exit.CONFIG)
    lines = done.stderr.splitlines()
    assert [line.split(":")[1] for line in lines[:3]] == ["3", "5", "6"]
    assert all(";" in line for line in lines[:3])
    assert lines[-1].startswith("3 mistakes")
    said = place.json("check", expect=Exit.CONFIG)
    assert (said["good"], len(said["problems"]), said["exit_code"]) == (False, 3, 3)


NIGHTLY_WRONG = """\
runbook: nightly
kind: backup
service: shpo
steps:
  - {kind: bakup, source: media}
  - {kind: backup, source: media, retires: {max: 2}}
  - {kind: backup, source: media}
"""


def test_right_documents_are_summed_up(place: Place) -> None:
    """A check that finds nothing says what it read."""
    assert "2 hosts, 1 repository, 1 service, 2 runbooks; only by hand: rehearsal" in place.drorch("check").stdout
    assert place.json("check")["good"] is True


def test_schemas_are_printed(place: Place) -> None:
    """Editors get JSON Schema for either document."""
    assert place.json("schema", "inventory")["title"] == "drorch inventory"
    assert set(place.json("schema")) == {"inventory", "runbook"}


def test_a_start_is_written_and_right(place: Place) -> None:
    """What init writes passes check, is never written twice, and names the next steps."""
    said = place.drorch("init", "fresh").stdout
    assert "drorch --config fresh check" in said
    place.drorch("--config", "fresh", "check")
    place.drorch("init", "fresh", expect=Exit.REFUSED)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(place: Place, shell: str) -> None:
    """Each shell gets the script that asks drorch itself."""
    assert "_DRORCH_COMPLETE" in place.drorch("completion", shell).stdout


def test_verbs_complete(place: Place) -> None:
    """The shell's question is answered with verbs."""
    env = {"_DRORCH_COMPLETE": "bash_complete", "COMP_WORDS": "drorch sta", "COMP_CWORD": "1"}
    assert "status" in place.drorch(env=env).stdout


def test_progress_tells_bytes_objects_and_the_time_left() -> None:
    """What is known of a long step is shown: how many bytes and files of how many."""
    whole = Progress(step="mirror", done_bytes=2_000_000, total_bytes=8_000_000, done_files=3, total_files=9)
    assert amount(whole) == "2.0 MB of 8.0 MB, 3 of 9 files"
    assert amount(Progress(step="audit", done_files=3)) == "3 files"
    assert amount(Progress(step="listing")) == ""
