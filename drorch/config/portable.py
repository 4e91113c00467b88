"""An inventory that can be used from anywhere: secrets and keys lie beside it, every other path is the one that it was.

Relative paths of the result count from its own folder, so the folder that holds all of it can be moved.
"""

from collections.abc import Collection, Iterator
from pathlib import Path as Folder
from typing import Final

from drorch.config.inventory import Inventory
from drorch.config.rewrite import rewritten
from drorch.config.stock import with_absolute_paths
from drorch.config.yaml import Path, read
from drorch.core.errors import DrorchError
from drorch.core.host import SshHostSpec
from drorch.core.model import Json
from drorch.stores.s3 import S3Store

_NOTE: Final = """\
From a recovery kit. Secrets and keys are the files beside this folder; other paths of the controller are those of the
machine where the kit was made. drorch.yaml.original is the inventory as it was written there."""


def portable(content: bytes, file: str, folder: Folder, *, left_out: Collection[str] = ()) -> bytes:
    """The inventory's text for a kit; ``folder`` is the one that ``drorch.yaml`` lies in now.

    What is ``left_out`` keeps its source where that can be had elsewhere (a variable, a command); a file is looked for
    where the kit would have had it.

    Raises:
        DrorchError: the text cannot be edited.
    """
    inventory = Inventory.model_validate(read(content, file).data)
    changes = dict(_differences((), _plain(inventory), _plain(with_absolute_paths(inventory, folder))))
    changes.update(_carried(inventory, left_out))
    new = rewritten(content, file, changes, _NOTE)
    _agree(Inventory.model_validate(read(new, file).data), inventory)
    return new


def _agree(new: Inventory, old: Inventory) -> None:
    """A last look: nothing but places differs."""
    if new.services != old.services or set(new.secrets) != set(old.secrets) or set(new.hosts) != set(old.hosts):
        raise DrorchError("the inventory cannot be edited for a kit", hint="please report it with the inventory's form")


def _plain(inventory: Inventory) -> Json:
    return inventory.model_dump(mode="json")


def _differences(path: Path, old: Json, new: Json) -> Iterator[tuple[Path, Json]]:
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            yield from _differences((*path, key), old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, item in enumerate(old):
            yield from _differences((*path, index), item, new[index])
    elif old != new:
        yield path, new


def _carried(inventory: Inventory, left_out: Collection[str]) -> Iterator[tuple[Path, Json]]:
    """What lies in the kit itself."""
    for name, secret in inventory.secrets.items():
        if secret.file is not None:
            yield ("secrets", name, "file"), f"../secrets/{name}"
        elif name not in left_out:
            yield ("secrets", name), {"file": f"../secrets/{name}"}
    for name, host in inventory.hosts.items():
        if isinstance(host, SshHostSpec) and host.key is not None:
            yield ("hosts", name, "key"), f"../keys/{name}"
    for name, store in inventory.stores.items():
        if isinstance(store, S3Store) and store.certificate is not None:
            yield ("stores", name, "certificate"), f"../certificates/{name}.pem"
