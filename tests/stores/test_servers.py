"""The S3 servers that tests use are what they claim to be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.ceph import Ceph
from support.ceph_daemons import missing
from support.processes import alive, eventually, running_with
from support.rclone import RcloneS3
from support.s3 import client, md5, told

TESTS = Path(__file__).resolve().parent.parent


def test_ceph_tls(ceph: Ceph) -> None:
    """The same objects can be reached through TLS with its certificate."""
    bucket = ceph.bucket()
    ceph.client().put_object(Bucket=bucket, Key="a", Body=b"1")
    safe = client(ceph.tls_endpoint, ceph.owner, certificate=ceph.certificate)
    assert safe.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"
    assert told(client(ceph.tls_endpoint, ceph.owner).list_buckets) == "SSLError", "only with it"


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
    assert told(lambda: s3.put_object(**right, ContentMD5=md5(b"1"))) == "ok"
    assert (rclone_s3.folder / bucket / "nas/data/a").read_bytes() == b"1"
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["nas/data/a"]
    assert told(lambda: s3.put_object(**right | {"Body": b"2"}, ContentMD5=md5(b"1"))) == "400 BadDigest"
    assert told(rclone_s3.client(rclone_s3.access_key, "wrong").list_buckets) == "403 SignatureDoesNotMatch"
    assert s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled"
