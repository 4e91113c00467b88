"""`drorch pause RUN`."""

import click

from drorch.cli.main import app, say_json
from drorch.cli.reading import find_run
from drorch.core.errors import RunError
from drorch.core.exits import Exit
from drorch.core.step import RunState
from drorch.engine.runs import STOP_PATIENCE, operator


@click.command("pause")
@click.argument("run")
@click.option("--note", default="", help="A reason, kept in the evidence.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(run: str, note: str, *, as_json: bool) -> Exit:
    """Stop RUN in the middle of what it does; `drorch resume` begins that step again."""
    drorch = app()
    stands = find_run(drorch, run)
    if stands.state.final:
        raise RunError(f"{stands.id} is over: {stands.state}", hint=f"drorch show {stands.id}")
    if stands.state in (RunState.PAUSED_FAILED, RunState.WAITING_APPROVAL):
        raise RunError(f"{stands.id} stands already: it is {stands.state}", hint=f"drorch show {stands.id}")
    drorch.leases.ask_to_stop(f"run:{stands.id}", wait=STOP_PATIENCE + 10)
    stands = drorch.journal.run(stands.id)
    if stands.state.final:
        raise RunError(f"{stands.id} ended meanwhile: {stands.state}", hint=f"drorch show {stands.id}")
    now = drorch.clock.now()
    said = {"what": "paused", "by": operator(), "note": note}
    drorch.journal.append(stands.id, f"paused {now.isoformat()}", now, said)
    drorch.journal.stand(stands.id, RunState.PAUSED_OPERATOR, now)
    if as_json:
        say_json({"run": stands.id, "state": RunState.PAUSED_OPERATOR.value, "exit_code": int(Exit.OK)})
    else:
        click.echo(f"{stands.id} stands still; to go on: drorch resume {stands.id}")
    return Exit.OK
