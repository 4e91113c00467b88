"""The files of a repository, wherever it lies, as a shelf that a mirror reads from."""

from collections.abc import Mapping

from drorch.core.errors import StoreError
from drorch.core.host import HostSpec
from drorch.core.repository import RepositorySpec
from drorch.core.store import Means, Shelf


def open_shelf(name: str, spec: RepositorySpec, means: Means, hosts: Mapping[str, HostSpec]) -> Shelf:
    """The files of a repository; nothing connects yet.

    A folder of the controller, ``sftp:`` by way of the host of the inventory that has this name or address, ``s3:``.

    Raises:
        StoreError: they cannot be read on the controller.
    """
    del means, hosts, spec
    raise StoreError(f"{name}: its files cannot be read", hint="mirror from a folder, sftp: or s3:")
