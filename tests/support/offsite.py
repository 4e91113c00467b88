"""A shop whose off-site copy lies in a bucket of a real S3 that keeps versions and locks."""

import re
import shutil
from dataclasses import dataclass

import pytest

from support.ceph import WRITER, Ceph
from support.s3 import Client, Keys, client
from support.site import Site

DELETER = ("s3:ListBucket", "s3:ListBucketVersions", "s3:DeleteObject", "s3:DeleteObjectVersion")


@dataclass(frozen=True)
class Bucketed:
    """The shop, and who may do what with its bucket."""

    site: Site
    ceph: Ceph
    bucket: str
    writer: Keys
    deleter: Keys

    @property
    def thief(self) -> Client:
        """A client with the writer's credential."""
        return client(self.ceph.endpoint, self.writer)

    @property
    def owner(self) -> Client:
        """A client that may do everything."""
        return self.ceph.client()


def write_secret(site: Site, name: str, value: str) -> None:
    """A secret in a file of the site."""
    path = site.folder / "config" / "secrets" / name
    path.touch(mode=0o600)
    path.write_text(f"{value}\n")


def declare(site: Site, store: str, *, secrets: tuple[str, ...] = ()) -> None:
    """Put another store ``offsite`` into the inventory."""
    text = site.inventory.read_text()
    text = re.sub(r"(?m)^stores:\n(?:  .*\n)+", f"stores:\n  offsite:\n{store}\n", text)
    for name in secrets:
        text += f"  {name}: {{file: secrets/{name}}}\n"
    site.inventory.write_text(text)


def in_bucket(site: Site, ceph: Ceph, *, lock: str = "{mode: governance, days: 3}") -> Bucketed:
    """Let the shop's off-site copy go to a bucket; its writer may not delete. Without a lock it only keeps versions."""
    bucket = ceph.bucket(lock=True) if lock else ceph.bucket(versioned=True)
    writer, deleter = ceph.user("writer"), ceph.user("deleter")
    ceph.allow(bucket, [(writer, WRITER), (deleter, DELETER)])
    write_secret(site, "offsite-writer", f"{writer.id}:{writer.secret}")
    write_secret(site, "offsite-deleter", f"{deleter.id}:{deleter.secret}")
    declare(
        site,
        f"    kind: s3\n    endpoint: {ceph.endpoint}\n    bucket: {bucket}\n"
        "    credentials: {secret: offsite-writer}\n    deleter: {secret: offsite-deleter}\n"
        + (f"    lock: {lock}" if lock else ""),
        secrets=("offsite-writer", "offsite-deleter"),
    )
    # What was remembered of the folder that stood for the store until now is not the bucket's.
    shutil.rmtree(site.state)
    return Bucketed(site, ceph, bucket, writer, deleter)


@pytest.fixture
def bucketed(shop: Site, ceph: Ceph) -> Bucketed:
    """A shop of the test's own with a bucket of its own; nothing is in that yet."""
    return in_bucket(shop, ceph)
