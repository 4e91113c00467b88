"""The status screen: one block per service, the sentence first. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from drorch.reports.gaps import Attention
from drorch.reports.offsite import OffSite
from drorch.reports.proof import DrillReadiness, Point, RpoStanding, SourceReadiness, Today
from drorch.reports.readiness import Readiness, Verdict
from drorch.reports.standing import Standing
from drorch.reports.text import Line, Span, Style, at_most, columns, length, line, moment

_VERDICTS: dict[Verdict, tuple[str, Style]] = {
    "proven": ("✓ proven", "good"),
    "at_risk": ("! at risk", "warn"),
    "unproven": ("✗ unproven", "bad"),
    "unprotected": ("✗ unprotected", "bad"),
}
_RPO: dict[RpoStanding, Span] = {
    "ok": Span("✓ in RPO", "good"),
    "missed": Span("! over RPO", "warn"),
    "no objective": Span("no RPO", "dim"),
    "never backed up": Span("✗ none", "bad"),
}
_SOON = timedelta(hours=24)


def status_lines(standing: Standing, zone: ZoneInfo) -> list[Line]:
    """The screen."""
    lines = [
        line(
            Span(standing.site, "bold"),
            Span(f"  {moment(standing.at, zone)}", "dim"),
            Span("" if standing.daemon else "  no daemon runs, so schedules do nothing", "dim"),
        )
    ]
    if not standing.services:
        lines.append(line("  no services yet: add one under services: in drorch.yaml"))
    for service in standing.services:
        lines.append(line(""))
        lines.extend(service_lines(service, standing.at, zone))
    lines.extend(_attention(stray) for stray in standing.strays)
    return lines


def service_lines(ready: Readiness, now: datetime, zone: ZoneInfo) -> list[Line]:
    """One service."""
    word, style = _VERDICTS[ready.verdict]
    wanted = [
        f"{name} {length(value)}" for name, value in (("RPO", ready.rpo), ("RTO", ready.rto)) if value is not None
    ]
    lines = [
        line(
            Span(ready.service, "bold"),
            "  ",
            Span(word, style),
            Span(f"  {', '.join(wanted)}" if wanted else "", "dim"),
        ),
        line("  ", Span(ready.headline, "" if ready.good else style), hanging=2),
        *columns([*_sources(ready.sources), *_drills(ready.drills, zone), *_offsite(ready.offsite, zone)]),
    ]
    if slots := _slots(ready.runbooks, now, zone):
        lines.append(line("  ", Span(slots, "dim"), hanging=4))
    lines.extend(line("  ", Span(f"… running now: {run}"), hanging=4) for run in ready.running)
    lines.extend(_attention(wants) for wants in ready.attention)
    for gap in ready.gaps:
        mark = Span("! ", "warn") if gap.risk else Span("· ", "dim")
        lines.append(line("  ", mark, gap.what, Span(f" → {gap.do}", "bold" if gap.risk else "dim"), hanging=4))
    return lines


def _sources(sources: Sequence[SourceReadiness]) -> Iterator[list[str | Span]]:
    """One row per source that has a backup; of the others the gaps speak."""
    for source in sources:
        if source.newest is not None and source.age is not None:
            newest = f"{source.newest.snapshot[:8]} {length(source.age)} old, {source.newest.level.value}"
            yield [source.source, newest, _RPO[source.rpo], _proof(source.newest, source.proven, source.proven_age)]


def _proof(newest: Point, proven: Point | None, age: timedelta | None) -> Span:
    if proven is None or age is None:
        return Span("✗ never restored", "bad")
    if proven.snapshot == newest.snapshot:
        return Span(f"✓ itself proven {proven.level.value}", "good")
    return Span(f"proven {proven.level.value}: {length(age)} old")


def _drills(drills: Sequence[DrillReadiness], zone: ZoneInfo) -> Iterator[list[str | Span]]:
    """One row per drill that was carried out; of the others the gaps speak."""
    for drill in drills:
        if drill.state is None or drill.ended is None:
            continue
        when = moment(drill.ended, zone)
        if not drill.state.good:
            yield [drill.runbook, when, Span("✗ failed", "bad")]
            continue
        standing = Span("✓ holds", "good") if drill.proof else Span("! no proof", "warn")
        measured = []
        if drill.rto is not None:
            measured.append(f"back in {at_most(drill.rto)}{_met(drill.rto_met, 'RTO')}")
        if drill.rpo is not None:
            measured.append(f"lost {at_most(drill.rpo)}{_met(drill.rpo_met, 'RPO')}")
        yield [drill.runbook, when, standing, ", ".join(measured)]


def _offsite(mirrors: Sequence[OffSite], zone: ZoneInfo) -> Iterator[list[str | Span]]:
    """One row per mirror that was ever brought up to date; of the others the gaps speak."""
    for one in mirrors:
        if one.age is None:
            continue
        standing = Span(f"! {one.grade}", "bad") if one.worse or one.grade == "neither" else Span(one.grade, "dim")
        locked = f"locked until {moment(one.locked_until, zone)}" if one.locks and one.locked_until else ""
        yield [one.store, f"copied {length(one.age)} ago", standing, locked]


def _met(met: bool | None, objective: str) -> str:  # noqa: FBT001 - None is the third answer
    return {True: " ✓", False: f" ✗ over {objective}", None: ""}[met]


def _slots(runbooks: Sequence[Today], now: datetime, zone: ZoneInfo) -> str:
    scheduled = [one for one in runbooks if one.next_slot is not None]
    words = []
    for one in sorted(scheduled, key=lambda one: one.next_slot or now):
        if one.next_slot is not None:
            away = one.next_slot - now
            when = f"in {length(away)}" if away < _SOON else moment(one.next_slot, zone)
            words.append(f"{one.runbook} {when}")
    return f"next: {', '.join(words)}" if words else ""


def _attention(wants: Attention) -> Line:
    at = f" at {wants.step}" if wants.step else ""
    first, *others = wants.commands
    others = [command.split()[1] for command in others]
    return line(
        "  ",
        Span("! ", "warn"),
        f"{wants.run} is {wants.state.replace('_', ' ')}{at}: {wants.why}",
        Span(f" → {first}", "bold"),
        f" (or {', '.join(others)})" if others else "",
        hanging=4,
    )
