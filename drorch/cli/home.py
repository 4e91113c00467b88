"""`drorch home SERVICE [HOST]`."""

import click

from drorch.cli.main import app, say_json
from drorch.core.errors import Refused, UnknownName
from drorch.core.exits import Exit
from drorch.engine.runs import operator


@click.command("home")
@click.argument("service")
@click.argument("host", required=False)
@click.option("--reason", default="", help="Why it is set by hand; required then.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(service: str, host: str | None, reason: str, *, as_json: bool) -> Exit:
    """Say on which host SERVICE lives: where a failover led it, else the inventory's primary.

    With HOST, set it: for a service that was moved by hand or by another controller. Nothing is moved.
    """
    from drorch.config.adhoc import known  # noqa: PLC0415 - help needs none of this

    drorch = app()
    inventory = drorch.documents.inventory
    known(inventory, service)
    if host is not None:
        if host not in inventory.hosts:
            raise UnknownName(f"no host {host} in the inventory", hint=f"there is {', '.join(inventory.hosts)}")
        if not reason:
            raise Refused("say why it is set by hand; nothing was done", hint=f'--reason "moved by hand on {host}"')
        now = drorch.clock.now()
        said = {"host": host, "since": now.isoformat(), "run": "", "by": operator(), "reason": reason}
        drorch.journal.put(f"home:{service}", said)
        drorch.journal.append("home", f"home {service} {now.isoformat()}", now, {"what": "home", **said})
    home = drorch.home(service)
    lives = host or inventory.services[service].primary
    if as_json:
        say_json({"service": service, "host": lives, "said": home})
        return Exit.OK
    since = ""
    if home is not None:
        by = f"led there by {home['run']}" if home.get("run") else f"set by {home.get('by')}: {home.get('reason')}"
        since = f", since {home['since']}, {by}"
    click.echo(f"{service} lives on {lives}{since or ', as the inventory says'}")
    return Exit.OK
