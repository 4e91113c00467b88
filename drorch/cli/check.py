"""`drorch check`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from drorch.cli.looking import look
from drorch.cli.main import app, say_json
from drorch.core.exits import Exit
from drorch.core.model import Json

if TYPE_CHECKING:
    from drorch.config.load import Documents
    from drorch.core.errors import Problem


@click.command("check")
@click.argument("service", required=False)
@click.option("--live", is_flag=True, help="Also look at the living world: could SERVICE, or each, fail over now?")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(service: str | None, *, live: bool, as_json: bool) -> Exit:
    """Check inventory and runbooks; report every mistake of every file with its line. Nothing connects, unless asked
    to with --live.
    """
    from drorch.config.load import check  # noqa: PLC0415 - help needs none of this

    if live:
        return look(service, as_json=as_json)
    if service is not None:
        raise click.UsageError("a service is only looked at with --live; the documents are checked as a whole")
    settings = app().settings
    checked = check(settings.config, settings.runbooks)
    code = Exit.CONFIG if checked.documents is None else Exit.OK
    if as_json:
        say_json(
            {
                "good": checked.documents is not None,
                "files": [str(file) for file in checked.files],
                "problems": _plain(checked.problems),
                "warnings": _plain(checked.warnings),
                "exit_code": int(code),
            }
        )
        return code
    for warning in checked.warnings:
        click.echo(f"warning: {warning}", err=True)
    for problem in checked.problems:
        click.echo(str(problem), err=True)
    if checked.documents is None:
        count = len(checked.problems)
        click.secho(f"{count} mistake{'' if count == 1 else 's'} in {len(checked.files)} files", fg="red", err=True)
    else:
        click.echo(_summary(checked.documents))
    return code


def _plain(problems: "Sequence[Problem]") -> list[dict[str, Json]]:
    return [
        {"file": one.file, "line": one.line, "key": one.key, "message": one.message, "hint": one.hint}
        for one in problems
    ]


def _summary(documents: "Documents") -> str:
    inventory = documents.inventory
    counts = (
        ("host", len(inventory.hosts)),
        ("repository", len(inventory.repositories)),
        ("service", len(inventory.services)),
        ("runbook", len(documents.runbooks)),
    )
    words = [f"{count} {_plural(word, count)}" for word, count in counts]
    unscheduled = [name for name, runbook in documents.runbooks.items() if runbook.schedule is None]
    by_hand = f"; only by hand: {', '.join(unscheduled)}" if unscheduled else ""
    return f"{documents.file} is right: {', '.join(words)}{by_hand}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
