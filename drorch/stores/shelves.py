"""The files of a repository, wherever it lies, as a shelf that a mirror reads from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from drorch.core.errors import SecretError, StoreError
from drorch.core.files import Files
from drorch.core.host import HostSpec, SshHostSpec
from drorch.core.model import Json, SecretRef
from drorch.core.repository import RepositorySpec
from drorch.core.secret import Secret, Secrets
from drorch.core.store import Means, Shelf
from drorch.stores._disk import Disk
from drorch.stores._folder import FolderShelf
from drorch.stores.s3 import S3Store
from drorch.stores.sftp import LANES, remote_files

_CONFIG = "config"
"""The one file that every repository has, by restic's own layout."""
_KEY_ID, _KEY, _TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
_REGIONS = ("AWS_DEFAULT_REGION", "AWS_REGION")
_S3_LANES = 16
_FOREIGN = ("azure", "b2", "gs", "rclone", "swift")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where an SFTP repository lies, as restic reads its address."""

    host: str
    user: str | None
    port: int | None
    path: str
    """A relative one counts from where the login begins."""


def open_shelf(name: str, spec: RepositorySpec, means: Means, hosts: Mapping[str, HostSpec]) -> Shelf:
    """The files of a repository; nothing connects yet.

    A folder of the controller, ``sftp:`` by way of the host of the inventory that has this name or address, ``s3:``
    with the repository's own credentials. Messages show no passwords.

    Raises:
        StoreError: they cannot be read on the controller.
    """
    scheme, _, rest = spec.url.partition(":")
    if spec.is_path and not (scheme in _FOREIGN and rest):
        path = spec.url.removeprefix("local:")
        files = Disk(Path(path).expanduser().absolute())
        return _folder(f"{name} ({path})", files, means, "is its disk mounted, and is a repository there?")
    if scheme == "sftp":
        remote = parse_sftp(name, rest)
        host = _host_for(name, remote, hosts)
        shown = f"{name} (folder {remote.path} on {host})"
        files_there = remote_files(name, means.host(host), remote.path)
        return _folder(shown, files_there, means, "is its disk mounted, and is a repository there?")
    if scheme == "s3":
        return _bucket(name, rest, spec, means)
    raise StoreError(
        f"{name}: the files of a repository behind {scheme}: cannot be read one by one",
        hint="mirror from where that server keeps them: a folder, sftp: or s3:",
    )


def parse_sftp(name: str, rest: str) -> Remote:
    """What follows ``sftp:`` in a repository's address; pure.

    Raises:
        StoreError: no host and path can be read from it.
    """
    if rest.startswith("//"):
        try:
            parts = urlsplit(f"sftp:{rest}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        # One slash ends the authority; what follows is relative unless it has a slash of its own.
        remote = Remote(host or "", unquote(parts.username) if host and parts.username else None, port, parts.path[1:])
    else:
        target, _, path = rest.partition(":")
        user, at, host = target.rpartition("@")
        remote = Remote(host, user if at else None, None, path)
    if not remote.host or not remote.path:
        raise StoreError(f"{name}: no host and path can be read from its address", hint="write sftp:USER@HOST:/PATH")
    return remote


def _folder(shown: str, files: Files, means: Means, unmarked: str) -> Shelf:
    return FolderShelf(shown, files, clock=means.clock, lanes=LANES, marker=_CONFIG, unmarked=unmarked)


def _host_for(name: str, remote: Remote, hosts: Mapping[str, HostSpec]) -> str:
    """The host of the inventory that is meant: its key is pinned, and its login known."""
    known = {host: spec for host, spec in hosts.items() if isinstance(spec, SshHostSpec)}
    meant = [host for host, spec in known.items() if remote.host in {host, spec.address, spec.address.strip("[]")}]
    fitting = [
        host for host in meant if remote.user in {None, known[host].user} and remote.port in {None, known[host].port}
    ]
    if fitting:
        return remote.host if remote.host in fitting else min(fitting)
    login = f"address: {remote.host}, user: {remote.user or 'USER'}, port: {remote.port or 22}, key: FILE"
    why = (
        f"{min(meant)} is that machine, with another user or port"
        if meant
        else f"no host of the inventory has the name or address {remote.host}"
    )
    raise StoreError(
        f"{name}: its files are read over SSH, and {why}",
        hint=f"add under hosts: a host with {{{login}}}, then `drorch host trust` it",
    )


def _bucket(name: str, rest: str, spec: RepositorySpec, means: Means) -> Shelf:
    parts = urlsplit(rest if "://" in rest else f"https://{rest.removeprefix('//')}")
    bucket, _, prefix = unquote(parts.path).strip("/").partition("/")
    foreign = sorted(set(spec.credentials) - {_KEY_ID, _KEY, _TOKEN, *_REGIONS})
    if foreign or not {_KEY_ID, _KEY} <= set(spec.credentials):
        wrong = f"it has {foreign[0]}" if foreign else f"{_KEY_ID} or {_KEY} is missing"
        raise StoreError(
            f"{name}: its files cannot be read with these credentials: {wrong}",
            hint=f"under credentials: use {_KEY_ID}, {_KEY} and where needed {_TOKEN}, {_REGIONS[0]}",
        )
    ref = SecretRef(secret=f"{name}-access"[:63].lower())
    regions = [spec.credentials[key] for key in _REGIONS if key in spec.credentials]
    try:
        fields: dict[str, Json] = {
            "kind": "s3",
            "endpoint": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            "bucket": bucket,
            "prefix": prefix,
            "credentials": ref,
            "parallel": _S3_LANES,
            **({"region": means.secrets.get(regions[0]).reveal().strip()} if regions else {}),
        }
        store = S3Store.model_validate(fields)
    except ValidationError as error:
        wrong = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors()}))
        raise StoreError(
            f"{name}: its address or region is not one that can be read from: {wrong}",
            hint="write s3:https://SERVER/BUCKET/FOLDER",
        ) from error
    except SecretError as error:
        raise StoreError(f"{name}: {error.message}", hint=error.hint) from error
    access = Access(ref, spec.credentials, means.secrets)
    return store.open(name, Means(secrets=access, clock=means.clock, host=means.host))


@dataclass(frozen=True, slots=True)
class Access:
    """`core.secret.Secrets` with one more: a repository's S3 credential, put together from restic's variables."""

    ref: SecretRef
    variables: Mapping[str, SecretRef]
    secrets: Secrets

    def get(self, ref: SecretRef) -> Secret:
        """The secret of that name."""
        if ref != self.ref:
            return self.secrets.get(ref)
        names = [name for name in (_KEY_ID, _KEY, _TOKEN) if name in self.variables]
        return Secret(ref.secret, "\n".join(self.secrets.get(self.variables[name]).reveal().strip() for name in names))

    def redact(self, text: str) -> str:
        """The parts are known to where they come from."""
        return self.secrets.redact(text)

    def redact_json(self, value: Json) -> Json:
        """The same."""
        return self.secrets.redact_json(value)
