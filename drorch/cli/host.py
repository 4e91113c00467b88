"""`drorch host list|test|trust`."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import click

from drorch.cli.main import app, say_json
from drorch.cli.trusting import trust
from drorch.core.errors import DrorchError, UnknownName
from drorch.core.exits import Exit
from drorch.core.model import Json

if TYPE_CHECKING:
    from drorch.app import App, Box

_AT_ONCE = 16


@click.group("host")
def command() -> None:
    """List hosts, test them, trust their keys."""


command.add_command(trust)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> Exit:
    """List the inventory's hosts; nothing connects."""
    from drorch.core.host import SshHostSpec  # noqa: PLC0415 - help needs none of this
    from drorch.reports.text import Span, columns, write  # noqa: PLC0415 - the same

    inventory = app().documents.inventory
    found: list[dict[str, Json]] = []
    for name, spec in inventory.hosts.items():
        remote = isinstance(spec, SshHostSpec)
        found.append(
            {
                "host": name,
                "connector": spec.connector,
                "address": f"{spec.user}@{spec.address}:{spec.port}" if isinstance(spec, SshHostSpec) else "",
                "pinned": bool(spec.host_key) if isinstance(spec, SshHostSpec) else bool(spec.machine_id),
                "usable": not remote or bool(spec.host_key if isinstance(spec, SshHostSpec) else True),
                "primary_of": [key for key, service in inventory.services.items() if service.primary == name],
                "standby_of": [key for key, service in inventory.services.items() if name in service.standbys],
            }
        )
    if as_json:
        say_json({"hosts": found})
        return Exit.OK
    rows = []
    for host in found:
        key = Span("✓ key pinned", "good") if host["pinned"] else Span("no pin", "dim")
        if not host["usable"]:
            key = Span(f"✗ not trusted yet: drorch host trust {host['host']}", "bad")
        roles = [f"primary of {', '.join(host['primary_of'])}"] if host["primary_of"] else []
        roles += [f"standby of {', '.join(host['standby_of'])}"] if host["standby_of"] else []
        rows.append((host["host"], host["connector"], host["address"], "; ".join(roles) or "-", key))
    write(columns(rows, indent=0))
    return Exit.OK


@command.command("test")
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(names: tuple[str, ...], *, as_json: bool) -> Exit:
    """Connect to each of NAMES, or to every host, and ask it who it is; changes nothing."""
    from drorch.reports.text import Span, columns, write  # noqa: PLC0415 - help needs none of this

    drorch = app()
    hosts = drorch.documents.inventory.hosts
    for name in names:
        if name not in hosts:
            raise UnknownName(f"no host {name} in the inventory", hint=f"there is {', '.join(hosts)}")
    with drorch.everything() as box, ThreadPoolExecutor(_AT_ONCE) as workers:
        found = list(workers.map(lambda name: _tested(drorch, box, name), names or tuple(hosts)))
    if as_json:
        say_json({"hosts": found})
    else:
        rows: list[Sequence[str | Span]] = []
        for one in found:
            if one["ok"]:
                words = f"{one['user']} on {one['hostname']}, machine {str(one['machine_id'])[:12] or 'without an id'}"
                rows.append((str(one["host"]), Span("✓ ok", "good"), f"{one['seconds']:.2f} s", words))
            else:
                hint = f"; {one['hint']}" if one["hint"] else ""
                rows.append((str(one["host"]), Span("✗ failed", "bad"), "", f"{one['error']}{hint}"))
        write(columns(rows, indent=0))
    return Exit.OK if all(one["ok"] for one in found) else Exit.FAILED


def _tested(drorch: "App", box: "Box", name: str) -> dict[str, Json]:
    began = drorch.clock.monotonic()
    try:
        identity = box.host(name).identity()
    except DrorchError as error:
        return {"host": name, "ok": False, "error": error.message, "hint": error.hint}
    seconds = round(drorch.clock.monotonic() - began, 3)
    return {"host": name, "ok": True, "seconds": seconds, **identity.model_dump(mode="json")}
