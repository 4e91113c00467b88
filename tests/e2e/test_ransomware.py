"""An attacker holds the production host and the writer's credential, and destroys whatever can be reached.

What must come back, byte for byte, is what was there before: from the bucket alone, whose locks nobody could pass.
"""

import hashlib
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from drorch.core.exits import Exit
from support.hands import eventually
from support.offsite import Bucketed


def _tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _rows(database: Path) -> list[str]:
    """Everything that a SQLite database holds, as statements."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def _destroy(bucketed: Bucketed) -> Counter[str]:
    """What a thief does with the production host and the writer's key; counts what was refused, and the versions."""
    home = bucketed.site.folder
    for path in [*(home / "primary").rglob("*"), *(home / "vault").rglob("*")]:
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(os.urandom(64))
    s3, bucket = bucketed.thief, bucketed.bucket
    counted: Counter[str] = Counter()
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    versions = [one for page in pages for one in page.get("Versions", []) if one["Key"].startswith("vault/")]
    for one in versions:
        counted["versions"] += 1
        named = {"Bucket": bucket, "Key": one["Key"], "VersionId": one["VersionId"]}
        soon = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(seconds=5)}
        past = {**named, "BypassGovernanceRetention": True}
        counted["deletion"] += _refused(partial(s3.delete_object, **named))
        counted["bypass"] += _refused(partial(s3.delete_object, **past))
        counted["shortening"] += _refused(partial(s3.put_object_retention, **past, Retention=soon))
    for key in sorted({one["Key"] for one in versions}):
        s3.put_object(Bucket=bucket, Key=key, Body=b"pay 5 BTC")
        forged = os.urandom(200)
        s3.put_object(Bucket=bucket, Key=f"vault/snapshots/{hashlib.sha256(forged).hexdigest()}", Body=forged)
    # A laxer policy lets the writer lay delete markers; the owner stands for that here.
    for key in sorted({one["Key"] for one in versions}):
        bucketed.owner.delete_object(Bucket=bucket, Key=key)
    return counted


def _refused(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except ClientError:
        return 1
    return 0


@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_everything_comes_back(bucketed: Bucketed, tmp_path: Path, memory: str) -> None:
    """After the worst, the repository is rebuilt from locked versions and the shop restored byte for byte."""
    site = bucketed.site
    site.drorch("backup", "shop")
    before = _tree(site.folder / "primary" / "media")
    orders = _rows(site.folder / "primary" / "shop.db")
    shop = site.json("status")["services"][0]
    assert {source["newest"]["level"] for source in shop["sources"]} == {"copied"}
    moment = datetime.now(UTC)
    eventually(lambda: datetime.now(UTC) > moment + timedelta(seconds=1.5), "a store's clock counts whole seconds")

    counted = _destroy(bucketed)
    assert counted["deletion"] == counted["bypass"] == counted["shortening"] == counted["versions"] > 0

    if memory == "lost":
        shutil.rmtree(site.state)
    rebuilt = tmp_path / "rebuilt"
    words = ("recover", "offsite", "--to", str(rebuilt), "--as-of", moment.isoformat())
    site.drorch(*words, expect=0 if memory == "kept" else Exit.EXCEPTIONS)
    site.inventory.write_text(site.inventory.read_text().replace("url: ../vault", f"url: {rebuilt}"))
    site.drorch("restore", "shop")
    (media,) = (site.folder / "primary").glob(".drorch/restores/*/media/tree")
    (found,) = (path for path in media.rglob("media") if path.is_dir())
    assert _tree(found) == before
    (database,) = (site.folder / "primary").glob(".drorch/restores/*/database/**/*.db")
    assert _rows(database) == orders
