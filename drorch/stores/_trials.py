"""What can be tried on any store that has no tricks of its own: through its verbs, below ``drorch-probe/``."""

import hashlib
import secrets as randomness
from collections.abc import Callable
from contextlib import suppress

from drorch.core.errors import AlreadyThere, ContentRefused, StoreError
from drorch.core.store import Probe, Store, Trial

FOLDER = "drorch-probe/"
"""Where objects of probes are, and nothing else."""


def tried(
    store: Store, *, tampered: Callable[[str, bytes, str], object], further: Callable[[str], tuple[Trial, ...]]
) -> Probe:
    """Wrong checksum, tampered payload, second put; then what ``further`` tries on an object that is there.

    ``tampered`` writes content under a key with the checksum of other content, past the first look at it, as if the
    bytes had changed on their way. Nothing is left behind, unless it cannot be removed.
    """
    key = f"{FOLDER}{randomness.token_hex(16)}"
    content = randomness.token_bytes(1024)
    sha256 = hashlib.sha256(content).hexdigest()
    other = bytes([content[0] ^ 1]) + content[1:]
    try:
        trials = (
            _refused(
                "wrong_sha256",
                "to take content with the checksum of other content",
                lambda: store.put(key, other, sha256=sha256),
                ContentRefused,
            ),
            _refused(
                "tampered_payload",
                "to keep content that changed on its way",
                lambda: tampered(key, other, sha256),
                ContentRefused,
            ),
            _second(store, key, content),
            *further(key),
        )
    finally:
        with suppress(StoreError):
            store.remove(key)
    return Probe(trials=trials)


def unlocked(why: str) -> tuple[Trial, ...]:
    """The trials of a store that has no locks."""
    return (
        Trial(name="locked_deletion", what="to delete what is locked", good=False, answer=why),
        Trial(name="locked_shortening", what="to lock for a shorter time", good=False, answer=why),
    )


def _second(store: Store, key: str, content: bytes) -> Trial:
    sha256 = hashlib.sha256(content).hexdigest()
    what = "to write, only if absent, what is there already"
    try:
        store.put(key, content, sha256=sha256)
    except StoreError as error:
        return Trial(name="second_put", what=what, good=None, answer=f"the first was refused: {error.message}")
    return _refused("second_put", what, lambda: store.put(key, content, sha256=sha256, absent=True), AlreadyThere)


def _refused(name: str, what: str, attempt: Callable[[], object], kind: type[StoreError]) -> Trial:
    try:
        attempt()
    except kind as error:
        return Trial(name=name, what=what, good=True, answer=error.message)
    except StoreError as error:
        return Trial(name=name, what=what, good=None, answer=error.message)
    return Trial(name=name, what=what, good=False, answer="it did")
