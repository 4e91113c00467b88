"""`drorch init [FOLDER]`."""

from pathlib import Path

import click

from drorch.cli.main import say_json
from drorch.core.exits import Exit


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("config"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: Path, *, as_json: bool) -> Exit:
    """Write a commented, valid starting point into FOLDER (./config unless said); never over a file."""
    from drorch.config.template import init  # noqa: PLC0415 - help needs none of the models

    written = init(folder)
    found_by_itself = folder.absolute() == Path("config").absolute()
    drorch = "drorch" if found_by_itself else f"drorch --config {folder}"
    steps = (
        ("say in drorch.yaml what you have and where, then", f"{drorch} check"),
        ("compare and pin each SSH host's key", f"{drorch} host trust HOST"),
        ("create the repository", f"{drorch} repository create NAME"),
        ("take the first backup", f"{drorch} backup SERVICE"),
        ("prove that it restores", f"{drorch} drill SERVICE"),
        ("see what you would lose now", f"{drorch} status"),
    )
    if as_json:
        say_json({"written": [str(path) for path in written], "next": [command for _, command in steps]})
        return Exit.OK
    for path in written:
        click.echo(f"wrote {path}")
    click.echo("\nWhat to do next:")
    width = max(len(words) for words, _ in steps)
    for number, (words, command_) in enumerate(steps, 1):
        click.echo(f"  {number}. {words:<{width}}  {command_}")
    if not found_by_itself:
        click.echo(f"\nexport DRORCH_CONFIG={folder.absolute()} saves typing --config.")
    return Exit.OK
