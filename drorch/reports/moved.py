"""What a failover or failback led where, what it lost and how long customers were out, from its records. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from drorch.core.model import Json
from drorch.core.outage import Watched
from drorch.core.replication import Loss
from drorch.engine.journal import Record, Run
from drorch.engine.plan import Plan
from drorch.reports.events import Attempted, attempted, mapping, seconds, standing, texts
from drorch.reports.text import Line, Span, Style, length, line, precise

REASONS: Mapping[str, str] = {
    "break_glass": "without approval, by break-glass",
    "again": "although it was failed over within the hour",
    "anyway": "although it was seen that it may stop half-way",
    "take_over": "although another controller had claimed it",
}
"""What a person can insist on, and how it reads."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """A host that was fenced, and how that was proven."""

    host: str
    rung: str
    words: str
    attested: bool
    """Whether it is nothing but a person's word."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a run that leads a service to another host did."""

    service: str
    kind: str
    old: str
    new: str
    mode: str
    """``planned``, ``unplanned``, or ``planned, then unplanned``."""
    confirmed: str
    """How: ``typed``, or the option; empty when that is not known."""
    by: str
    reasons: Mapping[str, str]
    """What a person insisted on, in their words, by `REASONS`."""
    blocked: str
    """Why it was not begun at all; empty when it was."""
    shown: Mapping[str, str]
    """What it would lose, in the words that the person was shown, by source."""
    lost: Mapping[str, Loss]
    """What it lost at most, by source."""
    outage: Watched | None
    """What customers saw; None where nothing asked."""
    signed: bool
    """Whether that stands in the signed record of the run's end; else it is a note that goes on."""
    measured: timedelta | None
    """From the run's start until it was verified: another measure than the outage."""
    rto: timedelta | None
    """The objective, as `rpo`."""
    rpo: timedelta | None
    fences: tuple[Fenced, ...]
    """Those that stand."""
    promoted: tuple[str, ...]
    """Sources that were promoted on the new host."""
    served: bool | None
    """Whether customers were led to the new host; None where no step does that."""
    no_return: str
    """The first step that passed the point of no return; empty when none did."""
    no_return_at: datetime | None
    approvals: tuple[str, ...]
    """Who approved, one sentence each."""
    rejoined: tuple[tuple[str, str, datetime], ...]
    """Source, host, and when the host was made to follow."""


def moved(run: Run, records: Sequence[Record], plan: Plan, note: Json = None) -> Moved | None:
    """What a run did, from its records; None for one that leads nothing elsewhere.

    ``note``: what its probe has seen so far, where it is not over.
    """
    began = next((record.body for record in records if record.body.get("what") == "started"), {})
    unplanned = any(record.body.get("verb") == "unplanned" for record in records)
    attempts = [attempted(record.body) for record in records if record.body.get("what") == "attempt"]
    return _moved(plan, attempts, run.detail, began, note=note, unplanned=unplanned)


def moved_by(plan: Plan, attempts: Iterable[Mapping[str, Json]], detail: Mapping[str, Json]) -> Moved | None:
    """The same of a run that just ended: its attempts as JSON with their ``state``, its end."""
    return _moved(plan, [attempted(one) for one in attempts], detail, {})


def _moved(
    plan: Plan,
    attempts: Sequence[Attempted],
    detail: Mapping[str, Json],
    began: Mapping[str, Json],
    *,
    note: Json = None,
    unplanned: bool = False,
) -> Moved | None:
    if not plan.scene.moves:
        return None
    kinds = {planned.id: planned.step.kind for planned in plan.steps()}
    stands = standing(attempts)
    said, measured = mapping(began.get("said")), mapping(detail.get("measured"))
    final = {planned.id for planned in plan.steps() if planned.step.irreversible}
    passed = next((one for one in attempts if one.succeeded and not one.undo and one.step in final), None)
    switches = [step for step, kind in kinds.items() if kind == "switch"]
    watched = _watched(detail.get("outage")) or _watched(note)
    shown = mapping(mapping(said.get("preflight")).get("losses"))
    return Moved(
        service=plan.service_name,
        kind=plan.kind,
        old=plan.service.primary,
        new=str(plan.target),
        mode="planned, then unplanned" if unplanned else str(plan.mode),
        confirmed=str(said.get("confirmed") or ""),
        by=str(said.get("by") or began.get("by") or ""),
        reasons={key: str(said[key]) for key in REASONS if said.get(key)},
        blocked=str(said.get("blocked") or ""),
        shown={source: _shown(mapping(one)) for source, one in shown.items()},
        lost={source: known for source, one in mapping(measured.get("loss")).items() if (known := read_loss(one))},
        outage=watched,
        signed=_watched(detail.get("outage")) is not None,
        measured=seconds(measured.get("rto_seconds")),
        rto=plan.service.objectives.rto,
        rpo=plan.service.objectives.rpo,
        fences=tuple(_fences(stands, plan)),
        promoted=tuple(source_of(one, plan) for step, one in stands.items() if kinds.get(step) == "promote"),
        served=all(step in stands for step in switches) if switches else None,
        no_return=passed.step if passed else "",
        no_return_at=passed.ended if passed else None,
        approvals=tuple(filter(None, map(approval, stands.values()))),
        rejoined=_rejoined(stands, plan),
    )


def _fences(stands: Mapping[str, Attempted], plan: Plan) -> Iterator[Fenced]:
    """The fences that still stand: a host that was made to follow afterwards is fenced no more."""
    follows = {host: at for _, host, at in _rejoined(stands, plan)}
    for one in stands.values():
        found = fenced(one)
        if found is not None and not (found.host in follows and follows[found.host] > one.ended):
            yield found


def rejoined(records: Sequence[Record], plan: Plan) -> tuple[tuple[str, str, datetime], ...]:
    """Source, host, and when the host was made to follow, by a run of any kind."""
    attempts = [attempted(record.body) for record in records if record.body.get("what") == "attempt"]
    return _rejoined(standing(attempts), plan)


def _rejoined(stands: Mapping[str, Attempted], plan: Plan) -> tuple[tuple[str, str, datetime], ...]:
    steps = {planned.id for planned in plan.steps() if planned.step.kind == "rejoin"}
    found = (one for step, one in stands.items() if step in steps)
    return tuple((source_of(one, plan), host_of(one, plan), one.ended) for one in found)


def source_of(attempt: Attempted, plan: Plan) -> str:
    """The source that an attempt was about, from its evidence or else its plan; empty when neither says."""
    said = attempt.source or attempt.facts.get("source") or _planned(attempt, plan, "source")
    return str(said or "")


def host_of(attempt: Attempted, plan: Plan) -> str:
    """The same for the host."""
    return str(_planned(attempt, plan, "host") or attempt.facts.get("host") or "")


def _planned(attempt: Attempted, plan: Plan, field: str) -> Json:
    return next((getattr(one.step, field, None) for one in plan.steps() if one.id == attempt.step), None)


def fenced(attempt: Attempted) -> Fenced | None:
    """The fence whose proof an attempt is; None for another step."""
    proof = mapping(attempt.facts.get("proof"))
    if "fenced" not in attempt.facts or not proof:
        return None
    return Fenced(
        host=str(attempt.facts["fenced"]),
        rung=str(proof.get("rung") or "?"),
        words=str(proof.get("words") or ""),
        attested=bool(proof.get("attested")),
    )


def approval(attempt: Attempted) -> str:
    """Who approved, or who went on without that; empty for another step."""
    facts = attempt.facts
    if "approved_by" in facts:
        return f"{facts['approved_by']} approved it, signed with the key {facts.get('key') or '?'}"
    if "break_glass" in facts:
        return f"BREAK-GLASS by {facts.get('broken_by') or '?'}, nobody approved it: {facts['break_glass']}"
    return ""


def read_loss(said: Json) -> Loss | None:
    """A loss; None for anything else."""
    try:
        return Loss.model_validate(said) if isinstance(said, Mapping) else None
    except ValidationError:
        return None


def _watched(said: Json) -> Watched | None:
    try:
        return Watched.model_validate(said) if isinstance(said, Mapping) else None
    except ValidationError:
        return None


def _shown(said: Mapping[str, Json]) -> str:
    known = read_loss({key: value for key, value in said.items() if key != "words"})
    words = str(said.get("words") or (known.words if known else "an unknown amount"))
    basis = f" ({known.basis})" if known and known.basis else ""
    mode = f"; replication was {known.mode}" if known and known.mode in ("synchronous", "asynchronous") else ""
    return f"{words}{mode}{basis}"


# -- words -------------------------------------------------------------------------------------------------------------


def loss_words(one: Moved) -> list[tuple[str, Style]]:
    """What was lost, by source, against the objective."""
    found: list[tuple[str, Style]] = []
    for source, known in one.lost.items():
        words, style = f"{source}: lost {known.words}", "good" if known.none else "warn"
        if one.rpo is not None and known.seconds is not None and not known.none:
            within = known.seconds <= one.rpo.total_seconds()
            words += f" ({'within' if within else 'over'} the objective of {length(one.rpo)})"
            style = style if within else "bad"
        found.append((words, style))  # type: ignore[arg-type]  # one of three literals
    return found


def outage_words(one: Moved) -> tuple[str, Style]:
    """How long customers were out, as they saw it, against the objective."""
    seen = one.outage
    if seen is None:
        words = f"how customers saw it was not measured (services.{one.service}.probe in drorch.yaml)"
        took = one.measured
        return words + (
            f"; its start to the last verification took {precise(took.total_seconds())}" if took else ""
        ), "warn"
    if not seen.windows:
        return f"customers: no failed request of {seen.asked}{_unseen(seen)}", "warn" if seen.unseen else "good"
    still = seen.windows[-1].ended is None
    words = f"customers were not served for {seen.words}, {seen.failed} of {seen.asked} requests failed{_unseen(seen)}"
    if seen.windows[0].older:
        words += "; it was out already when the first one was sent"
    if one.rto is None:
        return words, "bad" if still else ""
    if seen.out > one.rto:
        return f"{words}; over the objective of {length(one.rto)}", "bad"
    if seen.words.startswith("at least"):
        return f"{words}; whether within the objective of {length(one.rto)} is not certain", "bad" if still else "warn"
    return f"{words}; within the objective of {length(one.rto)}", "good"


def _unseen(seen: Watched) -> str:
    return f", and nobody asked for {seen.unseen:.1f} s, in which an outage can hide" if seen.unseen else ""


def fence_words(one: Fenced) -> str:
    """How a host is fenced."""
    return f"nothing but a person's word: {one.words}" if one.attested else f"{one.rung}: {one.words}"


def moved_lines(one: Moved) -> Iterator[Line]:
    """What `drorch show` says of it, below the head."""
    yield line("  ", Span(f"{one.service} from {one.old} to {one.new}", "bold"), f", {one.mode}", hanging=4)
    if one.blocked:
        yield line("  ", Span(f"not begun: {one.blocked}", "warn"), hanging=4)
        return
    for words, style in (*loss_words(one), outage_words(one)):
        yield line("  ", Span(words, style), hanging=4)
    for source, words in one.shown.items():
        yield line(Span(f"  shown before: {source}: loses {words}", "dim"), hanging=4)
    for fence in one.fences:
        yield line("  ", Span(f"{fence.host} is fenced by {fence_words(fence)}", "warn" if fence.attested else "good"))
    if one.no_return:
        yield line(f"  past the point of no return with {one.no_return}", hanging=4)
    else:
        yield line("  the point of no return was not passed")
    for words in confirmations(one):
        yield line(f"  {words}", hanging=4)


def confirmations(one: Moved) -> Iterator[str]:
    """What was confirmed, by whom and how; who approved; what was insisted on."""
    if one.confirmed:
        how = f"{one.service} was typed" if one.confirmed == "typed" else one.confirmed
        yield f"confirmed by {one.by or '?'}: {how}"
    yield from one.approvals
    yield from (f"{one.by or '?'} insisted, {REASONS[key]}: {reason}" for key, reason in one.reasons.items())


def ending_words(one: Moved, run: str) -> Iterator[str]:
    """The closing words at a terminal: where the service is served from, what it cost, what comes next."""
    if one.blocked:
        return
    yield whereabouts(one)
    if one.promoted or one.served:
        yield from (words for words, _ in loss_words(one))
        yield outage_words(one)[0]
    for fence in one.fences:
        if not one.served or fence.attested:
            yield f"{fence.host} stays fenced by {fence_words(fence)}"
    yield from (f"next: {words}" for words in next_words(one)[:1])
    yield f"for the review: drorch timeline {run}"


def whereabouts(one: Moved) -> str:
    """Where the service is by now."""
    if one.served or (one.served is None and one.promoted):
        return f"{one.service} is {'served from' if one.served else 'on'} {one.new}"
    if one.promoted:
        return f"{', '.join(one.promoted)} is promoted on {one.new}, but customers are not led there"
    if one.fences:
        return f"{one.service} was not moved, and {one.old} is fenced: it may be served from nowhere"
    return f"{one.service} was not moved: it is where it was, on {one.old}"


def next_words(one: Moved) -> list[str]:
    """What is to be done so that the service is protected again; empty when it is."""
    lacks = lacking(one.promoted, one.old, one.rejoined)
    if not lacks or not (one.served or one.promoted):
        return []
    if one.kind == "failback":
        return [f"{one.old} does not follow {one.new} yet ({', '.join(lacks)}): drorch check --live {one.service}"]
    look = f"drorch failback {one.service} --look says what {one.old} needs to follow {one.new}"
    return [f"{look}; drorch failback {one.service} when {one.old} is well"]


def lacking(promoted: Iterable[str], former: str, rejoined: Iterable[tuple[str, str, datetime]]) -> tuple[str, ...]:
    """The promoted sources that the former host was not made to follow."""
    follows = {source for source, host, _ in rejoined if host == former}
    return tuple(source for source in promoted if source not in follows)


def rehearsal_lines(rehearsed: Sequence[str], looked_at: Sequence[str]) -> Iterator[Line]:
    """Of a drill of a failover: what was really done, and what was only looked at."""
    if rehearsed:
        yield line(f"  rehearsed apart from everything live: {', '.join(rehearsed)}", hanging=4)
    if looked_at:
        yield line(Span(f"  only looked at: {', '.join(looked_at)}", "dim"), hanging=4)


def exceptions_of(detail: Mapping[str, Json]) -> tuple[str, ...]:
    """What did not go as it should, as the run's end says."""
    return texts(detail.get("exceptions"))
