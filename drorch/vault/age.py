"""Sealing in the age format (age-encryption.org/v1): what is sealed here opens with the standard ``age`` tool, and the
other way round. The only place that knows the age library.
"""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drorch.core.errors import KitError, WrongKey

if TYPE_CHECKING:
    import pyrage

LEAST: Final = 12
"""Characters that a passphrase has at least: a kit can be stolen, and guessed at without limit."""

Ask = Callable[[str], str]
"""Asks a person for the passphrase of what is named."""

_MAGIC: Final = b"age-encryption.org/v1\n"
_ARMOR: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
_STANZA: Final = re.compile(rb"^-> (\S+)", re.MULTILINE)
_KEYS: Final = {"X25519": "age key", "ssh-ed25519": "SSH key", "ssh-rsa": "SSH key"}
_BY_HAND: Final = "age -d -i IDENTITY FILE | tar x opens it, too"


@dataclass(frozen=True, slots=True)
class Locks:
    """What opens a sealed file, as far as its header tells."""

    passphrase: bool
    keys: tuple[str, ...]
    """``age key``, ``SSH key`` or ``key of another kind``, one for each recipient."""

    def __str__(self) -> str:
        if self.passphrase:
            return "a passphrase"
        counts = {kind: self.keys.count(kind) for kind in dict.fromkeys(self.keys)}
        return " or ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in counts.items())


def locks(sealed: bytes) -> Locks:
    """What opens it.

    Raises:
        KitError: it is no file of the age format.
    """
    plain = _unarmored(sealed)
    head, end, _ = plain.partition(b"\n---")
    if not plain.startswith(_MAGIC) or not end:
        raise KitError("this is no sealed kit: no age file, or only the beginning of one", hint="is it the right file?")
    kinds = [kind.decode("ascii", "replace") for kind in _STANZA.findall(head) if not kind.endswith(b"-grease")]
    return Locks("scrypt" in kinds, tuple(_KEYS.get(kind, "key of another kind") for kind in kinds if kind != "scrypt"))


def _unarmored(sealed: bytes) -> bytes:
    if not sealed.lstrip().startswith(_ARMOR):
        return sealed
    lines = sealed.strip().splitlines()
    try:
        return base64.b64decode(b"".join(line.strip() for line in lines[1:-1]), validate=True)
    except ValueError:
        raise KitError("its armour is damaged", hint="fetch the file again; copy it as a file, not as text") from None


def seal(plain: bytes, recipients: Sequence[str]) -> bytes:
    """Seal for the holders of these keys: ``age1…``, ``ssh-ed25519 …``, ``ssh-rsa …``.

    Raises:
        KitError: one is no recipient, or there is none.
    """
    import pyrage  # noqa: PLC0415 - only who seals pays

    if not recipients:
        raise KitError("nobody could open it: no recipient was named")
    return pyrage.encrypt(plain, [_recipient(text) for text in recipients])


def seal_by_passphrase(plain: bytes, passphrase: str) -> bytes:
    """Seal with a passphrase.

    Raises:
        KitError: it is too short.
    """
    import pyrage  # noqa: PLC0415 - only who seals pays

    check_passphrase(passphrase)
    return pyrage.passphrase.encrypt(plain, passphrase)


def check_passphrase(passphrase: str) -> None:
    """Raise `KitError` for one that is too short."""
    if len(passphrase) < LEAST:
        raise KitError(
            f"the passphrase has {len(passphrase)} characters, at least {LEAST} are needed",
            hint="take five or more random words: whoever steals the kit can try for years",
        )


def check_recipient(text: str) -> None:
    """Raise `KitError` for what is no recipient."""
    _recipient(text)


def _recipient(text: str) -> "pyrage.x25519.Recipient | pyrage.ssh.Recipient":
    import pyrage  # noqa: PLC0415 - only who seals pays

    try:
        if text.startswith("age1"):
            return pyrage.x25519.Recipient.from_str(text)
        if text.startswith(("ssh-ed25519 ", "ssh-rsa ")):
            return pyrage.ssh.Recipient.from_str(text)
    except pyrage.RecipientError:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise KitError(f"{shown} is no recipient", hint="copy the whole line: age1… or ssh-ed25519 AAAA…") from None
    if "PRIVATE KEY" in text or text.startswith("AGE-SECRET-KEY-"):
        raise KitError("this is a private key; a recipient is its public half", hint="age-keygen -y KEYFILE prints it")
    raise KitError(
        "a recipient begins with age1, ssh-ed25519 or ssh-rsa",
        hint="age-keygen prints an age1… one; of an SSH key it is the .pub file",
    )


_SHOWN: Final = 40


def recipients_in(text: str) -> Iterator[str]:
    """The recipients of a file: one a line, blank lines and those that begin with ``#`` left out.

    Raises:
        KitError: with the line that is none.
    """
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if word and not word.startswith("#"):
            try:
                check_recipient(word)
            except KitError as error:
                raise KitError(f"line {number}: {error.message}", hint=error.hint) from None
            yield word


def open_by_passphrase(sealed: bytes, passphrase: str) -> bytes:
    """The content.

    Raises:
        WrongKey: with another passphrase.
        KitError: it is damaged.
    """
    import pyrage  # noqa: PLC0415 - only who opens pays

    try:
        return pyrage.passphrase.decrypt(sealed, passphrase)
    except pyrage.DecryptError as error:
        if "Decryption failed" in str(error) or "No matching keys" in str(error):
            raise WrongKey("the passphrase does not open it", hint="mind capitals and the keyboard's layout") from None
        raise _damaged(error) from None


def open_by_keys(sealed: bytes, identities: Sequence[bytes], ask: Ask) -> bytes:
    """The content, with the content of identity files. ``ask`` is only called for one that has a passphrase itself.

    Raises:
        WrongKey: it is sealed for other keys.
        KitError: it is damaged, or an identity is none.
    """
    import pyrage  # noqa: PLC0415 - only who opens pays

    keys = [key for content in identities for key in _identities(content, ask)]
    try:
        return pyrage.decrypt(sealed, keys)
    except pyrage.DecryptError as error:
        if "No matching keys" not in str(error):
            raise _damaged(error) from None
    held = "this key does" if len(keys) == 1 else f"none of these {len(keys)} keys does"
    raise WrongKey(
        f"{held} not open it" if len(keys) == 1 else f"{held}",
        hint=f"it is sealed for {locks(sealed)}: look for the private half of what `kit make` was given",
    )


def _damaged(error: Exception) -> KitError:
    return KitError(f"it cannot be opened: {error}", hint=f"it was damaged or cut; fetch another copy. {_BY_HAND}")


def _identities(
    content: bytes, ask: Ask, *, nested: bool = False
) -> "list[pyrage.x25519.Identity | pyrage.ssh.Identity]":
    import pyrage  # noqa: PLC0415 - only who opens pays

    if content.startswith(_MAGIC) or content.lstrip().startswith(_ARMOR):
        if nested:
            raise KitError("the identity file is sealed twice", hint="open it with age -d first")
        return _identities(open_by_passphrase(content, ask("the identity file")), ask, nested=True)
    if b"PRIVATE KEY-----" in content:
        return [_ssh_identity(content, ask)]
    found: list[pyrage.x25519.Identity | pyrage.ssh.Identity] = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        if word.startswith("AGE-PLUGIN-"):
            raise KitError(f"line {number}: drorch does not know keys on tokens and the like", hint=_BY_HAND)
        try:
            found.append(pyrage.x25519.Identity.from_str(word))
        except pyrage.IdentityError:
            # The line is not shown: it may be a private key with a slip in it.
            public = word.startswith(("age1", "ssh-"))
            raise KitError(
                f"line {number} of the identity file is no private key",
                hint="this is a public key: the file beside it without .pub, or from age-keygen, opens the kit"
                if public
                else "it holds AGE-SECRET-KEY-1… lines, or is an SSH private key",
            ) from None
    if not found:
        raise KitError("the identity file holds no key", hint="it holds AGE-SECRET-KEY-1… lines, or is an SSH key")
    return found


def _ssh_identity(content: bytes, ask: Ask) -> "pyrage.ssh.Identity":
    import pyrage  # noqa: PLC0415 - only who opens pays
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - the same
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - the same
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_ssh_private_key,
    )

    try:
        return pyrage.ssh.Identity.from_buffer(content)
    except pyrage.IdentityError as error:
        if "decrypted first" not in str(error):
            raise KitError("the SSH key cannot be read", hint="ssh-ed25519 and ssh-rsa keys open kits") from None
    try:
        key = load_ssh_private_key(content, ask("the SSH key").encode())
        return pyrage.ssh.Identity.from_buffer(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    except (ValueError, TypeError, UnsupportedAlgorithm, pyrage.IdentityError):
        raise WrongKey("the SSH key's passphrase does not open it") from None
