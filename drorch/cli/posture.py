"""`drorch posture [SERVICE]`."""

import click

from drorch.cli.main import app, say_json
from drorch.core.exits import Exit


@click.command("posture")
@click.argument("service", required=False)
@click.option("--check", is_flag=True, help="Exit with 9 when a digit does not hold.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(service: str | None, *, check: bool, as_json: bool) -> Exit:
    """Count copies, media, off-site and immutable ones and errors; name single points of failure. Nothing connects."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - help needs none of this

    from drorch.config.adhoc import known  # noqa: PLC0415 - the same
    from drorch.reports.counting import count  # noqa: PLC0415 - the same
    from drorch.reports.posture_text import posture_lines  # noqa: PLC0415 - the same
    from drorch.reports.text import to_json, write  # noqa: PLC0415 - the same

    drorch = app()
    inventory = drorch.documents.inventory
    if service is not None:
        known(inventory, service)
    postures = count(inventory, drorch.documents.runbooks, drorch.journal, drorch.clock.now(), only=service)
    good = all(one.good for one in postures)
    if as_json:
        shown = [
            {
                **to_json(one),
                "good": one.good,
                "shown": one.shown,
                "digits": [{**to_json(digit), "good": digit.good} for digit in one.digits],
                "copies": [{**to_json(copy), "counts": copy.counts} for copy in one.copies],
            }
            for one in postures
        ]
        say_json({"site": inventory.site, "good": good, "services": shown})
    else:
        write(posture_lines(postures, ZoneInfo(inventory.timezone)))
    return Exit.AT_RISK if check and not good else Exit.OK
