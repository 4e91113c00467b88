"""`drorch repository create|list|unlock`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from drorch.cli.main import app, say_json
from drorch.core.errors import DrorchError, UnknownName
from drorch.core.exits import Exit, of_error
from drorch.core.model import Json

if TYPE_CHECKING:
    from drorch.app import App, Box

_PASSWORD_IN_URL = re.compile(r"(://[^/:@]*):[^/@]*@")


@click.group("repository")
def command() -> None:
    """Create, list and unlock repositories."""


@command.command("create")
@click.argument("name")
@click.option("--like", metavar="OTHER", help="Make it fit to hold copies of this repository's snapshots.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(name: str, *, like: str | None, as_json: bool) -> Exit:
    """Create the repository NAME. Nothing else ever creates one.

    With --like it cuts files into the same pieces as OTHER, which the step `copy` asks for and which cannot be
    mended later.
    """
    drorch = app()
    with _box(drorch, name, *([like] if like else [])) as box:
        spec = drorch.documents.inventory.repositories[name]
        url = _PASSWORD_IN_URL.sub(r"\1:***@", spec.url)
        if not as_json:
            click.echo(f"creating a restic repository at {url}; its password: {spec.password.secret}", err=True)
        with box.lease(f"repository:{name}", wait=timedelta(seconds=5)):
            other = box.repository(like) if like else None
            created = box.repository(name).create(box.controller(), like=other)
    if as_json:
        say_json({"repository": name, "url": url, "id": created, "like": like})
    else:
        click.echo(f"{name} is repository {created[:16]}")
        click.echo("  keep the password where it outlives this machine: without it nobody can restore anything")
    return Exit.OK


@command.command("list")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(name: str | None, *, as_json: bool) -> Exit:
    """List the recovery points in NAME, or in every repository."""
    from drorch.cli.reading import zone_of  # noqa: PLC0415 - help needs none of this
    from drorch.reports.listing import point_lines, points  # noqa: PLC0415 - the same
    from drorch.reports.text import Span, line, to_json, write  # noqa: PLC0415 - the same

    drorch = app()
    names = [name] if name else list(drorch.documents.inventory.repositories)
    found: list[dict[str, Json]] = []
    code = Exit.OK
    with _box(drorch, *names) as box:
        for each in names:
            try:
                own, foreign = points(box.repository(each).snapshots(box.controller()))
            except DrorchError as error:
                code = of_error(error)
                found.append({"repository": each, "error": error.message, "hint": error.hint})
                if not as_json:
                    write([line(Span(each, "bold"), "  ", Span(f"✗ {error.message}", "bad"), hanging=2)])
                    write([line(f"  what to do: {error.hint}", hanging=4)] if error.hint else [])
                continue
            found.append({"repository": each, "points": to_json(own), "foreign": [one.id for one in foreign]})
            if not as_json:
                write(point_lines(each, own, foreign, zone_of(drorch)))
    if as_json:
        say_json({"repositories": found})
    elif not names:
        click.echo("no repositories: add one under repositories: in drorch.yaml")
    return code


@command.command("unlock")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def unlock(name: str, *, as_json: bool) -> Exit:
    """Remove stale locks from NAME; those of live processes stay."""
    drorch = app()
    with _box(drorch, name) as box:
        box.repository(name).unlock(box.controller())
    if as_json:
        say_json({"repository": name, "unlocked": True})
    else:
        click.echo(f"{name}: stale locks are gone; one that is left belongs to a live process or another machine")
    return Exit.OK


@contextmanager
def _box(drorch: "App", *names: str) -> "Iterator[Box]":
    """The tools, closed at the end; every name must be a repository's."""
    known = drorch.documents.inventory.repositories
    for name in names:
        if name not in known:
            raise UnknownName(f"no repository {name} in the inventory", hint=f"there is {', '.join(known) or 'none'}")
    with drorch.everything() as box:
        yield box
