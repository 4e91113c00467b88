"""The sealed kit as a file: written whole or not at all, read within bounds."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from drorch.core.errors import KitError, Refused
from drorch.vault.kit import MOST_BYTES

_SLACK = 1 << 20
"""What sealing adds is far less."""


def check_free(path: Path, *, force: bool) -> None:
    """Raise `Refused` where something is there already, `KitError` where nothing can be written."""
    if os.path.lexists(path) and (not force or not path.is_file()):
        what = "is there already" if path.is_file() else "is there already, and no file"
        raise Refused(f"{path} {what}; nothing was written", hint="--force replaces a kit" if path.is_file() else "")
    if not path.absolute().parent.is_dir():
        raise KitError(f"there is no folder {path.absolute().parent}", hint="make it, or mount it; nothing was written")


def write_sealed(path: Path, content: bytes, *, force: bool) -> None:
    """Put the file there, 0600 and durable. It is there whole or not at all, whenever the process is killed.

    Raises:
        Refused: something is there already, and ``force`` was not said.
        KitError: it cannot be written.
    """
    path = path.absolute()
    check_free(path, force=force)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _place(draft, path, force=force)
        finally:
            draft.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise KitError(f"{path} cannot be written: {error.strerror}", hint="nothing was written") from None


def _place(draft: Path, path: Path, *, force: bool) -> None:
    if not force:
        try:
            # Unlike a rename, a link never replaces what came there meanwhile.
            path.hardlink_to(draft)
        except FileExistsError:
            raise Refused(f"{path} is there already; nothing was written", hint="--force replaces a kit") from None
        except OSError:
            check_free(path, force=False)  # a stick's file system knows no links
        else:
            return
    draft.replace(path)


def _sync(folder: Path) -> None:
    with suppress(OSError):  # some file systems cannot, and the file itself is on the disk
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_bounded(path: Path, *, most: int = MOST_BYTES + _SLACK) -> bytes:
    """A file that a person named.

    Raises:
        KitError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise KitError(f"{path} cannot be read: {error.strerror}", hint="check the path and its owner") from None
    if len(content) > most:
        raise KitError(f"{path} is larger than {most >> 10} KiB", hint="is it the right file?")
    return content
