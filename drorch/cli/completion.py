"""`drorch completion SHELL`."""

import click
from click.shell_completion import get_completion_class

from drorch.core.exits import Exit


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> Exit:
    """Print SHELL's completion script; for bash: eval "$(drorch completion bash)"."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(click.get_current_context().find_root().command, {}, "drorch", "_DRORCH_COMPLETE").source())
    return Exit.OK
