"""`drorch reclaim STORE`."""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from drorch.cli.execution import start
from drorch.cli.main import app, say_json
from drorch.config.offsite import offsite_runbook
from drorch.core.errors import DrorchError, Refused
from drorch.core.exits import Exit
from drorch.core.model import Json, format_duration, parse_duration
from drorch.engine.plan import make_plan
from drorch.mirror.names import REMOVED
from drorch.reports.text import size

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.mirror.reclaim import Gone, Noted


@click.command("reclaim")
@click.argument("store")
@click.option("--repository", metavar="NAME", help="Which repository's copy, where several could be meant.")
@click.option("--grace", metavar="TIME", default="30d", show_default=True, help="How long it must have been gone.")
@click.option("--shrink", is_flag=True, help="Agree to remove even more than half of the copy.")
@click.option("--yes", metavar="STORE", help="Confirm by the store's name, for scripts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; deletes nothing without --yes.")
def command(store: str, repository: str | None, grace: str, yes: str | None, *, shrink: bool, as_json: bool) -> Exit:
    """Remove from the copy in STORE what its repository no longer has.

    The first time it only notes what is gone. After the grace period it shows what would be removed, and removes it
    once you agree, with the deleter's credential. Nothing else ever deletes from a copy.
    """
    drorch = app()
    inventory, runbooks = drorch.documents.inventory, drorch.documents.runbooks
    # Names are checked, and a repository chosen, before anything connects.
    probe = offsite_runbook(inventory, runbooks, "audit", store, repository)
    name = str(getattr(next(probe.placed()).step, "repository", None))
    try:
        wanted = parse_duration(grace)
    except ValueError as error:
        raise DrorchError(f"--grace: {error}") from None
    found, said = _look(drorch, store, name, wanted, shrink=shrink)
    if found is None:
        if as_json:
            say_json(said)
        else:
            click.echo(said["text"])
        return Exit.OK
    if not as_json or yes is None:
        _show(found, store, name, said, as_json=as_json)
    if as_json and yes is None:
        return Exit.OK
    if not found.count:
        return Exit.OK
    _agree(store, yes)
    runbook = offsite_runbook(
        inventory, runbooks, "reclaim", store, name, agreed=found.token, grace=format_duration(wanted), shrink=shrink
    )
    return start(drorch, make_plan(inventory, runbook), as_json=as_json)


def _look(
    drorch: "App", store: str, name: str, grace: timedelta, *, shrink: bool
) -> "tuple[Gone | None, dict[str, Json]]":
    """What may go now; or None and what was said instead: it was noted, or must wait."""
    from drorch.mirror import ledger, reclaim  # noqa: PLC0415 - help needs none of this

    box = drorch.everything()
    try:
        place = box.store(store)
        place.ready()
        now = drorch.clock.now()
        wait = reclaim.grace_for(place.lock, grace)
        gone = reclaim.look(box.files(name), place, f"{name}/")
        since, known = reclaim.noted(box.memory, store, name), ledger.read(box.memory, store, name)
        said: dict[str, Json] = {
            "store": store,
            "repository": name,
            "gone": {kind.value: len(gone.files[kind]) for kind in REMOVED},
            "gone_bytes": gone.size,
            "objects": gone.objects,
            "bytes": gone.bytes,
            "grace": format_duration(wait),
        }
        if since is None and gone.count:
            since = reclaim.note(box.memory, store, name, gone, known, now=now)
            said |= _noted(
                since, wait, f"noted: {gone.count} files ({size(gone.size)}) of the copy are gone from {name}"
            )
            return None, said
        if not gone.count:
            return None, {**said, "text": f"the copy in {store} has nothing that {name} does not have"}
        found = reclaim.ripe(gone, since, known, grace=wait, now=now, shrink=shrink)
        return found, said
    finally:
        box.close()


def _noted(since: "Noted", wait: timedelta, text: str) -> dict[str, Json]:
    when = since.since + wait
    return {
        "noted": since.since.isoformat(),
        "ripe_at": when.isoformat(),
        "text": f"{text}; nothing is removed before {when:%Y-%m-%d}: come back then",
    }


def _show(found: "Gone", store: str, name: str, said: dict[str, Json], *, as_json: bool) -> None:
    if as_json:
        removable = {kind.value: sorted(found.files[kind]) for kind in REMOVED}
        say_json({**said, "removable": removable, "removable_bytes": found.size, "agreed": found.token})
        return
    click.echo(f"this would be removed from the copy of {name} in {store}, for good:")
    for kind in REMOVED:
        ids = sorted(found.files[kind])
        if ids:
            more = f", … ({len(ids)} in all)" if len(ids) > 3 else ""  # noqa: PLR2004 - as many as are shown
            click.echo(f"  {kind.value:9} {', '.join(id_[:16] for id_ in ids[:3])}{more}")
    click.echo(f"  {found.count} of {said['objects']} files, {size(found.size)} of {size(said['bytes'])}")


def _agree(store: str, yes: str | None) -> None:
    if yes == store:
        return
    if yes is not None:
        raise Refused(f"--yes={yes} is not the store's name", hint=f"--yes={store}")
    if not sys.stdin.isatty():
        raise Refused("nobody is here to agree; nothing was removed", hint=f"--yes={store}")
    if click.prompt("Type the store's name to remove it", default="", show_default=False, err=True) != store:
        raise Refused("not confirmed; nothing was removed")
