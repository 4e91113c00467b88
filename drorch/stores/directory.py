"""``directory``: another disk or mount of the controller."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from drorch.core.errors import StoreError
from drorch.core.model import SecretRef
from drorch.core.secret import Secrets
from drorch.core.store import Creation, Means, Reading, StoreSpec
from drorch.stores._disk import Disk
from drorch.stores._folder import FolderStore

LANES = 4
"""Writers at once: one disk gains nothing from more."""


class DirectoryStore(StoreSpec):
    """A folder on another disk or mount of the controller."""

    kind: Literal["directory"]
    path: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^-\s]")]
    """The folder. It holds a file ``.drorch-store``, so that an unmounted disk is not taken for an empty store."""

    @model_validator(mode="after")
    def _no_lock(self) -> Self:
        if self.lock is not None:
            raise ValueError("a directory cannot lock what it holds: use kind: s3 for that, or leave lock out")
        return self

    def describe(self) -> str:
        """What it is."""
        return f"folder {self.path}"

    def creation(self, name: str, means: Means, credentials: SecretRef | None = None) -> Creation:
        """Its folder is made by hand, and marked by this."""
        return self.open(name, means).creation()

    def open(self, name: str, means: Means) -> FolderStore:
        """The store.

        Raises:
            StoreError: the path is not an absolute one.
        """
        root = Path(self.path).expanduser()
        if not root.is_absolute():
            raise StoreError(f"{name}: {self.path} is not an absolute path", hint="begin it with / or ~/")
        return FolderStore(name, self.describe(), Disk(root), clock=means.clock, lanes=LANES, prefix=self.prefix)

    def reading(self, repository: str, secrets: Secrets) -> Reading | None:
        """As a local repository."""
        return Reading(url="/".join(part for part in (self.path, self.prefix, repository) if part))
