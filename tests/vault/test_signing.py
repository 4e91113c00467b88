"""Signatures and the key that makes them."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drorch.core.errors import SettingsError
from drorch.vault.signing import KEY_FILE, Signer, verify

RFC_8032 = (
    # RFC 8032, section 7.1, test 2: public key, message, signature
    "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
    b"\x72",
    "kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA==",
)


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_signatures_are_ed25519() -> None:
    """What RFC 8032 calls a good signature is one, so other tools can check our records."""
    assert verify(*RFC_8032)


def test_the_key_stays_the_same(tmp_path: Path) -> None:
    """A key is made once, in a folder and file of its owner's alone; nothing else is left there."""
    folder = tmp_path / "state" / "keys"
    first = Signer.open(folder)
    signature = first.sign(b"record")
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert names(folder) == [KEY_FILE]
    again = Signer.open(folder)
    assert (again.public, again.sign(b"record")) == (first.public, signature)
    assert verify(first.public, b"record", signature)


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    """However many processes find no key, all of them sign with the one that was made."""
    program = "import sys; from pathlib import Path; from drorch.vault.signing import Signer\n"
    program += "sys.stdin.read(); print(Signer.open(Path(sys.argv[1])).public)"
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        said = {answer for answer, _ in pool.map(lambda process: process.communicate(b"", timeout=60), started)}
    assert said == {f"{Signer.open(tmp_path).public}\n".encode()}
    assert names(tmp_path) == [KEY_FILE]


def test_threads_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    """The same holds for many at once within one process."""
    with ThreadPoolExecutor(16) as pool:
        assert len({signer.public for signer in pool.map(lambda _: Signer.open(tmp_path), range(64))}) == 1


def others_read(path: Path) -> None:
    """Let the group read it."""
    path.chmod(0o640)


def another_owner(path: Path) -> None:
    """Give it to another user."""
    os.chown(path, 12345, -1)


def a_link(path: Path) -> None:
    """Put a link in its place."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_folder(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir(mode=0o700)


def garbage(path: Path) -> None:
    """Put something else into it."""
    path.write_bytes(b"no key")


def a_cut(path: Path) -> None:
    """Lose its second half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def another_kind(path: Path) -> None:
    """Put a key of another kind into it."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only this case needs it
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - only this case

    path.write_bytes(
        X25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (others_read, "by others"),
        pytest.param(another_owner, "belongs to user 12345", marks=AS_ROOT),
        (a_link, "cannot be used"),
        (a_folder, "no regular file"),
        (garbage, "no Ed25519 key"),
        (a_cut, "no Ed25519 key"),
        (another_kind, "no Ed25519 key"),
    ],
)
def test_a_doubtful_key_is_refused(spoil: Callable[[Path], None], word: str, tmp_path: Path) -> None:
    """A key that others may know, or that is none, signs nothing, and no new one takes its place silently."""
    Signer.open(tmp_path)
    path = tmp_path / KEY_FILE
    spoil(path)
    before = names(tmp_path)
    with pytest.raises(SettingsError, match=word) as refused:
        Signer.open(tmp_path)
    assert refused.value.hint
    assert "PRIVATE KEY" not in str(refused.value)
    assert names(tmp_path) == before


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    """A path on which no folder can be made is an error with a remedy."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be used"):
        Signer.open(tmp_path / "file" / "keys")


def test_a_signer_shows_nothing(tmp_path: Path) -> None:
    """The private key is in no text of a signer, and a signer cannot be pickled."""
    signer = Signer.open(tmp_path)
    assert repr(signer) == str(signer) == f"Signer({signer.public})"
    with pytest.raises(TypeError):
        pickle.dumps(signer)


@given(st.binary(max_size=200), st.integers(0, 63), st.integers(1, 255))
def test_any_change_breaks_a_signature(message: bytes, place: int, change: int) -> None:
    """A changed byte in the message or another message never verifies."""
    public, _, signature = RFC_8032
    altered = bytearray(b"\x72" + message)
    altered[min(place, len(altered) - 1)] ^= change
    assert not verify(public, bytes(altered) + b"!", signature)


@given(st.text(max_size=90), st.text(max_size=90))
def test_malformed_is_not_verified(public: str, signature: str) -> None:
    """Whatever stands in place of a key or signature is a no, not an error."""
    assert not verify(public, b"record", RFC_8032[2])
    assert not verify(RFC_8032[0], RFC_8032[1], signature)
