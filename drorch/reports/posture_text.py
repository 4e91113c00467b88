"""The posture screen: the five digits, the facts behind each, then what too much depends on. Pure."""

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from drorch.reports.digits import Digit, DigitName, Fact
from drorch.reports.domains import Weakness
from drorch.reports.posture import Posture
from drorch.reports.text import Line, Span, length, line, moment

_WORDS: dict[DigitName, tuple[str, str]] = {
    "copies": ("copy", "copies"),
    "media": ("medium", "media"),
    "off-site": ("off-site", "off-site"),
    "immutable": ("immutable", "immutable"),
    "errors": ("error", "errors"),
}
_COLUMN = 17
"""Where the facts begin: behind the longest of the words above."""


def posture_lines(postures: Sequence[Posture], zone: ZoneInfo) -> list[Line]:
    """The screen, one block per service."""
    if not postures:
        return [line("no services yet: add one under services: in drorch.yaml")]
    lines = []
    for number, one in enumerate(postures):
        lines += [line("")] * bool(number)
        lines += service_lines(one, zone)
    return lines


def service_lines(one: Posture, zone: ZoneInfo) -> list[Line]:
    """One service."""
    failing = [digit.name for digit in one.digits if not digit.good]
    verdict = Span("✓ holds", "good")
    if failing:
        verdict = Span(f"✗ {', '.join(failing)} fail{'s' if len(failing) == 1 else ''}", "bad")
    lines = [
        line(Span(one.service, "bold"), "  ", Span(one.shown, "bold"), "  ", verdict, hanging=2),
        line(Span(f"  as of {moment(one.at, zone)}; a copy counts for {length(one.fresh_for)}", "dim"), hanging=2),
    ]
    for digit in one.digits:
        lines += _digit(digit, zone)
    if one.weaknesses:
        lines += [line(""), line("  ", Span("what too much depends on", "bold"))]
        lines += [_weakness(weakness) for weakness in one.weaknesses]
    return lines


def _digit(digit: Digit, zone: ZoneInfo) -> Iterator[Line]:
    count = "?" if digit.count is None else str(digit.count)
    words = f"{count} {_WORDS[digit.name][digit.count != 1]}"
    head: list[str | Span] = [
        "  ",
        Span("✓ " if digit.good else "✗ ", "good" if digit.good else "bad"),
        Span(words, "" if digit.good else "bold"),
        " " * (_COLUMN - 4 - len(words)),
    ]
    for fact in digit.facts:
        yield line(*head, *_fact(fact, digit, zone), hanging=_COLUMN + 2)
        head = [" " * _COLUMN]


def _fact(fact: Fact, digit: Digit, zone: ZoneInfo) -> Iterator[str | Span]:
    """The fact, where it is recorded, and what to do about it while its digit fails."""
    wanting = not fact.good and not digit.good
    yield Span("· " if fact.good else "✗ " if wanting else "- ", "bad" if wanting else "dim")
    yield Span(fact.what, "" if fact.good or wanting else "dim")
    if fact.by and fact.at:
        dated = fact.at.date().isoformat() in fact.by  # as a run's id is that began that day
        yield Span(f" ({fact.by})" if dated else f" ({fact.by}, {moment(fact.at, zone)})", "dim")
    if wanting and fact.do:
        yield Span(f" → {fact.do}", "bold")


def _weakness(weakness: Weakness) -> Line:
    known = weakness.kind != "unknown"
    mark = Span("! ", "warn") if known else Span("? ", "dim")
    return line("  ", mark, weakness.what, Span(f" → {weakness.do}", "dim"), hanging=4)
