"""A real Ceph that speaks S3, with versions and Object Lock: one for all processes of a test run, up in two seconds."""

import contextlib
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.ceph_daemons import OWNER, Cluster, missing, running, shared
from support.s3 import Client, Keys, client

READER = ("s3:ListBucket", "s3:ListBucketVersions", "s3:GetObject", "s3:GetObjectVersion", "s3:GetBucketVersioning")
WRITER = (
    *READER,
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketLocation",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
    "s3:PutObject",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
)
"""May put, extend, list and get; may neither delete anything nor pass by a lock."""
_GUARDED = ("s3:BypassGovernanceRetention", "s3:DeleteObjectVersion")


@dataclass(frozen=True)
class Ceph:
    """A running cluster, seen by its owner."""

    cluster: Cluster

    @property
    def endpoint(self) -> str:
        """Plain HTTP."""
        return f"http://127.0.0.1:{self.cluster.port}"

    @property
    def tls_endpoint(self) -> str:
        """The same behind TLS, with `certificate`."""
        return f"https://127.0.0.1:{self.cluster.tls_port}"

    @property
    def certificate(self) -> Path:
        """A file that makes `tls_endpoint` trusted."""
        return self.cluster.certificate

    @property
    def access_key(self) -> str:
        """The key id of the owner of all buckets."""
        return OWNER

    @property
    def secret_key(self) -> str:
        """The owner's."""
        return self.cluster.secret

    @property
    def owner(self) -> Keys:
        """Both."""
        return Keys(self.access_key, self.secret_key)

    def user(self, name: str) -> Keys:
        """Another user, new with each call, who may do nothing with the owner's buckets until `allow` is called."""
        keys = Keys(f"{name}-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
        self.cluster.add_user(*keys)
        return keys

    def client(self, key: str | None = None, secret: str | None = None) -> Client:
        """A plain boto3 client; the owner's unless said."""
        return client(self.endpoint, Keys(key, secret or "") if key else self.owner)

    def bucket(self, lock: bool = False, *, versioned: bool | None = None) -> str:  # noqa: FBT001, FBT002 - its one trait
        """A new bucket of the owner's with a name of its own; locks need versions, which come along."""
        name = f"test-{secrets.token_hex(6)}"
        s3 = self.client()
        s3.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if lock else {}))
        if versioned and not lock:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def allow(self, bucket: str, grants: Sequence[tuple[Keys, Sequence[str]]]) -> None:
        """Set the bucket's policy: which user may do what, such as ``[(writer, WRITER)]``; replaces the one before.

        Of `_GUARDED`, what is not granted is denied in words: this Ceph otherwise lets anybody who may extend a
        governance lock shorten it too, by asking for the bypass.
        """
        statements = []
        for keys, actions in grants:
            denied = [action for action in _GUARDED if action not in actions]
            for effect, what in (("Allow", list(actions)), ("Deny", denied)):
                statement = {
                    "Effect": effect,
                    "Principal": {"AWS": [f"arn:aws:iam:::user/{keys.id}"]},
                    "Action": what,
                    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                }
                statements += [statement] if what else []
        policy = {"Version": "2012-10-17", "Statement": statements}
        self.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


@contextlib.contextmanager
def running_ceph(folder: Path, *, memory: int = 8 << 30) -> Iterator[Ceph]:
    """A cluster of one's own, outside pytest too; it holds at most ``memory`` bytes, all of it in RAM.

    Raises:
        CephFailed: it does not come up, or the programs are missing.
    """
    with running(folder, memory=memory) as cluster:
        yield Ceph(cluster)


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Ceph]:
    """The cluster that all workers share; keep to buckets and users of your own."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    base = tmp_path_factory.getbasetemp()
    of_run = base.parent if hasattr(request.config, "workerinput") else base  # a worker of xdist has a folder within
    with shared(of_run / "ceph") as cluster:
        yield Ceph(cluster)
