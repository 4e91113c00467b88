"""README.txt of a recovery kit: how to use it with drorch, and without. Pure."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime

from drorch.config.inventory import Inventory
from drorch.core.host import SshHostSpec
from drorch.core.repository import RepositorySpec
from drorch.core.store import StoreSpec
from drorch.stores.directory import DirectoryStore
from drorch.stores.s3 import S3Store
from drorch.stores.sftp import SftpStore
from drorch.vault.kit import Lack


def readme(
    inventory: Inventory,
    made: datetime,
    by: str,
    version: str,
    *,
    failover: Sequence[str],
    left_out: Sequence[str],
    lacks: Sequence[Lack],
) -> str:
    """The whole text."""
    return "\n".join(
        (
            f"RECOVERY KIT OF {inventory.site}",
            f"made {made:%Y-%m-%d %H:%M} UTC by {by} with drorch {version}",
            "",
            "Everything here is secret. Delete this folder when the work is done.",
            "",
            *_with_drorch(inventory, failover),
            *_by_hand(inventory),
            *_missing(left_out, lacks),
            "",
        )
    )


def _with_drorch(inventory: Inventory, failover: Sequence[str]) -> Iterator[str]:
    drorch = "drorch --config config --state state"
    yield "WITH DRORCH, in this folder"
    yield ""
    yield f"  {drorch} check --live"
    for name in failover:
        yield f"  {drorch} failover {name}"
    for name in inventory.services:
        yield f"  {drorch} restore {name} --host HOST --store STORE"
    yield ""


def _by_hand(inventory: Inventory) -> Iterator[str]:
    yield "WITHOUT DRORCH"
    yield ""
    yield "  How this folder was made of the sealed kit: mkdir -m 700 kit; age -d [-i IDENTITY] KIT | tar x -C kit"
    yield "  restic 0.17.1 or newer reads every repository. In this folder, in a shell of its own for each:"
    for name, spec in inventory.repositories.items():
        yield ""
        yield f"  # repository {name}; its password is in secrets/{spec.password.secret}"
        yield from _restic(
            spec, spec.url, [f'{key}="$(cat secrets/{ref.secret})"' for key, ref in spec.credentials.items()]
        )
        for store, place in inventory.stores.items():
            yield from _copy(name, spec, store, place)
    yield ""
    yield "  Snapshots have tags: restic snapshots --tag service=NAME. Restored are files as they were; a PostgreSQL"
    yield "  dump is database.dump (pg_restore) with globals.sql (psql) beside it; an SQLite database is the file."
    yield ""
    for name, host in inventory.hosts.items():
        if isinstance(host, SshHostSpec):
            key = f" -i keys/{name}" if host.key else ""
            yield f"  ssh{key} -p {host.port} {host.user}@{host.address}    # host {name}"
            yield f"      its key: {host.host_key or 'not known'}"


def _restic(spec: RepositorySpec, url: str, variables: Sequence[str], options: str = "") -> Iterator[str]:
    words = f"RESTIC_PASSWORD_FILE=secrets/{spec.password.secret}"
    yield f"  export {words}"
    for variable in variables:
        yield f"  export {variable}"
    yield f"  restic -r {shlex.quote(url)}{options} snapshots"
    yield f"  restic -r {shlex.quote(url)}{options} restore SNAPSHOT --target /srv/restored"


def _copy(repository: str, spec: RepositorySpec, store: str, place: StoreSpec) -> Iterator[str]:
    """How the mirror of a repository in a store is read, where there is one."""
    folder = "/".join(part for part in (place.prefix, repository) if part)
    yield ""
    yield f"  # the copy of {repository} in the store {store}, {place.describe()}, if it is mirrored there"
    if isinstance(place, S3Store):
        words = f"tr '\\n' ':' <secrets/{place.credentials.secret} | cut -d:"
        yield f"  # secrets/{place.credentials.secret} holds ID:SECRET, or both on two lines"
        variables = [
            f'AWS_ACCESS_KEY_ID="$({words} -f1)"',
            f'AWS_SECRET_ACCESS_KEY="$({words} -f2)"',
            f"AWS_DEFAULT_REGION={place.region}",
        ]
        url = f"s3:{place.endpoint.rstrip('/')}/{place.bucket}/{folder}"
        certificate = f" --cacert certificates/{store}.pem" if place.certificate else ""
        yield from _restic(spec, url, variables, f" --no-lock -o s3.bucket-lookup=path{certificate}")
    elif isinstance(place, DirectoryStore):
        yield from _restic(spec, f"{place.path.rstrip('/')}/{folder}", (), " --no-lock")
    elif isinstance(place, SftpStore):
        yield f"  # fetch it from the host {place.host}, see below, with sftp -r; then restic -r copy"
        lies = shlex.quote(f"{place.path.rstrip('/')}/{folder}")
        yield f"  sftp -r {place.host}:{lies} copy"
    else:
        yield "  # restic cannot read it in place: drorch recover rebuilds the repository"


def _missing(left_out: Sequence[str], lacks: Sequence[Lack]) -> Iterator[str]:
    if left_out or lacks:
        yield ""
        yield "WHAT IS NOT IN HERE"
        yield ""
        for name in left_out:
            yield f"  - {name} was left out on purpose"
        for lack in lacks:
            yield f"  - {lack.what}"
