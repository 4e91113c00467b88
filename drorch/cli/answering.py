"""What the verbs that answer a waiting run share."""

from typing import TYPE_CHECKING

import click

from drorch.cli.execution import execute
from drorch.cli.main import app, say_json
from drorch.cli.reading import find_run
from drorch.core.exits import Exit
from drorch.engine.interpret import Answer, Verb
from drorch.engine.runs import operator

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.engine.journal import Run


def answering(verb: Verb, words: str) -> click.Command:
    """The command ``drorch VERB RUN``: answer, and go on with the run here unless another process has it open."""

    @click.command(verb, help=words)
    @click.argument("run")
    @click.option("--note", default="", help="A reason, kept in the evidence.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    def command(run: str, note: str, *, as_json: bool) -> Exit:
        drorch = app()
        return give(drorch, find_run(drorch, run), Answer(verb=verb, by=operator(), note=note), as_json=as_json)

    return command


def give(drorch: "App", run: "Run", answer: Answer, *, as_json: bool) -> Exit:
    """Answer a run, and go on with it here unless another process has it open."""
    drorch.runs.waits_for(run, answer.verb)
    if not drorch.runs.alive(run):
        return execute(drorch, run, as_json=as_json, answer=answer)
    waiting = drorch.runs.answer(run, answer)
    if as_json:
        say_json({"run": run.id, "step": waiting.step, "answered": answer.verb})
    else:
        click.echo(f"{answer.verb} was sent to {run.id}, which is open in {drorch.leases.holder(f'run:{run.id}')}")
    return Exit.OK
