"""Whether a service could fail over: what the newest look at the living world showed, as status tells it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from drorch.config.runbook import Runbook
from drorch.core.evidence import ProofLevel
from drorch.core.finding import Finding, Standing
from drorch.core.model import Frozen, Json
from drorch.core.step import RunState
from drorch.engine.journal import Run
from drorch.engine.preflight import Preflight
from drorch.reports.gaps import Gap
from drorch.reports.proof import PROOF_LASTS, points_of
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


def drill_findings(
    service: str, sources: Iterable[str], runbooks: Mapping[str, Runbook], runs: Sequence[Run], now: datetime
) -> Iterator[Finding]:
    """How far drills have proven the service: the level of the last one, and its failover's rehearsal; ``runs``: newest
    first. Nothing of it is a reason not to fail over.
    """
    rehearsals = _rehearsals(service, runbooks)
    over = [run for run in runs if run.kind == "drill" and run.state.final and run.state is not RunState.CANCELLED]
    last = next((run for run in over if run.runbook not in rehearsals or points_of(run)), None)
    yield _drilled(service, sources, last, now)
    for gap in rehearsal_gaps(service, runbooks, runs, now):
        yield Finding(about="rehearsal", what=gap.what, standing=Standing.DOUBTFUL, remedy=gap.do)


def _drilled(service: str, sources: Iterable[str], last: Run | None, now: datetime) -> Finding:
    command = f"drorch drill {service}"
    if last is None:
        what = f"no drill has restored a backup of {service}"
        return Finding(about="drill", what=what, standing=Standing.DOUBTFUL, remedy=command)
    which = f"the last drill, {last.id},"
    if not last.state.good:
        what = f"{which} proves nothing: {last.detail.get('why') or last.state.value}"
        return Finding(about="drill", what=what, standing=Standing.DOUBTFUL, remedy=f"drorch show {last.id}")
    points = points_of(last)
    if left := [source for source in sources if source not in points]:
        what = f"{which} did not restore {', '.join(left)}"
        return Finding(about="drill", what=what, standing=Standing.DOUBTFUL, remedy=command)
    level = min((ProofLevel(point["level"]) for point in points.values()), key=lambda one: one.height)
    what, facts = f"{which} reached `{level.value}` {length(now - last.started)} ago", {"level": level.value}
    if now - last.started > PROOF_LASTS:
        return Finding(about="drill", what=what, standing=Standing.DOUBTFUL, remedy=command, facts=facts)
    return Finding(about="drill", what=what, facts=facts)


def _rehearsals(service: str, runbooks: Mapping[str, Runbook]) -> set[str]:
    """The drills that rehearse the service's failover; none where there is no failover."""
    names = {name for name, book in runbooks.items() if book.kind == "failover" and book.service == service}
    if not names:
        return set()
    return {name for name, book in runbooks.items() if book.rehearses in names} | {f"{service}-rehearsal"}
