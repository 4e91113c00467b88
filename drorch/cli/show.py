"""`drorch show RUN`."""

import click

from drorch.cli.main import app, say_json
from drorch.core.exits import Exit


@click.command("show")
@click.argument("run")
@click.option("--verify", "verifying", is_flag=True, help="Check the whole journal's chain and signatures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: str, *, verifying: bool, as_json: bool) -> Exit:
    """Show RUN, its unique beginning, or `last`: what was done, measured and proven."""
    from drorch.cli.reading import doubts_of, find_run, zone_of  # noqa: PLC0415 - help needs none of this
    from drorch.core.outage import watched_key  # noqa: PLC0415 - the same
    from drorch.reports.evidence import run_report  # noqa: PLC0415 - the same
    from drorch.reports.show import run_lines  # noqa: PLC0415 - the same
    from drorch.reports.text import Span, line, to_json, write  # noqa: PLC0415 - the same

    drorch = app()
    found = find_run(drorch, run)
    records = tuple(drorch.journal.records(found.id))
    alive = not found.state.final and drorch.runs.alive(found)
    report = run_report(
        found, records, drorch.runs.plan(found), alive=alive, note=drorch.journal.get(watched_key(found.id))
    )
    _, doubts = doubts_of(drorch, [(found, records)]) if verifying else (None, ())
    if as_json:
        say_json({**to_json(report), **({"believable": not doubts, "doubts": list(doubts)} if verifying else {})})
        return Exit.FAILED if doubts else Exit.OK
    write(run_lines(report, zone_of(drorch)))
    if verifying and not doubts:
        write([line(Span("✓ every record of the journal is chained and signed, and this run is as recorded", "good"))])
    write([line(Span(f"✗ not to be believed: {doubt}", "bad"), hanging=2) for doubt in doubts])
    return Exit.FAILED if doubts else Exit.OK
