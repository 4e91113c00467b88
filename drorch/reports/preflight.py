"""What a person reads before a failover: what is wrong, what will happen, what will be lost. Pure."""

from collections.abc import Iterable, Iterator

from drorch.core.finding import Standing
from drorch.core.replication import Loss
from drorch.core.step import Step
from drorch.engine.plan import Plan, PlannedStep
from drorch.engine.preflight import Looked, Preflight, Sight
from drorch.reports.text import Line, Span, Style, columns, line

_MARKS: dict[Standing, tuple[str, Style]] = {
    Standing.GOOD: ("✓ ", "good"),
    Standing.DOUBTFUL: ("! ", "warn"),
    Standing.UNKNOWN: ("? ", "warn"),
    Standing.BAD: ("✗ ", "bad"),
}


_PATIENT = "it only goes on once the standby has everything"


def preflight_lines(seen: Preflight, *, whole: bool = False) -> list[Line]:
    """The findings; those that are good too with ``whole``, else only how many there are."""
    lines = [_finding(one) for one in sorted(seen.findings, key=_worst_first) if whole or _wants_a_look(one)]
    good = len(seen.of(Standing.GOOD))
    if good and not whole:
        lines.append(line("  ", Span("✓ ", "good"), f"{good} other things are as they should be", hanging=4))
    return lines


def sight_lines(sights: Iterable[Sight]) -> list[Line]:
    """Who reaches whom: one row per viewer, one column per end."""
    rows: dict[str, dict[str, Sight]] = {}
    for one in sights:
        rows.setdefault(one.viewer, {})[one.seen] = one
    ends = list(dict.fromkeys(one.seen for one in sights))
    if not rows:
        return []
    head: list[str | Span] = [Span("seen from", "dim"), *(Span(end, "dim") for end in ends)]
    table = [head]
    for viewer, seen in rows.items():
        table.append([viewer, *(_sight(seen.get(end)) for end in ends)])
    return columns(table)


def losses_line(seen: Preflight) -> Iterator[Line]:
    """What promoting now would lose."""
    for source, known in seen.losses.items():
        yield line("  ", *_loss(source, known, seen), hanging=4)


def moving_lines(plan: Plan, seen: Preflight) -> list[Line]:
    """The whole screen before the confirmation."""
    lead = f"{plan.service_name} is led from {plan.service.primary} to {plan.target}"
    found = [*losses_line(seen)] or [_unknown_loss(seen)]
    wrong = preflight_lines(seen)
    return [
        line(Span(lead, "bold"), f", {plan.mode}, by {plan.runbook}; plan {plan.digest[:16]}"),
        line(""),
        *sight_lines(seen.sights),
        line(""),
        *wrong,
        *_alive(plan, seen),
        line(""),
        *_steps(plan),
        line(""),
        *found,
        line(""),
    ]


def _steps(plan: Plan) -> Iterator[Line]:
    number = 0
    skipped = [one for one in plan.steps() if one.step.when not in (None, plan.mode)]
    for block in plan.blocks:
        for planned in block.steps:
            if planned in skipped:
                continue
            number += 1
            yield from _step(plan, planned, f"{number:>2}")
    for planned in plan.afterwards:
        number += 1
        yield from _step(plan, planned, f"{number:>2}", "at the end, whatever happened: ")


def _step(plan: Plan, planned: PlannedStep, number: str, before: str = "") -> Iterator[Line]:
    step: Step = planned.step
    yield line(f"  {number}  ", f"{before}{step.describe(plan.scene)}", hanging=6)
    if step.irreversible:
        yield line(
            "      ", Span("── point of no return: nothing before this line can be taken back after it ──", "warn")
        )


def _alive(plan: Plan, seen: Preflight) -> Iterator[Line]:
    """A word where the primary seems to be well: then there is a way that loses nothing."""
    sights = [one.reached for one in seen.sights if one.seen == plan.service.primary]
    if plan.mode == "unplanned" and sights and all(sights):
        mark = Span("! ", "warn")
        what = f"{plan.service.primary} is reached from everywhere: with its help nothing would be lost"
        yield line("  ", mark, what, Span(" → --planned", "bold"), hanging=4)


def _unknown_loss(seen: Preflight) -> Line:
    if seen.mode == "planned":
        return line("  ", Span(f"nothing is lost: {_PATIENT}", "good"), hanging=4)
    return line("  ", Span("what would be lost is not known", "warn"))


def _worst_first(one: Looked) -> int:
    return -one.finding.standing.height


def _wants_a_look(one: Looked) -> bool:
    return one.finding.standing is not Standing.GOOD


def _finding(one: Looked) -> Line:
    mark, style = _MARKS[one.finding.standing]
    remedy = Span(f" → {one.finding.remedy}", "bold") if one.finding.remedy else Span("")
    return line("  ", Span(mark, style), f"{one.finding.about}: {one.finding.what}", remedy, hanging=4)


def _sight(one: Sight | None) -> Span:
    if one is None:
        return Span("·", "dim")
    if one.reached is None:
        return Span("? cannot be asked", "warn")
    return Span("✓ reached", "good") if one.reached else Span("✗ not reached", "bad")


def _loss(source: str, known: Loss, seen: Preflight) -> Iterator[str | Span]:
    style: Style = "good" if known.none else "warn"
    verb = "restoring" if known.mode == "backup" else "promoting"
    yield Span(f"{source}: {verb} now loses {known.words}", style)
    if seen.mode == "planned" and known.mode != "backup":
        yield f"; {_PATIENT}"
    if known.mode in ("synchronous", "asynchronous"):
        yield f"; replication is {known.mode}"
    if known.basis:
        yield f" ({known.basis})"


def live_lines(seen: Preflight) -> list[Line]:
    """What `drorch check --live` shows of one runbook."""
    verdict: Span = {
        Standing.GOOD: Span("ready", "good"),
        Standing.DOUBTFUL: Span("ready, with doubts", "warn"),
        Standing.UNKNOWN: Span("not known to be ready", "warn"),
        Standing.BAD: Span("not ready", "bad"),
    }[seen.worst]
    return [
        line(Span(seen.runbook, "bold"), f" of {seen.service}: ", verdict, f"  plan {seen.plan[:16]}"),
        line(""),
        *sight_lines(seen.sights),
        line(""),
        *preflight_lines(seen, whole=True),
        *losses_line(seen),
        line(""),
    ]
