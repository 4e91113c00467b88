"""``sftp``: a folder of a machine that is reached by SSH."""

from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from drorch.core.errors import StoreError
from drorch.core.files import Files, KeepsFiles
from drorch.core.host import Host
from drorch.core.model import HostName, SecretRef
from drorch.core.store import Creation, Means, StoreSpec
from drorch.stores._folder import FolderStore

LANES = 4
"""Sessions at once; servers grant 10 on a connection unless told otherwise."""


class SftpStore(StoreSpec):
    """A folder of a host, over SFTP; the account needs no shell."""

    kind: Literal["sftp"]
    host: HostName
    """The host of the inventory, its key pinned there."""
    path: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^-\s]")]
    """The folder; a relative one counts from where the login begins. It holds a file ``.drorch-store``, so that a disk
    which is not mounted there is not taken for an empty store."""

    @model_validator(mode="after")
    def _no_lock(self) -> Self:
        if self.lock is not None:
            raise ValueError("a folder cannot lock what it holds: use kind: s3 for that, or leave lock out")
        return self

    def describe(self) -> str:
        """What it is."""
        return f"folder {self.path} on {self.host}"

    def creation(self, name: str, means: Means, credentials: SecretRef | None = None) -> Creation:
        """Its folder is made by hand, and marked by this."""
        return self.open(name, means).creation()

    def open(self, name: str, means: Means) -> FolderStore:
        """The store.

        Raises:
            StoreError: the host is not reached by SSH.
        """
        files = remote_files(name, means.host(self.host), self.path)
        return FolderStore(name, self.describe(), files, clock=means.clock, lanes=LANES, prefix=self.prefix)


def remote_files(name: str, host: Host, path: str) -> Files:
    """The files below a folder of a host, for what ``name`` names; nothing connects yet.

    Raises:
        StoreError: the host is not reached by SSH.
    """
    if not isinstance(host, KeepsFiles):
        raise StoreError(
            f"{name}: {host.name} is not reached by SSH, so it has no SFTP",
            hint="give that host an address, or use kind: directory for a folder of the controller",
        )
    return host.open_files(path, lanes=LANES)
