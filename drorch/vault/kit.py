"""The recovery kit: all that a recovery needs, in one tar archive that is sealed before it touches a disk.

The archive is laid out as it is used: unpacked anywhere, by drorch or by ``age -d KIT | tar x``, its ``config`` and
``state`` are folders that drorch takes as they are. `manifest.json` names every file with its SHA-256 and is signed
with the key that signs the journal. Reading believes nothing: names are known ones, files are plain, sizes are bounded.
"""

import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError

from drorch.core.errors import KitError, Refused
from drorch.core.host import printable
from drorch.core.model import Frozen, Json, Name
from drorch.vault.signing import verify

MOST_BYTES: Final = 64 << 20
"""A kit, sealed or not, is no larger. Nothing in it is compressed, so nothing grows when it is opened."""

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.json.sig"
INVENTORY: Final = "config/drorch.yaml"
ORIGINAL: Final = "config/drorch.yaml.original"
"""The inventory as its author wrote it, to the byte."""
SIGNING_KEY: Final = "state/keys/signing.key"
PUBLIC_KEY: Final = "state/keys/signing.pub"
README: Final = "README.txt"

_MOST_FILES: Final = 5_000
_FOLDERS: Final = ("certificates", "config", "keys", "runbooks", "secrets", "state", "state/keys")
_NAME: Final = r"[a-z0-9][a-z0-9_-]{0,62}"
_KNOWN: Final = re.compile(
    "|".join(
        (
            *map(re.escape, (MANIFEST, SIGNATURE, README, INVENTORY, ORIGINAL, SIGNING_KEY, PUBLIC_KEY)),
            rf"secrets/{_NAME}",
            rf"runbooks/{_NAME}\.yaml",
            rf"keys/{_NAME}(-cert\.pub)?",
            rf"certificates/{_NAME}\.pem",
        )
    )
)
"""Every path that a kit may hold."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Lack(Frozen):
    """Something that a kit cannot carry."""

    what: str
    """One sentence without a full stop."""
    path: str = ""
    """A path that would have to be there; empty when no path tells."""


class Manifest(Frozen):
    """What a kit holds; nothing of it is secret."""

    format: Literal[1] = 1
    made: AwareDatetime
    by: str
    """``user@machine``."""
    drorch: str
    """The version that made it."""
    site: str
    signer: str
    """The public key that signed this, and the journal where it was made."""
    documents: str
    """Digest of inventory and runbooks; where secrets and keys lie does not count."""
    plans: dict[Name, str]
    """The digest of each runbook's plan, where the kit was made."""
    failover: tuple[Name, ...] = ()
    """Services that have a runbook for their failover."""
    remembered: dict[str, Json] = Field(default_factory=dict)
    """Facts that drorch must know elsewhere, too, by key: where a failover has led a service."""
    left_out: tuple[str, ...] = ()
    """Names of what could not, or should not, be put in."""
    lacks: tuple[Lack, ...] = ()
    files: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]
    """SHA-256 of each file."""


@dataclass(frozen=True, slots=True, repr=False)
class Kit:
    """An opened kit, every byte of it checked against the manifest; shows nothing of itself."""

    manifest: Manifest
    files: Mapping[str, bytes]
    """Everything, the manifest and its signature too, by path."""


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {path: hashlib.sha256(files[path]).hexdigest() for path in sorted(files)}


def pack(manifest: Manifest, files: Mapping[str, bytes], sign: Callable[[bytes], str]) -> bytes:
    """The archive. The same input gives the same bytes.

    Raises:
        KitError: it is larger than a kit may be.
    """
    text = manifest.model_dump_json(indent=2).encode() + b"\n"
    whole = {**files, MANIFEST: text, SIGNATURE: sign(text).encode() + b"\n"}
    out = io.BytesIO()
    when = int(manifest.made.timestamp())
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for folder in _FOLDERS:
            archive.addfile(_member(folder, when, kind=tarfile.DIRTYPE, mode=0o700))
        for path in sorted(whole):
            if not _KNOWN.fullmatch(path):
                raise KitError(f"a kit has no place for {path}")
            archive.addfile(_member(path, when, size=len(whole[path])), io.BytesIO(whole[path]))
    if out.tell() > MOST_BYTES or len(whole) > _MOST_FILES:
        raise KitError(f"the kit would be larger than {MOST_BYTES >> 20} MiB", hint="is a key or secret a wrong file?")
    return out.getvalue()


def _member(
    path: str, when: int, *, kind: bytes = tarfile.REGTYPE, mode: int = 0o600, size: int = 0
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.mode, member.size, member.mtime = kind, mode, size, when
    return member


def unpack(archive: bytes) -> Kit:
    """The kit in an archive.

    Raises:
        KitError: anything in it is not as drorch makes it.
    """
    files = _files(archive)
    for needed in (MANIFEST, SIGNATURE, INVENTORY):
        if needed not in files:
            raise _strange(f"it has no {needed}")
    manifest = _manifest(files[MANIFEST])
    if not verify(manifest.signer, files[MANIFEST], files[SIGNATURE].decode("ascii", "replace").strip()):
        raise _strange("the manifest's signature is wrong")
    held = {path: content for path, content in files.items() if path not in {MANIFEST, SIGNATURE}}
    found = digests(held)
    for path in sorted({*found, *manifest.files}):
        if found.get(path) != manifest.files.get(path):
            word = "is missing" if path not in found else "is not in the manifest"
            raise _strange(
                f"{printable(path)} {word if not (path in found and path in manifest.files) else 'was altered'}"
            )
    return Kit(manifest, files)


def _strange(why: str) -> KitError:
    return KitError(f"the kit is not as it was made: {why}", hint="nothing was written; take another copy of the kit")


def _manifest(text: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        if "format" in detail["loc"]:
            raise KitError("the kit was made by a newer drorch", hint="use that one, or age -d and tar") from None
        raise _strange("the manifest cannot be read") from None


def _files(archive: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
            for member in opened:
                if member.type == tarfile.DIRTYPE and member.name in _FOLDERS:
                    continue
                found[_path(member, found)] = _content(opened, member)
    except KitError:
        raise
    except Exception:  # noqa: BLE001 - hostile archives make the library raise whatever it likes
        raise _strange("what was sealed is no tar archive that can be read") from None
    return found


def _path(member: tarfile.TarInfo, found: Mapping[str, bytes]) -> str:
    shown = printable(member.name).replace("\n", "\\n").replace("\t", "\\t")[:80]
    if len(found) >= _MOST_FILES:
        raise _strange("it holds too many files")
    if not _KNOWN.fullmatch(member.name):
        raise _strange(f"{shown} has no place in a kit")
    if member.type != tarfile.REGTYPE or member.sparse:
        raise _strange(f"{shown} is no plain file")
    if member.name in found:
        raise _strange(f"{shown} is there twice")
    return member.name


def _content(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = opened.extractfile(member)
    content = stream.read(MOST_BYTES) if stream and member.size <= MOST_BYTES else b""
    if len(content) != member.size:
        raise _strange(f"{member.name} is cut")
    return content


def lay_out(kit: Kit, folder: Path) -> None:
    """Write a kit into a folder of its own, 0700; the inventory comes last, so that half a kit is not used by mistake.

    Raises:
        Refused: something is there already.
        KitError: it cannot be written; what was written is removed.
    """
    try:
        _make(folder)
    except OSError as error:
        raise KitError(
            f"{folder} cannot be made: {error.strerror}", hint="its parent must exist and be yours"
        ) from None
    made: list[Path] = []
    try:
        for name in _FOLDERS:
            (folder / name).mkdir(mode=0o700)
            made.append(folder / name)
        for path in sorted(kit.files, key=lambda path: (path == INVENTORY, path)):
            made.append(folder / path)
            _write(folder / path, kit.files[path])
    except BaseException as error:
        for there in reversed(made):
            if there.is_dir():
                there.rmdir()
            else:
                there.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise KitError(f"{folder} cannot be written: {error.strerror}", hint="nothing was left there") from None
        raise


def _make(folder: Path) -> None:
    if os.path.lexists(folder):
        if folder.is_symlink() or not folder.is_dir() or any(folder.iterdir()):
            raise Refused(f"{folder} is there already, and no empty folder", hint="name a folder that is not there yet")
        folder.chmod(0o700)
    else:
        folder.mkdir(mode=0o700)
    if folder.stat().st_mode & _OTHERS:
        raise KitError(
            f"the file system of {folder} keeps no modes: everybody could read the secrets",
            hint="choose a folder on this machine's own disk, or below /dev/shm",
        )


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
