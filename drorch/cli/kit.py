"""`drorch kit make|open|show`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drorch import __version__
from drorch.cli.main import app, say_json
from drorch.cli.unsealing import passphrase_from, passphrase_twice, unsealed
from drorch.core.errors import KitError
from drorch.core.exits import Exit

if TYPE_CHECKING:
    from datetime import datetime

    from drorch.vault.kit import Manifest

_FILE = click.Path(path_type=Path)


@click.group("kit")
def command() -> None:
    """Seal all that a recovery needs into one file; open it anywhere.

    The file has the age format: the standard age tool opens it, too.
    """


@command.command("make")
@click.argument("file", type=_FILE)
@click.option(
    "-r", "--recipient", "recipients", multiple=True, metavar="KEY", help="Who may open it: age1…, ssh-ed25519 …."
)
@click.option("-R", "--recipients-file", "lists", multiple=True, type=_FILE, help="The same, one a line.")
@click.option("--passphrase-file", type=_FILE, help="Seal with the passphrase in this file instead.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave that secret out; key:HOST for a host's key.")
@click.option("--force", is_flag=True, help="Replace the file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def make(
    file: Path,
    recipients: tuple[str, ...],
    lists: tuple[Path, ...],
    passphrase_file: Path | None,
    without: tuple[str, ...],
    *,
    force: bool,
    as_json: bool,
) -> Exit:
    """Seal inventory, runbooks, every secret, the SSH keys and the key that signs the journal into FILE.

    It is sealed for recipients, or with a passphrase, which is asked for when neither is said. Nothing is written while
    a secret cannot be had.
    """
    import hashlib  # noqa: PLC0415 - help needs none of this

    from drorch.cli.packing import packed  # noqa: PLC0415 - the same
    from drorch.reports.kit import MADE, Made  # noqa: PLC0415 - the same
    from drorch.vault import age  # noqa: PLC0415 - the same
    from drorch.vault.sealed import check_free, write_sealed  # noqa: PLC0415 - the same

    drorch = app()
    check_free(file, force=force)
    keys = _recipients(recipients, lists)
    if keys and passphrase_file:
        raise KitError(
            "the age format knows recipients or a passphrase, not both", hint="make two kits, one of each kind"
        )
    manifest, archive = packed(drorch, without)
    if keys:
        sealed = age.seal(archive, keys)
    else:
        words = passphrase_from(drorch, passphrase_file) if passphrase_file else passphrase_twice(as_json=as_json)
        sealed = age.seal_by_passphrase(archive, words)
    write_sealed(file, sealed, force=force)
    remembered = Made(at=manifest.made, documents=manifest.documents, left_out=manifest.left_out)
    drorch.journal.put(MADE, remembered.model_dump(mode="json"))
    opens = str(age.locks(sealed))
    if as_json:
        digest = hashlib.sha256(sealed).hexdigest()
        say_json({"kit": str(file), "bytes": len(sealed), "sha256": digest, "opens_with": opens, **_plain(manifest)})
        return Exit.OK
    counts = (
        _counted("secret", _count(manifest, "secrets/")),
        _counted("SSH key", _count(manifest, "keys/")),
        _counted("runbook", _count(manifest, "runbooks/")),
    )
    click.echo(f"{file}: {', '.join(counts)}; opens with {opens}")
    click.echo(f"  signed by {manifest.signer}; kit open shows that, too")
    for name in manifest.left_out:
        click.echo(f"  left out: {name}")
    for lack in manifest.lacks:
        click.echo(f"  not in it: {lack.what}")
    click.echo("Keep it where the primary's site cannot take it along, and try it: drorch kit open FILE --to FOLDER")
    return Exit.OK


def _recipients(said: tuple[str, ...], lists: tuple[Path, ...]) -> list[str]:
    from drorch.vault import age  # noqa: PLC0415 - help needs none of this
    from drorch.vault.sealed import read_bounded  # noqa: PLC0415 - the same

    found = []
    for text in said:
        age.check_recipient(text.strip())
        found.append(text.strip())
    for path in lists:
        try:
            listed = list(age.recipients_in(read_bounded(path, most=1 << 20).decode("utf-8", "replace")))
        except KitError as error:
            raise KitError(f"{path}: {error.message}", hint=error.hint) from None
        if not listed:
            raise KitError(f"{path} names no recipient", hint="one a line: age1… or ssh-ed25519 …")
        found += listed
    return found


def _count(manifest: "Manifest", folder: str) -> int:
    return sum(path.startswith(folder) and not path.endswith("-cert.pub") for path in manifest.files)


def _counted(word: str, count: int) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _plain(manifest: "Manifest") -> dict[str, object]:
    return {"manifest": manifest.model_dump(mode="json")}


_IDENTITY = click.option(
    "-i", "--identity", "identities", multiple=True, type=_FILE, help="A private key: of age-keygen, or an SSH key."
)
_PASSPHRASE = click.option("--passphrase-file", type=_FILE, help="The passphrase, instead of asking for it.")
_SIGNER = click.option("--signer", metavar="KEY", help="Refuse a kit that another key signed.")


@command.command("open")
@click.argument("file", type=_FILE)
@click.option("--to", "folder", required=True, type=_FILE, help="A folder that is not there yet, or empty.")
@_IDENTITY
@_PASSPHRASE
@_SIGNER
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def open_(
    file: Path,
    folder: Path,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    signer: str | None,
    *,
    as_json: bool,
) -> Exit:
    """Open a kit into a folder of its own, checked, and say what to do next. Works without any other file of drorch."""
    from drorch.engine.journal import Journal  # noqa: PLC0415 - help needs none of this
    from drorch.reports.kit import MADE, Made  # noqa: PLC0415 - the same
    from drorch.vault.kit import lay_out  # noqa: PLC0415 - the same

    drorch = app()
    kit = unsealed(drorch, file, identities, passphrase_file, signer)
    lay_out(kit, folder.absolute())
    manifest, now = kit.manifest, drorch.clock.now()
    made = Made(at=manifest.made, documents=manifest.documents, left_out=manifest.left_out)
    journal = Journal(folder.absolute() / "state" / "journal.sqlite")
    for key, value in {**manifest.remembered, MADE: made.model_dump(mode="json")}.items():
        journal.put(key, value)
    steps = _next(manifest, folder)
    warnings = _warnings(manifest, now)
    if as_json:
        said = {"folder": str(folder.absolute()), "warnings": warnings, "next": [step for _, step in steps]}
        say_json({**said, "age_seconds": int((now - manifest.made).total_seconds()), **_plain(manifest)})
        return Exit.OK
    click.echo(f"{folder}: the kit of {manifest.site}, {_made(manifest, now)}")
    click.echo(f"  signed by {manifest.signer}" + ("" if signer else "; is that the key that you know?"))
    for warning in warnings:
        click.echo(f"  ! {warning}")
    click.echo("\nWhat to do next:")
    width = max(len(words) for words, _ in steps)
    for number, (words, step) in enumerate(steps, 1):
        click.echo(f"  {number}. {words:<{width}}  {step}")
    return Exit.OK


def _made(manifest: "Manifest", now: "datetime") -> str:
    from drorch.reports.text import length  # noqa: PLC0415 - help needs none of this

    ago = "in the future by this clock" if manifest.made > now else f"{length(now - manifest.made)} ago"
    return f"made {ago} ({manifest.made:%Y-%m-%d %H:%M} UTC) by {manifest.by} with drorch {manifest.drorch}"


def _warnings(manifest: "Manifest", now: "datetime") -> list[str]:
    """What is not as on the machine where the kit was made; folders that are here, too, are not spoken of."""
    from drorch.reports.kit import STALE  # noqa: PLC0415 - help needs none of this
    from drorch.reports.text import length  # noqa: PLC0415 - the same

    found = [f"left out when it was made: {name}" for name in manifest.left_out]
    if now - manifest.made > STALE:
        found.append(
            f"it is {length(now - manifest.made)} old: passwords, addresses and runbooks may have changed since"
        )
    if manifest.drorch != __version__:
        found.append(f"it was made with drorch {manifest.drorch}, and this is {__version__}")
    found += [lack.what for lack in manifest.lacks if not lack.path or not Path(lack.path).exists()]
    return found


def _next(manifest: "Manifest", folder: Path) -> list[tuple[str, str]]:
    import shlex  # noqa: PLC0415 - help needs none of this

    drorch = f"drorch --config {shlex.quote(str(folder / 'config'))} --state {shlex.quote(str(folder / 'state'))}"
    steps = [("look whether everything can be used", f"{drorch} check --live")]
    steps += [(f"fail {name} over", f"{drorch} failover {name}") for name in manifest.failover]
    if not manifest.failover:
        steps.append(("bring a service back", f"{drorch} restore SERVICE --host HOST --store STORE"))
    return [*steps, ("when all is done, remove every secret", f"rm -r {shlex.quote(str(folder))}")]


@command.command("show")
@click.argument("file", type=_FILE)
@_IDENTITY
@_PASSPHRASE
@_SIGNER
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(
    file: Path, identities: tuple[Path, ...], passphrase_file: Path | None, signer: str | None, *, as_json: bool
) -> Exit:
    """Say what a kit holds, without its secrets; writes nothing."""
    drorch = app()
    manifest = unsealed(drorch, file, identities, passphrase_file, signer).manifest
    now = drorch.clock.now()
    if as_json:
        say_json({"kit": str(file), "age_seconds": int((now - manifest.made).total_seconds()), **_plain(manifest)})
        return Exit.OK
    click.echo(f"the kit of {manifest.site}, {_made(manifest, now)}")
    click.echo(f"  signed by {manifest.signer}")
    for word, folder in (("secret", "secrets/"), ("SSH key of", "keys/"), ("certificate of", "certificates/")):
        for path in manifest.files:
            if path.startswith(folder):
                click.echo(f"  {word} {path.removeprefix(folder)}")
    for name, digest in manifest.plans.items():
        click.echo(f"  runbook {name}  plan {digest[:16]}")
    for name in manifest.left_out:
        click.echo(f"  left out: {name}")
    for lack in manifest.lacks:
        click.echo(f"  not in it: {lack.what}")
    return Exit.OK
