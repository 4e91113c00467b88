"""Records of a zone, name servers, and the keys that sign. Without dnspython, which takes a while to load."""

from dataclasses import dataclass

from drorch.core.host import Host
from drorch.core.secret import Secret


@dataclass(frozen=True, slots=True)
class Server:
    """A name server, as seen from a host."""

    host: Host
    address: str
    port: int = 53

    def __str__(self) -> str:
        return self.address if self.port == 53 else f"{self.address}@{self.port}"  # noqa: PLR2004 - DNS's port


@dataclass(frozen=True, slots=True)
class Record:
    """What is asked for: a name and a type in a zone."""

    zone: str
    name: str
    """As in a zone file: relative to the zone unless it ends with a dot; ``@`` is the zone itself."""
    type: str

    @property
    def full(self) -> str:
        """The name as people write it."""
        if self.name == "@":
            return self.zone.rstrip(".")
        return self.name.rstrip(".") if self.name.endswith(".") else f"{self.name}.{self.zone.rstrip('.')}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name server says of a record."""

    values: frozenset[str]
    ttl: int
    """Seconds; what is left of them where the answer comes from a cache."""


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """A TSIG key."""

    name: str
    algorithm: str
    secret: Secret
