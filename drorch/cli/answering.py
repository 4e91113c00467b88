"""What the verbs that answer a waiting run share."""

import click

from drorch.cli.execution import execute
from drorch.cli.main import app, say_json
from drorch.cli.reading import find_run
from drorch.core.exits import Exit
from drorch.engine.interpret import Answer, Verb
from drorch.engine.runs import operator


def answering(verb: Verb, words: str) -> click.Command:
    """The command ``drorch VERB RUN``: answer, and go on with the run here unless another process has it open."""

    @click.command(verb, help=words)
    @click.argument("run")
    @click.option("--note", default="", help="A reason, kept in the evidence.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    def command(run: str, note: str, *, as_json: bool) -> Exit:
        drorch = app()
        stands = find_run(drorch, run)
        answer = Answer(verb=verb, by=operator(), note=note)
        drorch.runs.waits_for(stands, verb)
        if not drorch.runs.alive(stands):
            return execute(drorch, stands, as_json=as_json, answer=answer)
        waiting = drorch.runs.answer(stands, answer)
        if as_json:
            say_json({"run": stands.id, "step": waiting.step, "answered": verb})
        else:
            click.echo(f"{verb} was sent to {stands.id}, which is open in {drorch.leases.holder(f'run:{stands.id}')}")
        return Exit.OK

    return command
