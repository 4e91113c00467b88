"""`drorch check --live`: could each service fail over now?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from drorch.cli.main import app, say_json
from drorch.core.errors import Refused, UnknownName
from drorch.core.exits import Exit

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.core.finding import Finding


def look(service: str | None, *, as_json: bool) -> Exit:
    """Look at every failover, or one service's, and remember what was seen for `drorch status`."""
    from drorch.config.adhoc import known  # noqa: PLC0415 - help needs none of this
    from drorch.core.finding import Standing  # noqa: PLC0415 - the same
    from drorch.engine.plan import make_plan  # noqa: PLC0415 - the same
    from drorch.engine.preflight import impatient, preflight  # noqa: PLC0415 - the same
    from drorch.reports.live import Live, live_key  # noqa: PLC0415 - the same
    from drorch.reports.preflight import live_lines  # noqa: PLC0415 - the same
    from drorch.reports.text import write  # noqa: PLC0415 - the same

    drorch = app()
    documents = drorch.documents
    if service is not None:
        known(documents.inventory, service)
    books = [book for book in documents.runbooks.values() if book.moves and service in (None, book.service)]
    if not books:
        raise UnknownName(
            f"no failover runbook{f' of {service}' if service else ''}: there is nothing to look at",
            hint="write one; docs/failover.md shows the shape",
        )
    found, refused = [], []
    for book in books:
        try:
            plan = make_plan(documents.inventory, book)
        except Refused as error:
            refused.append((book.runbook, error))
            continue
        if not as_json:
            click.echo(f"looking at {book.service} for {book.runbook} …", err=True)
        looking = impatient(plan)
        with drorch.box(looking) as box:
            seen = preflight(looking, box, digest=plan.digest)
        seen = seen.knowing(_proven(drorch, book.service))
        found.append(seen)
        drorch.journal.put(live_key(book.runbook), Live.of(seen).model_dump(mode="json"))
    worst = max((seen.worst for seen in found), key=lambda one: one.height, default=Standing.GOOD)
    bad = worst in (Standing.BAD, Standing.UNKNOWN)
    code = Exit.AT_RISK if bad else Exit.OK
    if as_json:
        looked = [{**seen.model_dump(mode="json"), "worst": seen.worst.value} for seen in found]
        left = [{"runbook": name, "why": left_out.message} for name, left_out in refused]
        say_json({"good": not bad, "looked": looked, "left_out": left, "exit_code": int(code)})
        return code
    for seen in found:
        write(live_lines(seen))
    for name, left_out in refused:
        click.echo(f"{name} was left out: {left_out.message}")
    return code


def _proven(drorch: "App", service: str) -> Iterator["Finding"]:
    """What drills and rehearsals have shown of a service; status judges it the same."""
    from drorch.core.finding import Finding, Standing  # noqa: PLC0415 - help needs none of this
    from drorch.reports.live import drill_finding, rehearsal_gaps  # noqa: PLC0415 - the same
    from drorch.reports.standing import stand  # noqa: PLC0415 - the same

    documents, now = drorch.documents, drorch.clock.now()
    stands = stand(
        documents.inventory, documents.runbooks, drorch.journal, drorch.runs.alive, now, daemon=True, only=service
    )
    runs = drorch.journal.runs(service=service)
    yield drill_finding(service, stands.services[0].drills, runs, now)
    for gap in rehearsal_gaps(service, documents.runbooks, runs, now):
        yield Finding(about="rehearsal", what=gap.what, standing=Standing.DOUBTFUL, remedy=gap.do)
