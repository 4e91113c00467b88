"""Route 53, by a strict stand-in."""

from pathlib import Path

import pytest

from drorch.core.evidence import Failure
from drorch.core.finding import Standing
from drorch.core.model import Json
from drorch.core.secret import SecretSpec
from drorch.switches import _route53, route53
from drorch.vault.secrets import SecretStore
from support.route53 import KEY, SECRET, ZONE, HostedZone
from support.turns import Rig, failover, succeeded

ADDRESSES = {"primary": "198.51.100.10", "standby": "203.0.113.20"}
WWW = ("www.shop.example.", "A")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route53, "PAUSE", 0.01)


def rig_of(there: HostedZone, root: Path, *, key: str = KEY, **more: Json) -> Rig:
    """A failover that changes a name."""
    world = failover(root, **ADDRESSES)
    world.secrets = SecretStore({"aws": SecretSpec(env="AWS")}, world.at, {"AWS": f"{key}:{SECRET}"})
    credentials = {"secret": "aws"}
    said = {"zone": ZONE, "name": "www.shop.example", "credentials": credentials, "endpoint": there.endpoint, **more}
    return Rig(world, {"route53": said}, lambda: there.records[WWW][1][0], lambda: None)


@pytest.fixture
def shop(hosted_zone: HostedZone, tmp_path: Path) -> Rig:
    """A name that points to the primary."""
    return rig_of(hosted_zone, tmp_path)


def test_it_waits_until_all_name_servers_have_it(hosted_zone: HostedZone, tmp_path: Path) -> None:
    """The record is replaced with the wanted TTL, and the change is over everywhere."""
    hosted_zone.pending = 3
    evidence = rig_of(hosted_zone, tmp_path, ttl=20).lead()
    assert hosted_zone.records[WWW] == (20, ("203.0.113.20",))
    assert (evidence.facts["everywhere"], evidence.facts["cached_seconds"], evidence.exceptions) == (True, 60, ())


def test_a_change_that_spreads_slowly_is_an_exception(hosted_zone: HostedZone, tmp_path: Path) -> None:
    """It was made all the same."""
    hosted_zone.pending = 10_000
    evidence = rig_of(hosted_zone, tmp_path, within="50ms").lead()
    assert evidence.facts["everywhere"] is False
    assert "not all name servers" in evidence.exceptions[0]


def test_a_record_that_changes_meanwhile_is_left_alone(
    hosted_zone: HostedZone, shop: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Route 53 deletes only exactly what was seen."""
    real = _route53.Zone.swap

    def late(*args: Json, **kwargs: Json) -> str:
        hosted_zone.records[WWW] = (60, ("192.0.2.99",))
        return real(*args, **kwargs)

    monkeypatch.setattr(_route53.Zone, "swap", late)
    outcome = shop.attempt()
    assert isinstance(outcome, Failure)
    assert "do not match the current values" in outcome.why
    assert hosted_zone.records[WWW] == (60, ("192.0.2.99",))


def test_a_change_whose_answer_is_lost_is_made_once(hosted_zone: HostedZone, shop: Rig) -> None:
    """Sent again, it is refused, and the record shows that it was made."""
    hosted_zone.lose = 1
    shop.lead()
    assert (hosted_zone.changes, shop.customers()) == (1, "203.0.113.20")


def test_a_name_that_is_gone_is_made_again(hosted_zone: HostedZone, shop: Rig) -> None:
    """The next name in the zone is not taken for it."""
    del hosted_zone.records[WWW]
    assert shop.look() == "nowhere"
    shop.lead()
    assert shop.customers() == "203.0.113.20"
    succeeded(shop.way.back(shop.tools(), shop.turn))
    assert shop.customers() == "198.51.100.10"


def test_an_alias_is_not_replaced(hosted_zone: HostedZone, shop: Rig) -> None:
    """It is no plain record."""
    hosted_zone.alias = True
    outcome = shop.attempt()
    assert isinstance(outcome, Failure)
    assert "is an alias" in outcome.why
    assert [each.standing for each in shop.findings()] == [Standing.BAD]


@pytest.mark.parametrize(
    ("refuse", "more", "why", "hint"),
    [
        ("", {"key": "AKIOTHER"}, "InvalidClientTokenId", "no such access key"),
        ("", {"zone": "ZOTHER"}, "NoSuchHostedZone", "correct `zone:`"),
        ("AccessDenied", {}, "AccessDenied", "ChangeResourceRecordSets"),
        ("SignatureDoesNotMatch", {}, "SignatureDoesNotMatch", "the clock"),
    ],
)
def test_a_refusal_says_what_to_correct(
    hosted_zone: HostedZone, tmp_path: Path, refuse: str, more: dict[str, Json], *, why: str, hint: str
) -> None:
    """Found before as well as in the act; the secret is in neither."""
    hosted_zone.refuse = refuse
    shop = rig_of(hosted_zone, tmp_path, **more)
    outcome = shop.attempt()
    assert isinstance(outcome, Failure)
    assert why in outcome.why
    assert hint in outcome.hint
    assert SECRET not in str(outcome)
    assert [each.standing for each in shop.findings()] == [Standing.BAD]


def test_a_high_ttl_is_found_before(hosted_zone: HostedZone, shop: Rig) -> None:
    """It must be lowered long before."""
    hosted_zone.records[WWW] = (3600, ("198.51.100.10",))
    doubts = [each for each in shop.findings() if each.standing is Standing.DOUBTFUL]
    assert "takes 3600 s" in doubts[0].remedy
