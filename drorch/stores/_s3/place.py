"""Where a bucket is and how it is used: what `S3Store` says, for the modules that connect."""

from dataclasses import dataclass
from typing import Literal

from drorch.core.model import SecretRef
from drorch.core.store import Lock

Role = Literal["writer", "deleter"]
"""With whose credential a call is made."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket as the inventory declares it."""

    store: str
    """The store's name in the inventory."""
    endpoint: str
    """``http://`` or ``https://`` and the authority, nothing behind."""
    bucket: str
    region: str
    prefix: str
    """Folder within the bucket, without ``/`` at its end; empty for none."""
    lock: Lock | None
    credentials: SecretRef
    deleter: SecretRef | None
    parallel: int
    bandwidth: float | None
    """Bytes that may be sent per second; None for no limit."""
    certificate: str | None
    """File of the certificate authority; None for the public ones."""

    @property
    def shown(self) -> str:
        """Name and address, for messages."""
        return f"{self.store} (bucket {self.bucket} at {self.endpoint})"
