"""The timeline of an incident, for the review afterwards: one or more runs, each line traceable to a record. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from drorch.core.model import Json
from drorch.core.outage import Watched
from drorch.engine.journal import Record
from drorch.reports.events import Attempted, attempted, mapping
from drorch.reports.gaps import asks
from drorch.reports.incident import Chapter, Event, Head, Phase, Timeline, Trace
from drorch.reports.left import left_to_do
from drorch.reports.moved import exceptions_of, moved
from drorch.reports.telling import Told, looked, told
from drorch.reports.text import precise

DIGITS = 12
"""So many digits of a record's hash are shown."""
_CUT = ("running", "pending", "")


def timeline(chapters: Sequence[Chapter], doubts: Sequence[str] = (), broken: int | None = None) -> Timeline:
    """The timeline of these runs.

    ``doubts`` is why the journal cannot be believed; records from number ``broken`` on are marked.
    """
    chapters = sorted(chapters, key=lambda one: one.run.started)
    heads = tuple(_head(one) for one in chapters)
    events = sorted(
        (event for chapter, head in zip(chapters, heads, strict=True) for event in _events(chapter, head)),
        key=lambda event: (event.at, event.trace.record),
    )
    outages = [window.began for head in heads if (seen := _seen(head)) for window in seen.windows]
    zero = min(outages, default=chapters[0].run.started)
    return Timeline(
        doubts=tuple(doubts),
        zero=zero,
        zero_is="the outage" if outages else "the run",
        runs=heads,
        events=tuple(
            replace(
                event,
                after=event.at - zero,
                trace=replace(event.trace, believed=broken is None or event.trace.record < broken),
            )
            for event in events
        ),
        left=tuple(dict.fromkeys(left_to_do(heads, chapters, doubts))),
    )


def _head(chapter: Chapter) -> Head:
    run, plan = chapter.run, chapter.plan
    began = next((record.body for record in chapter.records if record.body.get("what") == "started"), {})
    wants = asks(run, alive=chapter.alive)
    return Head(
        run=run.id,
        runbook=run.runbook,
        kind=run.kind,
        service=run.service,
        plan=run.plan,
        state=wants.state if wants else run.state.value,
        started=run.started,
        ended=run.ended,
        by=str(began.get("by") or ""),
        why=str(run.detail.get("why") or ""),
        hint=str(run.detail.get("hint") or ""),
        exceptions=exceptions_of(run.detail),
        moved=moved(run, chapter.records, plan, chapter.note),
        attention=wants,
        phases=tuple(_phases(chapter)),
    )


def _seen(head: Head) -> Watched | None:
    return head.moved.outage if head.moved else None


# -- events ------------------------------------------------------------------------------------------------------------


def _events(chapter: Chapter, head: Head) -> Iterator[Event]:
    """A line for every record, one more for what was shown at its start, and what the probe saw."""
    run = chapter.run.id
    for at, record in enumerate(chapter.records):
        before = chapter.records[:at]
        trace = _trace(record)
        if record.body.get("what") == "started" and (seen := looked(record.body)) is not None:
            said = mapping(mapping(record.body.get("said")).get("preflight")).get("at")
            yield _event(_time(said, record.at), run, seen, trace)
        if record.body.get("what") == "went on":
            yield _event(record.at, run, _went_on(record, chapter, _seen(head)), trace)
        else:
            yield _event(record.at, run, told(record, chapter.plan, before), trace)
    watched = _seen(head)
    if watched is not None:
        ended = next((record for record in chapter.records if record.body.get("what") == "ended"), None)
        signed = head.moved is not None and head.moved.signed and ended is not None
        trace = replace(_trace(ended), probe=True) if signed and ended else Trace(0, "", probe=True)
        yield from (_event(at, run, said, trace) for at, said in _probe(watched))


def _event(at: datetime, run: str, said: Told, trace: Trace) -> Event:
    return Event(at, timedelta(), run, said.who, said.what, said.mark, said.details, trace)


def _trace(record: Record) -> Trace:
    return Trace(record.seq, record.hash[:DIGITS])


def _time(said: Json, instead: datetime) -> datetime:
    try:
        return datetime.fromisoformat(str(said))
    except ValueError:
        return instead


def _probe(seen: Watched) -> Iterator[tuple[datetime, Told]]:
    who = f"probe at {seen.viewer}"
    yield seen.began, Told(who, f"begins to ask {seen.url} as customers do")
    served = max((window.ended for window in seen.windows if window.ended), default=None)
    for number, window in enumerate(seen.windows):
        first = "customers are not served" if not number else "customers are not served once more"
        if window.older:
            first = "customers are not served, and were not when it began to ask: the outage is older"
        yield window.began, Told(who, first, "bad", (f"the first failed request: {window.reason}",))
        if window.ended is None:
            yield seen.last, Told(who, "customers are still not served: its newest answer", "bad")
            continue
        out = f"after {precise((window.ended - window.began).total_seconds())}"
        last = window.ended == served and seen.windows[-1].ended is not None
        what = "the first customer is served again" if last else "customers are served again, for now"
        yield window.ended, Told(who, f"{what}, {out}", "good" if last else "warn")
    doubt = (f"for {seen.unseen:.1f} s in between nobody asked",) if seen.unseen else ()
    if not seen.windows or seen.windows[-1].ended is not None:
        yield seen.last, Told(who, f"its newest answer: {seen.failed} of {seen.asked} requests failed", "", doubt)


def _went_on(record: Record, chapter: Chapter, watched: Watched | None) -> Told:
    """Who went on with a run, and how long nobody had worked on it."""
    by, was = str(record.body.get("by") or "?"), str(record.body.get("after") or "")
    words = "went on with it where its records end"
    if was not in _CUT:
        return Told(by, words)
    cuts = [one for one in chapter.records if one.body.get("what") == "went on" and one.body.get("after") in _CUT]
    if len(cuts) == 1 and watched is not None and watched.unseen:
        return Told(by, f"{words}: the controller was gone for {precise(watched.unseen)}, by the probe", "warn")
    last = max((one for one in chapter.records if one.at < record.at), key=lambda one: one.at, default=None)
    if last is None:
        return Told(by, f"{words}: it had been cut", "warn")
    gone = precise((record.at - last.at).total_seconds())
    return Told(by, f"{words}: it had been cut, at most {gone} before, since no. {last.seq}", "warn")


# -- phases ------------------------------------------------------------------------------------------------------------


def _phases(chapter: Chapter) -> Iterator[Phase]:
    """What took its time: customers out, people asked, each attempt."""
    watched = moved(chapter.run, chapter.records, chapter.plan, chapter.note)
    for window in watched.outage.windows if watched and watched.outage else ():
        ended = window.ended or (watched.outage.last if watched and watched.outage else window.began)
        yield Phase("outage", "customers not served", window.began, ended)
    began = next((one for one in chapter.records if one.body.get("what") == "started"), None)
    seen = mapping(mapping(began.body.get("said")).get("preflight")) if began else {}
    if began and seen:
        yield Phase("person", "shown, until confirmed", _time(seen.get("at"), began.at), began.at)
    asked = {one.key.removeprefix("waiting "): one for one in chapter.records if one.body.get("what") == "waiting"}
    ordered = [attempted(one.body) for one in chapter.records if one.body.get("what") == "attempt"]
    found = [_attempt_phase(one) for one in ordered]
    for record in chapter.records:
        topic = record.key.removeprefix("answer ")
        if record.body.get("what") == "answer" and topic in asked:
            who = str(record.body.get("by") or "nobody")
            found.append(Phase("person", f"waits: {asked[topic].body.get('step')} ({who})", asked[topic].at, record.at))
    yield from sorted(found, key=lambda phase: phase.began)


def _attempt_phase(one: Attempted) -> Phase:
    name = f"{one.step}#{one.number}" if one.number > 1 else one.step
    if one.undo:
        return Phase("undo", f"take back {one.step}", one.started, one.ended)
    return Phase("step" if one.succeeded else "failed", name, one.started, one.ended)


def zone_note(one: Timeline) -> str:
    """What the times and the zero are."""
    return f"times are UTC; + is the time since {one.zero_is} began, {one.zero:%Y-%m-%d %H:%M:%S}"
