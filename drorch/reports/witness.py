"""What the records show: one `Witness` per attempt, with the step that it was an attempt of. Pure.

A record tells a step's id only; the plan that its run carried out tells the kind. What cannot be read is left out: it
is no evidence. Plans are read as plain JSON, so that those of another version of drorch still speak.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from drorch.config.inventory import Inventory
from drorch.core.errors import DrorchError
from drorch.core.evidence import ProofLevel
from drorch.core.model import Json
from drorch.engine.journal import Record, Run

AHEAD = timedelta(minutes=5)
"""How far in the future a record may lie and still be believed: clocks differ a little."""

_WHY = 120
"""Characters of a failure's reason that a report repeats."""
_ATTEMPTED = ("succeeded", "failed", "timed_out")
_WHERE = ("endpoint", "bucket", "host", "path", "prefix")
"""What of a store says where it is."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan's text says, as far as it can be read."""

    steps: Mapping[str, Mapping[str, Json]]
    repository: str
    """The service's own."""
    repositories: Mapping[str, Json]
    stores: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Witness:
    """One attempt of a step that was performed."""

    run: str
    runbook: str
    service: str
    step: str
    kind: str
    wanted: Mapping[str, Json]
    """The step as the plan has it."""
    plan: "Planned"
    started: datetime
    ended: datetime
    succeeded: bool
    facts: Mapping[str, Json]
    source: str
    levels: Mapping[str, ProofLevel]
    """The proof levels shown, by source."""
    exceptions: tuple[str, ...]
    why: str
    """Of a failure."""

    def said(self, *keys: str) -> str:
        """The first text under one of these keys: what was measured, else what was wanted; empty for none."""
        for content in (self.facts, self.wanted):
            for key in keys:
                value = content.get(key)
                if isinstance(value, str) and value:
                    return value
        return ""

    @property
    def repository(self) -> str:
        """The repository that it was about."""
        return self.said("repository") or self.plan.repository


def witnesses(
    runs: Iterable[Run],
    records: Iterable[Record],
    plan_text: Callable[[str], str],
    inventory: Inventory,
    now: datetime,
) -> tuple[Witness, ...]:
    """The attempts among the records that speak of places which are still where they were, the latest ended first.

    ``plan_text`` gives a plan's text by its digest, or raises `DrorchError`.
    """
    known = {run.id: run for run in runs}
    plans: dict[str, Planned] = {}
    found = []
    for record in records:
        run = known.get(record.run)
        if run is None or record.body.get("what") != "attempt" or record.body.get("state") not in _ATTEMPTED:
            continue
        if run.plan not in plans:
            plans[run.plan] = _planned(plan_text, run.plan)
        witness = _witness(run, record.body, plans[run.plan])
        if witness is not None and witness.ended <= now + AHEAD and _unmoved(witness, inventory):
            found.append(witness)
    return tuple(sorted(found, key=lambda witness: witness.ended, reverse=True))


def _unmoved(one: Witness, inventory: Inventory) -> bool:
    """Whether what an attempt speaks of is still where it was: a name that now leads elsewhere is another place."""
    for name in {one.repository, one.said("to")}:
        if name in inventory.repositories:
            then = mapping_in(one.plan.repositories.get(name))
            if then.get("url") != inventory.repositories[name].url:
                return False
    name = one.said("store")
    if name not in inventory.stores:
        return True
    then, spec = mapping_in(one.plan.stores.get(name)), inventory.stores[name]
    return then.get("kind") == spec.kind and all(then.get(key, "") == getattr(spec, key, "") for key in _WHERE)


def _planned(plan_text: Callable[[str], str], digest: str) -> Planned:
    try:
        plan = mapping_in(json.loads(plan_text(digest)))
    except (DrorchError, ValueError):
        plan = {}
    lists = [mapping_in(block).get("steps") for block in _items(plan.get("blocks"))]
    steps = {}
    for planned in (mapping_in(item) for items in (*lists, plan.get("afterwards")) for item in _items(items)):
        steps[text_in(planned.get("id"))] = mapping_in(planned.get("step"))
    return Planned(
        steps=steps,
        repository=text_in(mapping_in(plan.get("service")).get("repository")),
        repositories=mapping_in(plan.get("repositories")),
        stores=mapping_in(plan.get("stores")),
    )


def _witness(run: Run, body: Mapping[str, Json], planned: Planned) -> Witness | None:
    step = text_in(body.get("step"))
    wanted = planned.steps.get(step, {})
    started, ended = moment_in(body.get("started")), moment_in(body.get("ended"))
    if not wanted or started is None or ended is None:
        return None
    evidence, failure = mapping_in(body.get("evidence")), mapping_in(body.get("failure"))
    succeeded = body.get("state") == "succeeded" and bool(evidence)
    return Witness(
        run=run.id,
        runbook=run.runbook,
        service=run.service,
        step=step,
        kind=text_in(wanted.get("kind")),
        wanted=wanted,
        plan=planned,
        started=started,
        ended=ended,
        succeeded=succeeded,
        facts=mapping_in((evidence if succeeded else failure).get("facts")),
        source=text_in(evidence.get("source")),
        levels=dict(_levels(evidence)) if succeeded else {},
        exceptions=tuple(str(item) for item in _items(evidence.get("exceptions"))),
        why=text_in(failure.get("why")),
    )


def _levels(evidence: Mapping[str, Json]) -> Iterator[tuple[str, ProofLevel]]:
    said = {text_in(evidence.get("source")): evidence.get("level"), **mapping_in(evidence.get("levels"))}
    for source, value in said.items():
        for level in ProofLevel:
            if source and level.value == value:
                yield source, level


# -- reading what somebody wrote ---------------------------------------------------------------------------------------


def mapping_in(value: Json) -> Mapping[str, Json]:
    """The object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def text_in(value: Json) -> str:
    """The text, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def count_in(value: Json) -> int | None:
    """The whole number from 0, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def moment_in(value: Json) -> datetime | None:
    """The point in time, or None for anything else, one without an offset from UTC among it."""
    try:
        moment = datetime.fromisoformat(text_in(value))
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def shortened(why: str) -> str:
    """The beginning of what a program said, enough to recognise it: the record has all."""
    return why if len(why) <= _WHY else f"{why[:_WHY].rstrip()}…"


def _items(value: Json) -> tuple[Json, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()
