"""`drorch status [SERVICE]`."""

import click

from drorch.cli.main import app, say_json
from drorch.core.exits import Exit


@click.command("status")
@click.argument("service", required=False)
@click.option("--check", is_flag=True, help="Exit with 9 when an objective is missed or something is unproven.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(service: str | None, *, check: bool, as_json: bool) -> Exit:
    """Say on one screen what would be lost if the primary died now."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - help needs none of this

    from drorch.config.adhoc import known  # noqa: PLC0415 - the same
    from drorch.reports.standing import stand  # noqa: PLC0415 - the same
    from drorch.reports.status import status_lines  # noqa: PLC0415 - the same
    from drorch.reports.text import to_json, write  # noqa: PLC0415 - the same

    drorch = app()
    documents = drorch.documents
    if service is not None:
        known(documents.inventory, service)
    standing = stand(
        documents.inventory,
        documents.runbooks,
        drorch.journal,
        drorch.runs.alive,
        drorch.clock.now(),
        daemon=drorch.settings.state.exists() and drorch.leases.held("daemon"),
        only=service,
        written={name: one.primary for name, one in drorch.written.inventory.services.items()},
    )
    if as_json:
        say_json({**to_json(standing), "good": standing.good})
    else:
        write(status_lines(standing, ZoneInfo(documents.inventory.timezone)))
    return Exit.AT_RISK if check and not standing.good else Exit.OK
