"""Whether a service could fail over: what the newest look at the living world showed, as status tells it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from drorch.config.runbook import Runbook
from drorch.core.evidence import ProofLevel
from drorch.core.finding import Finding, Standing
from drorch.core.model import Frozen, Json
from drorch.engine.journal import Run
from drorch.engine.preflight import Preflight
from drorch.reports.gaps import Gap
from drorch.reports.proof import PROOF_LASTS, DrillReadiness, points_of
from drorch.reports.text import length

STALE: Final = timedelta(days=7)
"""Age from which a look says nothing any more."""


class Live(Frozen):
    """What is remembered of a look."""

    at: datetime
    plan: str
    worst: Standing
    amiss: tuple[str, ...]
    """What was bad or unknown, one sentence each."""
    losses: dict[str, str]
    """What promoting would have lost then, by source."""

    @classmethod
    def of(cls, seen: Preflight) -> "Live":
        """What of a preflight is kept."""
        amiss = [*seen.of(Standing.BAD), *seen.of(Standing.UNKNOWN)]
        return cls(
            at=seen.at,
            plan=seen.plan,
            worst=seen.worst,
            amiss=tuple(f"{one.finding.about}: {one.finding.what}" for one in amiss),
            losses={source: known.words for source, known in seen.losses.items()},
        )


def live_key(runbook: str) -> str:
    """Under which the newest look for a runbook is remembered."""
    return f"live:{runbook}"


def live_gaps(
    service: str, runbooks: Mapping[str, Runbook], remembered: Mapping[str, Json], now: datetime
) -> Iterator[Gap]:
    """What the newest look at a service's failover says; ``remembered`` by runbook."""
    command = f"drorch check --live {service}"
    for name, book in runbooks.items():
        if not book.moves or book.service != service:
            continue
        said = remembered.get(name)
        if not isinstance(said, dict):
            if book.kind == "failback":
                continue
            yield Gap(f"nobody has looked whether {name} could work", command, risk=False)
            continue
        live = Live.model_validate(said)
        age = now - live.at
        if live.amiss:
            more = f", and {len(live.amiss) - 1} more" if len(live.amiss) > 1 else ""
            yield Gap(f"{name} would not work, as seen {length(age)} ago: {live.amiss[0]}{more}", command)
        elif age > STALE:
            yield Gap(f"whether {name} could work was last looked at {length(age)} ago", command, risk=False)


def rehearsal_gaps(service: str, runbooks: Mapping[str, Runbook], runs: Sequence[Run], now: datetime) -> Iterator[Gap]:
    """Whether the service's failover was ever rehearsed to its end, and how long ago; ``runs``: newest first."""
    rehearsals = _rehearsals(service, runbooks)
    if not rehearsals:
        return
    done = next((run for run in runs if run.runbook in rehearsals and run.state.good), None)
    command = f"drorch drill {service} --failover"
    if done is None:
        yield Gap("its failover was never rehearsed", command, risk=False)
    elif now - done.started > PROOF_LASTS:
        yield Gap(f"its failover was last rehearsed {length(now - done.started)} ago", command, risk=False)


def drill_finding(service: str, drills: Sequence[DrillReadiness], runs: Sequence[Run], now: datetime) -> Finding:
    """How far drills have proven the service, as status judges it: the level that the newest proof reached. Where none
    holds, that is no reason not to fail over.
    """
    held = max((one for one in drills if one.proof), key=lambda one: one.proof_ended or now, default=None)
    if held is None:
        last = next((one for one in drills if one.run), None)
        what = f"{last.run} proves nothing: {last.lacks}" if last else f"no drill has restored a backup of {service}"
        remedy = f"drorch drill {service}"
        return Finding(about="drill", what=what, standing=Standing.DOUBTFUL, remedy=remedy)
    proof = next(run for run in runs if run.id == held.proof)
    levels = [ProofLevel(point["level"]) for point in points_of(proof).values()]
    level = min(levels, key=lambda one: one.height, default=ProofLevel.TAKEN)
    what = f"the last one that proves it, {proof.id} of {length(now - proof.started)} ago, reached `{level.value}`"
    return Finding(about="drill", what=what, facts={"level": level.value})


def _rehearsals(service: str, runbooks: Mapping[str, Runbook]) -> set[str]:
    """The drills that rehearse the service's failover; none where there is no failover."""
    names = {name for name, book in runbooks.items() if book.kind == "failover" and book.service == service}
    if not names:
        return set()
    return {name for name, book in runbooks.items() if book.rehearses in names} | {f"{service}-rehearsal"}
