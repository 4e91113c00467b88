"""Off-site copies as a user lives with them: made, probed, mirrored, audited, damaged, mended, thinned, recovered."""

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drorch.core.exits import Exit
from drorch.engine.journal import Journal
from support.ceph import Ceph
from support.disks import ONLY_ROOT, small_disk
from support.hands import runbook
from support.offsite import Bucketed, declare, in_bucket, write_secret
from support.s3 import Keys
from support.site import Site


def facts(site: Site, step: str) -> dict[str, Any]:
    """What the newest run's attempt at a step measured, or measured before it failed."""
    attempts = [
        one.body
        for one in site.records(site.newest().id)
        if (one.body.get("what"), one.body.get("step")) == ("attempt", step)
    ]
    said = attempts[-1].get("evidence") or attempts[-1]["failure"]
    found: dict[str, Any] = said["facts"]
    return found


def levels(site: Site) -> set[str]:
    """How far the newest backups are proven, as `drorch status` has it."""
    return {source["newest"]["level"] for source in site.json("status")["services"][0]["sources"]}


def test_a_backup_ends_copied(bucketed: Bucketed) -> None:
    """`drorch backup shop` ends with a mirror, and status says `copied`; the second one sends only what is new."""
    site = bucketed.site
    site.drorch("backup", "shop")
    first = facts(site, "mirror-offsite")
    assert (first["grade"], first["complete"], first["uploaded"]) == ("refuses and locks", True, first["objects"])
    assert levels(site) == {"copied"}
    site.drorch("backup", "shop")
    second = facts(site, "mirror-offsite")
    assert 0 < second["uploaded"] < first["uploaded"]
    assert second["looked_at"] == second["replaced"] == 0


def test_the_deleter_may_be_elsewhere(bucketed: Bucketed) -> None:
    """A night needs no deleter's credential; only `reclaim` does."""
    site = bucketed.site
    (site.folder / "config" / "secrets" / "offsite-deleter").unlink()
    site.drorch("backup", "shop")
    assert facts(site, "mirror-offsite")["grade"] == "refuses and locks"


def test_what_was_destroyed_is_found_and_mended(bucketed: Bucketed) -> None:
    """An audit names what is missing, altered and unlocked; the next pass mends it from the repository."""
    site, s3 = bucketed.site, bucketed.owner
    site.drorch("backup", "shop")
    there = s3.list_objects_v2(Bucket=bucketed.bucket, Prefix="vault/data/")["Contents"]
    sizes = {one["Key"]: one["Size"] for one in there}
    keys = sorted(sizes)
    s3.delete_object(Bucket=bucketed.bucket, Key=keys[0])
    s3.put_object(Bucket=bucketed.bucket, Key=keys[1], Body=b"x" * sizes[keys[1]])
    s3.put_object(Bucket=bucketed.bucket, Key="vault/pay.txt", Body=b"pay")
    said = site.drorch("audit", "offsite", expect=Exit.FAILED)
    found = facts(site, "audit-offsite")
    assert found["missing_keys"] == [keys[0].removeprefix("vault/")]
    assert found["altered_keys"] == [keys[1].removeprefix("vault/")]
    assert keys[0].removeprefix("vault/") in said.stderr + said.stdout
    assert found["unlocked"] == 1
    assert found["unexpected_keys"] == ["pay.txt"]
    assert "audit of offsite found 3 problems" in site.drorch("status").stdout
    site.drorch("mirror", "offsite", expect=Exit.EXCEPTIONS)
    mended = facts(site, "mirror-offsite")
    assert (mended["uploaded"], mended["replaced_keys"]) == (2, [keys[1].removeprefix("vault/")])
    site.drorch("audit", "offsite", "--everything", expect=Exit.EXCEPTIONS)
    assert levels(site) == {"intact"}


def test_a_drill_from_the_bucket_needs_no_repository(bucketed: Bucketed) -> None:
    """With the repository gone, a drill restores from the bucket where it lies."""
    site = bucketed.site
    site.drorch("backup", "shop")
    shutil.rmtree(site.folder / "vault")
    site.drorch("drill", "shop", "--store", "offsite")
    assert levels(site) == {"serving"}
    assert site.json("status")["services"][0]["drills"][0]["proof"] == site.newest().id


def test_deletion_is_asked_for_twice(bucketed: Bucketed) -> None:
    """`reclaim` notes, waits for the grace period, shows, and removes only with the deleter's credential."""
    site = bucketed.site
    for _ in range(2):
        site.drorch("backup", "shop")
    runbook(site, "thin", "  - {kind: retain, keep: {last: 1}, guard: false}\n  - {kind: mirror, store: offsite}\n")
    site.drorch("run", "thin")
    noted = site.json("reclaim", "offsite", "--grace", "1d")
    assert noted["gone"]["snapshots"] == 4
    assert site.drorch("reclaim", "offsite", "--yes=offsite", expect=Exit.REFUSED).stderr.count("grace period")
    journal = Journal(site.state / "journal.sqlite")
    key = "gone:offsite:vault"
    note = journal.get(key)
    journal.put(key, {**note, "since": (datetime.now(UTC) - timedelta(days=40)).isoformat()})
    site.drorch("reclaim", "offsite", "--yes=shop", expect=Exit.REFUSED)
    # Locks last three days, and are no mistake's protection: the deleter cannot pass them either.
    locked = site.drorch("reclaim", "offsite", "--yes=offsite", "--shrink", expect=Exit.FAILED)
    assert "locked" in locked.stderr
    site.drorch("audit", "offsite")


def test_what_was_agreed_to_is_removed_for_good(shop: Site, ceph: Ceph) -> None:
    """After the grace period exactly the files that were shown go, with all versions, by the deleter's credential."""
    bucketed = in_bucket(shop, ceph, lock="")
    for _ in range(2):
        shop.drorch("backup", "shop")
    runbook(shop, "thin", "  - {kind: retain, keep: {last: 1}, guard: false}\n  - {kind: mirror, store: offsite}\n")
    shop.drorch("run", "thin")
    shop.drorch("reclaim", "offsite")
    journal = Journal(shop.state / "journal.sqlite")
    note = journal.get("gone:offsite:vault")
    journal.put("gone:offsite:vault", {**note, "since": (datetime.now(UTC) - timedelta(days=31)).isoformat()})
    before = _versions(bucketed)
    shown = shop.json("reclaim", "offsite", "--shrink")
    assert _versions(bucketed) == before, "showing removes nothing"
    shop.drorch("reclaim", "offsite", "--shrink", "--yes=offsite")
    gone = {one for ids in shown["removable"].values() for one in ids}
    assert {key.rpartition("/")[2] for key in before - _versions(bucketed)} == gone
    assert len(gone) >= 4
    shop.drorch("audit", "offsite", "--everything")
    shop.drorch("drill", "shop", "--store", "offsite")


def _versions(bucketed: Bucketed) -> set[str]:
    """Keys of all versions and marks below the copy."""
    pages = bucketed.owner.get_paginator("list_object_versions").paginate(Bucket=bucketed.bucket, Prefix="vault/")
    return {one["Key"] for page in pages for kind in ("Versions", "DeleteMarkers") for one in page.get(kind, [])}


def test_another_repository_is_never_mixed_in(bucketed: Bucketed) -> None:
    """A repository made anew under the same name is refused, and the copy stays as it was."""
    site = bucketed.site
    site.drorch("backup", "shop")
    before = _keys(bucketed)
    shutil.rmtree(site.folder / "vault")
    site.drorch("repository", "create", "vault")
    said = site.drorch("mirror", "offsite", expect=None)
    assert "another one than was mirrored" in said.stderr
    shutil.rmtree(site.state)
    said = site.drorch("mirror", "offsite", expect=None)
    assert "another repository is in vault/" in said.stderr
    assert {key for key in _keys(bucketed) if key.startswith("vault/")} == {
        key for key in before if key.startswith("vault/")
    }


def _keys(bucketed: Bucketed) -> set[str]:
    return {one["Key"] for one in bucketed.owner.list_objects_v2(Bucket=bucketed.bucket)["Contents"]}


def _declared(site: Site, ceph: Ceph, keys: Keys, **changed: str) -> None:
    said = {"endpoint": ceph.endpoint, "bucket": "nobody-made-this", **changed}
    write_secret(site, "offsite-writer", f"{keys.id}:{keys.secret}")
    declare(
        site,
        "    kind: s3\n    credentials: {secret: offsite-writer}\n"
        + "".join(f"    {key}: {value}\n" for key, value in said.items()),
        secrets=("offsite-writer",),
    )


WRONG: dict[str, tuple[Callable[[Site, Ceph], None], str]] = {
    "endpoint": (lambda site, ceph: _declared(site, ceph, ceph.owner, endpoint="http://127.0.0.1:9"), "127.0.0.1:9"),
    "no such bucket": (lambda site, ceph: _declared(site, ceph, ceph.owner), "nobody-made-this"),
    "key": (
        lambda site, ceph: _declared(site, ceph, Keys(ceph.owner.id, "wrong" * 5), bucket=ceph.bucket()),
        "offsite-writer",
    ),
    "lock": (
        lambda site, ceph: _declared(site, ceph, ceph.owner, bucket=ceph.bucket(), lock="{mode: governance, days: 1}"),
        "Object Lock",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_told(shop: Site, ceph: Ceph, case: str) -> None:
    """What is wrong with a store is said with what to do, before anything is sent; no secret is shown."""
    prepare, word = WRONG[case]
    prepare(shop, ceph)
    shutil.rmtree(shop.state)
    said = shop.drorch("mirror", "offsite", expect=Exit.FAILED)
    assert word in said.stderr
    assert "what to do" in said.stderr
    assert "wrongwrong" not in said.stderr
    assert "Traceback" not in said.stderr


@ONLY_ROOT
def test_a_full_disk_leaves_no_half_repository(shop: Site, tmp_path: Path) -> None:
    """A recovery that finds no room says so; what it left is no repository, and goes on where there is room."""
    with small_disk(tmp_path / "small", "4m") as disk:
        said = shop.drorch("recover", "offsite", "--to", str(disk / "vault"), expect=Exit.FAILED)
        assert re.search(r"no room|No space|full", said.stderr)
        assert not (disk / "vault" / "config").exists()
    shop.drorch("recover", "offsite", "--to", str(tmp_path / "room"))
    whole = {path.name for path in (shop.folder / "vault").rglob("*") if path.is_file() and "locks" not in path.parts}
    assert {path.name for path in (tmp_path / "room").rglob("*") if path.is_file()} >= whole
    assert (tmp_path / "room" / "config").read_bytes() == (shop.folder / "vault" / "config").read_bytes()


def test_a_recovery_never_mixes(shop: Site, tmp_path: Path) -> None:
    """A folder that holds anything else is refused."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.txt").write_text("years of work")
    said = shop.drorch("recover", "offsite", "--to", str(tmp_path / "there"), expect=None)
    assert "not empty" in said.stderr
    assert json.loads(shop.drorch("runs", "--json").stdout)
