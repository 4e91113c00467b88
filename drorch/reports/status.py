"""The status screen: one block per service, the sentence first. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from drorch.reports.gaps import Attention
from drorch.reports.proof import DrillReadiness, SourceReadiness, Today
from drorch.reports.readiness import Readiness, Verdict
from drorch.reports.standing import Standing
from drorch.reports.text import Line, Span, Style, at_most, columns, length, line, moment

_VERDICTS: dict[Verdict, tuple[str, Style]] = {
    "proven": ("✓ proven", "good"),
    "at_risk": ("! at risk", "warn"),
    "unproven": ("✗ unproven", "bad"),
    "unprotected": ("✗ unprotected", "bad"),
}
_SOON = timedelta(hours=24)


def status_lines(standing: Standing, zone: ZoneInfo) -> list[Line]:
    """The screen."""
    lines = [
        line(
            Span(standing.site, "bold"),
            Span(f"  {moment(standing.at, zone)}", "dim"),
            Span("" if standing.daemon else "  no daemon runs", "dim"),
        )
    ]
    if not standing.services:
        lines.append(line("  no services yet: add one under services: in drorch.yaml"))
    for service in standing.services:
        lines.append(line(""))
        lines.extend(service_lines(service, standing.at, zone))
    for stray in standing.strays:
        lines.extend(_attention(stray))
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
        *columns([*(_source(source) for source in ready.sources), *(_drill(drill, zone) for drill in ready.drills)]),
    ]
    if slots := _slots(ready.runbooks, now, zone):
        lines.append(line("  ", Span(slots, "dim"), hanging=4))
    lines.extend(line("  ", Span(f"… running now: {run}"), hanging=4) for run in ready.running)
    for wants in ready.attention:
        lines.extend(_attention(wants))
    for gap in ready.gaps:
        mark = Span("! ", "warn") if gap.risk else Span("· ", "dim")
        lines.append(line("  ", mark, gap.what, Span(f" → {gap.do}", "bold" if gap.risk else "dim"), hanging=4))
    return lines


def _source(source: SourceReadiness) -> list[str | Span]:
    if source.newest is None or source.age is None:
        return [source.source, Span("✗ never backed up", "bad")]
    standing = {
        "ok": Span("✓ in RPO", "good"),
        "missed": Span("! over RPO", "warn"),
        "no objective": Span("no RPO", "dim"),
    }[source.rpo]
    newest = f"{source.newest.snapshot[:8]} {length(source.age)} old"
    return [source.source, newest, standing, _proof(source)]


def _proof(source: SourceReadiness) -> Span:
    if source.proven is None or source.proven_age is None or source.newest is None:
        return Span("✗ never restored", "bad")
    if source.proven.snapshot == source.newest.snapshot:
        return Span(f"✓ itself {source.proven.level.value}", "good")
    return Span(f"{source.proven.snapshot[:8]}, {length(source.proven_age)} old, is {source.proven.level.value}")


def _drill(drill: DrillReadiness, zone: ZoneInfo) -> list[str | Span]:
    if drill.state is None or drill.ended is None:
        return [drill.runbook, Span("✗ never drilled", "bad")]
    if not drill.state.good:
        return [drill.runbook, moment(drill.ended, zone), Span("✗ failed", "bad")]
    standing = Span("✓ holds", "good") if drill.proof else Span("! proves nothing", "warn")
    measured = []
    if drill.rto is not None:
        met = {True: " ✓", False: " ✗ over RTO", None: ""}[drill.rto_met]
        measured.append(f"back in {at_most(drill.rto)}{met}")
    if drill.rpo is not None:
        met = {True: " ✓", False: " ✗ over RPO", None: ""}[drill.rpo_met]
        measured.append(f"lost {at_most(drill.rpo)}{met}")
    return [drill.runbook, moment(drill.ended, zone), standing, ", ".join(measured)]


def _slots(runbooks: Sequence[Today], now: datetime, zone: ZoneInfo) -> str:
    scheduled = [one for one in runbooks if one.next_slot is not None]
    words = []
    for one in sorted(scheduled, key=lambda one: one.next_slot or now):
        if one.next_slot is not None:
            away = one.next_slot - now
            when = f"in {length(away)}" if away < _SOON else moment(one.next_slot, zone)
            words.append(f"{one.runbook} {when}")
    return f"next: {', '.join(words)}" if words else ""


def _attention(wants: Attention) -> list[Line]:
    at = f" at {wants.step}" if wants.step else ""
    state = wants.state.replace("_", " ")
    return [
        line("  ", Span("! ", "warn"), f"{wants.run} needs a person ({state}{at}): {wants.why}", hanging=4),
        *(line("      ", Span(command, "bold"), hanging=8) for command in wants.commands[:3]),
    ]
