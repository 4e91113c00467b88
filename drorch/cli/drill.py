"""`drorch drill SERVICE`."""

import click

from drorch.cli.execution import start
from drorch.cli.main import app
from drorch.config.adhoc import rehearsal_for, runbook_for
from drorch.core.exits import Exit
from drorch.engine.plan import make_plan


@click.command("drill")
@click.argument("service")
@click.option("--standby", help="Drill on this host instead of the runbook's.")
@click.option("--snapshot", help="latest, random, before:TIME or a snapshot's id, instead of the runbook's.")
@click.option("--store", help="Restore from the off-site copy in this store instead of the repository.")
@click.option("--failover", is_flag=True, help="Rehearse the failover, apart from everything live.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    service: str, standby: str | None, snapshot: str | None, store: str | None, *, failover: bool, as_json: bool
) -> Exit:
    """Restore SERVICE on a standby, verify it, measure, and clean up; or rehearse its failover."""
    drorch = app()
    documents = drorch.documents
    if failover:
        runbook = rehearsal_for(documents.runbooks, documents.inventory, service)
    else:
        runbook = runbook_for(documents.runbooks, documents.inventory, "drill", service)
    plan = make_plan(documents.inventory, runbook, target=standby, snapshot=snapshot, store=store)
    return start(drorch, plan, as_json=as_json)
