"""What a kit carries beside the documents: the values of secrets, private keys, certificates. All of it in memory."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from drorch.core.errors import DrorchError, KitError, UnknownName
from drorch.core.host import HostSpec, SshHostSpec
from drorch.core.model import SecretRef
from drorch.core.secret import Secrets
from drorch.core.store import StoreSpec
from drorch.stores.s3 import S3Store
from drorch.vault.sealed import read_bounded

_MOST: Final = 1 << 20
"""Bytes of a key or certificate."""

Items = Mapping[str, Callable[[], Mapping[str, bytes]]]
"""By the name that ``--without`` takes: gives the files, by their paths in the kit."""


@dataclass(frozen=True, slots=True, repr=False)
class Carried:
    """Files of a kit by path; shows nothing of itself."""

    files: Mapping[str, bytes]
    left_out: tuple[str, ...]


def gather(
    hosts: Mapping[str, HostSpec],
    stores: Mapping[str, StoreSpec],
    names: Collection[str],
    secrets: Secrets,
    *,
    without: Collection[str] = (),
) -> Carried:
    """The secrets of these names, and the files that hosts and stores name.

    Raises:
        UnknownName: ``without`` names something else.
        KitError: anything cannot be had; all of it is named.
    """
    items: Items = {
        **{name: partial(_secret, name, secrets) for name in names},
        **dict(_keys(hosts)),
        **dict(_certificates(stores)),
    }
    for name in without:
        if name not in items:
            raise UnknownName(f"no {name} to leave out", hint=f"there is {', '.join(items) or 'nothing'}")
    files: dict[str, bytes] = {}
    failed: dict[str, DrorchError] = {}
    for name, item in items.items():
        if name in without:
            continue
        try:
            files |= item()
        except DrorchError as error:
            failed[name] = error
    if failed:
        said = "\n".join(f"  {name}: {error}" for name, error in failed.items())
        count = f"{len(failed)} thing{'s' if len(failed) > 1 else ''}"
        skip = " ".join(f"--without {name}" for name in failed)
        raise KitError(f"{count} cannot be had, so no kit was made:\n{said}", hint=f"mend it, or say {skip}")
    return Carried(files, tuple(name for name in items if name in without))


def _secret(name: str, secrets: Secrets) -> Mapping[str, bytes]:
    try:
        raw = secrets.get(SecretRef(secret=name)).reveal().encode()
    except UnicodeEncodeError:
        pass  # raised below, without the error that holds the value
    else:
        # A file's last newline is dropped when it is read, and CR LF counts as one.
        return {f"secrets/{name}": raw if raw.endswith(b"\r") else raw + b"\n"}
    raise KitError("it is no UTF-8 text, so no file can hold it", hint="store binary values as base64")


def _keys(hosts: Mapping[str, HostSpec]) -> Iterator[tuple[str, Callable[[], Mapping[str, bytes]]]]:
    for name, spec in hosts.items():
        if isinstance(spec, SshHostSpec) and spec.key is not None:
            yield f"key:{name}", partial(_key, name, Path(spec.key))


def _key(name: str, path: Path) -> Mapping[str, bytes]:
    files = {f"keys/{name}": read_bounded(path, most=_MOST)}
    certificate = path.with_name(f"{path.name}-cert.pub")
    if certificate.exists():
        files[f"keys/{name}-cert.pub"] = read_bounded(certificate, most=_MOST)
    return files


def _certificates(stores: Mapping[str, StoreSpec]) -> Iterator[tuple[str, Callable[[], Mapping[str, bytes]]]]:
    for name, spec in stores.items():
        if isinstance(spec, S3Store) and spec.certificate is not None:
            yield f"certificate:{name}", partial(_certificate, name, Path(spec.certificate))


def _certificate(name: str, path: Path) -> Mapping[str, bytes]:
    return {f"certificates/{name}.pem": read_bounded(path, most=_MOST)}
