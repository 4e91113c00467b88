"""`drorch backup SERVICE`."""

import click

from drorch.cli.execution import start
from drorch.cli.main import app
from drorch.config.adhoc import runbook_for
from drorch.core.exits import Exit
from drorch.engine.plan import make_plan


@click.command("backup")
@click.argument("service")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(service: str, *, as_json: bool) -> Exit:
    """Back up SERVICE: its backup runbook, or all its sources when it has none."""
    drorch = app()
    documents = drorch.documents
    runbook = runbook_for(documents.runbooks, documents.inventory, "backup", service)
    return start(drorch, make_plan(documents.inventory, runbook), as_json=as_json)
