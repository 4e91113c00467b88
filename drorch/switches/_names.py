"""What names point to: values of records, the same for every kind of name server."""

import ipaddress
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints

from drorch.core.errors import SwitchError
from drorch.core.finding import Finding, Standing
from drorch.core.host import printable
from drorch.core.model import Frozen
from drorch.core.switch import Turn

Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:][A-Za-z0-9_.:-]*$")]
"""An address or a name, of a host or of a server."""
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
    if not _NAME.match(text) or _is_address(text):
        raise ValueError(f"{printable(text)!r} is no name")
    return f"{text.rstrip('.').lower()}."


def _is_address(text: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(text))
    return False


class Pointer(Frozen):
    """What every record of an address says, wherever it lies."""

    type: RecordType = "A"
    """The record's type."""
    to: Address | None = None
    """What it says when customers are led to the new host; that host's address unless said."""
    from_: Annotated[Address | None, Field(alias="from")] = None
    """What it says while they are led to the old host; that host's address unless said."""
    ttl: Annotated[int, Field(ge=0, le=86400)] = 60
    """Seconds for which caches may keep what it says from then on."""

    def values(self, turn: Turn) -> tuple[str, str]:
        """What it says for the old and for the new host.

        Raises:
            SwitchError: one has no address, or none for this type.
        """
        return self._value(turn, turn.old, self.from_, "from"), self._value(turn, turn.new, self.to, "to")

    def _value(self, turn: Turn, host: str, said: str | None, key: str) -> str:
        text = said or turn.addresses.get(host)
        if text is None:
            raise SwitchError(f"{host} has no address", hint=f"say `{key}:`, or its `address:` in the inventory")
        try:
            return canonical(self.type, text)
        except ValueError as error:
            raise SwitchError(str(error), hint=f"say under `{key}:` what the record has to say for {host}") from None

    def problems(self, turn: Turn) -> tuple[tuple[str, str], ...]:
        """What is wrong with the two values, (message, hint) each."""
        try:
            old, new = self.values(turn)
        except SwitchError as error:
            return ((error.message, error.hint),)
        if old == new:
            return ((f"{turn.old} and {turn.new} have the same address {old}", "correct `to:` or `from:`"),)
        return ()

    def turned(self) -> Self:
        """The same with the two values in each other's place."""
        return self.model_copy(update={"to": self.from_, "from_": self.to})

    def describe(self, title: str, turn: Turn) -> str:
        """The plan's line."""
        to = self.to or turn.addresses.get(turn.new)
        return f"point {title} to {turn.new}" + (f" ({to})" if to else "")

    def kept(self, title: str, ttl: int) -> Iterator[Finding]:
        """That caches keep what the record says now for longer than they should, if they do."""
        if ttl > self.ttl:
            yield Finding(
                about=title,
                what=f"caches keep it for {ttl} s, so customers would reach the old host so long after a switch",
                standing=Standing.DOUBTFUL,
                remedy=f"lower its TTL to {self.ttl} s now: that takes {ttl} s to reach everybody",
                facts={"ttl": ttl},
            )


def leads(values: AbstractSet[str], old: str, new: str) -> Literal["old", "new", "both", "nowhere", "elsewhere"]:
    """Where a record with these values leads customers."""
    if not values:
        return "nowhere"
    if not values <= {old, new}:
        return "elsewhere"
    return "both" if len(values) > 1 else "new" if new in values else "old"
