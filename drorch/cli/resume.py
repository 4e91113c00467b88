"""`drorch resume RUN`."""

import click

from drorch.cli.execution import execute
from drorch.cli.main import app
from drorch.cli.reading import find_run
from drorch.core.exits import Exit


@click.command("resume")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(run: str, *, as_json: bool) -> Exit:
    """Go on with RUN where its records end."""
    drorch = app()
    return execute(drorch, find_run(drorch, run), as_json=as_json)
