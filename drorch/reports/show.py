"""The run report for a terminal. Pure."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from drorch.core.evidence import ProofLevel
from drorch.core.model import Json
from drorch.reports.events import Answered, Attempted
from drorch.reports.evidence import RunReport, Shown
from drorch.reports.moved import moved_lines, rehearsal_lines
from drorch.reports.text import Line, Span, Style, columns, length, line, moment, precise, size

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FEW = 4
"""So many entries of a list or table are shown; --json has all."""
_LONGEST = 160
"""Characters of a fact that are shown; --json has all."""
_LESS = frozenset(
    {"directory", "facts", "hostname", "machine_id", "places", "snapshots", "snapshot_time", "time", "token"}
    | {"request", "signature"}
    | {"loss", "loss_words", "proof", "rung"}
)
"""Facts that only ``--json`` shows: they repeat others, or matter to programs."""
_GOOD = ("completed", "succeeded")
_BAD = ("failed", "timed_out")


def mark(state: str) -> tuple[str, Style]:
    """A sign and a style for a state; the word itself always stands beside it."""
    if state in _GOOD:
        return "✓", "good"
    if state in _BAD:
        return "✗", "bad"
    if state in ("running", "pending"):
        return "…", ""
    return ("-", "dim") if state in ("skipped", "cancelled") else ("!", "warn")


def run_lines(report: RunReport, zone: ZoneInfo) -> list[Line]:
    """The whole report."""
    return [
        *_head(report, zone),
        *(moved_lines(report.moved) if report.moved else _measured(report)),
        *rehearsal_lines(report.rehearsed, report.looked_at),
        *_shown(report, zone),
        line(""),
        *(each for event in report.timeline for each in _event(event, zone)),
        *_rest(report),
    ]


def _head(report: RunReport, zone: ZoneInfo) -> Iterator[Line]:
    sign, style = mark(report.state)
    words = report.state.replace("_", " ")
    yield line(Span(report.run, "bold"), "  ", Span(f"{sign} {words}", style), f"  {report.kind} of {report.service}")
    end = f" to {moment(report.ended, zone, seconds=True)}" if report.ended else ""
    took = f", {precise((report.ended - report.started).total_seconds())}" if report.ended else ""
    yield line(f"  {moment(report.started, zone, seconds=True)}{end}{took}", hanging=2)
    slot = f"for the slot {_time(report.slot, zone)}, " if report.slot else ""
    yield line(
        Span(
            f"  plan {report.plan[:16]}, {slot}started by {report.by or '?'} with drorch {report.version or '?'}", "dim"
        ),
        hanging=2,
    )
    if report.why:
        yield line("  ", Span(report.why, "bad"), hanging=4)
    if report.hint:
        yield line(f"  what to do: {report.hint}", hanging=4)


def _measured(report: RunReport) -> Iterator[Line]:
    pieces: list[str | Span] = []
    for words, value, objective in (
        ("back in ", report.rto, report.rto_objective),
        ("lost at most ", report.rpo, report.rpo_objective),
    ):
        if value is not None:
            pieces += [
                ", " if pieces else "  measured: ",
                f"{words}{precise(value.total_seconds())}",
                *_met(value, objective),
            ]
    if pieces:
        yield line(*pieces, hanging=4)


def _met(value: timedelta, objective: timedelta | None) -> tuple[Span, ...]:
    if objective is None:
        return ()
    if value <= objective:
        return (Span(f" (✓ within {length(objective)})", "good"),)
    return (Span(f" (✗ the objective is {length(objective)})", "bad"),)


def _shown(report: RunReport, zone: ZoneInfo) -> list[Line]:
    return columns([_point(point, zone) for point in report.points if point.reached or point.snapshot])


def _point(point: Shown, zone: ZoneInfo) -> list[str | Span]:
    lacks = [f"skipped {', '.join(point.skipped)}"] if point.skipped else []
    lacks += [f"not tried: {', '.join(point.open)}"] if point.open else []
    style: Style = "good" if point.reached and ProofLevel(point.reached).height >= ProofLevel.RESTORED.height else ""
    return [
        point.source,
        f"{point.snapshot[:8] or '?'} of {_time(point.time, zone)}",
        Span(point.reached or "nothing shown", style),
        Span("; ".join(lacks), "dim"),
    ]


def _event(event: Attempted | Answered, zone: ZoneInfo) -> Iterator[Line]:
    if isinstance(event, Answered):
        who = f"{event.by}: {event.verb}" if event.by else event.verb
        note = f", “{event.note}”" if event.note else ""
        yield line(f"{event.at.astimezone(zone):%H:%M:%S}  ? {event.step}  {who}{note}", hanging=12)
        return
    sign, style = mark(event.state)
    number = f"#{event.number}" if event.number > 1 else ""
    level = [Span(f"  {event.source} {event.level}".replace("   ", "  "), "good")] if event.level else []
    took = f"  {precise(event.took.total_seconds())}"
    state = "" if event.state == "succeeded" else f"  {event.state.replace('_', ' ')}"
    state += "  taken back" if event.undo and event.succeeded else "  (taking it back)" if event.undo else ""
    unknown = ", and what it did is unknown" if event.unknown else ""
    yield line(
        f"{event.started.astimezone(zone):%H:%M:%S}  ",
        Span(sign, style),
        f" {event.step}{number}{took}",
        Span(state + unknown, style),
        *level,
        hanging=12,
    )
    if event.why:
        yield line(f"            {event.why}", hanging=12)
    if event.hint:
        yield line(f"            what to do: {event.hint}", hanging=12)
    if facts := ", ".join(fact(key, value) for key, value in event.facts.items() if tells(key, value)):
        yield line("            ", Span(facts, "dim"), hanging=12)
    for text in event.exceptions[:_FEW]:
        yield line("            ", Span("! ", "warn"), text, hanging=14)
    if len(event.exceptions) > _FEW:
        yield line(f"            and {len(event.exceptions) - _FEW} more exceptions: --json has all")


def _rest(report: RunReport) -> Iterator[Line]:
    if report.never_begun:
        yield line(Span(f"not begun: {', '.join(report.never_begun)}", "dim"), hanging=2)
    if report.attention is not None:
        yield line("")
        yield line(Span("! ", "warn"), f"it needs a person: {report.attention.why}", hanging=2)
        for command in report.attention.commands:
            yield line("    ", Span(command, "bold"))


def tells(key: str, value: Json) -> bool:
    """Whether a fact tells a person something."""
    return key not in _LESS and value not in ("", [], {})


def fact(key: str, value: Json) -> str:
    """A fact in a few words; ``--json`` has it whole."""
    name = key.replace("_", " ")
    if isinstance(value, bool) or value is None:
        return f"{name} {'yes' if value else 'no'}"
    if isinstance(value, int | float):
        if "bytes" in key:
            return f"{name} {size(value)}"
        return f"{name.removesuffix(' seconds')} {precise(value)}" if key.endswith("seconds") else f"{name} {value}"
    if isinstance(value, Mapping | list | tuple):
        return f"{name} {_few(value)}"
    text = _short(value)
    return f"{name} {text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'}"


def _short(value: Json) -> str:
    """A text; of a SHA-256 its first digits."""
    text = str(value)
    return f"{text[:8]}…" if _SHA256.fullmatch(text) else text


def _few(value: Mapping[str, Json] | list[Json] | tuple[Json, ...]) -> str:
    items = (
        [f"{key} {_short(item)}" for key, item in value.items()]
        if isinstance(value, Mapping)
        else [str(item) for item in value]
    )
    flat = all(
        not isinstance(item, Mapping | list) for item in (value.values() if isinstance(value, Mapping) else value)
    )
    if not items:
        return "none"
    if flat and len(items) <= _FEW and sum(len(item) for item in items) <= _LONGEST:
        return f"({', '.join(items)})"
    return f"({len(items)} entries)"


def _time(text: str, zone: ZoneInfo) -> str:
    try:
        return moment(datetime.fromisoformat(text), zone)
    except ValueError:
        return text or "?"
