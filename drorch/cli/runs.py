"""`drorch runs`."""

import click

from drorch.cli.main import app, say_json
from drorch.core.exits import Exit


@click.command("runs")
@click.option("--service", help="Only runs of this service.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.option("--unfinished", is_flag=True, help="Only runs that are not over.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(service: str | None, limit: int, *, unfinished: bool, as_json: bool) -> Exit:
    """List runs, newest first."""
    from drorch.cli.reading import zone_of  # noqa: PLC0415 - help needs none of this
    from drorch.reports.listing import listed, run_lines  # noqa: PLC0415 - the same
    from drorch.reports.text import line, to_json, write  # noqa: PLC0415 - the same

    drorch = app()
    found = [
        listed(run, alive=not run.state.final and drorch.runs.alive(run))
        for run in drorch.journal.runs(service=service, limit=limit, unfinished=unfinished)
    ]
    if as_json:
        say_json({"runs": to_json(found)})
    elif found:
        write(run_lines(found, zone_of(drorch)))
    else:
        write([line("no unfinished runs" if unfinished else "no runs", f" of {service}" if service else "")])
    return Exit.OK
