"""What a drill measured: how long until the service was back, how much was lost, how far each source is proven. Pure.

A figure is given only when all that it speaks of succeeded: what was not shown is None or missing, never zero.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import Field

from drorch.core.evidence import Evidence, ProofLevel
from drorch.core.model import Frozen
from drorch.core.replication import Loss
from drorch.core.step import Step
from drorch.engine.interpret import Attempt, when
from drorch.engine.plan import Plan
from drorch.steps.http import Http
from drorch.steps.restore import Restore
from drorch.steps.verify import Verify


class Measured(Frozen):
    """The figures of a run."""

    rto_seconds: float | None = None
    """From the run's start to the end of its last verifying step (`verify`, `http`, `switch`), the clean-up left out;
    None without such a step, or when one of them, or a restore, did not succeed."""
    rpo_seconds: float | None = None
    """From the oldest recovery point restored to the run's start: what would have been lost. None without a restore,
    or when one did not succeed."""
    loss: dict[str, Loss] = Field(default_factory=dict)
    """Of a failover: what it lost at most, by source."""
    levels: dict[str, ProofLevel] = Field(default_factory=dict)
    """How far each restored source was proven."""
    skipped: dict[str, tuple[ProofLevel, ...]] = Field(default_factory=dict)
    """The levels below it that this run did not show."""


def measure(started: datetime, plan: Plan, attempts: Sequence[Attempt]) -> Measured:
    """What a run that began then has measured, from the last attempt of each of its steps."""
    last = {attempt.step: attempt for attempt in attempts}
    last = {step: attempt for step, attempt in last.items() if not attempt.undo}  # what was taken back shows nothing
    proper = [planned for block in plan.blocks for planned in block.steps]
    restores = [last.get(planned.id) for planned in proper if isinstance(planned.step, Restore)]
    verifying = [
        last.get(planned.id)
        for planned in proper
        if isinstance(planned.step, Verify | Http) or (plan.scene.moves and planned.step.kind == "switch")
    ]
    steps = {planned.id: planned.step for planned in proper}
    shown = _shown(steps, last)
    levels = {source: max(found, key=_height) for source, found in shown.items()}
    losses = {
        _source(attempt.evidence, steps.get(attempt.step)) or attempt.step: Loss.model_validate(said)
        for attempt in last.values()
        if attempt.evidence is not None and isinstance(said := attempt.evidence.facts.get("loss"), dict)
    }
    return Measured(
        rto_seconds=_rto(started, restores, verifying),
        rpo_seconds=_rpo(started, restores),
        loss=losses,
        levels=levels,
        skipped={
            source: tuple(level for level in ProofLevel if level.height < top.height and level not in shown[source])
            for source, top in levels.items()
        },
    )


def _source(evidence: Evidence, step: Step | None) -> str:
    """The source that evidence is about, as it says itself or else its step; empty when neither does."""
    return str(evidence.facts.get("source") or evidence.source or getattr(step, "source", None) or "")


def _height(level: ProofLevel) -> int:
    return level.height


def _rto(started: datetime, restores: Sequence[Attempt | None], verifying: Sequence[Attempt | None]) -> float | None:
    ended = [when(attempt) for attempt in verifying if attempt is not None and attempt.evidence is not None]
    if not ended or len(ended) < len(verifying) or (restores and _rpo(started, restores) is None):
        return None
    return round((max(ended) - started).total_seconds(), 3)


def _rpo(started: datetime, restores: Sequence[Attempt | None]) -> float | None:
    times = [
        datetime.fromisoformat(attempt.evidence.facts["snapshot_time"])
        for attempt in restores
        if attempt is not None and attempt.evidence is not None and "snapshot_time" in attempt.evidence.facts
    ]
    if not times or len(times) < len(restores):
        return None
    return round((started - min(times)).total_seconds(), 3)


def _shown(steps: Mapping[str, Step], last: Mapping[str, Attempt]) -> dict[str, set[ProofLevel]]:
    """The levels that this run showed, by restored source.

    That a snapshot exists is shown by restoring it, and that it came back whole by `verify`, whatever higher level the
    source itself reports. A level without a source is the whole service's, so of every source that was verified.
    """
    shown: dict[str, set[ProofLevel]] = {}
    verified: set[str] = set()
    service: set[ProofLevel] = set()
    for step_id, attempt in last.items():
        step, evidence = steps.get(step_id), attempt.evidence
        if step is None or evidence is None:
            continue
        for source, level in evidence.levels.items():
            shown.setdefault(source, set()).add(level)
        shown_here = _levels_of(step, evidence)
        if evidence.source is None:
            service |= shown_here
        elif shown_here:
            shown.setdefault(evidence.source, set()).update(shown_here)
            if isinstance(step, Verify):
                verified.add(evidence.source)
    for source in verified:
        shown[source] |= service
    return shown


def _levels_of(step: Step, evidence: Evidence) -> set[ProofLevel]:
    levels = {evidence.level} if evidence.level else set()
    if isinstance(step, Restore):
        levels.add(ProofLevel.TAKEN)
    if isinstance(step, Verify):
        levels |= {ProofLevel.TAKEN, ProofLevel.RESTORED}
    return levels
