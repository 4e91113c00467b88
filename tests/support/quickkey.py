"""Makes a repository cheap to open, for tests: restic stretches a password for half a second, every command anew.

The key file is written again with scrypt's smallest cost; everything else, the master key included, stays. What restic
does with the repository is the same. The format is restic's, from the chapter *Keys, Encryption and MAC* of its design.
"""

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

_CHEAP = {"N": 2, "r": 1, "p": 1}


def _derived(password: str, key: dict[str, object], salt: bytes) -> bytes:
    """64 bytes: 32 encrypt, 16 are the MAC's k, 16 its r."""
    n, r, p = (int(str(key[name])) for name in ("N", "r", "p"))
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=1 << 29, dklen=64)


def _stream(keys: bytes, nonce: bytes, content: bytes) -> bytes:
    return Cipher(algorithms.AES(keys[:32]), modes.CTR(nonce)).encryptor().update(content)


def _mac(keys: bytes, nonce: bytes, content: bytes) -> bytes:
    pad = Cipher(algorithms.AES(keys[32:48]), modes.ECB()).encryptor().update(nonce)  # noqa: S305 - one block, as designed
    return Poly1305.generate_tag(keys[48:64] + pad, content)


def quicken(repository: Path, password: str) -> None:
    """Write the only key of a repository again so that it costs nothing to open."""
    (file,) = (repository / "keys").iterdir()
    key = json.loads(file.read_text())
    salt, sealed = base64.b64decode(key["salt"]), base64.b64decode(key["data"])
    nonce, content, tag = sealed[:16], sealed[16:-16], sealed[-16:]
    keys = _derived(password, key, salt)
    assert hmac.compare_digest(_mac(keys, nonce, content), tag), "the password opens no key"
    master = _stream(keys, nonce, content)

    cheap = {**key, **_CHEAP}
    keys, nonce = _derived(password, cheap, salt), os.urandom(16)
    content = _stream(keys, nonce, master)
    cheap["data"] = base64.b64encode(nonce + content + _mac(keys, nonce, content)).decode()
    written = json.dumps(cheap).encode()
    (file.parent / hashlib.sha256(written).hexdigest()).write_bytes(written)
    file.unlink()
