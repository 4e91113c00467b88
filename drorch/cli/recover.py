"""`drorch recover STORE --to FOLDER`."""

from datetime import UTC, datetime
from pathlib import Path

import click

from drorch.cli.execution import start
from drorch.cli.main import app
from drorch.config.offsite import offsite_runbook
from drorch.core.errors import DrorchError
from drorch.core.exits import Exit
from drorch.engine.plan import make_plan

_WRITTEN = "write it as 2026-10-01T14:30:00Z"


@click.command("recover")
@click.argument("store")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="A fresh folder of this machine.")
@click.option("--as-of", metavar="TIME", help="Leave out what reached the store later, as 2026-10-01T14:30:00Z.")
@click.option("--repository", metavar="NAME", help="Which repository's mirror, where several could be meant.")
@click.option("--config-sha256", metavar="DIGITS", help="Which repository it must be, if drorch no longer remembers.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    store: str, folder: Path, as_of: str | None, repository: str | None, config_sha256: str | None, *, as_json: bool
) -> Exit:
    """Rebuild a repository from its mirror in STORE, even after somebody overwrote and deleted everything there.

    Of each file the version whose content matches its name is taken; restic checks the result.
    """
    drorch = app()
    inventory, runbooks = drorch.documents.inventory, drorch.documents.runbooks
    to = folder.expanduser().absolute()
    if to == Path(to.anchor):
        raise DrorchError(
            f"--to: {to} is no fresh folder", hint="name one that is not there yet, with room for all of it"
        )
    moment = None if as_of is None else _moment(as_of)
    runbook = offsite_runbook(
        inventory,
        runbooks,
        "recover",
        store,
        repository,
        to=str(to),
        as_of=moment.isoformat() if moment else None,
        config_sha256=config_sha256,
    )
    code = start(drorch, make_plan(inventory, runbook), as_json=as_json)
    if code in {Exit.OK, Exit.EXCEPTIONS} and not as_json:
        click.echo(f"the repository is in {to}. To restore from it, let url: of the inventory name that folder")
    return code


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DrorchError(f"--as-of: {text or 'nothing'} is no time", hint=_WRITTEN) from None
    if moment.tzinfo is None:
        raise DrorchError("--as-of: the time needs a zone", hint=f"as in {text}Z for UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise DrorchError(f"--as-of: {text} is no time", hint=_WRITTEN) from None
