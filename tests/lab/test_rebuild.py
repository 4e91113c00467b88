"""A failover without a replica: the standby is filled from a backup, or from the off-site copy when that is gone."""

import shutil
from pathlib import Path

import pytest

from lab import web
from lab.documents import Documents
from lab.lab import Lab
from lab.moving import SOCKET, ladder, moving_documents
from support.ceph_daemons import missing as no_ceph
from support.site import Site

pytestmark = pytest.mark.root


def rebuilding(lab: Lab) -> Documents:
    """The shop whose standby has a database server of its own, and nothing in it."""
    said = moving_documents(lab)
    del said.inventory["services"]["shop"]["sources"]["database"]["replica"]
    lab.s3.store(said, "offsite")
    said.runbooks["shop-nightly"]["steps"].append({"kind": "mirror", "store": "offsite"})
    said.runbooks = {"shop-nightly": said.runbooks["shop-nightly"]}
    edge = {"haproxy": {"host": "edge", "socket": SOCKET, "backend": "shop"}}
    steps = [
        {"kind": "fence", "host": "web1", "ladder": ladder(lab, "web1")},
        {"kind": "restore", "source": "database", "swap": True},
        {"kind": "restore", "source": "media", "swap": True},
        {"kind": "service", "host": "web2", "start": web.UNIT},
        {"kind": "http", "url": f"http://127.0.0.1:{web.PORT}/health", "host": "web2"},
        {"kind": "switch", "via": edge},
        {"kind": "http", "url": f"{lab.front.url}/health"},
    ]
    said.add({"runbook": "shop-failover", "kind": "failover", "service": "shop", "to": "web2", "steps": steps})
    return said


@pytest.fixture
def backed_up(lab: Lab, tmp_path: Path) -> tuple[Lab, Site, set[str]]:
    """A lab with orders that were backed up and mirrored, and a standby with an empty server."""
    if reason := no_ceph():
        pytest.skip(reason)
    standby = lab.database("web2")
    standby.sql("SELECT pg_promote()")
    drop = "DROP DATABASE shop WITH (FORCE)"
    lab.web2.run("psql", "--host=/run/postgresql", "--username=lab", "--dbname=postgres", f"--command={drop}")
    lab.web2.run("rm", "-rf", web.MEDIA)
    site = rebuilding(lab).write(tmp_path)
    site.drorch("repository", "create", "vault")
    with lab.customer().shopping() as customer:
        customer.await_orders(5)
    site.drorch("backup", "shop")
    return lab, site, customer.acknowledged


def assert_rebuilt(lab: Lab, orders: set[str]) -> None:
    """Customers are served at web2, with all that was backed up."""
    lab.await_serving()
    assert lab.front.states() == {"web1": "MAINT", "web2": "UP"}
    assert orders <= lab.database("web2").orders()
    assert len(lab.web2.run("ls", web.MEDIA).stdout.split()) == 20


def test_without_a_replica_the_standby_is_filled_from_the_backup(backed_up: tuple[Lab, Site, set[str]]) -> None:
    """After a power-off, the newest recovery point stands at the standby and customers are served from it."""
    lab, site, orders = backed_up
    lab.web1.power_off()
    done = site.drorch("failover", "shop", "--yes=shop")
    assert_rebuilt(lab, orders)
    assert "restoring now loses at most" in done.stderr


def test_where_the_repository_is_gone_too_the_copy_off_site_is_restored(
    backed_up: tuple[Lab, Site, set[str]],
) -> None:
    """Primary and repository are lost: the failover takes the off-site copy by itself, and says so."""
    lab, site, orders = backed_up
    shutil.rmtree(site.folder / "vault")
    lab.web1.power_off()
    done = site.drorch("failover", "shop", "--yes=shop")
    assert_rebuilt(lab, orders)
    assert "the off-site copy in offsite is restored instead" in done.stderr
