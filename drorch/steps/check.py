"""``check``: read a repository's bytes again, a part each time, until all were read; then from the start."""

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from drorch.core.evidence import Failure, Outcome
from drorch.core.model import Duration, RepositoryName, format_duration
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools

_FRACTION = re.compile(r"1/([1-9]\d{0,3})")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


def parts_of(subset: str) -> int:
    """Into how many parts a subset divides the repository: 30 for ``1/30``, 10 for ``10%``.

    Raises:
        ValueError: it is neither.
    """
    if match := _FRACTION.fullmatch(subset):
        return int(match[1])
    if (match := _PERCENT.fullmatch(subset)) and 0.01 <= float(match[1]) <= 100:  # noqa: PLR2004 - percent
        return math.ceil(100 / float(match[1]))
    raise ValueError("must be a share such as 1/30 or 10%; each time the next such share is read")


def _readable(subset: str) -> str:
    parts_of(subset)
    return subset


class Check(Step):
    """Check a repository: its structure, and with `subset` the bytes of one share of it, the next one each time."""

    kind: Literal["check"]
    every: Duration | None = None
    """Not more often than this, counted from run to run with an hour's slack; always unless said."""
    subset: Annotated[str, AfterValidator(_readable), Field(examples=["1/30", "10%"])] | None = None
    """The share whose bytes are read each time, such as ``1/30`` or ``10%``; only the structure unless said."""
    repository: RepositoryName | None = None
    """Which; the service's own repository unless said."""

    @property
    def subject(self) -> str:
        """The repository, where it is said."""
        return self.repository or ""

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        share = f" and the bytes of the next {self.subset}" if self.subset else ""
        often = f", at most every {format_duration(self.every)}" if self.every else ""
        return f"check the structure{share} of {self.repository or scene.repository}{often}"

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about."""
        return Failure(why="not built yet")
