"""`drorch failover SERVICE`."""

import click

from drorch.cli.moving import Wanted, move, options
from drorch.core.exits import Exit


@options
@click.command("failover")
@click.argument("service")
def command(service: str, **said: object) -> Exit:
    """Lead SERVICE to its standby: look, show what happens and what is lost, confirm, do it, prove it."""
    return move(Wanted("failover", service, **said))  # type: ignore[arg-type]  # click gives what the options say
