"""Customers who do not come through the edge: by a name, or to an address that moves."""

from pathlib import Path

import pytest

from lab import web, zone
from lab.documents import Document, Documents
from lab.lab import Lab
from lab.moving import moving_documents

pytestmark = pytest.mark.root


def led_by(lab: Lab, way: Document, *checks: Document) -> Documents:
    """The shop whose customers are led by this way, and how that is seen from here afterwards."""
    said = moving_documents(lab)
    shop = said.inventory["services"]["shop"]
    del shop["probe"]
    said.runbooks.pop("shop-failback")
    book = said.runbooks["shop-failover"]
    kept = [step for step in book["steps"] if step["kind"] not in ("hold", "switch")][:-1]
    book["steps"] = [*kept, {"kind": "switch", "via": way}, *checks]
    return said


def by_name(lab: Lab) -> Document:
    """The zone's record, updated with its key; both name servers tell it."""
    first, second = lab.zone.servers
    key = {"name": zone.TSIG_NAME, "algorithm": zone.TSIG_ALGORITHM, "secret": {"secret": "tsig"}}
    record = {"server": first, "zone": zone.ZONE, "name": "www", "ttl": zone.TTL, "key": key, "secondaries": [second]}
    return {"dns": record}


def test_customers_who_come_by_name_are_led_to_the_standby(lab: Lab, tmp_path: Path) -> None:
    """Both name servers say the new address, and customers follow when their caches are over."""
    lab.database("web1").synchronous()
    said = led_by(lab, by_name(lab))
    said.inventory["secrets"]["tsig"] = {"file": "secrets/tsig"}
    said.secrets["tsig"] = zone.TSIG_SECRET
    site = said.write(tmp_path)
    with lab.customer(f"http://{zone.WWW}:{web.PORT}").shopping() as customer:
        lab.web1.power_off()
        site.drorch("failover", "shop", "--yes=shop")
        assert {lab.zone.address(), lab.zone.address(second=True)} == {lab.web2.address}
        customer.await_orders(20)
    assert not customer.lost(lab.database("web2"))


def test_customers_of_a_floating_address_are_led_to_the_standby(lab: Lab, tmp_path: Path) -> None:
    """The standby takes it and says so to the whole network; nobody waits for a cache."""
    lab.database("web1").synchronous()
    way = {"floating_ip": {"address": f"{lab.floating}/32", "interface": "eth0", "seen_from": "edge"}}
    url = f"http://{lab.floating}:{web.PORT}"
    site = led_by(lab, way, {"kind": "http", "url": f"{url}/health"}).write(tmp_path)
    with lab.customer(url).shopping() as customer:
        lab.web1.power_off()
        site.drorch("failover", "shop", "--yes=shop")
        customer.await_orders(20)
    assert not customer.lost(lab.database("web2"))


def test_a_look_tells_of_everything_that_a_failover_needs(lab: Lab, tmp_path: Path) -> None:
    """Hosts and who sees them, secrets, replication and its lag, disk, name servers, drills: each with its standing,
    and what is not as one would wish with its remedy; status knows of the look.
    """
    lab.database("web1").synchronous()
    said = led_by(lab, by_name(lab))
    said.inventory["secrets"]["tsig"] = {"file": "secrets/tsig"}
    said.secrets["tsig"] = zone.TSIG_SECRET
    site = said.write(tmp_path)
    looked = site.json("check", "--live", "shop")
    (seen,) = looked["looked"]
    told = [one["finding"] for one in seen["findings"]]
    assert all(one["remedy"] for one in told if one["standing"] != "good")
    words = "\n".join(f"{one['about']}: {one['what']}" for one in told)
    for wanted in (
        *(f"{host}: answers in" for host in ("web1", "web2")),
        "secret tsig: can be had",
        "the standby has received all but",
        "replication is synchronous",
        "GiB are free on the disk of /var/lib/postgresql",
        "it takes updates from here",
        f"{lab.zone.servers[1]} says the same",
        "drill: no drill has restored a backup of shop",
        "rehearsal: its failover was never rehearsed",
    ):
        assert wanted in words, words
    assert all(sight["reached"] for sight in seen["sights"])
    assert seen["losses"]["database"]["none"], "promoting now would lose nothing"
    assert "nobody has looked" not in site.drorch("status").stdout
    lab.web2.unit("postgresql@15-main.service").stop()
    site.drorch("check", "--live", "shop", expect=9)
    assert "shop-failover would not work" in site.drorch("status").stdout
