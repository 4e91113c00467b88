"""RFC 2136 with a real Knot, on loopback."""

import re
from pathlib import Path

import pytest

from drorch.core.errors import SwitchError
from drorch.core.evidence import Failure
from drorch.core.finding import Finding, Standing
from drorch.core.model import Json
from drorch.core.secret import SecretSpec
from drorch.core.switch import Turn
from drorch.switches import _dns as wire
from drorch.vault.secrets import SecretStore
from support.knot import OTHER_SECRET, SECRET, Cache, Knot
from support.processes import eventually
from support.turns import WAY, Rig, failover, succeeded

ADDRESSES = {"primary": "198.51.100.10", "standby": "203.0.113.20"}
KEY = {"name": "drorch", "secret": {"secret": "tsig"}}


def rig_of(knot: Knot, root: Path, *, secret: str = SECRET, **more: Json) -> Rig:
    """A failover that changes a name."""
    world = failover(root, **ADDRESSES)
    (root / "tsig").touch(mode=0o600)
    (root / "tsig").write_text(f"{secret}\n")
    world.secrets = SecretStore({"tsig": SecretSpec(file=str(root / "tsig"))}, world.at, {})
    said = {"server": "127.0.0.1", "port": knot.port, "zone": "shop.test", "name": "www", "key": KEY, **more}
    return Rig(world, {"dns": said}, lambda: knot.says("www"), lambda: None)


@pytest.fixture
def shop(knot: Knot, tmp_path: Path) -> Rig:
    """A name that points to the primary."""
    return rig_of(knot, tmp_path)


def doubts(shop: Rig) -> list[Finding]:
    """The findings that are not good."""
    return [each for each in shop.findings() if each.standing is not Standing.GOOD]


def test_the_wire_has_the_new_address_and_the_wanted_ttl(knot: Knot, tmp_path: Path) -> None:
    """From the switch on caches keep it for as long as was said."""
    evidence = rig_of(knot, tmp_path, ttl=5).lead()
    assert (evidence.facts["value"], evidence.facts["ttl"], evidence.facts["cached_seconds"]) == ("203.0.113.20", 5, 60)
    assert knot.says("www") == "203.0.113.20"


@pytest.mark.parametrize(
    "said",
    [
        {"name": "six", "type": "AAAA", "from": "2001:db8:0::10", "to": "2001:DB8:0::20"},
        {"name": "six.shop.test.", "type": "AAAA", "from": "2001:db8::10", "to": "2001:db8::20"},
        {"name": "alias", "type": "CNAME", "from": "WEB1.example.", "to": "web2.example"},
    ],
)
def test_other_types_of_record(knot: Knot, tmp_path: Path, said: dict[str, str]) -> None:
    """Addresses of both kinds and names, however they are spelt; there and back."""
    shop = rig_of(knot, tmp_path, **said)
    owner, kind = said["name"].removesuffix(".shop.test."), said["type"]
    before = knot.says(owner, kind)
    shop.lead()
    assert knot.says(owner, kind) == ("2001:db8::20" if kind == "AAAA" else "web2.example.")
    succeeded(shop.way.back(shop.tools(), shop.turn))
    assert knot.says(owner, kind) == before


def test_a_record_that_changes_meanwhile_is_left_alone(knot: Knot, shop: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server itself compares before it replaces."""
    real = wire.swap

    def late(*args: Json, **kwargs: Json) -> None:
        knot.put("www", "192.0.2.99")
        real(*args, **kwargs)

    monkeypatch.setattr(wire, "swap", late)
    outcome = shop.way.lead(shop.tools(), shop.turn)
    assert isinstance(outcome, Failure)
    assert "not what it was a moment ago" in outcome.why
    assert knot.says("www") == "192.0.2.99"


def test_an_update_whose_answer_is_lost_is_found_done(shop: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the record says counts, not what became of the answer."""
    real = wire.swap

    def deaf(*args: Json, **kwargs: Json) -> None:
        real(*args, **kwargs)
        raise SwitchError("no answer")

    monkeypatch.setattr(wire, "swap", deaf)
    assert shop.lead().facts["value"] == "203.0.113.20"


def test_two_addresses_are_half_a_switch(knot: Knot, shop: Rig) -> None:
    """It is seen as such, and completed."""
    knot.put("www", "198.51.100.10", "203.0.113.20")
    assert shop.look() == "both"
    shop.lead()
    assert knot.says("www") == "203.0.113.20"


def test_a_name_that_is_gone_is_made_again(knot: Knot, shop: Rig) -> None:
    """Where nothing leads, nothing is overwritten."""
    knot.put("www")
    assert shop.look() == "nowhere"
    shop.lead()
    assert knot.says("www") == "203.0.113.20"


@pytest.mark.parametrize(
    ("more", "why", "hint"),
    [
        ({"secret": OTHER_SECRET}, "has another secret for key drorch", "correct the key's secret"),
        ({"secret": "no base64!"}, "secret tsig is no TSIG secret", "base64"),
        ({"key": {**KEY, "name": "nobody"}}, "knows no key nobody", "correct the key's name"),
        ({"key": {**KEY, "name": "reader"}}, "knows no key reader, or does not take it", "`acl`"),
        ({"key": None}, "answers (NOTAUTH|REFUSED) to an update", ""),
        ({"zone": "other.test"}, "without the key's signature", "is `zone:` right"),
        ({"name": "alias"}, "alias.shop.test is a CNAME", "correct `type:`"),
        ({"port": 1}, "nothing answers at 127.0.0.1:1", ""),
    ],
    ids=str,
)
def test_a_refusal_says_what_to_correct(knot: Knot, tmp_path: Path, more: dict[str, Json], why: str, hint: str) -> None:
    """Found before as well as in the act; the secret is in neither."""
    shop = rig_of(knot, tmp_path, **more)
    outcome = shop.attempt()
    assert isinstance(outcome, Failure)
    assert re.search(why, outcome.why)
    assert hint in outcome.hint
    assert knot.says("www") == "198.51.100.10"
    assert any(each.standing is Standing.BAD and re.search(why, each.what) for each in shop.findings())
    assert SECRET not in str(outcome)


def test_secondaries_are_waited_for(knot: Knot, tmp_path: Path) -> None:
    """The switch is over when every server of the zone says the same."""
    knot.start_second()
    second = f"127.0.0.1@{knot.second}"
    shop = rig_of(knot, tmp_path, secondaries=[second])
    assert doubts(shop) == []
    evidence = shop.lead()
    assert (evidence.facts["secondaries"], evidence.exceptions) == ({second: True}, ())
    assert knot.says("www", port=knot.second) == "203.0.113.20"


def test_a_late_secondary_is_an_exception(knot: Knot, tmp_path: Path) -> None:
    """Customers are led by the others; which one is late is told."""
    shop = rig_of(knot, tmp_path, secondaries=["127.0.0.1@1"], within="100ms")
    evidence = shop.lead()
    assert evidence.facts["secondaries"] == {"127.0.0.1@1": False}
    assert "secondary 127.0.0.1@1 does not say 203.0.113.20 yet" in evidence.exceptions[0]
    assert any("127.0.0.1@1 does not answer" in each.what for each in doubts(shop))


def test_caches_tell_how_long_they_lead_to_the_old_host(knot: Knot, cache: Cache, tmp_path: Path) -> None:
    """The residual is what the resolvers' own answers say is left."""
    resolver = f"127.0.0.1@{cache.port}"
    cache.hear("www")
    shop = rig_of(knot, tmp_path, resolvers=[resolver, "127.0.0.1@1"])
    shop.lead()
    residual = shop.way.residual(shop.tools(), shop.turn)
    assert 0 < residual["seconds"] <= 60
    assert residual["resolvers"][resolver] == {"leads": "old", "seconds": residual["seconds"]}
    assert "nothing answers" in residual["resolvers"]["127.0.0.1@1"]["unknown"]
    cache.forget()
    assert eventually(lambda: shop.way.residual(shop.tools(), shop.turn)["seconds"] == 0)
    assert shop.way.residual(shop.tools(), shop.turn)["resolvers"][resolver]["leads"] == "new"


def test_a_high_ttl_is_found_before(knot: Knot, tmp_path: Path) -> None:
    """It must be lowered long before; the remedy says how long that takes."""
    (doubt,) = doubts(rig_of(knot, tmp_path, name="slow"))
    assert doubt.standing is Standing.DOUBTFUL
    assert "takes 3600 s" in doubt.remedy


@pytest.mark.parametrize(
    ("addresses", "more", "why"),
    [
        ({}, {}, "primary has no address"),
        ({"primary": "web1.example", "standby": "203.0.113.20"}, {}, "'web1.example' is no value"),
        ({"primary": "203.0.113.20", "standby": "203.0.113.20"}, {}, "the same address"),
        (ADDRESSES, {"type": "CNAME"}, "'198.51.100.10' is no name"),
        ({}, {"from": "198.51.100.10", "to": "2001:db8::1"}, "is no value of a record of type A"),
    ],
)
def test_values_that_cannot_be_are_mistakes(addresses: dict[str, str], more: dict[str, Json], why: str) -> None:
    """Before anything is asked."""
    way = WAY.validate_python({"dns": {"server": "ns", "zone": "shop.test", "name": "www", **more}})
    turn = Turn("primary", "standby", addresses)
    assert why in way.problems(turn)[0][0]
    assert way.describe(turn)
    assert way.preview(turn) == ()
