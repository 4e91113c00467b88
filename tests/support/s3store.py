"""S3 stores of drorch at the servers of the tests."""

from dataclasses import dataclass, field

from drorch.core.clock import SystemClock
from drorch.core.host import Host
from drorch.core.model import Json, SecretRef
from drorch.core.secret import Secret
from drorch.core.store import Means
from drorch.stores._s3.bucket import Bucket
from drorch.stores._s3.retry import Patience
from drorch.stores._s3.store import BucketStore
from drorch.stores._s3.wire import Timeouts
from drorch.stores.s3 import S3Store


class Hurried(SystemClock):
    """The machine's clock, but nobody waits: what was slept is only noted."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        if seconds:
            self.slept.append(seconds)


@dataclass
class Texts:
    """Secrets from a mapping that a test may change; `renew` gives what stands there then."""

    values: dict[str, str]
    renewed: int = 0
    kept: dict[str, Secret] = field(default_factory=dict)

    def get(self, ref: SecretRef) -> Secret:
        return self.kept.setdefault(ref.secret, Secret(ref.secret, self.values[ref.secret]))

    def renew(self, ref: SecretRef) -> Secret:
        self.renewed += 1
        self.kept.pop(ref.secret, None)
        return self.get(ref)

    def redact(self, text: str) -> str:
        return text

    def redact_json(self, value: Json) -> Json:
        return value


def no_host(name: str) -> Host:
    """No S3 store asks for one."""
    raise AssertionError(name)


def opened(
    endpoint: str,
    bucket: str,
    writer: tuple[str, str] | str,
    *,
    deleter: tuple[str, str] | None = None,
    clock: SystemClock | None = None,
    patience: Patience | None = None,
    timeouts: Timeouts | None = None,
    **spec: object,
) -> BucketStore:
    """A store named ``offsite``, as the inventory would declare it with these fields; nobody waits unless asked to."""
    values = {"writer": writer if isinstance(writer, str) else ":".join(writer)}
    if deleter:
        values["deleter"] = ":".join(deleter)
        spec["deleter"] = {"secret": "deleter"}
    declared = S3Store.model_validate(
        {"kind": "s3", "endpoint": endpoint, "bucket": bucket, "credentials": {"secret": "writer"}, **spec}
    )
    means = Means(Texts(values), clock or Hurried(), no_host)
    place = declared._place("offsite")
    return BucketStore(Bucket(place, means, patience=patience or Patience(), timeouts=timeouts or Timeouts()))


def secrets_of(store: BucketStore) -> Texts:
    """What `opened` gave it, to be changed."""
    secrets = store.bucket._means.secrets
    assert isinstance(secrets, Texts)
    return secrets
