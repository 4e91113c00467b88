"""The primary does not die as one would wish: it hangs, it comes back, or only some can reach it."""

from pathlib import Path

import pytest

from lab import database
from lab.faults import POWER_ON, after, night, without
from lab.lab import Lab
from lab.waiting import until

pytestmark = pytest.mark.root


def test_a_host_that_hangs_is_powered_off(lab: Lab, tmp_path: Path) -> None:
    """It takes connections and answers nothing: unreachable is not fenced, so its power is taken."""
    with night(lab, tmp_path) as here:
        lab.web1.hang()
        said = here.failover()
        said.says("fence web1: web1 does not answer; unreachable is not fenced")
        fence = here.run("completed")["timeline"][0]
        assert fence["facts"]["proof"]["rung"] == "power_off"
        assert fence["facts"]["tried"][0]["rung"] == "stop"
        assert not lab.web1.running
        here.served_from("web2")


def test_a_database_that_hangs_is_powered_off_with_its_host(lab: Lab, tmp_path: Path) -> None:
    """Its host answers, and cannot end it: what may wake up later is no fenced database."""
    with night(lab, tmp_path) as here:
        lab.web1.unit(database.UNIT).freeze()
        here.failover()
        fence = here.run("completed")["timeline"][0]
        assert fence["facts"]["proof"]["rung"] == "power_off"
        assert "postgresql@15-main on web1 is" in fence["facts"]["tried"][0]["why"]
        assert not lab.web1.running
        here.served_from("web2")


def test_a_primary_that_is_powered_on_before_the_promotion_prevents_it(lab: Lab, tmp_path: Path) -> None:
    """The proof is asked for again, and does not hold; once it does again, the same run goes on."""
    with night(lab, tmp_path, after("fence", POWER_ON, str(lab.power), "web1")) as here:
        lab.web1.power_off()
        said = here.failover(expect=5)
        run = here.paused("promote-database", said)
        said.says("the fence around web1 does not hold", "power web1 off again, then retry")
        lab.web1.await_up()
        assert lab.database("web2").in_recovery
        here.customer.await_orders(5)
        lab.web1.power_off()
        here.drorch("retry", run)
        here.run("completed")
        here.served_from("web2")


def test_a_primary_that_is_powered_on_after_the_promotion_serves_nobody(lab: Lab, tmp_path: Path) -> None:
    """There is no way back any more: it is fenced again before anything else, and no commit of it is heard of."""
    with night(lab, tmp_path, after("promote", POWER_ON, str(lab.power), "web1"), local=False) as here:
        lab.web1.power_off()
        said = here.failover(expect=4)
        said.says("the fence around web1 does not hold", "it was fenced again")
        done = [one["step"] for one in here.run("completed_with_exceptions")["timeline"]]
        assert done.count("fence-web1") == 2
        here.served_from("web2")
        assert [reign.host for reign in here.witness.reigns()] == ["web1", "web2"]


def test_what_was_stopped_and_masked_stays_so_when_the_host_is_switched_off_and_on(lab: Lab, tmp_path: Path) -> None:
    """A proof by masked units outlives a boot, so that nothing has to stop."""
    with night(lab, tmp_path, after("fence", f'"$1" off "$2"; {POWER_ON}', str(lab.power), "web1")) as here:
        here.failover()
        assert here.run("completed")["timeline"][0]["facts"]["proof"]["rung"] == "stop"
        lab.web1.await_up()
        assert not lab.web1.unit(database.UNIT).active
        here.served_from("web2")


def test_an_old_primary_that_comes_back_afterwards_is_told_of(lab: Lab, tmp_path: Path) -> None:
    """It serves no customer, no commit there is acknowledged, and whoever looks is told that there are two."""
    with night(lab, tmp_path, local=False) as here:
        lab.web1.power_off()
        here.failover()
        lab.web1.power_on()
        until(lambda: not lab.database("web1").in_recovery, "the old primary is up")
        tried = len(here.witness.writings)
        here.served_from("web2")
        until(lambda: len(here.witness.writings) > tried + 10, "writes are tried")
        assert [reign.host for reign in here.witness.reigns()] == ["web1", "web2"]
        for said in (here.drorch("check", "--live", expect=9), here.drorch("status")):
            said.says("web1", "two primaries", "drorch failback shop")


def test_whoever_cannot_reach_the_primary_is_told_who_can(lab: Lab, tmp_path: Path) -> None:
    """The controller's own cable is the broken one: customers are served, as the edge sees."""
    with night(lab, tmp_path) as here:
        lab.web1.isolate(from_="controller")
        looked = here.drorch("failover", "shop", "--look")
        looked.says("here ✗ not reached ✓ reached", "edge ✓ reached ✓ reached")
        here.untouched()
        here.failover()
        fence = here.run("completed")["timeline"][0]
        assert fence["facts"]["proof"]["rung"] == "power_off"
        here.served_from("web2")


def test_without_a_proof_nothing_is_promoted_and_customers_stay_served(lab: Lab, tmp_path: Path) -> None:
    """Nobody but the host itself could tell that it is fenced, and it cannot be asked."""
    with night(lab, tmp_path, without("power_off"), without("attest")) as here:
        lab.web1.isolate(from_="controller")
        said = here.failover("--anyway", "the pager says so", expect=5)
        run = here.paused("fence-web1", said)
        said.says("web1 is not fenced", "unreachable is not fenced")
        here.drorch("abort", run)
        shown = here.run("cancelled")
        assert "promote-database" in shown["never_begun"]
        assert lab.database("web2").in_recovery
        here.served_from("web1")
    assert not here.customer.failures
