"""`drorch timeline`, and what `drorch status` says of a service that was moved."""

import json
import sqlite3

import pytest

from drorch.core.exits import Exit
from support.moves import Moves, Told
from support.place import Place


@pytest.fixture
def failed_over(place: Place) -> Told:
    """A site whose shop was led to web2."""
    moves = Moves(place.state)
    run = moves.completed()
    moves.moved_home(run, "web2")
    return run


def test_a_timeline_is_written_in_each_form(place: Place, failed_over: Told) -> None:
    """At a terminal, as Markdown, as JSON, and as one page; the journal is verified without being asked."""
    said = place.drorch("timeline", "last").stdout
    assert said.startswith("✓ every record of the journal is chained and signed")
    assert "the first customer is served again, after 34.2 s" in said
    assert "## What went well" in place.drorch("timeline", failed_over.id, "--markdown").stdout
    done = place.drorch("timeline", "shop-failover", "--json", "--html", "review.html")
    assert json.loads(done.stdout)["runs"][0]["run"] == failed_over.id
    assert "written to review.html" in done.stderr
    assert (place.folder / "review.html").read_text().startswith("<!doctype html>")


def test_a_tampered_journal_is_no_success(place: Place, failed_over: Told) -> None:
    """It is still told, marked, and the exit code says that it cannot be relied on; broken documents change nothing."""
    place.inventory.write_text("hosts: [")
    with sqlite3.connect(place.state / "journal.sqlite") as db:
        db.execute("UPDATE records SET body = replace(body, '17', '1')")
    said = place.drorch("timeline", failed_over.id, "--html", "x.html", expect=Exit.FAILED)
    assert "not to be believed: the journal, from record 1 on" in said.stderr
    assert "NOT TO BE BELIEVED" in (place.folder / "x.html").read_text()


def test_a_page_that_cannot_be_written_says_so(place: Place, failed_over: Told) -> None:
    """With the reason and what to do."""
    said = place.drorch("timeline", failed_over.id, "--html", "missing/x.html", expect=Exit.CONFIG).stderr
    assert "missing/x.html cannot be written: No such file or directory" in said


def test_status_says_where_a_moved_service_lives(place: Place, failed_over: Told) -> None:
    """And that nothing follows it there: both with their command."""
    said = place.drorch("status").stdout
    assert f"it lives on web2 since 2026-11-20 04:00 ({failed_over.id}); the inventory says web1" in said
    assert "! web1 does not follow web2 yet (database): another failure now has no standby" in said
    assert "→ drorch failback shop --look" in said
