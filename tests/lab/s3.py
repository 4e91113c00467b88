"""An S3 with object locks, as another provider has it: Ceph on a machine of its own, its objects in memory."""

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab import paths
from lab.host import Host
from lab.layer import PYTHON, enable, write
from lab.waiting import until
from support.ceph_daemons import OWNER, Cluster
from support.s3 import Client, Keys, client

if TYPE_CHECKING:
    from lab.documents import Documents

UNIT = "s3.service"
_FOLDER = "/run/s3"
_UNIT = f"""\
[Unit]
Description=An S3 with object locks

[Service]
ExecStart={PYTHON} {paths.PROJECT}/tests/support/ceph_daemons.py serve {{address}} {_FOLDER}

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class S3:
    """The S3 of a lab. Pull its cable and all is there again afterwards; take its power and its objects are gone."""

    host: Host

    def lay(self) -> None:
        """Its service, on a host that is off."""
        write(self.host.disk.root / f"etc/systemd/system/{UNIT}", _UNIT.format(address=self.host.address))
        enable(self.host.disk.root, UNIT)

    def await_up(self) -> None:
        """Wait until it answers."""
        until((self.host.inside / _FOLDER.lstrip("/") / "cluster.json").exists, "the S3 is up")

    @property
    def _cluster(self) -> Cluster:
        return Cluster(**json.loads((self.host.inside / _FOLDER.lstrip("/") / "cluster.json").read_bytes()))

    @property
    def endpoint(self) -> str:
        """Behind TLS, with a certificate that nobody knows."""
        return f"https://{self.host.address}:{self._cluster.tls_port}"

    @property
    def owner(self) -> Keys:
        """The credential that may do everything."""
        return Keys(OWNER, self._cluster.secret)

    @property
    def client(self) -> Client:
        """Their owner's view of the buckets, past drorch."""
        return client(f"http://{self.host.address}:{self._cluster.port}", self.owner)

    def store(self, said: "Documents", name: str) -> str:
        """A new bucket with locks and versions, as one of the operator's stores; gives its name."""
        bucket = f"{name}-{secrets.token_hex(4)}"
        self.client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        inside = self.host.inside / self._cluster.certificate.relative_to("/")
        said.files[f"certificates/{name}.crt"] = inside.read_text()
        said.secrets[name] = f"{OWNER}:{self._cluster.secret}"
        said.inventory["secrets"][name] = {"file": f"secrets/{name}"}
        said.inventory.setdefault("stores", {})[name] = {
            "kind": "s3",
            "endpoint": self.endpoint,
            "bucket": bucket,
            "credentials": {"secret": name},
            "certificate": f"certificates/{name}.crt",
            "lock": {"mode": "governance", "days": 1},
        }
        return bucket
