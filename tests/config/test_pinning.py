"""Pins are written into the user's own text without touching anything else of it."""

import pytest

from drorch.config.pinning import pinned
from drorch.config.yaml import read
from drorch.core.errors import DrorchError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq+0/abc="
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOther"
ID = "12345678901234567890123456789012"

BLOCK = """\
# ours
site: acme   # the name
hosts:
  # the shop
  web1:
    address: 203.0.113.10   # by name it would need DNS
    user: drorch

  web2: {address: 198.51.100.20, user: drorch}   # the standby
  web3: {address: 198.51.100.21, domain: {provider: ovh}}
services: {}
"""


@pytest.mark.parametrize(
    ("host", "old", "new"),
    [
        ("web1", "    user: drorch\n", f'    user: drorch\n    machine_id: "{ID}"\n    host_key: {KEY}\n'),
        ("web2", "user: drorch}", f'user: drorch, host_key: {KEY}, machine_id: "{ID}"}}'),
        ("web3", "domain: {provider: ovh}}", f'domain: {{provider: ovh}}, host_key: {KEY}, machine_id: "{ID}"}}'),
    ],
)
def test_a_pin_is_one_more_entry(host: str, old: str, new: str) -> None:
    """Comments, blank lines and order stay; the entry stands where the host's own are."""
    pins = {"machine_id": ID, "host_key": KEY} if host == "web1" else {"host_key": KEY, "machine_id": ID}
    after = pinned(BLOCK.encode(), "drorch.yaml", host, pins).decode()
    if host == "web1":
        new = f'    user: drorch\n    host_key: {KEY}\n    machine_id: "{ID}"\n'
    assert after == BLOCK.replace(old, new)


@pytest.mark.parametrize("form", ["{}", '"{}"', "'{}'"])
@pytest.mark.parametrize("shape", ["    host_key: {}   # pinned\n", "    host_key:   {}\n"])
def test_an_old_pin_is_replaced_in_place(form: str, shape: str) -> None:
    """However it was quoted, only the value changes."""
    text = "hosts:\n  web1:\n    address: a\n" + shape.format(form.format(OTHER)) + "    user: x\n"
    after = pinned(text.encode(), "drorch.yaml", "web1", {"host_key": KEY}).decode()
    assert after == text.replace(form.format(OTHER), KEY)


@pytest.mark.parametrize(
    "text",
    [
        "hosts:\r\n  web1:\r\n    address: a\r\n",
        "\ufeffhosts: {web1: {address: a}}\n",
        "hosts:\n    web1:\n        address: a",
        'hosts:\n  "web1":\n    "address": a\n',
        "hosts:\n  web1:\n    address:\n      a\n    user: u\n",
        "{hosts: {web0: {address: b}, web1: {address: a}}}\n",
        "hosts:\n  web1: {\n    address: a,\n    user: u\n  }\n",
        "hosts: {web1: {address: a,}}\n",
    ],
)
def test_other_ways_of_writing_are_understood(text: str) -> None:
    """Line ends, marks, quotes and braces: the text says the same as before, and the pin."""
    after = read(pinned(text.encode(), "drorch.yaml", "web1", {"host_key": KEY}), "drorch.yaml")
    wanted = read(text.encode(), "drorch.yaml").data
    wanted["hosts"]["web1"]["host_key"] = KEY
    assert (after.data, after.problems) == (wanted, ())


def test_what_cannot_be_edited_safely_is_left_alone() -> None:
    """A value over several lines is the user's to change, and the user is told what to write."""
    text = f"hosts:\n  web1:\n    address: a\n    host_key: >-\n      {OTHER.replace(' ', chr(10) + '      ')}\n"
    with pytest.raises(DrorchError, match="does not edit") as refused:
        pinned(text.encode(), "drorch.yaml", "web1", {"host_key": KEY})
    assert KEY in refused.value.hint


def test_a_pin_that_stands_already_changes_nothing() -> None:
    """Trusting twice is the same as once."""
    once = pinned(BLOCK.encode(), "drorch.yaml", "web1", {"host_key": KEY})
    assert pinned(once, "drorch.yaml", "web1", {"host_key": KEY}) == once
