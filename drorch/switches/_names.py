"""What names point to: values of records, the same for every kind of name server."""

import ipaddress
import re
from collections.abc import Set as AbstractSet
from typing import Literal

from drorch.core.errors import SwitchError
from drorch.core.host import printable
from drorch.core.switch import Turn

RecordType = Literal["A", "AAAA", "CNAME"]
_NAME = re.compile(r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$")


def canonical(kind: str, text: str) -> str:
    """A value in the one form in which values are compared; a name ends with its dot.

    Raises:
        ValueError: no record of this type can have it.
    """
    try:
        if kind == "A":
            return str(ipaddress.IPv4Address(text))
        if kind == "AAAA":
            return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError(f"{printable(text)!r} is no value of a record of type {kind}") from None
    if not _NAME.match(text):
        raise ValueError(f"{printable(text)!r} is no name")
    return f"{text.rstrip('.').lower()}."


def value(turn: Turn, host: str, said: str | None, key: str, kind: str) -> str:
    """What the record says when customers are led to a host: as said under ``key``, else the host's address.

    Raises:
        SwitchError: it has none, or none for this type.
    """
    text = said or turn.addresses.get(host)
    if text is None:
        raise SwitchError(f"{host} has no address", hint=f"say `{key}:`, or its `address:` in the inventory")
    try:
        return canonical(kind, text)
    except ValueError as error:
        raise SwitchError(str(error), hint=f"say under `{key}:` what the record has to say for {host}") from None


def leads(values: AbstractSet[str], old: str, new: str) -> Literal["old", "new", "both", "nowhere", "elsewhere"]:
    """Where a record with these values leads customers."""
    if not values:
        return "nowhere"
    if not values <= {old, new}:
        return "elsewhere"
    return "both" if len(values) > 1 else "new" if new in values else "old"


def problems(turn: Turn, to: str | None, from_: str | None, kind: str) -> tuple[tuple[str, str], ...]:
    """What is wrong with the two values, (message, hint) each."""
    try:
        old, new = value(turn, turn.old, from_, "from", kind), value(turn, turn.new, to, "to", kind)
    except SwitchError as error:
        return ((error.message, error.hint),)
    if old == new:
        return ((f"{turn.old} and {turn.new} have the same address {old}", "correct `to:` or `from:`"),)
    return ()
