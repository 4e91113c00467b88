"""`drorch abort RUN`."""

from typing import TYPE_CHECKING

import click

from drorch.cli.execution import execute
from drorch.cli.main import app
from drorch.cli.reading import find_run
from drorch.core.errors import Refused, RunError
from drorch.core.exits import Exit
from drorch.engine.interpret import Answer, Parting
from drorch.engine.journal import Run
from drorch.engine.runs import STOP_PATIENCE, operator

if TYPE_CHECKING:
    from drorch.app import App


@click.command("abort")
@click.argument("run")
@click.option(
    "--undo", "parting", flag_value="undo", help="Take back what can be taken back, up to the point of no return."
)
@click.option("--leave", "parting", flag_value="leave", help="Leave everything as it stands.")
@click.option("--note", default="", help="A reason, kept in the evidence.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(run: str, parting: Parting | None, note: str, *, as_json: bool) -> Exit:
    """End RUN: nothing more of it is begun, but its clean-up happens.

    Unless you say otherwise, a failover or failback that has not passed its point of no return is taken back, so that
    the service runs again where it was. One that has passed it is only ended with --leave.
    """
    drorch = app()
    stands = find_run(drorch, run)
    if stands.state.final:
        raise RunError(f"{stands.id} is over: {stands.state}", hint=f"drorch show {stands.id}")
    _short_of_return(drorch, stands, parting)
    drorch.leases.ask_to_stop(f"run:{stands.id}", wait=STOP_PATIENCE + 10)
    stands = drorch.journal.run(stands.id)
    _short_of_return(drorch, stands, parting)
    said = Answer(verb="abort", by=operator(), note=note, parting=parting)
    execute(drorch, stands, as_json=as_json, answer=said if "topic" in stands.detail else None, aborted=said)
    ended = drorch.journal.run(stands.id)
    if not ended.state.final:
        return Exit.FAILED
    return Exit.EXCEPTIONS if any("not be undone" in text for text in _exceptions(ended.detail)) else Exit.OK


def _short_of_return(drorch: "App", run: Run, parting: Parting | None) -> None:
    """Refuse to end by mistake what can only be finished."""
    passed = next((planned.id for planned in drorch.runs.standing(run) if planned.step.irreversible), None)
    if passed is not None and parting is None:
        raise Refused(
            f"{run.id} has passed its point of no return, {passed}: ended now, customers may be led nowhere",
            hint=f"go on with drorch resume {run.id} (or retry); to end it all the same, as it stands: --leave",
        )


def _exceptions(detail: object) -> list[str]:
    found = detail.get("exceptions") if isinstance(detail, dict) else None
    return [str(text) for text in found or ()]
