"""The lab does what the tests in it rely on."""

import pytest

from lab.lab import Lab
from lab.waiting import LabFailed, until

pytestmark = pytest.mark.root


def test_an_order_that_is_acknowledged_is_in_both_databases(lab: Lab) -> None:
    """Acknowledged means committed, at both sites while the replication is synchronous."""
    lab.database("web1").synchronous()
    with lab.customer().shopping() as customer:
        customer.await_orders(20)
    assert not customer.failures
    assert not customer.lost(lab.database("web1"))
    assert not customer.lost(lab.database("web2"))


def test_after_a_power_off_nobody_buys_until_it_is_on_again(lab: Lab) -> None:
    """An outage has a beginning and an end."""
    with lab.customer(patience=1).shopping() as customer:
        lab.web1.power_off()
        customer.await_failure()
        lab.web1.power_on()
        customer.await_orders(5)
    assert not customer.lost(lab.database("web1"))
    assert 0.2 < customer.outage < 10, customer.reasons


def test_a_witness_sees_that_only_one_side_takes_writes(lab: Lab) -> None:
    """Of a primary and its standby, only the primary does; two primaries are found out."""
    with lab.witness().watching() as witness:
        until(lambda: len(witness.writings) > 20, "writes are tried")
    assert {reign.host for reign in witness.reigns()} == {"web1"}
    witness = lab.witness().start()
    lab.database("web2").sql("SELECT pg_promote()")
    until(lambda: {reign.host for reign in witness.reigns()} == {"web1", "web2"}, "both take writes")
    seen = len(witness.writings)
    until(lambda: len(witness.writings) > seen + 5, "more writes are tried")
    witness.stop()
    with pytest.raises(LabFailed, match="split brain"):
        witness.confirm()
