"""Runs under a person's hands: stopped, raced, answered, aborted."""

import signal

import pytest

from drorch.core.step import RunState
from drorch.engine.runs import operator
from support.hands import appending, eventually, runbook, running, touched
from support.site import Site

SLOT = "2026-03-01T01:30:00+00:00"


def test_two_processes_never_run_a_step_twice(shop: Site) -> None:
    """Of many processes that start one slot at once, one performs it; the others hear that it is busy or over."""
    runbook(shop, "raced", appending(shop, "once", "sleep 1"))
    processes = [shop.start("run", "raced", "--slot", SLOT) for _ in range(4)]
    codes = []
    for process in processes:
        process.communicate(timeout=60)
        codes.append(process.returncode)
    assert touched(shop, "once") == 1
    assert codes.count(0) == 1
    assert set(codes) <= {0, 1, 7}


def test_a_stopped_run_says_how_to_go_on_and_goes_on(shop: Site) -> None:
    """Ctrl-C ends what is being done, exits with 130 and names the command; resume completes the run."""
    runbook(
        shop, "slow", appending(shop, "first") + appending(shop, "second", "[ -e go ] || exec sleep 60", ", cwd: /tmp")
    )
    with running(shop, "run", "slow") as process:
        eventually(lambda: touched(shop, "second") == 1, "the second step began")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    run = shop.newest()
    assert process.returncode == 130
    assert f"drorch resume {run.id}" in err
    with running(shop, "resume", run.id):
        eventually(lambda: touched(shop, "second") == 2, "the second step began again")
    assert touched(shop, "first") == 1, "what has a record is not done again"
    (went_on,) = [record.body for record in shop.records(run.id) if record.body["what"] == "went on"]
    assert (went_on["after"], went_on["by"]) == ("running", operator())


def test_a_paused_run_is_retried_skipped_or_aborted(shop: Site) -> None:
    """A failed step that pauses waits without a process; each answer does what it says, and the answer is evidence."""
    gate = shop.folder / "gate"
    steps = appending(shop, "gated", f"test -e {gate}", ", on_failure: pause") + appending(shop, "after")
    runbook(shop, "pausing", steps)

    first = shop.drorch("run", "pausing", expect=5)
    run = shop.newest()
    assert f"drorch retry {run.id}" in first.stderr
    shop.drorch("retry", run.id, expect=5)
    gate.touch()
    shop.drorch("retry", run.id)
    assert (touched(shop, "gated"), touched(shop, "after")) == (3, 1)
    said = [record.body for record in shop.records(run.id) if record.body["what"] == "answer"]
    assert [body["verb"] for body in said] == ["retry", "retry"]
    assert all(body["by"] for body in said)

    gate.unlink()
    shop.drorch("run", "pausing", expect=5)
    shop.drorch("skip", shop.newest().id, expect=4)
    assert touched(shop, "after") == 2

    shop.drorch("run", "pausing", expect=5)
    shop.drorch("abort", shop.newest().id)
    assert shop.newest().state is RunState.CANCELLED
    assert touched(shop, "after") == 2


def test_an_aborted_drill_still_cleans_up(shop: Site) -> None:
    """Aborting a drill in its middle ends it and removes what it put on the standby."""
    runbook(
        shop,
        "shop-drill",
        "  - {kind: restore, source: media}\n  - {kind: verify, source: media}\n"
        + appending(shop, "holding", "exec sleep 60").replace("host: primary", "host: standby"),
        kind="drill",
    )
    with running(shop, "drill", "shop") as process:
        eventually(lambda: touched(shop, "holding") == 1, "the drill is in its middle", 60)
        run = shop.newest()
        drills = shop.folder / "standby" / ".drorch" / "drills"
        assert list(drills.iterdir())
        shop.drorch("abort", run.id)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert shop.newest().state is RunState.CANCELLED
    assert list(drills.iterdir()) == []


def test_an_answer_to_the_wrong_run_is_refused(shop: Site) -> None:
    """A run that waits for nobody cannot be answered, and an unknown one is said to be unknown."""
    over = shop.newest()
    refused = shop.drorch("retry", over.id, expect=1)
    assert "waits for nobody" in refused.stderr
    shop.drorch("resume", over.id, expect=1)
    shop.drorch("resume", "nothing@all", expect=8)


@pytest.mark.parametrize(("verb", "code", "state"), [("confirm", 0, "completed"), ("refuse", 6, "cancelled")])
def test_a_manual_step_waits_for_a_person(shop: Site, verb: str, code: int, state: str) -> None:
    """Nobody at a terminal means waiting, not yes; the answer decides."""
    runbook(
        shop, "asking", "  - {kind: manual, id: cable, instructions: Plug in the cable.}\n" + appending(shop, "after")
    )
    shop.drorch("run", "asking", expect=5)
    shop.drorch(verb, shop.newest().id, expect=code)
    assert shop.newest().state.value == state
    assert touched(shop, "after") == (1 if verb == "confirm" else 0)
