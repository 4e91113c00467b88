"""Readiness: what would be lost, and for how long, if a service's primary died now. Pure.

Nothing is claimed that no drill has shown: a sentence with figures in it needs every source to have a recovery point,
and one drill of today's plan that restored all of them, is not contradicted by a newer failed one, and is not overdue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from drorch.config.inventory import Service
from drorch.engine.journal import Run
from drorch.reports.gaps import Attention, Gap, attention, gaps_of, waits
from drorch.reports.offsite import OffSite
from drorch.reports.proof import DrillReadiness, SourceReadiness, Today, drill_of, sources_of
from drorch.reports.text import at_most

Verdict = Literal["proven", "at_risk", "unproven", "unprotected"]
"""All well; proven, but an objective is missed or a person is needed; no drill holds; a source has no backup at all."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How a service stands."""

    service: str
    primary: str
    verdict: Verdict
    headline: str
    rpo: timedelta | None
    """The objective, as `rto`."""
    rto: timedelta | None
    loss: timedelta | None
    """The age of the oldest among the sources' newest points; None when one has none."""
    back_in: timedelta | None
    """As the drill that holds measured it."""
    sources: tuple[SourceReadiness, ...]
    drills: tuple[DrillReadiness, ...]
    offsite: tuple[OffSite, ...]
    gaps: tuple[Gap, ...]
    attention: tuple[Attention, ...]
    running: tuple[str, ...]
    runbooks: tuple[Today, ...]

    @property
    def good(self) -> bool:
        """Whether nothing is at risk."""
        return self.verdict == "proven"


def readiness(
    name: str,
    service: Service,
    today: Sequence[Today],
    *,
    runs: Sequence[Run],
    alive: frozenset[str],
    now: datetime,
    zone: ZoneInfo,
    daemon: bool = True,
    offsite: Sequence[OffSite] = (),
    further: Sequence[Gap] = (),
) -> Readiness:
    """Judge a service.

    Args:
        name: The service's name.
        service: The service as the inventory has it today.
        today: Its runbooks as they are today.
        runs: Its runs, newest first.
        alive: The unfinished runs on which some process works now.
        now: The moment to judge for.
        zone: In which people there read dates.
        daemon: Whether a daemon serves the state folder.
        offsite: Its mirrors.
        further: Gaps that were found elsewhere.
    """
    sources = sources_of(service, runs, now)
    drills = tuple(drill_of(one, service, runs, now, zone) for one in today if one.kind == "drill")
    held = [drill for drill in drills if drill.proof]
    proof = max(held, key=lambda drill: drill.proof_ended or now, default=None)
    waiting = tuple(attention(run) for run in runs if waits(run, alive))
    gaps = (*gaps_of(name, service, sources, drills, proof, today=today, runs=runs, daemon=daemon), *further)
    ages = [source.age for source in sources]
    loss = None if None in ages else max((age for age in ages if age is not None), default=None)
    verdict: Verdict = "proven"
    if loss is None:
        verdict = "unprotected"
    elif proof is None:
        verdict = "unproven"
    elif waiting or any(gap.risk for gap in gaps):
        verdict = "at_risk"
    return Readiness(
        service=name,
        primary=service.primary,
        verdict=verdict,
        headline=_headline(name, service, sources, drills, proof, loss=loss, zone=zone),
        rpo=service.objectives.rpo,
        rto=service.objectives.rto,
        loss=loss,
        back_in=proof.proof_rto if proof else None,
        sources=sources,
        drills=drills,
        offsite=tuple(offsite),
        gaps=gaps,
        attention=waiting,
        running=tuple(run.id for run in runs if run.id in alive),
        runbooks=tuple(today),
    )


def _headline(
    name: str,
    service: Service,
    sources: Sequence[SourceReadiness],
    drills: Sequence[DrillReadiness],
    proof: DrillReadiness | None,
    *,
    loss: timedelta | None,
    zone: ZoneInfo,
) -> str:
    if loss is None:
        bare = [source.source for source in sources if source.newest is None]
        which = name if len(bare) == len(sources) else f"{', '.join(bare)} of {name}"
        followed = all(service.sources[source].replication() is not None for source in bare)
        left = "only what its standby received would be left" if followed else "it would be gone"
        return f"UNPROTECTED: no backup of {which} was ever taken; if {service.primary} died now, {left}."
    if proof is not None and proof.proof_rto is not None and proof.proof_ended is not None:
        day = proof.proof_ended.astimezone(zone).date().isoformat()
        return (
            f"If {service.primary} died now, you would lose at most {at_most(loss)} and be back in about "
            f"{at_most(proof.proof_rto)}, proven on {day} (drill {proof.proof})."
        )
    done = [drill for drill in drills if drill.run]
    hope = f"The newest backup is {at_most(loss)} old; nobody knows whether it restores."
    if not done:
        return f"UNPROVEN: no drill has restored a backup of {name}. {hope}"
    latest = max(done, key=lambda drill: drill.ended or datetime.min.replace(tzinfo=UTC))
    day = latest.ended.astimezone(zone).date().isoformat() if latest.ended else "an unknown day"
    return f"UNPROVEN: {latest.runbook} of {day} proves nothing for {name}: {latest.lacks}. {hope}"
