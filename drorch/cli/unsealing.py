"""What `kit make`, `kit open` and `kit show` share: passphrases and private keys, from a person or from files."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drorch.core.errors import KitError, Refused

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.vault.kit import Kit


def passphrase_from(drorch: "App", path: Path) -> str:
    """The passphrase in a file, which only its owner may read.

    Raises:
        SecretError: it cannot be read, or others can read it.
    """
    from drorch.core.model import SecretRef  # noqa: PLC0415 - help needs none of this
    from drorch.core.secret import SecretSpec  # noqa: PLC0415 - the same
    from drorch.vault.secrets import SecretStore  # noqa: PLC0415 - the same

    name = "passphrase"
    specs = {name: SecretSpec(file=str(path.absolute()))}
    return SecretStore(specs, drorch.controller, os.environ).get(SecretRef(secret=name)).reveal()


def passphrase_twice(*, as_json: bool) -> str:
    """A new passphrase, typed twice.

    Raises:
        Refused: nobody is there to type it.
        KitError: it is too short.
    """
    from drorch.vault.age import LEAST, check_passphrase  # noqa: PLC0415 - help needs none of this

    if as_json or not sys.stdin.isatty():
        raise Refused(
            "for whom is it to be sealed? Nobody is here to type a passphrase; nothing was written",
            hint="--recipient KEY, --recipients-file FILE or --passphrase-file FILE",
        )
    words: str = click.prompt(
        f"Passphrase, at least {LEAST} characters", hide_input=True, confirmation_prompt="Once more", err=True
    )
    check_passphrase(words)
    return words


def unsealed(
    drorch: "App", file: Path, identities: tuple[Path, ...], passphrase_file: Path | None, signer: str | None
) -> "Kit":
    """The kit in a file, checked.

    Raises:
        KitError: it cannot be opened or believed.
        Refused: it was signed by another key than ``signer``, or nobody is there to type the passphrase.
    """
    from drorch.vault import age  # noqa: PLC0415 - help needs none of this
    from drorch.vault.kit import unpack  # noqa: PLC0415 - the same
    from drorch.vault.sealed import read_bounded  # noqa: PLC0415 - the same

    sealed = read_bounded(file)
    locks = age.locks(sealed)

    def ask(what: str) -> str:
        if passphrase_file is not None:
            return passphrase_from(drorch, passphrase_file)
        if not sys.stdin.isatty():
            raise Refused(f"{what} has a passphrase, and nobody is here to type it", hint="--passphrase-file FILE")
        typed: str = click.prompt(f"Passphrase of {what}", hide_input=True, err=True)
        return typed

    if locks.passphrase:
        if identities:
            raise KitError(f"{file} is sealed with a passphrase, not for a key", hint="leave --identity out")
        content = age.open_by_passphrase(sealed, ask(str(file)))
    elif not identities:
        raise KitError(f"{file} is sealed for {locks}", hint="--identity KEYFILE names the private half")
    else:
        content = age.open_by_keys(sealed, [read_bounded(path, most=1 << 20) for path in identities], ask)
    kit = unpack(content)
    if signer is not None and kit.manifest.signer != signer.strip():
        raise Refused(
            f"the kit was signed by {kit.manifest.signer}, not by the key that you named; nothing was written",
            hint="somebody who knows the recipients can make a kit, too: where does this file come from?",
        )
    return kit
