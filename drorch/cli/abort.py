"""`drorch abort RUN`."""

import click

from drorch.cli.execution import execute
from drorch.cli.main import app
from drorch.cli.reading import find_run
from drorch.core.errors import RunError
from drorch.core.exits import Exit
from drorch.engine.interpret import Answer
from drorch.engine.runs import STOP_PATIENCE, operator


@click.command("abort")
@click.argument("run")
@click.option("--note", default="", help="A reason, kept in the evidence.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(run: str, note: str, *, as_json: bool) -> Exit:
    """End RUN: nothing more of it is begun, but its clean-up happens."""
    drorch = app()
    stands = find_run(drorch, run)
    if stands.state.final:
        raise RunError(f"{stands.id} is over: {stands.state}", hint=f"drorch show {stands.id}")
    drorch.leases.ask_to_stop(f"run:{stands.id}", wait=STOP_PATIENCE + 10)
    by = operator()
    stands = drorch.journal.run(stands.id)
    waits = "topic" in stands.detail
    answer = Answer(verb="abort", by=by, note=note) if waits else None
    execute(drorch, stands, as_json=as_json, answer=answer, aborted_by=by)
    ended = drorch.journal.run(stands.id)
    return Exit.OK if ended.state.final else Exit.FAILED
