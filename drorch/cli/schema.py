"""`drorch schema [inventory|runbook]`."""

import click

from drorch.cli.main import say_json
from drorch.core.exits import Exit


@click.command("schema")
@click.argument("which", type=click.Choice(["inventory", "runbook"]), required=False)
@click.option("--json", "as_json", is_flag=True, help="A schema is JSON anyway; accepted for sameness.")
def command(which: str | None, *, as_json: bool) -> Exit:  # noqa: ARG001 - every verb that reports takes --json
    """Print the JSON Schema of the inventory or of a runbook; of both when neither is said."""
    from drorch.config.schema import json_schema  # noqa: PLC0415 - help needs none of the models

    if which is None:
        say_json({"inventory": json_schema("inventory"), "runbook": json_schema("runbook")})
    else:
        say_json(json_schema("inventory" if which == "inventory" else "runbook"))
    return Exit.OK
