"""A failover whose controller is killed again and again: it is gone through with, and nothing is done twice."""

import os
from pathlib import Path

import pytest

from lab.control import FAILOVER, STEPS, Steered, steered
from lab.lab import Lab

pytestmark = pytest.mark.root

EVERY = "DRORCH_TEST_STATES" in os.environ
MOMENTS = ("begun", "done", "kept", "told")


def walk(steered: Steered, moments: tuple[str, ...], *, planned: bool = False) -> str:
    """A failover killed at these moments of every step, and resumed each time."""
    words: tuple[str, ...] = (*FAILOVER, *(("--planned",) if planned else ()))
    for step in STEPS:
        for moment in moments:
            steered.die(f"{step}:{moment}", *words)
            words = ("resume", steered.run.id)
    steered.site.drorch(*words)
    return steered.run.id


@pytest.mark.parametrize("moments", [("done",), ("begun", "kept", "told")] if EVERY else [("done",)])
def test_killed_at_every_step_a_planned_failover_goes_on(lab: Lab, tmp_path: Path, moments: tuple[str, ...]) -> None:
    """With both sides alive: one primary at any time, promoted once, and no order is lost."""
    lab.database("web1").synchronous()
    site = steered(lab, tmp_path / "a").lay()
    with lab.customer().shopping() as customer, lab.witness().watching():
        run = walk(site, moments, planned=True)
        customer.await_orders(5)
    site.confirm_moved()
    assert not customer.lost(lab.database("web2"))
    assert site.powered() == []
    site.site.drorch("show", run, "--verify")
