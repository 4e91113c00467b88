"""The lab does what the tests in it rely on."""

import pytest

from lab.lab import Lab

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
