"""`drorch timeline RUN…`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drorch.cli.main import app, say_json
from drorch.cli.reading import doubts_of, find_run
from drorch.core.errors import SettingsError
from drorch.core.exits import Exit

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.engine.journal import Run
    from drorch.reports.incident import Chapter


@click.command("timeline")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--markdown", "as_markdown", is_flag=True, help="As Markdown, with sections for people to fill.")
@click.option("--html", "page_file", type=click.Path(path_type=Path), metavar="FILE", help="Write one page to FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(runs: tuple[str, ...], *, as_markdown: bool, page_file: Path | None, as_json: bool) -> Exit:
    """Write what happened in each RUN (or `last`), when, and by whose word: for the review afterwards.

    Every line names the record that it comes from. Several runs, such as a failover and its failback, are told as one.
    """
    from drorch.reports.text import to_json, write  # noqa: PLC0415 - help needs none of this
    from drorch.reports.timeline import timeline  # noqa: PLC0415 - the same
    from drorch.reports.timeline_page import page  # noqa: PLC0415 - the same
    from drorch.reports.timeline_text import markdown, timeline_lines  # noqa: PLC0415 - the same

    drorch = app()
    found = {run.id: run for run in (find_run(drorch, wanted) for wanted in runs)}
    chapters = [_chapter(drorch, run) for run in found.values()]
    broken, doubts = doubts_of(drorch, [(one.run, one.records) for one in chapters])
    told = timeline(chapters, doubts, broken)
    if page_file is not None:
        _write(page_file, page(told))
    if as_json:
        say_json(to_json(told))
    elif as_markdown:
        click.echo(markdown(told), nl=False)
    elif page_file is None:
        write(timeline_lines(told))
    for doubt in doubts if page_file is not None else ():
        click.secho(f"drorch: not to be believed: {doubt}", fg="red", err=True)
    return Exit.FAILED if doubts else Exit.OK


def _chapter(drorch: "App", run: "Run") -> "Chapter":
    from drorch.core.outage import watched_key  # noqa: PLC0415 - help needs none of this
    from drorch.reports.incident import Chapter  # noqa: PLC0415 - the same

    return Chapter(
        run=run,
        records=tuple(drorch.journal.records(run.id)),
        plan=drorch.runs.plan(run),
        alive=not run.state.final and drorch.runs.alive(run),
        note=None if run.state.final else drorch.journal.get(watched_key(run.id)),
    )


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}", hint="name another file") from error
    click.echo(f"written to {file}", err=True)
