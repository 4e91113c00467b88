"""Drills and restores from the off-site copy, as a user starts them, with the repository gone."""

import shutil
from pathlib import Path

import pytest

from support.site import MakeSite, Site


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
