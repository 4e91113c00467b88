"""`drorch run RUNBOOK`."""

from datetime import datetime

import click

from drorch.cli.execution import start
from drorch.cli.main import app
from drorch.core.errors import Refused, UnknownName
from drorch.core.exits import Exit
from drorch.engine.plan import make_plan


@click.command("run")
@click.argument("runbook")
@click.option("--standby", help="Drill on this host instead of the runbook's.")
@click.option("--snapshot", help="latest, random, before:TIME or a snapshot's id, instead of the runbook's.")
@click.option("--store", help="Restore from the off-site copy in this store instead of the repository.")
@click.option("--slot", hidden=True, help="The scheduled instant that this run is for; the daemon says it.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    runbook: str, standby: str | None, snapshot: str | None, store: str | None, slot: str | None, *, as_json: bool
) -> Exit:
    """Run RUNBOOK now."""
    drorch = app()
    documents = drorch.documents
    if runbook not in documents.runbooks:
        known = ", ".join(sorted(documents.runbooks)) or "none"
        raise UnknownName(f"no runbook {runbook}", hint=f"there is {known}")
    book = documents.runbooks[runbook]
    if book.moves:
        raise Refused(
            f"{runbook} is a {book.kind}: nothing was done",
            hint=f"drorch {book.kind} {book.service} looks first, and asks",
        )
    plan = make_plan(documents.inventory, documents.runbooks[runbook], target=standby, snapshot=snapshot, store=store)
    return start(drorch, plan, slot=datetime.fromisoformat(slot) if slot else None, as_json=as_json)
