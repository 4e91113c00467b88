"""The S3 servers that tests use are what they claim to be."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.ceph import WRITER, Ceph
from support.ceph_daemons import missing
from support.processes import alive, eventually, running_with
from support.rclone import RcloneS3
from support.s3 import Client, Keys, client

TESTS = Path(__file__).resolve().parent.parent


def code(s3: Client, operation: str, **words: object) -> str:
    """What the server answers to an operation: the error's code, or ``ok``."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as in support.s3

    try:
        getattr(s3, operation)(**words)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def test_ceph_writer(ceph: Ceph) -> None:
    """A user who was allowed to write may put, extend, list and get, but neither delete nor bypass a lock."""
    bucket = ceph.bucket(lock=True)
    writer = ceph.user("writer")
    other = ceph.client(*writer)
    assert code(other, "list_objects_v2", Bucket=bucket) == "AccessDenied"
    ceph.allow(bucket, [(writer, WRITER)])
    soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2))
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": soon}
    put = other.put_object(Bucket=bucket, Key="nas/config", Body=b"1", ContentMD5="xMpCOKC5I4INzFCab3WEmw==", **lock)
    this = {"Bucket": bucket, "Key": "nas/config", "VersionId": put["VersionId"]}

    def extend(until: datetime, **words: object) -> str:
        retention = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
        return code(other, "put_object_retention", **this, Retention=retention, **words)

    assert extend(later) == "ok"
    assert extend(soon) == "AccessDenied"
    assert extend(soon, BypassGovernanceRetention=True) == "AccessDenied"
    assert code(other, "delete_object", **this) == "AccessDenied"
    assert code(other, "delete_object", **this, BypassGovernanceRetention=True) == "AccessDenied"
    assert code(other, "delete_object", Bucket=bucket, Key="nas/config") == "AccessDenied"
    assert other.get_object(**this)["Body"].read() == b"1"
    assert [entry["Key"] for entry in other.list_objects_v2(Bucket=bucket)["Contents"]] == ["nas/config"]
    assert code(ceph.client(), "delete_object", **this) == "AccessDenied"
    assert code(ceph.client(), "delete_object", **this, BypassGovernanceRetention=True) == "ok"


def test_ceph_tls(ceph: Ceph) -> None:
    """The same objects can be reached through TLS with its certificate."""
    bucket = ceph.bucket()
    ceph.client().put_object(Bucket=bucket, Key="a", Body=b"1")
    safe = client(ceph.tls_endpoint, ceph.owner, certificate=ceph.certificate)
    assert safe.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"
    assert code(client(ceph.endpoint, Keys(ceph.access_key, "wrong")), "list_buckets") == "SignatureDoesNotMatch"


_USER = """
import sys
from pathlib import Path
from support.ceph_daemons import shared
with shared(Path(sys.argv[1])) as cluster:
    print(cluster.port, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(bool(missing()), reason=missing() or "all is there")
def test_ceph_shared(tmp_path: Path) -> None:
    """Processes share one cluster, which outlives its starter, and ends with the last user even when that is killed."""
    users = [
        subprocess.Popen(
            [sys.executable, "-c", _USER, tmp_path / "ceph"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(TESTS), "PATH": "/usr/bin:/bin"},
        )
        for _ in range(2)
    ]
    try:
        ports = [user.stdout.readline() if user.stdout else b"" for user in users]
        assert ports[0] == ports[1] != b""
        folder = json.loads((tmp_path / "ceph" / "cluster.json").read_bytes())["folder"]
        (keeper,) = (pid for pid in running_with(str(tmp_path / "ceph")) if pid not in {user.pid for user in users})
        users[0].communicate()
        assert alive(keeper)
    finally:
        for user in users:
            user.kill()
            user.communicate()
    assert eventually(lambda: not alive(keeper))
    assert not Path(folder).exists()


def test_rclone(rclone_s3: RcloneS3) -> None:
    """The store without locks refuses a wrong MD5 and a wrong secret, keeps no versions, and its objects are files."""
    bucket = rclone_s3.bucket()
    s3 = rclone_s3.client()
    right = {"Bucket": bucket, "Key": "nas/data/a", "Body": b"1"}
    assert code(s3, "put_object", **right, ContentMD5="xMpCOKC5I4INzFCab3WEmw==") == "ok"
    assert (rclone_s3.folder / bucket / "nas/data/a").read_bytes() == b"1"
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["nas/data/a"]
    assert code(s3, "put_object", **right | {"Body": b"2"}, ContentMD5="xMpCOKC5I4INzFCab3WEmw==") == "BadDigest"
    assert code(rclone_s3.client(rclone_s3.access_key, "wrong"), "list_buckets") == "SignatureDoesNotMatch"
    assert s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled"
