"""`drorch restore SERVICE [SOURCE…]`."""

import sys

import click

from drorch.cli.execution import start
from drorch.cli.main import app
from drorch.config.adhoc import restore_runbook
from drorch.core.errors import Refused
from drorch.core.exits import Exit
from drorch.core.host import printable
from drorch.engine.plan import Plan, make_plan


@click.command("restore")
@click.argument("service")
@click.argument("sources", nargs=-1)
@click.option("--host", help="Restore on this host; each source's own unless said.")
@click.option("--snapshot", default="latest", show_default=True, help="latest, before:TIME or a snapshot's id.")
@click.option("--store", help="Restore from the off-site copy in this store instead of the repository.")
@click.option("--swap", is_flag=True, help="Put the restored things in the live ones' place; the live ones are kept.")
@click.option("--yes", metavar="SERVICE", help="Confirm --swap by the service's name, for scripts.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    service: str,
    sources: tuple[str, ...],
    *,
    host: str | None,
    snapshot: str,
    store: str | None,
    yes: str | None,
    swap: bool,
    as_json: bool,
) -> Exit:
    """Restore SERVICE, or only the named SOURCES of it, beside the live ones."""
    drorch = app()
    inventory = drorch.documents.inventory
    runbook = restore_runbook(inventory, service, sources, host=host, snapshot=snapshot, swap=swap, store=store)
    plan = make_plan(inventory, runbook)
    if swap:
        _confirm(plan, service, yes)
    return start(drorch, plan, as_json=as_json)


def _confirm(plan: Plan, service: str, yes: str | None) -> None:
    """Show what a swap replaces and have the service's name typed."""
    if yes == service:
        return
    if yes is not None:
        raise Refused(f"--yes={yes} is not the service's name", hint=f"--yes={service}")
    click.echo(
        f"This replaces live data of {service}; the live things are kept beside. Plan {plan.digest[:16]}:", err=True
    )
    for planned in plan.steps():
        click.echo(printable(f"  {planned.id}: {planned.step.describe(plan.scene)}"), err=True)
    if not sys.stdin.isatty():
        raise Refused("a swap wants a confirmation", hint=f"--yes={service}")
    typed = click.prompt(f"Type the service's name to go on ({service})", default="", show_default=False, err=True)
    if typed != service:
        raise Refused("not confirmed; nothing was done")
