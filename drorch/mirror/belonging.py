"""To which repository a copy belongs: its ``config``, the one file whose name says nothing of its content."""

from contextlib import suppress

from drorch.core.errors import AlreadyThere, ObjectMissing, Refused, StoreError
from drorch.core.store import Receipt, Shelf, Store
from drorch.mirror.names import CONFIG, CONFIG_LIMIT, digest


def config_of(source: Shelf) -> bytes:
    """The config of a source.

    Raises:
        StoreError: there is none, so that is no repository.
    """
    try:
        config = source.read(CONFIG, limit=CONFIG_LIMIT)
    except ObjectMissing as error:
        raise StoreError(
            f"{source.shown} holds no restic repository: there is no config",
            hint="is a disk not mounted? nothing was copied",
        ) from error
    if not config:
        raise StoreError(f"the config of {source.shown} is empty", hint="the repository is damaged; nothing was copied")
    return config


def agree(own: str, pinned: str, target: Store, folder: str) -> None:
    """Make sure that a source, the copy of it, and what is remembered of both are one repository.

    Args:
        own: SHA-256 of the source's config.
        pinned: SHA-256 of the one that was mirrored until now; empty before the first pass.
        target: The store.
        folder: Where the copy lies there.

    Raises:
        Refused: they are not.
    """
    if pinned and pinned != own:
        raise Refused(
            f"the repository is another one than was mirrored to {target.name} until now: its config is "
            f"{own[:16]}…, it was {pinned[:16]}…",
            hint="was it made anew? name it otherwise in the inventory, so that it gets a folder of its own",
        )
    try:
        there = digest(target.read(folder + CONFIG, limit=CONFIG_LIMIT))
    except ObjectMissing:
        return
    if own not in (there, pinned):
        raise Refused(
            f"another repository is in {folder} of {target.shown}: its config is {there[:16]}…, ours {own[:16]}…",
            hint="give the store another prefix, or name the repository otherwise in the inventory",
        )
    if there != own:
        raise Refused(
            f"somebody overwrote the config of the copy in {folder} of {target.shown}",
            hint=f"treat it as an attack: drorch recover {target.name} --to FOLDER reads what was there before. "
            "When all is well, remove the newest version of that file with the deleter's credential, and mirror again",
        )


def claim(target: Store, folder: str, config: bytes) -> Receipt | None:
    """Put the config of a copy unless one is there; None when there was.

    Raises:
        Refused: another repository's is there.
    """
    key = folder + CONFIG
    receipt = None
    try:
        there = target.read(key, limit=CONFIG_LIMIT)
    except ObjectMissing:
        with suppress(AlreadyThere):
            receipt = target.put(key, config, sha256=digest(config), absent=True)
        # Not every store heeds the condition: what is there now decides.
        there = target.read(key, limit=CONFIG_LIMIT)
    if there != config:
        raise Refused(
            f"another repository came into {folder} of {target.shown} meanwhile",
            hint="two machines mirror different repositories of one name: rename one of them",
        )
    return receipt
