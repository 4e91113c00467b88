"""An address that moves between hosts, in namespaces with a bridge between them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from drorch.core.evidence import Failure
from drorch.core.finding import Standing
from drorch.core.model import Json
from drorch.switches import _arp as arp
from support.networks import Network
from support.turns import WAY, Rig, failover

SAID = {"address": "10.77.0.200/24", "interface": "eth0", "announce": 1, "seen_from": "edge"}


def rig_of(network: Network, root: Path, **more: Json) -> Rig:
    """A failover that moves the address."""
    world = failover(root)
    world.hosts.update(network.hosts)
    return Rig(world, {"floating_ip": {**SAID, **more}}, network.at, lambda: None)


@pytest.fixture
def shop(network: Network, tmp_path: Path) -> Rig:
    """The address is at the primary."""
    return rig_of(network, tmp_path)


pytestmark = pytest.mark.root


def test_neighbours_hear_of_it_at_once(network: Network, shop: Rig) -> None:
    """One who knew the old place finds the new one, without waiting for that knowledge to fade."""
    assert network.at() == "primary"
    evidence = shop.lead()
    assert network.at() == "standby"
    assert evidence.facts["old_host"] == "does not have it"


def test_python_announces_where_perl_is_missing(network: Network, shop: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either of them will do."""
    assert network.at() == "primary"
    monkeypatch.setattr(arp, "ANNOUNCE", arp.ANNOUNCE.replace("perl -MSocket -e 1", "false"))
    monkeypatch.setattr(arp, "SEE", arp.SEE.replace("perl -MSocket -e 1", "false"))
    shop.lead()
    assert network.at() == "standby"


def test_a_fenced_host_need_not_answer(network: Network, shop: Rig) -> None:
    """It may be gone; the evidence says that nobody asked it."""
    network.within("primary", "ip", "link", "set", "eth0", "down")
    network.cut.add("primary")
    evidence = shop.lead()
    assert evidence.facts["old_host"] == "unreachable; it is fenced"
    assert network.at() == "standby"


def test_an_old_host_that_still_answers_is_seen(network: Network, shop: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off from drorch and still in the network, it takes the address back; that is no success."""
    monkeypatch.setattr("drorch.switches.floating_ip.HEARD", 0.3)
    monkeypatch.setattr(arp, "ANNOUNCE", "exit 0")
    assert network.at() == "primary"
    network.cut.add("primary")
    outcome = shop.attempt()
    assert isinstance(outcome, Failure)
    assert "edge finds it at" in outcome.why
    assert "does primary answer for it still?" in outcome.hint


def test_what_cannot_work_is_found_before(network: Network, tmp_path: Path) -> None:
    """A wrong interface, an onlooker that is missing."""
    shop = rig_of(network, tmp_path, interface="eth7", seen_from=None)
    assert [each.standing for each in shop.findings()] == [Standing.BAD, Standing.BAD, Standing.DOUBTFUL]
    outcome = shop.attempt()
    assert isinstance(outcome, Failure)
    assert "standby has no interface eth7" in outcome.why


@pytest.mark.parametrize(
    ("address", "why"), [("2001:db8::1/64", "IPv6"), ("10.0.0.1", "its network"), ("x/24", "must be an IPv4 address")]
)
def test_an_address_that_cannot_float_is_a_mistake(address: str, why: str) -> None:
    """Before anything runs."""
    with pytest.raises(ValidationError, match=why):
        WAY.validate_python({"floating_ip": {**SAID, "address": address}})
