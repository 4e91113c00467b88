"""A second repository under its own key, from `drorch` as a user starts it: made, filled, drilled from."""

import shutil
from pathlib import Path

import pytest

from drorch.core.exits import Exit
from support.quickkey import quicken
from support.site import Site

PASSWORD = "planted-second-password-77c1"
NIGHTLY = """\
runbook: shop-nightly
kind: backup
service: shop
steps:
  - parallel:
      - {kind: backup, source: database}
      - {kind: backup, source: media}
  - {kind: copy, to: vault2}
"""
DRILL = """\
runbook: from-copy
kind: drill
service: shop
steps:
  - {kind: restore, source: media, repository: vault2}
  - {kind: restore, source: database, repository: vault2}
  - {kind: verify, source: media}
  - {kind: verify, source: database}
"""


@pytest.fixture
def site(shop: Site) -> Site:
    """A shop whose nightly run copies to a second repository, which is not made yet."""
    text = shop.inventory.read_text()
    text = text.replace(
        "repositories:\n", "repositories:\n  vault2: {url: ../vault2, password: {secret: vault2-password}}\n"
    )
    text = text.replace("secrets:\n", "secrets:\n  vault2-password: {file: secrets/vault2}\n")
    shop.inventory.write_text(text)
    secret = shop.folder / "config" / "secrets" / "vault2"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD)
    (shop.folder / "runbooks" / "shop-nightly.yaml").write_text(NIGHTLY)
    (shop.folder / "runbooks" / "from-copy.yaml").write_text(DRILL)
    return shop


@pytest.fixture
def copying(site: Site) -> Site:
    """The same with the repository made."""
    made = site.json("repository", "create", "vault2", "--like", "vault")
    assert (made["repository"], made["like"]) == ("vault2", "vault")
    quicken(site.folder / "vault2", PASSWORD)
    return site


def _shop(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "media").rglob("*") if path.is_file()}


def test_the_shop_comes_back_from_the_copy_alone(copying: Site) -> None:
    """After a nightly run the first repository may burn: a drill from the copy proves every source, and status says
    that what was taken is copied.
    """
    copying.drorch("backup", "shop")
    run = copying.newest()
    assert {source: point["level"] for source, point in run.detail["points"].items()} == {
        "database": "copied",
        "media": "copied",
    }
    (facts,) = [
        record.body["evidence"]["facts"]
        for record in copying.records(run.id)
        if record.body["what"] == "attempt" and record.body["step"] == "copy-vault2"
    ]
    assert facts["copied"] == len(copying.json("repository", "list", "vault2")["repositories"][0]["points"]) == 4
    shutil.move(copying.folder / "vault", copying.folder / "burnt")
    copying.drorch("run", "from-copy")
    proven = copying.newest()
    for source, point in run.detail["points"].items():
        assert proven.detail["points"][source]["snapshot"] == point["snapshot"], "the copy proves the point it is of"
        assert proven.detail["measured"]["levels"][source] in ("restored", "consistent")
    drills = copying.folder / "standby" / ".drorch" / "drills"
    assert not drills.exists() or not list(drills.iterdir())
    said = [record.body for record in copying.records()]
    assert PASSWORD not in str(said)


def test_a_repository_that_was_made_alone_is_refused(site: Site) -> None:
    """The failure names the very command that makes a fit one, and that command does."""
    site.drorch("repository", "create", "vault2")
    site.drorch("backup", "shop", expect=Exit.FAILED)
    assert "drorch repository create vault2 --like vault" in str(site.newest().detail["hint"])
    shutil.rmtree(site.folder / "vault2")
    site.drorch("repository", "create", "vault2", "--like", "vault")
    site.drorch("backup", "shop")


def test_what_does_not_go_together_is_refused_by_check(site: Site) -> None:
    """One password for both is a mistake with its line; one failure domain is a warning; another name is unknown."""
    text = site.inventory.read_text()
    site.inventory.write_text(text.replace("{secret: vault2-password}", "{secret: vault-password}"))
    refused = site.drorch("check", expect=Exit.CONFIG)
    assert "shop-nightly.yaml:8" in refused.stdout + refused.stderr
    assert "the same password" in refused.stdout + refused.stderr
    domain = "domain: {provider: own}"
    both = text.replace("{url: ../vault2,", f"{{{domain}, url: ../vault2,").replace(
        "  vault:\n", f"  vault:\n    {domain}\n"
    )
    site.inventory.write_text(both)
    warned = site.drorch("check")
    assert "vault2 and vault can fail together" in warned.stdout + warned.stderr
    site.drorch("repository", "create", "vault2", "--like", "vault3", expect=Exit.UNKNOWN)
