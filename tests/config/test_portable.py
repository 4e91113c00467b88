"""Inventories for kits: what is edited, and what stays to the byte."""

from pathlib import Path

import pytest

from drorch.config.inventory import Inventory
from drorch.config.portable import portable
from drorch.config.rewrite import rewritten
from drorch.config.stock import with_absolute_paths
from drorch.config.yaml import read
from drorch.core.errors import DrorchError

FOLDER = Path("/etc/drorch")
INVENTORY = """\
site: acme   # ours
hosts:
  web1:   # the first
    address: 192.0.2.1
    key: "~/.ssh/drorch"   # of the controller
  ctl: {home: ../wörk}
repositories:
  nas: {url: ../nas, password: {secret: nas}}
stores:
  bucket: {kind: s3, endpoint: "https://s3.example.com", bucket: acme, credentials: {secret: keys}, certificate: ca.pem}
secrets:
  nas: {file: secrets/nas}   # readable by us only
  keys:
    # from the safe
    command:
      - pass
      - |
        show
        keys

  chat: {env: CHAT,
    }
  "deleter":
    env: DELETER
"""


def made(text: str, *left_out: str) -> tuple[str, Inventory]:
    """The text for the kit, and what that says in a folder of its own."""
    new = portable(text.encode(), "drorch.yaml", FOLDER, left_out=left_out)
    inventory = Inventory.model_validate(read(new, "drorch.yaml").data)
    return new.decode(), with_absolute_paths(inventory, Path("/kit/config"))


def test_only_places_change() -> None:
    """Secrets, keys and certificates are the kit's, other paths the controller's; comments and all else stay."""
    text, inventory = made(INVENTORY, "deleter")
    before = with_absolute_paths(Inventory.model_validate(read(INVENTORY.encode(), "").data), FOLDER)
    assert {name: secret.file for name, secret in inventory.secrets.items()} == {
        "nas": "/kit/secrets/nas",
        "keys": "/kit/secrets/keys",
        "chat": "/kit/secrets/chat",
        "deleter": None,
    }
    assert inventory.secrets["deleter"].env == "DELETER"
    assert getattr(inventory.hosts["web1"], "key", "") == "/kit/keys/web1"
    assert getattr(inventory.stores["bucket"], "certificate", "") == "/kit/certificates/bucket.pem"
    assert inventory.hosts["ctl"] == before.hosts["ctl"]
    assert inventory.repositories == before.repositories
    for comment in ("# ours", "# the first", "# of the controller", "# readable by us only", "# from the safe"):
        assert comment in text
    assert "    address: 192.0.2.1\n" in text


@pytest.mark.parametrize(
    "text",
    [
        INVENTORY.replace("\n", "\r\n"),
        "\ufeff" + INVENTORY,
        INVENTORY.replace("  nas: {file: secrets/nas}", '  ? nas\n  : {"f\\u0069le": secrets/nas}'),
        '{"site": "acme", "hosts": {"web1": {}}, "secrets": {"nas": {"command": ["x", "}"]}, "chat": {"env": "X"}}}',
        "site: a\nhosts: {w: {}}\nsecrets:\n  nas:\n    command: [\n      x, # }\n      y ]\n  chat:\n    env:\n     X",
    ],
)
def test_every_way_of_writing_is_edited(text: str) -> None:
    """Whatever YAML people or programs write, the result says what was wanted."""
    _, inventory = made(text)
    assert {secret.file for secret in inventory.secrets.values()} == {
        f"/kit/secrets/{name}" for name in inventory.secrets
    }


def test_a_document_that_cannot_be_edited_is_written_anew() -> None:
    """A value that stands nowhere in the text still gets its place."""
    new = rewritten(b"site: acme\n", "x", {("hosts", "web1", "key"): "../keys/web1"}, "note")
    assert read(new, "x").data == {"site": "acme", "hosts": {"web1": {"key": "../keys/web1"}}}
    assert new.startswith(b"# note\n")


def test_what_is_no_document_is_refused() -> None:
    """Nothing is made of a text that cannot be read."""
    with pytest.raises(DrorchError, match="cannot be read"):
        rewritten(b"site: [", "x", {}, "note")
