"""Sealing, against the standard age tool."""

import shutil
import subprocess
from pathlib import Path

import pytest

from drorch.core.errors import KitError, WrongKey
from drorch.vault import age
from support.kits import Keys, make_keys

pytestmark = pytest.mark.skipif(shutil.which("age") is None, reason="needs the age tool: apt-get install age")
CONTENT = bytes(range(256)) * 700
"""More than one chunk of the format."""


def nobody(what: str) -> str:
    """Fails when a passphrase is asked for."""
    raise AssertionError(what)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Keys as the standard tools make them."""
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.mark.parametrize("kind", ["age", "ssh"])
def test_the_standard_tool_opens_what_is_sealed_here(keys: Keys, kind: str) -> None:
    """Sealed for both kinds of keys, either private half opens it with `age -d`."""
    sealed = age.seal(CONTENT, [keys.age_public, keys.ssh_public])
    opened = subprocess.run(["age", "-d", "-i", getattr(keys, kind)], input=sealed, capture_output=True, check=True)
    assert opened.stdout == CONTENT
    assert str(age.locks(sealed)) == "1 age key or 1 SSH key"


@pytest.mark.parametrize("armour", [(), ("-a",)])
@pytest.mark.parametrize("kind", ["age", "ssh"])
def test_what_the_standard_tool_sealed_opens_here(keys: Keys, kind: str, armour: tuple[str, ...]) -> None:
    """`age -r` for either kind of key, armoured or not."""
    argv = ["age", *armour, "-r", getattr(keys, f"{kind}_public")]
    sealed = subprocess.run(argv, input=CONTENT, capture_output=True, check=True).stdout
    assert age.open_by_keys(sealed, [getattr(keys, kind).read_bytes()], nobody) == CONTENT
    assert len(age.locks(sealed).keys) == 1


def test_an_ssh_key_with_a_passphrase_opens(keys: Keys, tmp_path: Path) -> None:
    """The passphrase is asked for, and a wrong one is told."""
    locked = tmp_path / "locked"
    shutil.copy(keys.ssh, locked)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret-one", "-f", locked], check=True, capture_output=True)
    sealed = age.seal(b"x", [keys.ssh_public])
    assert age.open_by_keys(sealed, [locked.read_bytes()], lambda _: "secret-one") == b"x"
    with pytest.raises(WrongKey, match="the SSH key's passphrase"):
        age.open_by_keys(sealed, [locked.read_bytes()], lambda _: "another")


def test_another_key_is_told_what_it_was_sealed_for(keys: Keys) -> None:
    """The hint names the kind of key to look for."""
    sealed = age.seal(b"x", [keys.age_public])
    with pytest.raises(WrongKey) as refused:
        age.open_by_keys(sealed, [keys.ssh.read_bytes()], nobody)
    assert "1 age key" in refused.value.hint


@pytest.mark.parametrize("cut", [0, 30, 150, -1])
def test_damage_is_told_from_a_wrong_key(keys: Keys, cut: int) -> None:
    """A file that was cut anywhere opens to nothing, and nobody is sent to look for another key."""
    sealed = age.seal(CONTENT, [keys.age_public])
    with pytest.raises(KitError) as refused:
        age.open_by_keys(sealed[:cut], [keys.age.read_bytes()], nobody)
    assert not isinstance(refused.value, WrongKey)


@pytest.mark.parametrize("text", ["", "age1xyz", "ssh-ed25519 AAAA", "ssh-dss AAAA", "ada", "AGE-SECRET-KEY-1QQ"])
def test_what_is_no_recipient_is_refused(text: str) -> None:
    """Nothing is sealed for a slip of the pen, and a private key is not echoed."""
    with pytest.raises(KitError) as refused:
        age.seal(b"x", [text])
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("public", ["age_public", "ssh_public"])
def test_a_public_key_is_no_identity(keys: Keys, public: str) -> None:
    """Whoever names the wrong half is told so."""
    with pytest.raises(KitError, match="public key"):
        age.open_by_keys(age.seal(b"x", [keys.age_public]), [getattr(keys, public).encode()], nobody)


def test_a_list_of_recipients_may_hold_comments(keys: Keys) -> None:
    """As age's own lists; the line of a mistake is named."""
    text = f"# who\n\n{keys.age_public}\n  {keys.ssh_public}\n"
    assert list(age.recipients_in(text)) == [keys.age_public, keys.ssh_public]
    with pytest.raises(KitError, match="line 5"):
        list(age.recipients_in(f"{text}nonsense\n"))


def test_a_short_passphrase_is_refused() -> None:
    """What can be guessed seals nothing."""
    with pytest.raises(KitError, match="at least 12"):
        age.seal_by_passphrase(b"x", "hunter2")
