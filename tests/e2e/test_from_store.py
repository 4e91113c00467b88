"""Drills and restores from the off-site copy, as a user starts them, with the repository gone."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from support.ceph import Ceph
from support.s3 import Keys
from support.site import SHOP, MakeSite, Site
from support.sshd import Sshd


def offsite(site: Site, store: str) -> Path:
    """Let the site have that store, and in it the repository's files; the repository itself is removed."""
    text = site.inventory.read_text()
    head, _, rest = text.partition("stores:\n")
    keep = rest[rest.index("# What the business") :] if rest else ""
    base = (head, keep) if rest else text.split("services:", 1)
    services = base[1] if rest else f"services:{base[1]}"
    site.inventory.write_text(f"{base[0]}stores:\n  offsite: {store}\n{services}")
    folder = site.folder / "offsite" / "vault"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(site.folder / "vault", folder, ignore=shutil.ignore_patterns("locks"))
    shutil.rmtree(site.folder / "vault")
    return folder


def everything(folder: Path) -> dict[str, int]:
    """Every path with its time of change."""
    return {str(path): path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


@pytest.fixture
def shop(make_shop: MakeSite) -> Site:
    """A shop that was backed up and copied off-site, and lost its repository."""
    site = make_shop()
    offsite(site, "{kind: directory, path: ../offsite}")
    return site


def facts_of(site: Site, run: str) -> dict[str, dict[str, object]]:
    """The facts of each attempt of a run."""
    return {record.key: record.body.get("evidence", {}).get("facts", {}) for record in site.records(run)}


def test_a_drill_from_the_store(shop: Site) -> None:
    """With the repository gone, a drill proves the off-site copy to the same levels, and changes nothing in it."""
    mirror = shop.folder / "offsite" / "vault"
    before = everything(mirror)
    drilled = shop.json("drill", "shop", "--store", "offsite")
    assert drilled["state"] == "completed"
    facts = facts_of(shop, drilled["run"])
    for step in ("restore-database", "restore-media", "verify-database", "verify-media"):
        assert facts[f"attempt {step}#1"]["store"] == "offsite"
    assert everything(mirror) == before
    shown = shop.drorch("show", drilled["run"]).stdout
    assert "store offsite" in shown
    assert not (shop.folder / "vault").exists()


def test_a_runbook_from_the_store(shop: Site) -> None:
    """`snapshot: {store: offsite}` is enough, and the plan says it without connecting."""
    path = shop.folder / "runbooks" / "shop-drill.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join("snapshot: {store: offsite}" if line.startswith("snapshot:") else line for line in lines))
    assert "from the latest recovery point in offsite" in shop.drorch("plan", "shop-drill").stdout
    assert shop.json("drill", "shop")["state"] == "completed"


def test_a_restore_from_the_store(shop: Site) -> None:
    """`drorch restore --store` brings the live thing back from the off-site copy."""
    media = shop.folder / "primary" / "media"
    before = {path.name: path.read_bytes() for path in media.iterdir() if path.is_file()}
    shutil.rmtree(media)
    restored = shop.json("restore", "shop", "media", "--store", "offsite", "--swap", "--yes", "shop")
    assert restored["state"] == "completed"
    assert {path.name: path.read_bytes() for path in media.iterdir() if path.is_file()} == before


def test_a_damaged_copy_fails_the_drill(shop: Site) -> None:
    """A drill reads the copy itself: packs that are lost there are not made up from anywhere."""
    for pack in (shop.folder / "offsite" / "vault" / "data").rglob("*"):
        if pack.is_file():
            pack.unlink()
    assert shop.json("drill", "shop", "--store", "offsite", expect=1)["state"] == "failed"


def test_wrong_names_are_refused(shop: Site) -> None:
    """A store that is not in the inventory is refused with those that are."""
    assert "there is offsite" in shop.drorch("drill", "shop", "--store", "ofsite", expect=8).stderr
    assert "there is offsite" in shop.drorch("restore", "shop", "--store", "ofsite", expect=8).stderr


@pytest.fixture
def far(make_shop: MakeSite, ceph: Ceph, sshd: Sshd, restic: Path) -> tuple[Site, Keys]:
    """The same with the copy in a bucket of a real S3 store, a reader's key for it, and a standby reached by SSH."""
    site = make_shop()
    folder = offsite(site, "{kind: directory, path: ../offsite}")
    bucket, keys = ceph.bucket(lock=True), ceph.user("reader")
    ceph.allow(bucket, [(keys, ("s3:GetObject", "s3:ListBucket"))])
    for file in folder.rglob("*"):
        if file.is_file():
            key = f"acme/vault/{file.relative_to(folder)}"
            ceph.client().put_object(Bucket=bucket, Key=key, Body=file.read_bytes(), ChecksumAlgorithm="SHA256")
    shutil.rmtree(folder)
    store = {
        "kind": "s3",
        "endpoint": ceph.tls_endpoint,
        "bucket": bucket,
        "prefix": "acme",
        "credentials": {"secret": "offsite-reader"},
        "certificate": str(ceph.certificate),
    }
    path = f"{restic.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
    spec = sshd.spec
    standby = {
        "address": spec.address,
        "port": spec.port,
        "user": spec.user,
        "key": spec.key,
        "host_key": spec.host_key,
        "env": {"PATH": path},
    }
    text = site.inventory.read_text()
    text = text.replace(
        "  standby:\n    connector: local\n    home: ../standby\n", f"  standby: {json.dumps(standby)}\n"
    )
    text = text.replace("offsite: {kind: directory, path: ../offsite}", f"offsite: {json.dumps(store)}")
    site.inventory.write_text(text + "  offsite-reader: {env: OFFSITE_READER}\n")
    shutil.copy(SHOP, sshd.home)
    return Site(site.folder, {**site.env, "OFFSITE_READER": f"{keys.id}:{keys.secret}"}), keys


@pytest.mark.timeout(300)
def test_a_remote_standby_drills_from_a_bucket(far: tuple[Site, Keys], sshd: Sshd) -> None:
    """A machine reached by SSH proves the copy in a bucket, by way of the controller, with a key that may only read;
    that key never reaches the machine, nor any file.
    """
    site, keys = far
    drilled = site.json("drill", "shop", "--store", "offsite")
    assert drilled["state"] == "completed"
    assert drilled["detail"]["measured"]["levels"] == {"database": "serving", "media": "serving"}
    for folder in (site.folder, sshd.folder):
        for path in folder.rglob("*"):
            assert not (path.is_file() and keys.secret.encode() in path.read_bytes()), path
    assert not list((sshd.home / ".drorch" / "mirrors").iterdir())
