"""What a step leaves behind: evidence or a failure, both values that are stored as JSON."""

from enum import StrEnum

from pydantic import Field

from drorch.core.errors import DrorchError
from drorch.core.model import Frozen, Json


class ProofLevel(StrEnum):
    """How far a recovery point has been proven; a recovery point climbs them in this order."""

    TAKEN = "taken"
    COPIED = "copied"
    INTACT = "intact"
    RESTORED = "restored"
    CONSISTENT = "consistent"
    SERVING = "serving"
    CARRYING = "carrying"

    @property
    def height(self) -> int:
        """0 for ``taken``, upwards."""
        return list(ProofLevel).index(self)


class Evidence(Frozen):
    """Facts that a step measured: sizes, ids, checksums, durations, exit codes. Never a bare "OK"."""

    facts: dict[str, Json]
    """Named measurements; seconds, bytes and ISO 8601 UTC times, the unit in the name where it is not plain."""
    source: str | None = None
    """The source whose recovery point these facts are about."""
    level: ProofLevel | None = None
    """The proof level that these facts show for that source."""
    levels: dict[str, ProofLevel] = Field(default_factory=dict)
    """The proof level that these facts show for the recovery points of several sources, by source; which points stands
    in the facts, ``points: {SOURCE: {snapshot, time}}``."""
    exceptions: tuple[str, ...] = ()
    """What did not go as it should although the step's purpose was reached (files that could not be read, …);
    a run with any of these ends as ``completed_with_exceptions``."""


class Failure(Frozen):
    """Why a step's attempt did not reach its purpose."""

    why: str
    hint: str = ""
    """What a tired person should do next."""
    retryable: bool = False
    """Whether the same attempt can succeed later without a change by a person."""
    unknown: bool = False
    """The outcome is not known (a connection broke while it ran): look before acting again."""
    timed_out: bool = False
    facts: dict[str, Json] = Field(default_factory=dict)
    """What was measured before it failed."""

    @classmethod
    def of(cls, error: DrorchError, **facts: Json) -> "Failure":
        """The failure that an error means."""
        return cls(why=error.message, hint=error.hint, retryable=error.retryable, facts=facts)


Outcome = Evidence | Failure


class Progress(Frozen):
    """How far a long action is; never stored."""

    step: str
    text: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    """0 while unknown."""
    done_files: int = 0
    total_files: int = 0
    seconds_left: float | None = None
