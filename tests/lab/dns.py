"""Asking a name server for addresses, as a customer's machine does. RFC 1035, A records only."""

import secrets
import socket
import struct
import time
from dataclasses import dataclass, field


class NoAddress(Exception):
    """The name server does not say one."""


@dataclass(frozen=True)
class Answer:
    """What a name server says."""

    addresses: tuple[str, ...]
    ttl: int


def ask(server: str, name: str, *, within: float = 1.0) -> Answer:
    """The addresses of a name.

    Raises:
        NoAddress: it says none, or nothing.
    """
    number = secrets.randbits(16)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(within)
        try:
            asking.connect((server, 53))
            asking.send(struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">xHH", 1, 1))
            said = asking.recv(4096)
        except OSError as error:
            raise NoAddress(f"{server} does not say where {name} is: {error}") from error
    answered, flags, _, count, _, _ = struct.unpack(">HHHHHH", said[:12])
    if answered != number or flags & 0xF or not count:
        raise NoAddress(f"{server} knows no {name} (code {flags & 0xF})")
    at = 12 + len(labels) + 5
    addresses, ttls = [], []
    for _ in range(count):
        at = _after_name(said, at)
        kind, _, ttl, length = struct.unpack(">HHIH", said[at : at + 10])
        if kind == 1:
            addresses.append(socket.inet_ntoa(said[at + 10 : at + 14]))
            ttls.append(ttl)
        at += 10 + length
    if not addresses:
        raise NoAddress(f"{server} knows no address of {name}")
    return Answer(tuple(addresses), min(ttls))


@dataclass
class Resolver:
    """Remembers an answer as long as its TTL allows; asks the servers in turn."""

    servers: tuple[str, ...]
    _known: dict[str, tuple[float, str]] = field(default_factory=dict)

    def address(self, name: str) -> str:
        """Where a name is now, as far as this resolver knows.

        Raises:
            NoAddress: no server says.
        """
        until, known = self._known.get(name, (0.0, ""))
        if time.monotonic() < until:
            return known
        for server in self.servers:
            try:
                answer = ask(server, name)
            except NoAddress as error:
                trouble = error
                continue
            self._known[name] = (time.monotonic() + answer.ttl, answer.addresses[0])
            return answer.addresses[0]
        raise trouble


def _after_name(message: bytes, at: int) -> int:
    while message[at]:
        if message[at] & 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1
