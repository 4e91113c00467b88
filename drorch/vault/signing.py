"""Signatures on records: Ed25519, with a key that never leaves its folder."""

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drorch.core.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE: Final = "signing.key"
"""Name of the private key within its folder: PKCS 8, PEM, as ``openssl pkey -in signing.key`` reads it."""

_KEY_LIMIT = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Signer:
    """A private key that signs; made by `open`. It can be shared by threads, and shows nothing of itself."""

    __slots__ = ("_key", "public")

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key
        self.public: Final = _text(key.public_key().public_bytes_raw())
        """The public key: 32 bytes as base64."""

    @classmethod
    def open(cls, folder: Path) -> "Signer":
        """The key in this folder; made, with the folder, when there is none. Processes that make it at once agree.

        Raises:
            SettingsError: it cannot be made or read, is no Ed25519 key, belongs to another user, or others can read it.
        """
        path = folder / KEY_FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.path.lexists(path):
                _create(path)
            content = _read(path)
        except OSError as error:
            raise SettingsError(
                f"the signing key {path} cannot be used: {error.strerror or type(error).__name__}",
                hint="records are signed with it; the folder must be drorch's own, on a local disk",
            ) from error
        return cls(_load(content, path))

    def sign(self, message: bytes) -> str:
        """The signature: 64 bytes as base64. The same message always gives the same one."""
        return _text(self._key.sign(message))

    def __repr__(self) -> str:
        return f"Signer({self.public})"

    def __reduce__(self) -> tuple[object, ...]:
        msg = "a signing key cannot be pickled"
        raise TypeError(msg)


def verify(public: str, message: bytes, signature: str) -> bool:
    """Whether the owner of this public key signed this message; False for anything malformed, never an error."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - heavy: only who verifies pays
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - the same

    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(signature, validate=True), message)
    except (ValueError, binascii.Error, InvalidSignature):
        return False
    return True


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _create(path: Path) -> None:
    """Put a new key there, whole, unless another process was faster."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - heavy: only the first start pays
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - the same

    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link never replaces what another process has put there meanwhile.
            path.hardlink_to(draft)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(_KEY_LIMIT)
    finally:
        os.close(descriptor)


def _check(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise SettingsError(f"the signing key {path} is no regular file", hint="move away what lies there")
    if facts.st_uid not in {os.geteuid(), 0}:
        raise SettingsError(
            f"the signing key {path} belongs to user {facts.st_uid}", hint="run drorch as that user, or chown it"
        )
    if facts.st_mode & _OTHERS:
        raise SettingsError(
            f"the signing key {path} can be read or changed by others (mode {stat.S_IMODE(facts.st_mode):04o})",
            hint=f"whoever read it can forge records: chmod 600 {path}, or move it away to start a new one",
        )


def _load(content: bytes, path: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - heavy: only who signs pays
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - the same
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - the same

    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"the signing key {path} is no Ed25519 key",
            hint="bring it back from the recovery kit, or move it away to start a new one",
        )
    return key
