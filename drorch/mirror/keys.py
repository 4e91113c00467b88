"""Which files may be keys of a restic repository, by their form alone. Pure.

A key file is JSON in clear: how to derive a key from the password, and the master key, encrypted with that.
"""

import base64
import json
from typing import Final

KEY_LIMIT: Final = 1 << 16
"""Bytes; a real one has about 450."""

_MEMORY: Final = 1 << 28
"""Bytes that deriving a key may take; restic never chooses more than 60 MiB for its own."""
_WORK: Final = 1 << 33
"""Bytes that it may touch in all."""
_SHORTEST: Final = 32
"""Bytes of an encrypted master key: a nonce and a code come with it."""


def is_key(content: bytes) -> bool:
    """Whether restic can at least try the password on it, at a cost that is bearable."""
    try:
        key = json.loads(content)
        rounds, block, lanes = (key[name] for name in ("N", "r", "p"))
        if key["kdf"] != "scrypt" or any(type(number) is not int for number in (rounds, block, lanes)):
            return False
        salt, data = (base64.b64decode(key[name], validate=True) for name in ("salt", "data"))
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    memory = 128 * rounds * block
    right = rounds > 1 and rounds & (rounds - 1) == 0 and block > 0 and lanes > 0
    return right and memory <= _MEMORY and memory * lanes <= _WORK and len(salt) > 0 and len(data) > _SHORTEST
