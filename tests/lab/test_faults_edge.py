"""Customers cannot be led, or were led half the way."""

from pathlib import Path

import pytest

from lab.documents import Documents
from lab.faults import night
from lab.lab import Lab

pytestmark = pytest.mark.root


def test_an_edge_that_is_out_of_reach_is_refused_at_first_and_waited_for_if_it_must_be(
    lab: Lab, tmp_path: Path
) -> None:
    """Nothing is begun that would stop half-way; said anyway, the standby is promoted, and customers are led later."""
    with night(lab, tmp_path) as here:
        lab.web1.power_off()
        lab.edge.isolate(from_="controller")
        said = here.failover(expect=6)
        said.says("nothing was done, because it would stop half-way", "edge", '--anyway "REASON"')
        here.untouched()
        said = here.failover("--anyway", "it will be back", expect=5)
        run = here.paused("switch-haproxy", said)
        said.says("edge", "is the machine up, and the address right?")
        assert not lab.database("web2").in_recovery
        lab.network.heal()
        here.drorch("retry", run)
        here.run("completed")
        here.served_from("web2")


@pytest.mark.parametrize("states", [("ready", "ready"), ("maint", "maint"), ("maint", "ready")])
def test_a_switch_that_somebody_did_half_is_completed(lab: Lab, tmp_path: Path, states: tuple[str, str]) -> None:
    """Hands changed one of the two servers, or both: the step looks, and does what is missing."""
    with night(lab, tmp_path) as here:
        lab.web1.power_off()
        for name, state in zip(("web1", "web2"), states, strict=True):
            lab.front.ask(f"set server shop/{name} state {state}")
        here.failover()
        here.run("completed")
        here.served_from("web2")
        assert lab.front.states()["web1"] == "MAINT"


def test_a_switch_that_nobody_would_be_served_by_is_waited_for(lab: Lab, tmp_path: Path) -> None:
    """The edge cannot reach the new host: the run says so and waits, and completes once it can."""

    def hasty(said: Documents) -> None:
        for step in said.runbooks["shop-failover"]["steps"]:
            if step["kind"] == "switch":
                step["via"]["haproxy"]["within"] = "3s"

    with night(lab, tmp_path, hasty) as here:
        lab.web1.power_off()
        lab.web2.isolate(from_="edge")
        said = here.failover(expect=5)
        run = here.paused("switch-haproxy", said)
        said.says("holds it for down", "can edge reach its port?")
        lab.network.heal()
        here.drorch("retry", run)
        here.run("completed")
        here.served_from("web2")
