"""The timeline of an incident: every line can be traced, and nothing in it is kinder than the records."""

import re
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drorch.core.step import RunState
from drorch.reports.evidence import run_report
from drorch.reports.incident import Event, Timeline
from drorch.reports.moved import ending_words, moved
from drorch.reports.plans import plan_lines, plan_report
from drorch.reports.show import run_lines
from drorch.reports.text import render, to_json
from drorch.reports.timeline_page import page
from drorch.reports.timeline_text import after, markdown, timeline_lines
from support.moves import ADA, BEN, LOSS, NOTHING, Moves, Told, promoted, proof

HOSTILE = "\x1b[2J<script>alert(1)</script> | **x** `y` [z](http://evil.example)\n# @everyone </svg>\"'&amp; \u202e"


@pytest.fixture
def moves(tmp_path: Path) -> Moves:
    """An empty journal."""
    return Moves(tmp_path)


def text(told: Timeline) -> str:
    """What a terminal shows."""
    return render(timeline_lines(told), columns_wide=None, colour=False)


def events(told: Timeline, pattern: str) -> list[Event]:
    """The lines that say so."""
    return [event for event in told.events if re.search(pattern, event.what)]


def event(told: Timeline, pattern: str) -> Event:
    """The one line that says so."""
    (found,) = events(told, pattern)
    return found


def shown(told: Told) -> str:
    """What `drorch show` says of a run."""
    report = run_report(told.run, told.chapter.records, told.plan, alive=False)
    return render(run_lines(report, ZoneInfo("UTC")), columns_wide=None, colour=False)


def closing(told: Told) -> str:
    """The closing words at the terminal."""
    did = moved(told.run, told.chapter.records, told.plan)
    assert did is not None
    return "\n".join(ending_words(did, told.id))


def test_a_plan_names_a_recovery_point_only_where_it_restores(moves: Moves) -> None:
    """A failover that promotes a replica restores nothing."""
    plan = moves.failover().plan
    report = plan_report(plan)
    assert report.snapshot is None
    assert "recovery point" not in render(plan_lines(report, plan), columns_wide=None, colour=False)


# -- traces ------------------------------------------------------------------------------------------------------------


def every_record(moves: Moves) -> Sequence[Told]:
    """Runs with records of every kind, and of one that nobody knows."""
    run = moves.failover(planned=True).begin(confirmed="typed", again="it flaps")
    run.did("fence-web1", 1, 2, failure={"why": "no", "hint": "look", "facts": {"attest": True}})
    run.asked("fence-web1#1", "fence-web1", 2, "retry", "abort", "attest")
    run.answered("fence-web1#1", "fence-web1", 9, "attest", by=BEN, note="I pulled the plug")
    run.did("fence-web1", 9, 10, number=2, **proof("web1", "ben attests it", attested=True))
    run.tell("paused x", 11, what="paused", by=ADA, note="a call")
    run.tell("went on x", 20, what="went on", by=BEN, after="paused_operator")
    run.tell("a new thing", 21, what="new", by=BEN, colour="blue")
    run.did("promote-database", 21, 22, **promoted("web2"))
    return [
        moves.failback().begin(by=BEN),
        run.end(30, RunState.FAILED, why="switch: it is over", outage=run.out(-2, None)),
    ]


def test_every_line_names_its_record(moves: Moves) -> None:
    """The number and hash beside each line are those of a record of the same run, and no record is left out."""
    runs = every_record(moves)
    told = moves.told(*runs)
    known = {record.seq: record for record in moves.journal.records()}
    for one in told.events:
        assert one.run == known[one.trace.record].run
        assert known[one.trace.record].hash.startswith(one.trace.hash)
        assert len(one.trace.hash) == 12
        assert f"no. {one.trace.record} {one.trace.hash}" in text(told)
    assert {one.trace.record for one in told.events} == set(known)


def test_zero_has_no_minus() -> None:
    """What rounds to nothing lies neither before nor after."""
    assert after(timedelta(seconds=-0.02)) == "+0.0 s"
    assert after(timedelta(seconds=-4.56)) == "-4.6 s"
    assert after(timedelta(hours=9, minutes=1, seconds=3)) == "+9 h 1 min"


def test_lines_come_in_order_of_time(moves: Moves) -> None:
    """Of several runs, and of their probes, everything stands where it happened; each distance is from one zero."""
    told = moves.told(*reversed(every_record(moves)))
    assert [one.at for one in told.events] == sorted(one.at for one in told.events)
    assert all(one.after == one.at - told.zero for one in told.events)


def test_what_the_probe_saw_says_so(moves: Moves) -> None:
    """A line that no step wrote is the probe's word, and names the record that holds it; a note is not signed yet."""
    run = moves.failover().begin()
    run.note = run.out(-3, None)
    (line,) = events(moves.told(run), "customers are not served")
    assert line.trace.words == "the probe's note, not signed yet"
    run.end(9, outage=run.out(-3, 5))
    (line,) = events(moves.told(run), "customers are not served")
    assert line.who == "probe at controller"
    assert line.trace.words.startswith("the probe, in no. 2 ")


def test_a_broken_chain_is_said_first_and_loudly(moves: Moves) -> None:
    """From the altered record on nothing is believed, in every form; what comes before it is."""
    run = moves.completed()
    with sqlite3.connect(moves.folder / "journal.sqlite") as db:
        db.execute("UPDATE records SET body = replace(body, '17', '1') WHERE key LIKE 'attempt promote%'")
    told = moves.told(run)
    assert text(told).startswith("✗ NOT TO BE BELIEVED: the journal, from record 3 on: its content")
    assert {one.trace.believed for one in told.events if one.trace.record < 3} == {True}
    assert {one.trace.believed for one in told.events if one.trace.record >= 3} == {False}
    assert markdown(told).index("not to be believed") < markdown(told).index("## ")
    assert page(told).index('class="doubted"') < page(told).index("<h2>")
    assert "altered the journal" in told.left[0]


def test_a_whole_chain_is_said_too(moves: Moves) -> None:
    """Nobody has to wonder whether it was looked at."""
    assert text(moves.told(moves.completed())).startswith("✓ every record of the journal is chained and signed")


# -- the words ---------------------------------------------------------------------------------------------------------


def test_a_failover_is_told_from_outage_to_end(moves: Moves) -> None:
    """Outage, look, confirmation, fence with its proof, promotion with loss, switch, first customer: in this order."""
    told = moves.told(moves.completed())
    wanted = (
        "customers are not served",
        "was shown how everything stood",
        "confirmed by typing shop and began shop-failover",
        "web1 is fenced by stop: postgresql is stopped and masked",
        "promoted on web2, timeline 3 to 4, at 0/3000148; lost at most 4 s / 17 transactions.*nothing before can",
        "customers are led from web1 to web2 by haproxy",
        "the first customer is served again, after 34.2 s",
        "shop-failover ended: completed",
    )
    at = [told.events.index(event(told, pattern)) for pattern in wanted]
    assert at == sorted(at)
    assert told.zero_is == "the outage"
    assert event(told, "first customer").after == timedelta(seconds=34.2)
    look = event(told, "was shown").details
    assert "web1 was NOT reached from here, web2" in look
    assert look[0].startswith("database would lose at most 4 s")


def test_the_head_says_what_it_cost_against_what_was_promised(moves: Moves) -> None:
    """Loss as shown and as measured, outage and objectives, who confirmed: before the first line of the timeline."""
    said = text(moves.told(moves.completed()))
    for words in (
        "loss shown before: database: at most 4 s / 17 transactions seen but not received; replication was asynchr",
        "loss measured: database: lost at most 4 s / 17 transactions seen but not received (within the objective",
        "customers were not served for 34.2 s, 60 of 400 requests failed; within the objective of 10 min",
        "point of no return: passed with promote-database",
        "confirmed by ada@laptop: shop was typed",
    ):
        assert words in said.partition("times are UTC")[0]


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({"began": -2, "ended": 700.0}, "for 702.0 s, 60 of 400 requests failed; over the objective of 10 min"),
        ({"began": -2, "ended": None}, "for at least 37.0 s and still out.*whether within .* is not certain"),
        ({"began": -2, "ended": 9.0, "older": True}, "for at least 11.0 s.*it was out already.*is not certain"),
        ({"began": -2, "ended": 9.0, "unseen": 12.0}, "at least 11.0 s.*nobody asked for 12.0 s.*is not certain"),
    ],
)
def test_an_outage_is_never_made_shorter(moves: Moves, window: dict[str, Any], words: str) -> None:
    """What is only a lower bound says so, and never that the objective was met."""
    run = moves.failover().begin()
    run.end(20, outage=run.out(**window))
    assert re.search(words, text(moves.told(run)))


def test_a_run_that_was_cut_shows_what_its_probe_saw(moves: Moves) -> None:
    """Its end was never written; the note that its probe left says how customers saw it."""
    run = moves.failover().begin()
    run.did("fence-web1", 1, 2, **proof("web1"))
    note = run.out(-2, None)
    report = run_report(run.run, run.chapter.records, run.plan, alive=False, note=note)
    shown = render(run_lines(report, ZoneInfo("UTC")), columns_wide=None, colour=False)
    assert "customers were not served for at least" in shown
    assert "not measured" not in shown


def test_without_a_probe_nobody_claims_to_know(moves: Moves) -> None:
    """The run's own time is not the customers'."""
    run = moves.failover().begin().end(20, measured={"rto_seconds": 8.0})
    told = moves.told(run)
    assert "how customers saw it was not measured (services.shop.probe in drorch.yaml)" in text(told)
    assert told.zero_is == "the run"


def test_an_answer_is_told_with_its_wait_and_its_words(moves: Moves) -> None:
    """Who, what, how long it took them; an attestation is never more than a person's word."""
    told = moves.told(*every_record(moves))
    said = event(told, "attested by name, at fence-web1")
    assert said.who == BEN
    assert said.what.endswith("after 7.0 s, “I pulled the plug”")
    assert event(told, "waits for a person").what == "waits for a person at fence-web1: retry, abort or attest"
    assert "nothing but a person's word: ben attests it" in event(told, "web1 is fenced by nothing").what
    assert any("nothing but a person's word fences it" in each for each in told.left)
    assert event(told, "stopped it where it was").who == ADA


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("retry", "try s again"),
        ("skip", "leave s out"),
        ("abort", "end it"),
        ("unplanned", "go on unplanned"),
        ("no answer in time", "no answer in time"),
    ],
)
def test_each_answer_reads_as_what_it_was(moves: Moves, verb: str, words: str) -> None:
    """No verb is lost, and silence is nobody's word."""
    run = moves.failover().begin().asked("s#1", "s", 1, "retry").answered("s#1", "s", 3, verb)
    (said,) = events(moves.told(run), words)
    assert said.who == ("nobody" if verb.startswith("no ") else ADA)


def test_a_killed_controller_is_said_with_who_went_on(moves: Moves) -> None:
    """The probe knows how long nobody was there; without it there is a bound, and the record that it starts from."""
    run = moves.failover().begin().did("fence-web1", 1, 2, **proof("web1"))
    run.tell("went on x", 20, what="went on", by=BEN, after="running")
    line = event(moves.told(run), "went on with it")
    assert line.who == BEN
    assert line.what.endswith("it had been cut, at most 18.0 s before, since no. 2")
    run.end(30, outage=run.out(-2, 25, unseen=12.0))
    assert event(moves.told(run), "went on").what.endswith("the controller was gone for 12.0 s, by the probe")


def test_a_pause_is_no_kill(moves: Moves) -> None:
    """Nobody was gone while a person wanted it to stand still."""
    (line,) = events(moves.told(*every_record(moves)), "went on with it")
    assert "cut" not in line.what


def test_what_was_taken_back_is_not_told_as_done_again(moves: Moves) -> None:
    """An undo is told as one, the fence no longer stands, and the service is said to be where it was."""
    run = moves.failover().begin().did("fence-web1", 1, 2, **proof("web1"))
    run.did("promote-database", 2, 3, failure={"why": "it does not run"})
    run.did("fence-web1", 4, 5, number=2, undo=True, host="web1", lifted=["stop"])
    run.end(6, RunState.FAILED, why="promote-database: it does not run", hint="start it")
    told = moves.told(run)
    assert event(told, "fence-web1 was taken back").mark == "warn"
    assert "shop was not moved: it is where it was, on web1" in text(told)
    assert "point of no return: not passed" in text(told)
    assert not [each for each in told.left if "fenced" in each]
    assert "fence-web1#2  1.0 s  taken back" in shown(run)


def test_a_host_that_was_fenced_twice_was_not_let_go(moves: Moves) -> None:
    """A second success of a step is no undo."""
    run = moves.failover().begin().did("fence-web1", 1, 2, **proof("web1"))
    run.did("fence-web1", 3, 4, number=2, **proof("web1")).end(5, RunState.FAILED, why="the edge is gone")
    assert "taken back" not in text(moves.told(run))


def test_a_fence_that_was_left_is_said(moves: Moves) -> None:
    """Nothing was moved and the old primary is stopped: that is an outage of our own making."""
    run = moves.failover().begin().did("fence-web1", 1, 2, **proof("web1"))
    run.end(6, RunState.CANCELLED, why="aborted by ada@laptop")
    assert "shop was not moved, and web1 is fenced: it may be served from nowhere" in closing(run)
    assert any("web1 is still fenced (stop): take that away" in each for each in moves.told(run).left)


def test_promoted_but_not_led_is_the_first_thing_left(moves: Moves) -> None:
    """A failover that stopped between promotion and switch has customers nowhere."""
    run = moves.failover().begin().did("fence-web1", 1, 2, **proof("web1"))
    run.did("promote-database", 2, 3, **promoted("web2")).end(4, RunState.FAILED, why="switch: the edge is gone")
    assert moves.told(run).left[0] == ("database is promoted on web2, and customers are not led there: lead them")
    assert "database is promoted on web2, but customers are not led there" in closing(run)


def test_a_blocked_attempt_is_told_with_its_reason(moves: Moves) -> None:
    """Who asked, and why not; nothing is said to have been moved, lost or confirmed."""
    run = moves.failover().begin(blocked="shop was failed over 8 min ago")
    run.end(0.1, RunState.CANCELLED, why="blocked: shop was failed over 8 min ago")
    told = moves.told(run)
    line = event(told, "asked for shop-failover .*, and was refused")
    assert line.who == ADA
    assert line.details == ("shop was failed over 8 min ago",)
    assert told.left == ()
    assert closing(run) == ""
    assert "not begun: shop was failed over 8 min ago" in shown(run)


def test_break_glass_is_loud(moves: Moves) -> None:
    """It stands in the head, in its line, and with whom it did not reach."""
    run = moves.failover().begin(confirmed="typed", break_glass="nobody answers")
    facts: dict[str, Any] = {
        "break_glass": "nobody answers",
        "broken_by": ADA,
        "told": [],
        "not_told": {"ops": "no network"},
    }
    run.did("approval", 1, 2, **facts, exceptions=["BREAK-GLASS by ada@laptop"])
    run.end(6, RunState.COMPLETED_WITH_EXCEPTIONS, exceptions=["approval: BREAK-GLASS by ada@laptop"])
    told = moves.told(run)
    head = text(told).partition("times are UTC")[0]
    assert "BREAK-GLASS by ada@laptop, nobody approved it: nobody answers" in head
    assert "insisted, without approval, by break-glass: nobody answers" in head
    assert "BREAK-GLASS by ada@laptop" in shown(run)
    assert any("BREAK-GLASS" in each for each in told.left)


def test_an_unfinished_run_needs_a_person(moves: Moves) -> None:
    """A timeline can be read in the middle; what it waits for comes first."""
    run = moves.failover().begin().asked("fence-web1#1", "fence-web1", 2, "retry", "attest")
    assert (
        moves.told(run)
        .left[0]
        .endswith(f"needs a person: drorch retry {run.id}, or drorch attest {run.id}, or drorch abort {run.id}")
    )


# -- what is left ------------------------------------------------------------------------------------------------------


def test_reprotecting_and_the_lost_are_left_until_they_are_done(moves: Moves) -> None:
    """The failover leaves a host that follows nobody and losses; the failback settles the one, its rejoin lists the
    other.
    """
    run = moves.completed()
    before = " ".join(moves.told(run).left)
    assert "web1 does not follow web2 yet (database): another failure has no standby" in before
    assert "drorch failback shop when web1 is well" in before
    assert "look after what database lost: at most 4 s" in before
    only = {"count": 3, "first": "03:00:08", "last": "03:00:11", "known": True, "file": "/k/only-here.tsv"}
    back = moves.failback().begin().did("rejoin-web1", 1, 60, kept="/k/data", only_here=only)
    back.did("fence-web2", 61, 62, **proof("web2")).did("promote-database", 62, 63, **promoted("web1", NOTHING))
    back.did("switch", 63, 64, old="web2", new="web1", way="haproxy").end(70)
    half = " ".join(moves.told(run, back).left)
    assert "web2 does not follow web1 yet" in half
    assert "3 transactions of database were committed on web1 only, from 03:00:08 to 03:00:11" in half
    assert "listed there in /k/only-here.tsv; its data of then is kept in /k/data (record no. 7)" in half
    assert "look after what database lost" not in half
    back.did("rejoin-web2", 65, 66, only_here={"count": 0, "known": True})
    whole = " ".join(moves.told(run, back).left)
    assert "3 transactions of database were committed on web1 only" in whole, "web2 had none: web1 had"
    assert "does not follow" not in whole


def test_nothing_is_left_once_the_old_primary_follows(moves: Moves) -> None:
    """A rejoin that found nothing of its own settles the loss too."""
    run = moves.failover().begin().did("fence-web1", 1, 2, **proof("web1"))
    run.did("promote-database", 2, 3, **promoted("web2")).did("switch", 3, 4)
    run.end(9, measured={"loss": {"database": LOSS}})
    back = moves.failback().begin().did("rejoin-web1", 1, 9, only_here={"count": 0, "known": True})
    back.did("fence-web2", 10, 11, **proof("web2")).did("promote-database", 11, 12, **promoted("web1", NOTHING))
    back.did("switch", 12, 13).did("rejoin-web2", 14, 15, how="as it is")
    back.end(16, measured={"loss": {"database": NOTHING}})
    assert moves.told(run, back).left == ()
    assert "fence" not in closing(back)


# -- show, and the closing words ---------------------------------------------------------------------------------------


def test_the_closing_words_say_where_the_cost_and_the_next_step(moves: Moves) -> None:
    """A tired person needs no other screen."""
    run = moves.completed()
    assert closing(run).splitlines() == [
        "shop is served from web2",
        "database: lost at most 4 s / 17 transactions seen but not received (within the objective of 1 min)",
        "customers were not served for 34.2 s, 60 of 400 requests failed; within the objective of 10 min",
        "next: drorch failback shop --look says what web1 needs to follow web2; drorch failback shop when web1 is well",
        f"for the review: drorch timeline {run.id}",
    ]


def test_show_has_the_proof_the_loss_and_the_point_of_no_return(moves: Moves) -> None:
    """What `drorch show` says of a failover is not only its steps."""
    said = shown(moves.completed())
    assert "web1 is fenced by stop: postgresql is stopped and masked" in said
    assert "database: lost at most 4 s / 17 transactions" in said
    assert "past the point of no return with promote-database" in said
    assert "confirmed by ada@laptop: shop was typed" in said


# -- hostile text, and the forms ---------------------------------------------------------------------------------------


@pytest.fixture
def hostile(moves: Moves) -> Timeline:
    """A failover in which whatever a host can say is meant to do harm."""
    run = moves.failover().begin(by=HOSTILE, confirmed=HOSTILE, again=HOSTILE)
    run.did("fence-web1", 1, 2, **proof("web1", HOSTILE))
    run.did("promote-database", 2, 3, failure={"why": HOSTILE, "hint": HOSTILE})
    run.asked("promote-database#1", HOSTILE, 3, HOSTILE).answered(
        "promote-database#1", HOSTILE, 4, "skip", note=HOSTILE
    )
    outage = run.out(-3, 5)
    outage["windows"][0]["reason"] = outage["viewer"] = HOSTILE
    run.end(9, RunState.FAILED, why=HOSTILE, hint=HOSTILE, exceptions=[HOSTILE], outage=outage)
    return moves.told(run)


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "style")]


def test_hostile_text_does_nothing_in_a_page(hostile: Timeline) -> None:
    """The page has no script, link or handler, whatever a host said; its own policy would stop one."""
    content = page(hostile)
    tags = Tags()
    tags.feed(content)
    assert not tags.tags & {"script", "a", "img", "iframe", "link", "object", "form", "base", "foreignobject"}
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert tags.links == []
    assert content.count("</svg>") == 1
    assert "\x1b" not in content
    assert "\u202e" not in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content
    assert "default-src 'none'" in content


def test_a_page_needs_nothing_else(moves: Moves) -> None:
    """No address in it is ever loaded: it can be mailed and printed."""
    content = page(moves.told(moves.completed()))
    tags = Tags()
    tags.feed(content)
    assert "url(" not in content
    assert tags.links == []
    assert {"svg", "rect", "table"} <= tags.tags
    assert "prefers-color-scheme: dark" in content
    assert "@media print" in content


def test_hostile_text_stays_text_in_markdown(hostile: Timeline) -> None:
    """No row, heading, link, mention or tag comes from what a host said."""
    content = markdown(hostile)
    assert "<script" not in content
    assert "http://" not in content
    assert not re.search(r"(?<!\\)\[z\]", content)
    assert not re.search(r"(?<![\\\w])@everyone", content)
    assert "\n# @" not in content
    assert [row for row in content.splitlines() if row.startswith("# ")] == ["# shop: failover of 2026-11-20"]
    rows = [row for row in content.splitlines() if row.startswith("| 2026-")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert len(rows) == len(hostile.events)


def test_hostile_text_stays_on_its_line_at_a_terminal(hostile: Timeline) -> None:
    """Nothing moves the cursor, and nothing fakes a line."""
    said = text(hostile)
    assert "\x1b" not in said
    assert not re.search(r"^# @everyone", said, re.MULTILINE)


def test_only_markdown_has_room_for_people(moves: Moves) -> None:
    """What went well, badly, by luck and what follows is for people to write, where they can write."""
    told = moves.told(moves.completed())
    for heading in ("What went well", "What went badly", "Where we were lucky", "Actions"):
        assert f"\n## {heading}\n" in markdown(told)
        assert heading not in text(told)
        assert heading not in page(told)


def test_programs_get_the_same(moves: Moves) -> None:
    """As JSON: events with their seconds, record and hash; the losses and the outage as numbers."""
    said = to_json(moves.told(moves.completed()))
    (run,) = said["runs"]
    assert run["moved"]["lost"]["database"]["transactions"] == 17
    assert run["moved"]["outage"]["failed"] == 60
    assert {"at", "after_seconds", "who", "what", "trace"} <= said["events"][0].keys()
    assert said["events"][-1]["trace"]["record"] == 5
