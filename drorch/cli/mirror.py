"""`drorch mirror STORE`."""

import click

from drorch.cli.execution import start
from drorch.cli.main import app
from drorch.config.offsite import offsite_runbook
from drorch.core.exits import Exit
from drorch.engine.plan import make_plan


@click.command("mirror")
@click.argument("store")
@click.option("--repository", metavar="NAME", help="Which repository, where several could be meant.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(store: str, repository: str | None, *, as_json: bool) -> Exit:
    """Bring the copy in STORE up to date now."""
    drorch = app()
    inventory, runbooks = drorch.documents.inventory, drorch.documents.runbooks
    return start(
        drorch, make_plan(inventory, offsite_runbook(inventory, runbooks, "mirror", store, repository)), as_json=as_json
    )
