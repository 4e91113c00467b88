"""What single records tell: an attempt of a step, or what a person said. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from drorch.core.approval import note_words
from drorch.core.model import Json
from drorch.engine.journal import Record


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt of a step."""

    step: str
    number: int
    state: str
    started: datetime
    ended: datetime
    took: timedelta
    facts: Mapping[str, Json]
    source: str = ""
    level: str = ""
    exceptions: tuple[str, ...] = ()
    why: str = ""
    hint: str = ""
    unknown: bool = False
    """Whether even the failure is not certain."""
    undo: bool = False
    """Whether it took back what an earlier attempt of the step had done."""

    @property
    def succeeded(self) -> bool:
        """Whether it reached its purpose."""
        return self.state == "succeeded"


@dataclass(frozen=True, slots=True)
class Answered:
    """What a person said."""

    at: datetime
    step: str
    verb: str
    by: str
    note: str


def event(record: Record) -> Attempted | Answered | None:
    """What a record tells; None for one of another kind."""
    if record.body.get("what") == "answer":
        return answered(record)
    return attempted(record.body) if record.body.get("what") == "attempt" else None


def answered(record: Record) -> Answered:
    """What a record of an answer tells."""
    body = record.body
    return Answered(
        at=record.at,
        step=str(body.get("step") or ""),
        verb=str(body.get("verb") or ""),
        by=str(body.get("by") or ""),
        note=note_words(str(body.get("note") or "")),
    )


def attempted(body: Mapping[str, Json]) -> Attempted:
    """What a record of an attempt, or an `engine.interpret.Attempt` as JSON with its ``state``, tells."""
    evidence, failure = mapping(body.get("evidence")), mapping(body.get("failure"))
    started, ended = datetime.fromisoformat(str(body["started"])), datetime.fromisoformat(str(body["ended"]))
    aborted = body.get("aborted_by")
    return Attempted(
        step=str(body["step"]),
        number=int(body["number"]),
        state=str(body.get("state") or ""),
        started=started,
        ended=ended,
        took=ended - started,
        facts=mapping(evidence.get("facts") or failure.get("facts")),
        source=str(evidence.get("source") or ""),
        level=str(evidence.get("level") or ""),
        exceptions=texts(evidence.get("exceptions")),
        why=str(failure.get("why") or (f"not begun again: {aborted} ended the run" if aborted else "")),
        hint=str(failure.get("hint") or ""),
        unknown=bool(failure.get("unknown")),
        undo=bool(body.get("undo")),
    )


def standing(attempts: Iterable[Attempted]) -> dict[str, Attempted]:
    """The successes that stand, by step: those that were not taken back."""
    found: dict[str, Attempted] = {}
    for attempt in attempts:
        if attempt.undo and attempt.succeeded:
            found.pop(attempt.step, None)
        elif attempt.succeeded:
            found[attempt.step] = attempt
    return found


def mapping(value: Json) -> Mapping[str, Json]:
    """A mapping; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def texts(value: Json) -> tuple[str, ...]:
    """A list's items as texts; none for anything else."""
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def seconds(value: Json) -> timedelta | None:
    """A length of time from seconds; None for anything else."""
    return timedelta(seconds=value) if isinstance(value, int | float) and not isinstance(value, bool) else None
