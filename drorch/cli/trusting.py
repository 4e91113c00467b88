"""`drorch host trust NAME`: the only way in which a host key becomes trusted."""

import os
import re
import sys
import tempfile
from pathlib import Path
from shutil import copystat
from typing import TYPE_CHECKING

import click

from drorch.cli.main import app, say_json
from drorch.core.errors import DrorchError, Refused, UnknownName, WrongHost
from drorch.core.exits import Exit

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.core.host import SshHostSpec

_MACHINE_ID = re.compile(r"[0-9a-f]{32}")


@click.command("trust")
@click.argument("name")
@click.option("--fingerprint", help="Trust it without a question if it shows this one (SHA256:…).")
@click.option("--yes", is_flag=True, help="Trust whatever it shows; nobody compared it.")
@click.option("--replace", is_flag=True, help="Replace what is pinned: the machine was replaced, and you know it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def trust(name: str, fingerprint: str | None, *, yes: bool, replace: bool, as_json: bool) -> Exit:
    """Fetch NAME's host key, show its fingerprint, and pin it in drorch.yaml once you agree."""
    from drorch.core.host import SshHostSpec  # noqa: PLC0415 - help needs none of this
    from drorch.hosts.ssh import fetch_host_key  # noqa: PLC0415 - paramiko takes its time

    drorch = app()
    hosts = drorch.documents.inventory.hosts
    if name not in hosts:
        raise UnknownName(f"no host {name} in the inventory", hint=f"there is {', '.join(hosts)}")
    spec = hosts[name]
    if not isinstance(spec, SshHostSpec):
        raise Refused(f"{name} is not reached by SSH, so it has no host key", hint="nothing needs to be trusted")
    shown, seen = fetch_host_key(spec)
    _compare_with_pin(name, spec, shown, seen, replace=replace)
    if spec.host_key is None or spec.host_key.split()[:2] != shown.split()[:2]:
        _agree(name, spec, shown.split()[0], seen, fingerprint, yes=yes)
    trusted = spec.model_copy(update={"host_key": shown, "machine_id": None if replace else spec.machine_id})
    machine, login = _machine_id(drorch, name, trusted)
    pins = {"host_key": shown} | ({"machine_id": machine} if machine else {})
    changed = _pin(drorch, name, pins)
    if as_json:
        say_json({"host": name, "fingerprint": seen, "pins": pins, "changed": changed, "login": login or "ok"})
        return Exit.OK
    click.echo(f"{name} is {'trusted' if changed else 'trusted already'}: {seen}")
    if machine:
        click.echo(f"  it is machine {machine}")
    if login:
        click.echo(f"  it cannot be logged in to yet: {login}", err=True)
    return Exit.OK


def _compare_with_pin(name: str, spec: "SshHostSpec", shown: str, seen: str, *, replace: bool) -> None:
    from drorch.hosts.ssh import fingerprint as fingerprint_of  # noqa: PLC0415 - loaded already

    if spec.host_key is None or spec.host_key.split()[:2] == shown.split()[:2] or replace:
        return
    raise Refused(
        f"{name} shows {seen}, and {fingerprint_of(spec.host_key)} is pinned; nothing was changed",
        hint=f"somebody may be in between; if the machine was replaced: drorch host trust {name} --replace",
    )


def _agree(name: str, spec: "SshHostSpec", kind: str, seen: str, fingerprint: str | None, *, yes: bool) -> None:
    """Return only when the key may be trusted."""
    if fingerprint is not None:
        if fingerprint.strip() != seen:
            raise Refused(
                f"{name} shows {seen}, not {fingerprint}; nothing was changed", hint="somebody is in between?"
            )
        return
    click.echo(f"{name} at {spec.address}:{spec.port} shows this {kind} key:\n  {seen}", err=True)
    if yes:
        click.echo("  trusted because of --yes; nobody compared it", err=True)
        return
    click.echo("Compare it with what the machine's own console says to", err=True)
    click.echo(f"  ssh-keygen -lf /etc/ssh/ssh_host_{kind.removeprefix('ssh-').split('-')[0]}_key.pub", err=True)
    if not sys.stdin.isatty():
        raise Refused(f"nobody is here to compare; {name} is not trusted", hint=f"--fingerprint {seen}")
    if not click.confirm("Are they the same?", default=False, err=True):
        raise Refused(f"{name} is not trusted; nothing was changed")


def _machine_id(drorch: "App", name: str, spec: "SshHostSpec") -> tuple[str, str]:
    """The machine id to pin, empty for none, and why nobody can log in, empty when one can.

    Raises:
        WrongHost: another machine id is pinned.
    """
    from drorch.hosts import open_host  # noqa: PLC0415 - loaded already

    box = drorch.everything()
    host = open_host(name, spec, secrets=box.secrets, halt=drorch.halt)
    try:
        machine = host.identity().machine_id
    except WrongHost as error:
        raise WrongHost(error.message, hint=f"drorch host trust {name} --replace, if it was replaced") from error
    except DrorchError as error:
        return "", str(error)
    finally:
        host.close()
        box.close()
    return (machine if _MACHINE_ID.fullmatch(machine) else ""), ""


def _pin(drorch: "App", name: str, pins: dict[str, str]) -> bool:
    """Write the pins into the inventory; True when that changed it. Afterwards it is right, or as it was before."""
    from drorch.config.load import load  # noqa: PLC0415 - loaded already
    from drorch.config.pinning import pinned  # noqa: PLC0415 - only here

    path = drorch.documents.file.resolve()
    before = path.read_bytes()
    after = pinned(before, str(path), name, pins)
    if after == before:
        return False
    _replace(path, after)
    try:
        load(drorch.settings.config, drorch.settings.runbooks)
    except BaseException:
        _replace(path, before)
        raise
    return True


def _replace(path: Path, content: bytes) -> None:
    """Put the content there, whole or not at all, with the file's own mode and owner."""
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            copystat(path, draft)
            if os.geteuid() == 0:
                os.chown(draft, path.stat().st_uid, path.stat().st_gid)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DrorchError(f"{path} cannot be written: {error.strerror}", hint="nothing was changed") from error
