"""`drorch check --live`: could each service fail over now?"""

import click

from drorch.cli.main import app, say_json
from drorch.core.errors import Refused, UnknownName
from drorch.core.exits import Exit


def look(service: str | None, *, as_json: bool) -> Exit:
    """Look at every failover, or one service's, and remember what was seen for `drorch status`."""
    from drorch.config.adhoc import known  # noqa: PLC0415 - help needs none of this
    from drorch.core.finding import Standing  # noqa: PLC0415 - the same
    from drorch.engine.plan import make_plan  # noqa: PLC0415 - the same
    from drorch.engine.preflight import impatient, preflight  # noqa: PLC0415 - the same
    from drorch.reports.live import Live, drill_findings, live_key  # noqa: PLC0415 - the same
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
        runs = drorch.journal.runs(service=book.service)
        seen = seen.knowing(
            drill_findings(book.service, plan.service.sources, documents.runbooks, runs, drorch.clock.now())
        )
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
