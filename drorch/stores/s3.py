"""``s3``: a bucket, with or without Object Lock."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from drorch.core.accesskey import parse
from drorch.core.model import SecretRef
from drorch.core.secret import Secret, Secrets
from drorch.core.store import Creation, Means, Policies, Reading, Store, StoreSpec
from drorch.stores._s3.bandwidth import rate_of
from drorch.stores._s3.place import Place
from drorch.stores._s3.policy import policies


def _no_address(name: str) -> str:
    """What every provider refuses, AWS's rules for bucket names say."""
    if ".." in name or name.replace(".", "").isdigit():
        raise ValueError("no bucket can be called so: no two dots side by side, and nothing like an IP address")
    return name


class S3Store(StoreSpec):
    """A bucket for off-site copies."""

    kind: Literal["s3"]
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@/]+/?$")]
    """Address of the provider, such as ``https://s3.example.com``."""
    bucket: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"), AfterValidator(_no_address)
    ]
    """Name of the bucket: 3 to 63 lower-case letters, digits, ``-`` and ``.``."""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] = "us-east-1"
    """As the provider names it; many take any."""
    credentials: SecretRef
    """The writer's: the access key's id and its secret, as ``ID:SECRET`` or on two lines. It should be able to put and
    to extend locks, not to delete: `drorch store policy NAME` prints what to grant."""
    deleter: SecretRef | None = None
    """A second credential, of the same form, that may delete; kept elsewhere. Nothing is ever deleted without it."""
    parallel: Annotated[int, Field(ge=1, le=256)] = 32
    """Calls at once at most; fewer are made when the provider asks to slow down."""
    bandwidth: Annotated[str, StringConstraints(pattern=r"^[1-9]\d*(\.\d+)? ?[kMG]B/s$")] | None = None
    """At most so much is sent, such as ``20 MB/s``; no limit unless said."""
    certificate: str | None = None
    """File with the certificate authority of the endpoint, where it is no public one."""

    def describe(self) -> str:
        """What it is."""
        return f"bucket {self.bucket} at {self.endpoint}"

    def open(self, name: str, means: Means) -> Store:
        """The store."""
        from drorch.stores._s3.bucket import Bucket  # noqa: PLC0415 - loads botocore, which not every command needs
        from drorch.stores._s3.store import BucketStore  # noqa: PLC0415 - the same

        return BucketStore(Bucket(self._place(name), means))

    def reading(self, repository: str, secrets: Secrets) -> Reading | None:
        """With the writer's credential."""
        keys = parse(secrets.get(self.credentials))
        env: dict[str, str | Secret] = {
            "AWS_ACCESS_KEY_ID": keys.id,
            "AWS_SECRET_ACCESS_KEY": Secret(self.credentials.secret, keys.secret),
            "AWS_DEFAULT_REGION": self.region,
        }
        if keys.token:
            env["AWS_SESSION_TOKEN"] = Secret(self.credentials.secret, keys.token)
        folder = "/".join(part for part in (self.bucket, self.prefix, repository) if part)
        certificate = (f"--cacert={self.certificate}",) if self.certificate else ()
        return Reading(f"s3:{self.endpoint.rstrip('/')}/{folder}", env, ("-o", "s3.bucket-lookup=path", *certificate))

    def _place(self, name: str) -> Place:
        return Place(
            store=name,
            endpoint=self.endpoint.rstrip("/"),
            bucket=self.bucket,
            region=self.region,
            prefix=self.prefix,
            lock=self.lock,
            credentials=self.credentials,
            deleter=self.deleter,
            parallel=self.parallel,
            bandwidth=rate_of(self.bandwidth) if self.bandwidth else None,
            certificate=self.certificate,
        )

    def credentials_named(self) -> tuple[SecretRef, ...]:
        """The writer's, the deleter's."""
        return (self.credentials, *((self.deleter,) if self.deleter else ()))

    def policies(self) -> Policies:
        """In the language of AWS IAM."""
        return policies(self.bucket, self.prefix, self.lock)

    def creation(self, name: str, means: Means, credentials: SecretRef | None = None) -> Creation:
        """The bucket, with its lock."""
        from drorch.stores._s3.bucket import Bucket  # noqa: PLC0415 - loads botocore, which not every command needs
        from drorch.stores._s3.create import creation  # noqa: PLC0415 - the same

        place = self._place(name)
        making = creation(Bucket(replace(place, credentials=credentials or place.credentials), means))
        if credentials is not None:
            return making
        owned = (
            "the writer's own credential makes and owns the bucket, so it may undo this: --credentials names another"
        )
        return replace(making, warnings=(owned, *making.warnings))
