"""What is left to do after an incident. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from drorch.core.model import Json
from drorch.reports.events import attempted, mapping
from drorch.reports.incident import Chapter, Head
from drorch.reports.moved import Moved, host_of, lacking, source_of


def left_to_do(heads: Sequence[Head], chapters: Sequence[Chapter], doubts: Sequence[str]) -> Iterator[str]:
    """Each thing in one sentence with its command, the most pressing first."""
    if doubts:
        yield "find out who or what altered the journal, before anything here is relied on: drorch show RUN --verify"
    for head in heads:
        if head.attention is not None:
            commands = ", or ".join(head.attention.commands)
            yield f"{head.run} is {head.state.replace('_', ' ')} and needs a person: {commands}"
    did = [head.moved for head in heads if head.moved is not None and not head.moved.blocked]
    if not did:
        return
    last = did[-1]
    watched = last.outage
    if watched is not None and watched.windows and watched.windows[-1].ended is None:
        yield f"customers were not served when the probe was last answered: ask {watched.url} now"
    yield from _unfinished(did)
    yield from _unprotected(did)
    found = list(_only_there(chapters))
    yield from (text for _, _, text in found if text)
    settled = {source for source, whole, _ in found if whole}
    lost = [(one, source, known) for one in did for source, known in one.lost.items() if not known.none]
    for one, source, known in lost:
        if source not in settled:
            yield f"look after what {source} lost: {known.words}; when {one.old} rejoins, what only it had is listed"
    cost = any(source not in settled for _, source, _ in lost) or any(text for _, _, text in found)
    if cost or any(one.outage and one.outage.windows for one in did):
        yield f"tell the customers of {last.service} what happened, and what it cost them"
    yield from (f"judge the exception of {head.run}: {text}" for head in heads for text in head.exceptions)


def _unfinished(did: Sequence[Moved]) -> Iterator[str]:
    """What was left half done, or rests on a person's word."""
    last = did[-1]
    if last.promoted and last.served is False:
        yield f"{', '.join(last.promoted)} is promoted on {last.new}, and customers are not led there: lead them"
    if not last.promoted and not last.served:
        for fence in last.fences:
            yield f"{last.service} was not moved, and {fence.host} is still fenced ({fence.rung}): take that away"
    follows = {host for one in did for _, host, _ in one.rejoined}
    words = (fence for one in did for fence in one.fences if fence.attested and fence.host not in follows)
    yield from (f"see that {one.host} stays as it is: nothing but a person's word fences it" for one in words)


def _unprotected(did: Sequence[Moved]) -> Iterator[str]:
    """The host that must follow the new one."""
    last = next((one for one in reversed(did) if one.promoted), None)
    if last is None:
        return
    since = last.no_return_at
    later = [each for one in did for each in one.rejoined if since is None or each[2] >= since]
    if sources := lacking(last.promoted, last.old, later):
        what = f"{last.old} does not follow {last.new} yet ({', '.join(sources)}): another failure has no standby"
        then = (
            f"drorch failback {last.service} when {last.old} is well"
            if last.kind == "failover"
            else f"make {last.old} follow {last.new}"
        )
        yield f"{what}. drorch check --live {last.service}, then {then}"


def _only_there(chapters: Sequence[Chapter]) -> Iterator[tuple[str, bool, str]]:
    """What rejoined hosts had that nobody else has: the source, whether that is known to its end, and a sentence with
    where it is listed; an empty one for nothing.
    """
    for chapter in chapters:
        kinds = {planned.id: planned.step.kind for planned in chapter.plan.steps()}
        for record in chapter.records:
            if record.body.get("what") == "attempt" and kinds.get(str(record.body.get("step"))) == "rejoin":
                attempt = attempted(record.body)
                said = mapping(attempt.facts.get("only_here"))
                if attempt.succeeded and said:
                    source, host = source_of(attempt, chapter.plan), host_of(attempt, chapter.plan)
                    text = _listed(source, host, said, attempt.facts.get("kept"))
                    yield source, bool(said.get("known")), f"{text} (record no. {record.seq})" if text else ""


def _listed(source: str, host: str, said: Mapping[str, Json], kept: Json) -> str:
    if not said.get("count"):
        return ""
    many = said["count"] != 1
    what = f"{said['count']} transaction{'s' if many else ''} of {source} {'were' if many else 'was'} committed on"
    when = f", from {said.get('first')} to {said.get('last')}" if said.get("first") else ""
    beside = f"; its data of then is kept in {kept}" if kept else ""
    return f"look after what was lost: {what} {host} only{when}; listed there in {said.get('file') or '?'}{beside}"
