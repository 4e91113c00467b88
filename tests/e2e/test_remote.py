"""The main job between two real SSH machines and PostgreSQL clusters, with the repository on the controller."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drorch.core.step import RunState
from support.postgres import Cluster
from support.quickkey import quicken
from support.site import PASSWORD, SHOP, Site, free_port, lay_env
from support.sshd import Sshd, SshdFactory

CANARY = "planted-database-password-91c7"

INVENTORY = """
site: acme
timezone: Europe/Berlin
hosts:
  web1: {web1}
  web2: {web2}
repositories:
  vault: {{url: ../vault, password: {{secret: vault-password}}}}
services:
  shop:
    objectives: {{rpo: 24h, rto: 1h}}
    primary: web1
    standbys: [web2]
    repository: vault
    sources:
      database: {{kind: postgres, database: shop, password: {{secret: database-password}}}}
      media: {{kind: files, paths: [~/media]}}
secrets:
  vault-password: {{file: secrets/vault}}
  database-password: {{env: SHOP_DATABASE_PASSWORD}}
"""

NIGHTLY = """
runbook: shop-nightly
kind: backup
service: shop
steps:
  - parallel:
      - {kind: backup, source: database}
      - {kind: backup, source: media}
"""

DRILL = """
runbook: shop-drill
kind: drill
service: shop
standby: web2
steps:
  - parallel:
      - {kind: restore, source: database}
      - {kind: restore, source: media}
  - {kind: verify, source: database, expect: {tables: {orders: 1000}}}
  - {kind: verify, source: media, expect: {files: 300}}
  - kind: command
    id: start
    host: web2
    background: true
    run: [python3, -m, http.server, --bind, 127.0.0.1, --directory, "{{ restore.media.path }}", "PORT"]
  - {kind: http, url: "http://127.0.0.1:PORT/", host: web2, expect: {status: 200}}
"""


def host_document(server: Sshd, cluster: Cluster) -> str:
    """A machine as the inventory declares it, in JSON, which is YAML."""
    spec = server.spec
    env = {**cluster.env, "PGCONNECT_TIMEOUT": "10"}
    path = f"{cluster.env['PATH']}:{Path(sys.executable).parent}"
    return json.dumps(
        {
            "address": spec.address,
            "port": spec.port,
            "user": spec.user,
            "key": spec.key,
            "host_key": spec.host_key,
            "install_restic": True,
            "env": {**env, "PATH": path},
        }
    )


@pytest.fixture(scope="module")
def machines(sshd_factory: SshdFactory) -> tuple[Sshd, Sshd]:
    """Two machines with keys of their own."""
    return sshd_factory(), sshd_factory()


@pytest.fixture(scope="module")
def acme(
    tmp_path_factory: pytest.TempPathFactory,
    machines: tuple[Sshd, Sshd],
    make_cluster: Callable[[], Cluster],
    restic: Path,
) -> Iterator[tuple[Site, Cluster, Cluster]]:
    """The site, its primary cluster with a shop in it, and its standby cluster, empty."""
    assert restic.exists()
    web1, web2 = machines
    primary, standby = make_cluster(), make_cluster()
    folder = tmp_path_factory.mktemp("acme") / "site"
    (folder / "config" / "secrets").mkdir(parents=True)
    (folder / "runbooks").mkdir()
    secret = folder / "config" / "secrets" / "vault"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD)
    documents = INVENTORY.format(web1=host_document(web1, primary), web2=host_document(web2, standby))
    (folder / "config" / "drorch.yaml").write_text(documents)
    (folder / "runbooks" / "shop-nightly.yaml").write_text(NIGHTLY)
    (folder / "runbooks" / "shop-drill.yaml").write_text(DRILL.replace("PORT", str(free_port())))

    (folder / "made").mkdir()
    subprocess.run([sys.executable, SHOP, "make", folder / "made"], check=True, capture_output=True)
    shutil.move(folder / "made" / "media", web1.home / "media")
    primary.create_database("shop")
    primary.sql(
        "CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL);"
        "INSERT INTO customers (name) SELECT 'customer ' || n FROM generate_series(1, 100) n;"
        "CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, cents int NOT NULL);"
        "INSERT INTO orders (customer, cents) SELECT 1 + n % 100, n FROM generate_series(1, 1500) n;",
        database="shop",
    )
    site = lay_env(folder)
    site = Site(folder, {**site.env, "SHOP_DATABASE_PASSWORD": CANARY})
    site.drorch("check")
    site.drorch("repository", "create", "vault")
    quicken(folder / "vault", PASSWORD)
    yield site, primary, standby
    shutil.rmtree(web1.home / "media", ignore_errors=True)


@pytest.mark.timeout(300)
def test_backup_and_drill_between_two_machines(
    acme: tuple[Site, Cluster, Cluster], machines: tuple[Sshd, Sshd]
) -> None:
    """`drorch backup` and `drorch drill` do over SSH and with PostgreSQL what the demo does in folders."""
    site, _, standby = acme
    backed_up = site.json("backup", "shop")
    assert backed_up["state"] == "completed"
    before = standby.databases()

    drilled = site.json("drill", "shop")

    assert drilled["state"] == "completed"
    measured = drilled["detail"]["measured"]
    assert measured["rto_seconds"] > 0
    assert measured["rpo_seconds"] > 0
    facts = {record.key: record.body.get("evidence", {}).get("facts", {}) for record in site.records(drilled["run"])}
    tables = facts["attempt verify-database#1"]["tables"]
    assert {name.split(".")[-1]: rows for name, rows in tables.items()} == {"customers": 100, "orders": 1500}
    assert standby.databases() == before, "a database of the drill's is left"
    _, web2 = machines
    drills = web2.home / ".drorch" / "drills"
    assert not drills.exists() or list(drills.iterdir()) == []
    status = site.json("status")
    assert status["services"][0]["service"] == "shop"


@pytest.mark.timeout(300)
def test_no_secret_is_left_anywhere(acme: tuple[Site, Cluster, Cluster], machines: tuple[Sshd, Sshd]) -> None:
    """After whole runs no planted secret stands in state, evidence, logs or on the machines."""
    site, _, _ = acme
    said = [site.drorch("--log-level", "debug", "backup", "shop"), site.drorch("--log-level", "debug", "drill", "shop")]
    said += [site.drorch("show", "last"), site.drorch("plan", "shop-drill"), site.drorch("status", "--json")]
    needles = [word.encode() for word in (PASSWORD, CANARY)]
    for output in said:
        for needle in needles:
            assert needle.decode() not in output.stdout + output.stderr
    planted = site.folder / "config" / "secrets" / "vault"
    for root in (site.folder, *(machine.folder for machine in machines)):
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink() and path != planted:
                content = path.read_bytes()
                assert not any(needle in content for needle in needles), path


@pytest.mark.timeout(300)
def test_a_cut_connection_in_a_drill_leaves_nothing(
    acme: tuple[Site, Cluster, Cluster], machines: tuple[Sshd, Sshd]
) -> None:
    """A drill killed in its middle and resumed leaves no database, folder or process of its own on the standby."""
    site, _, standby = acme
    site.drorch("backup", "shop")
    before = standby.databases()
    code, boundaries = site.killed_at(9, "drill", "shop")
    assert (code, boundaries) == (-9, 9)
    run = site.newest()
    site.drorch("resume", run.id)
    assert site.newest().state is RunState.COMPLETED
    assert standby.databases() == before
    drills = machines[1].home / ".drorch" / "drills"
    assert not drills.exists() or list(drills.iterdir()) == []


def test_a_drill_never_points_at_the_primary(acme: tuple[Site, Cluster, Cluster]) -> None:
    """Neither by name nor by another name of the same machine does a drill work on the primary."""
    site, _, _ = acme
    refused = site.drorch("drill", "shop", "--standby", "web1", expect=6)
    assert "primary" in refused.stderr

    text = site.inventory.read_text()
    alias = next(line for line in text.splitlines() if line.startswith("  web1:")).replace("web1:", "web1-alias:")
    site.inventory.write_text(text.replace("repositories:", f"{alias}\nrepositories:", 1))
    try:
        aliased = site.drorch("drill", "shop", "--standby", "web1-alias", "--json", expect=None)
    finally:
        site.inventory.write_text(text)
    assert "one machine" in json.loads(aliased.stdout)["detail"]["why"]


def test_the_production_host_holds_no_storage_credentials(
    acme: tuple[Site, Cluster, Cluster], machines: tuple[Sshd, Sshd]
) -> None:
    """No port but SSH's is opened, and what lies on the production host opens no repository."""
    site, _, _ = acme
    site.drorch("backup", "shop")
    work = machines[0].home / ".drorch"
    assert work.exists()
    assert not [path for path in work.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
