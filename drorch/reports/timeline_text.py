"""The timeline of an incident for a terminal, and as Markdown for the review. Pure."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from drorch.core.host import printable
from drorch.reports.incident import Event, Head, Timeline
from drorch.reports.moved import confirmations, fence_words, loss_words, outage_words, whereabouts
from drorch.reports.show import mark
from drorch.reports.text import Line, Span, Style, length, line, precise
from drorch.reports.timeline import zone_note

_SIGNS: dict[Style, str] = {"good": "✓", "bad": "✗", "warn": "!", "": "·", "dim": "·", "bold": "·"}
_HOUR = timedelta(hours=1)
_TENTH = timedelta(seconds=0.1)
HUMAN = (
    ("What went well", ""),
    ("What went badly", ""),
    ("Where we were lucky", ""),
    ("Actions", "| what | who | until |\n|---|---|---|\n| | | |\n"),
)
"""What only people can write."""


def after(value: timedelta) -> str:
    """Time since zero: to the tenth of a second within the first hour."""
    sign = "-" if value <= -_TENTH / 2 else "+"
    distance = abs(value)
    return f"{sign}{distance.total_seconds():.1f} s" if distance < _HOUR else f"{sign}{length(distance)}"


def clock(value: datetime) -> str:
    """A moment in UTC, to the tenth of a second."""
    at = value.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 100_000}"


def summary(head: Head) -> Iterator[tuple[str, str, Style]]:
    """The head of one run: name, words, style."""
    sign, style = mark(head.state)
    why = f": {head.why}" if head.why else ""
    yield "run", f"{head.run}, plan {head.plan[:16]}", ""
    yield "ended" if head.ended else "stands", f"{sign} {head.state.replace('_', ' ')}{why}", style
    took = f" to {clock(head.ended)}, {precise((head.ended - head.started).total_seconds())}" if head.ended else ""
    yield "when", f"{clock(head.started)}{took}, begun by {head.by or '?'}", ""
    one = head.moved
    if one is None:
        yield from (("exception", text, "warn") for text in head.exceptions)
        return
    yield "what", f"{one.kind} of {one.service} from {one.old} to {one.new}, {one.mode}", ""
    if one.blocked:
        yield "blocked", one.blocked, "warn"
        return
    yield "outcome", whereabouts(one), ""
    yield from (("loss shown before", f"{source}: {words}", "") for source, words in one.shown.items())
    yield from (("loss measured", words, found) for words, found in loss_words(one))
    words, found = outage_words(one)
    yield "outage", words, found
    for fence in one.fences:
        yield "fence", f"{fence.host}: {fence_words(fence)}", "warn" if fence.attested else "good"
    passed = f"passed with {one.no_return}" if one.no_return else "not passed"
    yield "point of no return", f"{passed}{f' at {clock(one.no_return_at)}' if one.no_return_at else ''}", ""
    loud = bool(one.reasons) or any("BREAK-GLASS" in text for text in one.approvals)
    yield from (("said", text, "warn" if loud else "") for text in confirmations(one))
    yield from (("exception", text, "warn") for text in head.exceptions)


def trust(one: Timeline) -> tuple[tuple[str, ...], Style]:
    """Whether it can be believed; what comes first."""
    if not one.doubts:
        return ("every record of the journal is chained and signed, and these runs are as recorded",), "good"
    return tuple(f"NOT TO BE BELIEVED: {doubt}" for doubt in one.doubts), "bad"


def title(one: Timeline) -> str:
    """What it is about."""
    services = ", ".join(dict.fromkeys(head.service for head in one.runs))
    kinds = ", then ".join(dict.fromkeys(head.kind for head in one.runs))
    return f"{services}: {kinds} of {one.runs[0].started.astimezone(UTC):%Y-%m-%d}"


# -- a terminal --------------------------------------------------------------------------------------------------------


def timeline_lines(one: Timeline) -> list[Line]:
    """The whole of it."""
    words, style = trust(one)
    return [
        *(line(Span(f"{_SIGNS[style]} {text}", style), hanging=2) for text in words),
        line(""),
        line(Span(title(one), "bold")),
        *(row for head in one.runs for row in _head(head)),
        line(Span(zone_note(one), "dim"), hanging=2),
        line(""),
        *(row for row in _rows(one)),
        *_left(one),
    ]


def _head(head: Head) -> Iterator[Line]:
    for name, words, style in summary(head):
        yield line(f"  {name}: ", Span(words, style), hanging=4)
    yield line("")


def _rows(one: Timeline) -> Iterator[Line]:
    widest = max((len(after(event.after)) for event in one.events), default=0)
    day, run = None, ""
    for event in one.events:
        at = event.at.astimezone(UTC)
        if at.date() != day:
            day = at.date()
            yield line(Span(f"{at:%Y-%m-%d}", "bold"))
        if len(one.runs) > 1 and event.run != run:
            run = event.run
            yield line(Span(f"  {run}", "dim"))
        yield from _row(event, widest)


def _row(event: Event, widest: int) -> Iterator[Line]:
    hanging = 16 + widest
    yield line(
        f"{clock(event.at)[11:]}  {after(event.after).rjust(widest)}  ",
        Span(_SIGNS[event.mark], event.mark),
        f" {event.who}: ",
        Span(event.what, event.mark if event.mark in ("bad", "warn") else ""),
        Span(f"  [{event.trace.words}]", "dim" if event.trace.believed else "bad"),
        hanging=hanging,
    )
    for text in event.details:
        yield line(" " * hanging, Span(text, "dim"), hanging=hanging)


def _left(one: Timeline) -> Iterator[Line]:
    yield line("")
    yield line(Span("what is left to do", "bold"))
    yield from (line("  ", Span("! ", "warn"), text, hanging=4) for text in one.left)
    if not one.left:
        yield line("  nothing that the records know of")


# -- Markdown ----------------------------------------------------------------------------------------------------------

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#$])")
_MENTION = re.compile(r"(?<![0-9A-Za-z])@")


def plain(text: str) -> str:
    """A text that reads the same in Markdown and makes nothing of its own: no markup, HTML, link, mention or line."""
    flat = " ".join(printable(text).split())
    safe = _SPECIAL.sub(r"\\\1", flat.replace("&", "&amp;")).replace("<", "&lt;")
    safe = safe.replace("://", "&#58;//").replace("www.", "www&#46;")
    return _MENTION.sub("&#64;", safe)


def _sentence(text: str) -> str:
    return f"{plain(text[:1].upper() + text[1:])}."


def markdown(one: Timeline) -> str:
    """The whole of it, with empty sections for people to fill."""
    rows = "\n".join(_markdown_rows(one))
    left = "\n".join(f"- [ ] {plain(text)}" for text in one.left) or "Nothing that the records know of."
    human = "\n".join(f"## {name}\n\n{text}" for name, text in HUMAN)
    return "\n".join(
        (
            f"# {plain(title(one))}",
            "",
            *_markdown_trust(one),
            "",
            *(row for head in one.runs for row in _markdown_head(head)),
            "## Timeline",
            "",
            _sentence(zone_note(one)),
            "",
            rows,
            "",
            "## What is left to do",
            "",
            left,
            "",
            human,
        )
    )


def _markdown_trust(one: Timeline) -> Iterator[str]:
    words, style = trust(one)
    if style == "good":
        yield _sentence(words[0])
        return
    yield "> **This timeline is not to be believed as a whole.**"
    yield from (f">\n> {plain(text)}" for text in words)


def _markdown_head(head: Head) -> Iterator[str]:
    yield f"## {plain(head.run)}"
    yield ""
    yield "| | |\n|---|---|"
    yield from (f"| {name} | {plain(words)} |" for name, words, _ in summary(head))
    yield ""


def _markdown_rows(one: Timeline) -> Iterator[str]:
    yield "| UTC | + | who | what | record |"
    yield "|---|---:|---|---|---|"
    for event in one.events:
        details = "".join(f"<br>{plain(text)}" for text in event.details)
        sign = f"{_SIGNS[event.mark]} " if event.mark in ("bad", "warn") else ""
        what = f"{sign}{plain(event.what)}{details}"
        trace = plain(event.trace.words) if event.trace.believed else f"**{plain(event.trace.words)}**"
        yield f"| {clock(event.at)} | {after(event.after)} | {plain(event.who)} | {what} | {trace} |"
