"""`drorch audit STORE`."""

import click

from drorch.cli.execution import start
from drorch.cli.main import app
from drorch.config.offsite import offsite_runbook
from drorch.core.exits import Exit
from drorch.engine.plan import make_plan


@click.command("audit")
@click.argument("store")
@click.option("--repository", metavar="NAME", help="Which repository's copy, where several could be meant.")
@click.option("--everything", is_flag=True, help="Read and hash every byte of it now.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(store: str, repository: str | None, *, everything: bool, as_json: bool) -> Exit:
    """Look whether the copy in STORE is whole, unaltered and locked; a share of it is read back each time."""
    drorch = app()
    inventory, runbooks = drorch.documents.inventory, drorch.documents.runbooks
    runbook = offsite_runbook(inventory, runbooks, "audit", store, repository, everything=everything)
    return start(drorch, make_plan(inventory, runbook), as_json=as_json)
