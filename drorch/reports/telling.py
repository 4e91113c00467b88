"""What each record of a run tells, in words for people who were not there. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from drorch.core.approval import note_words
from drorch.core.model import Json
from drorch.engine.journal import Record
from drorch.engine.plan import Plan
from drorch.reports.events import Attempted, answered, attempted, mapping, texts
from drorch.reports.moved import REASONS, approval, fence_words, fenced, host_of, read_loss, source_of
from drorch.reports.show import fact, tells
from drorch.reports.text import Style, precise

DRORCH = "drorch"
"""Who acts where no person does."""

_FEW = 12
"""So many entries of a list are told; the record has all."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a record says."""

    who: str
    what: str
    mark: Style = ""
    details: tuple[str, ...] = ()


def told(record: Record, plan: Plan, before: Sequence[Record]) -> Told:
    """What a record says; ``before`` are the run's records before it."""
    tell = _RECORDS.get(str(record.body.get("what")))
    if tell is not None:
        return tell(record, plan, before)
    facts = {key: value for key, value in record.body.items() if key not in ("what", "signer", "by")}
    return Told(str(record.body.get("by") or DRORCH), record.key, "", tuple(fact(*one) for one in facts.items()))


def _attempted(record: Record, plan: Plan, _before: Sequence[Record]) -> Told:
    attempt = attempted(record.body)
    return _taken_back(attempt) if attempt.undo else _attempt(attempt, plan)


def _waiting(record: Record, _plan: Plan, _before: Sequence[Record]) -> Told:
    verbs = _alternatives(texts(record.body.get("verbs")))
    return Told(DRORCH, f"waits for a person at {record.body.get('step')}: {verbs}", "warn")


def _paused(record: Record, _plan: Plan, _before: Sequence[Record]) -> Told:
    who = str(record.body.get("by") or "?")
    return Told(who, f"stopped it where it was{_note(record.body.get('note'))}", "warn")


# -- the run -----------------------------------------------------------------------------------------------------------


def _started(record: Record, plan: Plan, _before: Sequence[Record]) -> Told:
    body = record.body
    by, said = str(body.get("by") or "?"), mapping(body.get("said"))
    way = f", {plan.service.primary} to {plan.target}, {plan.mode}" if plan.scene.moves else ""
    runbook = f"{plan.runbook} ({plan.kind} of {plan.service_name}{way}; plan {plan.digest[:12]})"
    if said.get("blocked"):
        return Told(by, f"asked for {runbook}, and was refused", "warn", (str(said["blocked"]),))
    how = {"": "", "typed": f" by typing {plan.service_name}"}.get(
        str(said.get("confirmed") or ""), f" with {said.get('confirmed')}"
    )
    verb = f"confirmed{how} and began" if said.get("confirmed") else "began"
    insisted = tuple(f"insisted, {REASONS[key]}: {said[key]}" for key in REASONS if said.get(key))
    return Told(by, f"{verb} {runbook}", "warn" if insisted else "", insisted)


def looked(body: Mapping[str, Json]) -> Told | None:
    """What the person was shown before they confirmed; None where nothing was."""
    said = mapping(body.get("said"))
    seen = mapping(said.get("preflight"))
    if not seen:
        return None
    return Told(str(said.get("by") or body.get("by") or "?"), "was shown how everything stood", "", tuple(_seen(seen)))


def _seen(seen: Mapping[str, Json]) -> Iterator[str]:
    for source, one in mapping(seen.get("losses")).items():
        known = mapping(one)
        basis = f" ({known['basis']})" if known.get("basis") else ""
        yield f"{source} would lose {known.get('words') or 'an unknown amount'}{basis}"
    if not seen.get("losses"):
        yield "what would be lost was not known"
    sights: dict[tuple[str, Json], list[str]] = {}
    for one in _mappings(seen.get("sights")):
        sights.setdefault((str(one.get("seen")), one.get("reached")), []).append(str(one.get("viewer")))
    for (host, reached), viewers in sights.items():
        how = {True: "was reached from", False: "was NOT reached from"}.get(reached, "could not be asked about at")
        yield f"{host} {how} {', '.join(viewers)}"
    found = [(str(one.get("step") or ""), mapping(one.get("finding"))) for one in _mappings(seen.get("findings"))]
    for _, finding in found[:_FEW]:
        yield f"{finding.get('standing')}: {finding.get('about')}: {finding.get('what')}"
    if len(found) > _FEW:
        yield f"and {len(found) - _FEW} more findings that were not good"


def _mappings(value: Json) -> Iterator[Mapping[str, Json]]:
    return (mapping(one) for one in value) if isinstance(value, list | tuple) else iter(())


def _ended(record: Record, plan: Plan, _before: Sequence[Record]) -> Told:
    body = record.body
    state = str(body.get("state") or "?")
    good = state in ("completed", "completed_with_exceptions")
    why = f": {body['why']}" if body.get("why") else ""
    details = [f"what to do: {body['hint']}"] if body.get("hint") else []
    details += [f"exception: {text}" for text in texts(body.get("exceptions"))]
    for source, said in mapping(mapping(body.get("measured")).get("loss")).items():
        known = read_loss(said)
        details.append(f"measured: {source} lost {known.words if known else 'an unknown amount'}")
    mark: Style = ("warn" if body.get("exceptions") else "good") if good else "bad"
    return Told(DRORCH, f"{plan.runbook} ended: {state.replace('_', ' ')}{why}", mark, tuple(details))


# -- people ------------------------------------------------------------------------------------------------------------

_ANSWERS: Mapping[str, str] = {
    "retry": "said: try {step} again",
    "skip": "said: leave {step} out and go on",
    "abort": "said: end it, at {step}",
    "confirm": "said yes to {step}",
    "refuse": "said no to {step}",
    "approve": "said yes to {step}",
    "attest": "attested by name, at {step}, that the host is fenced",
    "unplanned": "said at {step}: go on unplanned, without the old primary's help",
}


def _answer(record: Record, _plan: Plan, before: Sequence[Record]) -> Told:
    said = answered(record)
    topic = record.key.removeprefix("answer ")
    asked = next((one.at for one in before if one.key == f"waiting {topic}"), None)
    waited = f", after {precise((said.at - asked).total_seconds())}" if asked else ""
    if said.verb not in _ANSWERS:
        return Told("nobody", f"answered at {said.step} in time{waited}: {said.verb}", "bad")
    loud = said.verb in ("attest", "skip", "unplanned", "abort", "refuse") or "BREAK-GLASS" in said.note
    words = _ANSWERS[said.verb].replace("{step}", said.step)
    return Told(said.by or "?", f"{words}{waited}{_note(said.note)}", "warn" if loud else "")


def _note(text: Json) -> str:
    return f", “{note_words(str(text))}”" if text else ""


def _alternatives(words: Sequence[str]) -> str:
    *most, last = [*words] or [""]
    return f"{', '.join(most)} or {last}" if most else last


# -- steps -------------------------------------------------------------------------------------------------------------


def _taken_back(attempt: Attempted) -> Told:
    took = f" ({precise(attempt.took.total_seconds())})"
    if attempt.succeeded:
        return Told(DRORCH, f"{attempt.step} was taken back{took}", "warn", _facts(attempt, ()))
    return Told(DRORCH, f"{attempt.step} could not be taken back{took}: {attempt.why}", "bad", _hint(attempt))


def _attempt(attempt: Attempted, plan: Plan) -> Told:
    took = f" ({precise(attempt.took.total_seconds())})"
    number = f", attempt {attempt.number}" if attempt.number > 1 else ""
    if not attempt.succeeded:
        state = attempt.state.replace("_", " ") or "failed"
        unknown = "; what it did is unknown" if attempt.unknown else ""
        details = (*_tried(attempt), *_hint(attempt))
        mark: Style = "" if attempt.state == "skipped" else "bad"
        return Told(DRORCH, f"{attempt.step} {state}{number}{took}: {attempt.why}{unknown}", mark, details)
    kinds = {planned.id: planned.step.kind for planned in plan.steps()}
    parts = {planned.id: planned.part for planned in plan.steps()}
    tell = _KINDS.get(kinds.get(attempt.step, ""), _other)
    if parts.get(attempt.step, "perform") != "perform":
        tell = _other
    what, details = tell(attempt, plan)
    loud = bool(attempt.exceptions) or "break_glass" in attempt.facts
    gone = any(one.id == attempt.step and one.step.irreversible for one in plan.steps())
    no_return = "; from here on nothing before can be taken back" if gone and plan.scene.moves else ""
    return Told(
        DRORCH,
        f"{what}{number}{took}{no_return}",
        "warn" if loud else "good",
        (*details, *(f"exception: {text}" for text in attempt.exceptions)),
    )


def _fence(attempt: Attempted, plan: Plan) -> tuple[str, tuple[str, ...]]:
    found = fenced(attempt)
    if found is None:
        return _other(attempt, plan)
    return f"{found.host} is fenced by {fence_words(found)}", tuple(_tried(attempt))


def _tried(attempt: Attempted) -> Iterator[str]:
    for one in _mappings(attempt.facts.get("tried")):
        spent = one.get("seconds")
        took = f" ({precise(spent)})" if isinstance(spent, int | float) else ""
        yield f"{one.get('rung')} proved nothing{took}: {one.get('why')}"


def _promote(attempt: Attempted, plan: Plan) -> tuple[str, tuple[str, ...]]:
    facts, source = attempt.facts, source_of(attempt, plan)
    known = read_loss(facts.get("loss"))
    before, after = facts.get("timeline_before"), facts.get("timeline")
    history = f", timeline {before or '?'} to {after}" if after is not None else ""
    lsn = facts.get("promoted_at_lsn") or facts.get("lsn")
    at = f", at {lsn}" if lsn else ""
    lost = f"; lost {known.words}" if known else ""
    host = facts.get("host") or plan.target
    told_already = ("loss", "loss_words", "timeline", "timeline_before", "promoted_at_lsn", "lsn", "host", "source")
    return f"{source} is promoted on {host}{history}{at}{lost}", _facts(attempt, told_already)


def _switch(attempt: Attempted, plan: Plan) -> tuple[str, tuple[str, ...]]:
    facts = attempt.facts
    was = f" (before: {facts['before']})" if facts.get("before") not in (None, "old") else ""
    way = f" by {facts['way']}" if facts.get("way") else ""
    what = f"customers are led from {facts.get('old', plan.service.primary)} to {facts.get('new', plan.target)}"
    return f"{what}{way}{was}", _facts(attempt, ("way", "old", "new", "before", "leads", "seconds"))


def _approval(attempt: Attempted, plan: Plan) -> tuple[str, tuple[str, ...]]:
    deaf = [f"{route} was not told: {why}" for route, why in mapping(attempt.facts.get("not_told")).items()]
    return approval(attempt) or _other(attempt, plan)[0], tuple(deaf)


def _claim(attempt: Attempted, plan: Plan) -> tuple[str, tuple[str, ...]]:
    said = mapping(attempt.facts.get("claim"))
    if not said.get("epoch"):
        return f"{plan.service_name} could not be claimed, and it went on without", (str(said.get("reason") or ""),)
    what = f"{plan.service_name} is claimed in {said.get('store')} for {said.get('holder')}"
    return what, (f"number {said['epoch']}, until {said.get('until')}", str(said.get("reason") or ""))


def _release(attempt: Attempted, plan: Plan) -> tuple[str, tuple[str, ...]]:
    facts = attempt.facts
    if not facts.get("released"):
        return f"no claim was given back: {facts.get('reason') or 'there was none'}", ()
    home = f", which knows that {plan.service_name} lives on {facts['home']}" if facts.get("home") else ""
    return f"the claim is given back to {facts.get('store')}{home}", ()


def _rejoin(attempt: Attempted, plan: Plan) -> tuple[str, tuple[str, ...]]:
    said = mapping(attempt.facts.get("only_here"))
    lost = f"; {said['count']} transactions were committed there only" if said.get("count") else ""
    what = f"{source_of(attempt, plan)} on {host_of(attempt, plan)} follows again{lost}"
    listed = (f"listed in {said['file']}",) if said.get("file") else ()
    return what, (*listed, *_facts(attempt, ("host", "source", "only_here")))


def _other(attempt: Attempted, plan: Plan) -> tuple[str, tuple[str, ...]]:
    planned = next((one for one in plan.steps() if one.id == attempt.step), None)
    if planned is None:
        return f"{attempt.step} succeeded", _facts(attempt, ())
    verb = {"perform": "succeeded", "rehearse": "was rehearsed", "forget": "was cleared away"}[planned.part]
    level = f" [{attempt.source} {attempt.level}]".replace("  ", " ") if attempt.level else ""
    return f"{attempt.step} {verb}{level}: {planned.step.describe(plan.scene)}", _facts(attempt, ())


_KINDS: Mapping[str, Callable[[Attempted, Plan], tuple[str, tuple[str, ...]]]] = {
    "fence": _fence,
    "promote": _promote,
    "switch": _switch,
    "approval": _approval,
    "claim": _claim,
    "release": _release,
    "rejoin": _rejoin,
}


def _facts(attempt: Attempted, but: Sequence[str]) -> tuple[str, ...]:
    telling = {
        key: value for key, value in attempt.facts.items() if key not in but and value is not None and tells(key, value)
    }
    words = ", ".join(fact(key, value) for key, value in list(telling.items())[:_FEW])
    return (words,) if words else ()


def _hint(attempt: Attempted) -> tuple[str, ...]:
    return (f"what to do: {attempt.hint}",) if attempt.hint else ()


_RECORDS: Mapping[str, Callable[[Record, Plan, Sequence[Record]], Told]] = {
    "started": _started,
    "attempt": _attempted,
    "answer": _answer,
    "waiting": _waiting,
    "paused": _paused,
    "ended": _ended,
}
