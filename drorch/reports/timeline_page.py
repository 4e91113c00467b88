"""The timeline of an incident as one page that needs nothing else: to mail, print, keep. Pure.

Nothing is loaded and nothing runs: the page's own policy forbids both. Every text is escaped in `_safe`, whoever wrote
it; there is no other way into the page.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from drorch.core.host import printable
from drorch.core.outage import Watched
from drorch.reports.incident import Event, Head, Phase, Timeline
from drorch.reports.text import Style, precise
from drorch.reports.timeline import zone_note
from drorch.reports.timeline_text import after, clock, summary, title, trust

_STYLE: Final = """
:root { color-scheme: light dark; --fg: #1d2329; --bg: #fff; --dim: #5c6670; --rule: #d5dae0;
  --good: #1b7f3b; --bad: #c0262d; --warn: #935f00; --step: #3d6fa8; --person: #8457a8; --soft: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --fg: #e4e8ec; --bg: #14181c; --dim: #98a3ae; --rule: #333b44;
    --good: #5cc47d; --bad: #ff7b7b; --warn: #e0ad4e; --step: #7faee0; --person: #c39ae6; --soft: #1d2329; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 75rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-top: 1px solid var(--rule); } th { color: var(--dim); font-weight: 600; }
.head th { width: 11rem; font-weight: 400; }
.when { white-space: nowrap; font-variant-numeric: tabular-nums; } .after { text-align: right; }
.trace { color: var(--dim); font-family: ui-monospace, monospace; font-size: .8rem; width: 9rem; }
.who { width: 9rem; } .details { color: var(--dim); margin: .1rem 0 0; padding-left: 1.1rem; font-size: .9rem; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; } .warn { color: var(--warn); }
.dim { color: var(--dim); }
.believed { border-left: .3rem solid var(--good); padding: .4rem .8rem; background: var(--soft); }
.doubted { border: .2rem solid var(--bad); padding: .8rem 1rem; font-size: 1.1rem; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--fg); font: 12px system-ui, sans-serif; }
svg .axis { stroke: var(--rule); } svg .label { fill: var(--dim); }
.outage { fill: var(--bad); } .person { fill: var(--person); } .step { fill: var(--step); }
.failed { fill: var(--warn); } .undo { fill: var(--warn); }
.shade { fill: var(--bad); opacity: .12; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } tr { break-inside: avoid; }
  h2 { break-after: avoid; } }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_SIGNS: Final[dict[Style, str]] = {"good": "✓ ", "bad": "✗ ", "warn": "! "}


def page(one: Timeline) -> str:
    """The page."""
    body = "\n".join(
        (
            f"<h1>{_safe(title(one))}</h1>",
            _trust(one),
            *(_head(head) for head in one.runs),
            "<h2>Timeline</h2>",
            f'<p class="dim">{_safe(zone_note(one))}</p>',
            _events(one.events),
            "<h2>What is left to do</h2>",
            _left(one.left),
        )
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_safe(title(one))}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _safe(text: str) -> str:
    """A text as it is, for any place between tags or in an attribute."""
    return escape(" ".join(printable(text).split()), quote=True)


def _marked(words: str, style: Style) -> str:
    return f'<span class="{style}">{_safe(words)}</span>' if style in ("good", "bad", "warn", "dim") else _safe(words)


def _trust(one: Timeline) -> str:
    words, style = trust(one)
    kind = "believed" if style == "good" else "doubted"
    lines = "<br>".join(_marked(f"{_SIGNS.get(style, '')}{text}", style) for text in words)
    return f'<p class="{kind}">{lines}</p>'


def _head(head: Head) -> str:
    rows = "".join(
        f"<tr><th>{_safe(name)}</th><td>{_marked(words, style)}</td></tr>" for name, words, style in summary(head)
    )
    figure = f"<figure>{_figure(head)}</figure>" if head.phases else ""
    return f'<h2>{_safe(head.run)}</h2>\n<table class="head">{rows}</table>\n{figure}'


def _events(events: Sequence[Event]) -> str:
    rows = "\n".join(_row(event) for event in events)
    return (
        "<table><thead><tr><th>UTC</th><th>+</th><th>who</th><th>what</th><th>record</th></tr></thead>"
        f"<tbody>\n{rows}\n</tbody></table>"
    )


def _row(event: Event) -> str:
    details = "".join(f"<li>{_safe(text)}</li>" for text in event.details)
    shown = f'<ul class="details">{details}</ul>' if details else ""
    loud = event.mark if event.mark in ("bad", "warn") else ""
    trace = _safe(event.trace.words) if event.trace.believed else _marked(event.trace.words, "bad")
    return (
        f'<tr><td class="when">{_safe(clock(event.at))}</td><td class="when after">{_safe(after(event.after))}</td>'
        f'<td class="who">{_safe(event.who)}</td>'
        f"<td>{_marked(_SIGNS.get(event.mark, '') + event.what, loud)}{shown}</td>"
        f'<td class="trace">{trace}</td></tr>'
    )


def _left(left: Sequence[str]) -> str:
    if not left:
        return "<p>Nothing that the records know of.</p>"
    return f"<ul>{''.join(f'<li>{_safe(text)}</li>' for text in left)}</ul>"


# -- the figure --------------------------------------------------------------------------------------------------------

_WIDE, _NAMES, _ROW, _TOP, _END = 1000.0, 230.0, 20.0, 22.0, 70.0
_THIN = 2.0
_TICKS = 5


def _figure(head: Head) -> str:
    """What took how long, with the outage behind it."""
    phases = head.phases
    zero = min(phase.began for phase in phases)
    span = max((max(phase.ended for phase in phases) - zero).total_seconds(), 0.001)
    scale = (_WIDE - _NAMES - _END) / span
    high = _TOP + _ROW * len(phases) + 4

    def place(phase: Phase) -> tuple[float, float]:
        left = _NAMES + (phase.began - zero).total_seconds() * scale
        return left, max(_THIN, (phase.ended - phase.began).total_seconds() * scale)

    outages = [place(phase) for phase in phases if phase.kind == "outage"]
    content = [
        *_axis(span, scale, high),
        *(
            f'<rect class="shade" x="{left:.1f}" y="{_TOP}" width="{wide:.1f}" height="{high - _TOP:.0f}"/>'
            for left, wide in outages
        ),
        *(each for number, phase in enumerate(phases) for each in _bar(phase, *place(phase), top=_TOP + _ROW * number)),
    ]
    words = f"What took how long in {head.run}" + _words(head.moved.outage if head.moved else None)
    return f'<svg viewBox="0 0 {_WIDE:.0f} {high:.0f}" role="img" aria-label="{_safe(words)}">{"".join(content)}</svg>'


def _words(seen: Watched | None) -> str:
    return f"; customers out: {seen.words}" if seen else ""


def _axis(span: float, scale: float, high: float) -> Iterator[str]:
    for tick in range(_TICKS + 1):
        at = span * tick / _TICKS
        left = _NAMES + at * scale
        yield f'<line class="axis" x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP - 4}" y2="{high:.0f}"/>'
        yield f'<text class="label" x="{left:.1f}" y="12" text-anchor="middle">{_safe(precise(at))}</text>'


def _bar(phase: Phase, left: float, wide: float, *, top: float) -> Iterator[str]:
    took = precise((phase.ended - phase.began).total_seconds())
    name = phase.label if len(phase.label) <= _LONGEST else f"{phase.label[: _LONGEST - 1]}…"
    yield f'<text x="{_NAMES - 8}" y="{top + 14:.0f}" text-anchor="end">{_safe(name)}</text>'
    place = f'x="{left:.1f}" y="{top + 3:.0f}" width="{wide:.1f}" height="{_ROW - 6:.0f}"'
    yield (f'<rect class="{phase.kind}" {place} rx="2"><title>{_safe(f"{phase.label}: {took}")}</title></rect>')
    yield f'<text class="label" x="{left + wide + 5:.1f}" y="{top + 14:.0f}">{_safe(took)}</text>'


_LONGEST = 34
