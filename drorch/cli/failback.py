"""`drorch failback SERVICE`."""

import click

from drorch.cli.moving import Wanted, move, options
from drorch.core.exits import Exit


@options
@click.command("failback")
@click.argument("service")
def command(service: str, **said: object) -> Exit:
    """Lead SERVICE back: its old home becomes a standby, catches up, and takes over again."""
    return move(Wanted("failback", service, **said))  # type: ignore[arg-type]  # click gives what the options say
