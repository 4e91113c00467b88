"""The story that drorch is for: the primary dies at night, the standby serves, and later all comes home."""

from pathlib import Path

import pytest

from lab.lab import Lab
from lab.moving import moving_documents
from support.site import Site

pytestmark = pytest.mark.root

PATIENCE = 20.0
"""Seconds for which a customer waits: how quick this machine is must not decide a test."""


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Site:
    """A site with drorch for the lab's shop, whose orders are confirmed when both databases have them."""
    lab.database("web1").synchronous()
    return moving_documents(lab).write(tmp_path)


def test_after_a_power_off_the_standby_serves_and_later_the_primary_again(lab: Lab, site: Site) -> None:
    """Power-off, failover, failback: no acknowledged order is lost, and never do both databases take writes."""
    with lab.witness(local=False).watching() as witness, lab.customer(patience=PATIENCE).shopping() as customer:
        customer.await_orders(20)
        lab.web1.power_off()
        site.drorch("failover", "shop", "--yes=shop")
        customer.await_orders(20)
        assert not customer.lost(lab.database("web2"))
        assert "web2" in site.drorch("home", "shop").stdout
        lab.web1.power_on()
        site.drorch("failback", "shop", "--yes=shop")
        customer.await_orders(20)
    assert not customer.lost(lab.database("web1"))
    assert [reign.host for reign in witness.reigns()] == ["web1", "web2", "web1"]
    assert lab.database("web1").streams_to("web2")
    assert site.json("home", "shop")["host"] == "web1"


def test_a_planned_move_there_and_back_fails_no_request(lab: Lab, site: Site) -> None:
    """With the old primary's help nobody notices, and nothing that was acknowledged is lost."""
    with lab.customer(patience=PATIENCE).shopping() as customer:
        customer.await_orders(20)
        site.drorch("failover", "shop", "--planned", "--yes=shop")
        customer.await_orders(20)
        assert not customer.lost(lab.database("web2"))
        site.drorch("failback", "shop", "--yes=shop")
        customer.await_orders(20)
    assert not customer.failures, customer.reasons
    assert not customer.lost(lab.database("web1"))


def test_a_rehearsal_promotes_a_copy_and_leaves_nothing(lab: Lab, site: Site) -> None:
    """The failover drill writes to a promoted copy of the standby's data; the live pair goes on as it was."""
    before = lab.web2.run("ps", "-e", "-o", "comm=").stdout.split().count("postgres")
    run = site.json("drill", "shop", "--failover")
    attempts = {record.body["step"]: record.body for record in site.records(run["run"]) if "step" in record.body}
    assert attempts["promote-database"]["evidence"]["facts"]["rehearsed"] is True
    assert attempts["switch-haproxy"]["evidence"]["facts"]["rehearsed"] is False
    assert lab.database("web2").in_recovery
    assert lab.database("web1").streams_to("web2")
    assert lab.web2.run("ps", "-e", "-o", "comm=").stdout.split().count("postgres") <= before
