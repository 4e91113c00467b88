"""A failover whose controller is killed again and again: it is gone through with, and nothing is done twice."""

from pathlib import Path

import pytest

from lab.control import EVERY, FAILOVER, PLANNED, STEPS, Steered, passed, steered
from lab.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

HARDEST = ("fence-web1", "promote-database", "switch-haproxy")


def walk(steered: Steered, moments: tuple[str, ...]) -> str:
    """A planned failover killed at these moments of every step, and resumed each time."""
    words: tuple[str, ...] = (*FAILOVER, "--planned")
    for step in PLANNED:
        for moment in moments:
            steered.die(f"{step}:{moment}", *words)
            words = ("resume", steered.run.id)
    steered.site.drorch(*words)
    return steered.run.id


@pytest.mark.parametrize("moments", [("done",), ("begun", "kept", "told")][: 2 if EVERY else 1])
def test_killed_at_every_step_a_planned_failover_goes_on(lab: Lab, tmp_path: Path, moments: tuple[str, ...]) -> None:
    """With both sides alive: one primary at any time, nothing is done twice, no order is lost, and the evidence is that
    of a failover that nobody disturbed.
    """
    quiet = steered(lab, tmp_path / "quiet").lay()
    expected = quiet.evidence(quiet.begin(planned=True))
    lab.reset()
    lab.database("web1").synchronous()
    site = steered(lab, tmp_path / "killed").lay()
    with lab.customer().shopping() as customer, lab.witness().watching():
        run = walk(site, moments)
        customer.await_orders(5)
    site.confirm_moved()
    assert not customer.lost(lab.database("web2"))
    assert site.powered() == []
    assert site.evidence(run) == expected
    site.site.drorch("show", run, "--verify")


def test_killed_in_the_middle_of_its_steps_a_failover_goes_on(lab: Lab, tmp_path: Path) -> None:
    """The primary hangs and lives on: with drorch killed in the middle of a command on any host, again and again, it is
    powered off once, and never takes a write beside the standby.
    """
    lab.database("web1").synchronous()
    wanted = steered(lab, tmp_path / "killed")
    wanted.documents.inventory["hosts"]["web1"]["connect_timeout"] = "1s"
    site = wanted.lay()
    words: tuple[str, ...] = FAILOVER
    with lab.witness().watching():
        lab.web1.hang()
        for step, after in zip(STEPS, (*STEPS[1:], ""), strict=True):
            command = 0 if EVERY else -1
            while step in HARDEST or EVERY:
                command += 1 if EVERY else 2
                if not site.may_die(f"{step}:{command},{after}:begun", *words)[0]:
                    break
                words = ("resume", site.run.id)
                if passed(site.site, step):
                    break
        if not site.run.state.final:
            site.site.drorch(*words)
    site.confirm_moved()
    said = site.powered()
    assert set(said) <= {"off web1", "did off web1"}
    assert "did off web1" not in said[:-1], "what was done is not done again; what was cut may be"
    assert site.run.state.good
