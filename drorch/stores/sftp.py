"""``sftp``: a folder of a machine that is reached by SSH."""

from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from drorch.core.errors import StoreError
from drorch.core.model import HostName
from drorch.core.store import Means, Store, StoreSpec


class SftpStore(StoreSpec):
    """A folder of a host, over SFTP; the account needs no shell."""

    kind: Literal["sftp"]
    host: HostName
    """The host of the inventory, its key pinned there."""
    path: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^-\s]")]
    """The folder; it must exist. A relative one counts from where the login begins."""

    @model_validator(mode="after")
    def _no_lock(self) -> Self:
        if self.lock is not None:
            raise ValueError("a folder cannot lock what it holds: use kind: s3 for that, or leave lock out")
        return self

    def describe(self) -> str:
        """What it is."""
        return f"folder {self.path} on {self.host}"

    def open(self, name: str, means: Means) -> Store:
        """The store."""
        raise StoreError(f"{name}: not there yet")
