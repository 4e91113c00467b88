"""``directory``: another disk or mount of the controller."""

from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from drorch.core.errors import StoreError
from drorch.core.secret import Secrets
from drorch.core.store import Means, Reading, Store, StoreSpec


class DirectoryStore(StoreSpec):
    """A folder on another disk or mount of the controller."""

    kind: Literal["directory"]
    path: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^-\s]")]
    """The folder; it must exist, so that an unmounted disk is not taken for an empty store."""

    @model_validator(mode="after")
    def _no_lock(self) -> Self:
        if self.lock is not None:
            raise ValueError("a directory cannot lock what it holds: use kind: s3 for that, or leave lock out")
        return self

    def describe(self) -> str:
        """What it is."""
        return f"folder {self.path}"

    def open(self, name: str, means: Means) -> Store:
        """The store."""
        raise StoreError(f"{name}: not there yet")

    def reading(self, repository: str, secrets: Secrets) -> Reading | None:
        """As a local repository."""
        return Reading(url="/".join(part for part in (self.path, self.prefix, repository) if part))
