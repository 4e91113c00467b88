"""Cutting a host off by nftables: on a router before it, or on the host itself."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from drorch.core.evidence import Failure
from drorch.core.host import Command, Completed
from drorch.core.model import Frozen, HostName, Json
from drorch.core.scene import Scene
from drorch.core.step import Planned, Tools

PATIENCE = 15.0
"""Seconds for nft."""
HEARING = 1.5
"""Seconds for which a connection is tried; what is dropped is silent."""
PRIORITY = -310
"""Before connection tracking and everybody else's rules."""


def _network(value: object) -> object:
    if isinstance(value, str):
        try:
            network = ipaddress.ip_network(value)
        except ValueError:
            raise ValueError("is no IP address or network, such as 10.0.0.5 or 10.0.0.0/24") from None
        return str(network.network_address) if network.num_addresses == 1 else str(network)
    return value


def _address(value: object) -> object:
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("is no IP address") from None
    return value


NetworkText = Annotated[str, BeforeValidator(_network)]
AddressText = Annotated[str, BeforeValidator(_address)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]

TRY = r"""
address=$1 seconds=$2
shift 2
command -v timeout >/dev/null || exit 90
for port in "$@"; do
    (
        said=$(LC_ALL=C timeout "$seconds" bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$address" "$port" 2>&1)
        code=$?
        case $code:$said in
            0:*) word=open ;;
            124:*) word=silent ;;
            *refused*) word=refused ;;
            *"timed out"* | *"No route"* | *unreachable*) word=silent ;;
            *) word=unknown ;;
        esac
        echo "$port $word"
    ) &
done
wait
"""
"""Tries to connect to the ports ``$3``… of ``$1``, all at once, for ``$2`` seconds; says of each what came of it. Who
is refused has reached the host.
"""


class FirewallCut(Frozen):
    """Rules of nftables that drop everything from and to a host, but SSH from where drorch is."""

    host: HostName
    """The host whose firewall it is: a router that everything passes, or the fenced host itself."""
    addresses: Annotated[tuple[AddressText, ...], Field(min_length=1)] | None = None
    """The IP addresses of the fenced host; its address in the inventory unless said."""
    allow: tuple[NetworkText, ...] = ()
    """From where SSH still reaches it: the addresses of the machines on which drorch may run, as the fenced host sees
    them. Whoever is not among them is locked out."""
    ssh_port: PortNumber = 22
    """The port of SSH there."""
    ports: Annotated[tuple[PortNumber, ...], Field(min_length=1)]
    """What must be silent afterwards, such as ``[5432, 443]``: connections are tried."""
    from_: Annotated[HostName | None, Field(alias="from")] = None
    """The host from which they are tried; the machine on which drorch runs unless said."""
    sudo: bool = False
    """Whether root's rights are had by ``sudo -n``."""

    @property
    def words(self) -> str:
        """What is so once it is cut."""
        seen = self.from_ or "here"
        return f"the firewall of {self.host} drops everything from and to it, and from {seen} its ports are silent"

    def describe(self, host: str) -> str:
        """The plan's line."""
        return f"cut {host} off at the firewall of {self.host}"

    def preview(self, host: str) -> tuple[Planned, ...]:
        """The rules, and the try."""
        ports = tuple(str(port) for port in self.ports)
        return (
            Planned(self.host, self._nft("-f", "-"), note=f"a table {table(host)} of its own, in one piece"),
            Planned(self.from_ or "controller", ("connect", host, *ports), note="each must be silent"),
        )

    def problems(self, scene: Scene, host: str) -> tuple[tuple[str, str, str], ...]:
        """Its address must be known, drorch must not lock itself out, and who tries must stand outside."""
        found = []
        if isinstance(where := self._where(scene, host), Failure):
            found.append(("addresses", where.why, where.hint))
        if self.host == host and not self.allow:
            message = f"drorch would lock itself out of {host}"
            found.append(("allow", message, "name the addresses from where it reaches it: `allow: [10.0.0.5]`"))
        if self.from_ == host:
            found.append(("from", f"whether {host} is cut off cannot be tried from {host}", "name another host"))
        return tuple(found)

    def cut(self, tools: Tools, host: str) -> dict[str, Json] | Failure:
        """Put the rules in place in one piece, read them back, try to connect."""
        where = self._where(tools.scene, host)
        if isinstance(where, Failure):
            return where
        text = rules(host, where, self.allow, self.ssh_port, itself=self.host == host)
        done = self._run(tools, "-f", "-", stdin=text.encode())
        if not done.ok:
            return done.failure(f"setting the firewall of {self.host}", hint=self._hint())
        return self.look(tools, host)

    def look(self, tools: Tools, host: str) -> dict[str, Json] | Failure:
        """What is seen while it is cut; a failure when it is not, or that is not known."""
        where = self._where(tools.scene, host)
        if isinstance(where, Failure):
            return where
        done = self._run(tools, "-s", "-n", "list", "table", "inet", table(host))
        if not done.ok or done.truncated:
            if done.exit_code == 1 and "No such file" in done.errors:
                return Failure(
                    why=f"the firewall of {self.host} lets {host} through", hint="fence it again, then retry"
                )
            return done.failure(f"reading the firewall of {self.host}", hint=self._hint())
        wanted = rules(host, where, self.allow, self.ssh_port, itself=self.host == host)
        if _lines(done.text) != _lines(wanted):
            return Failure(
                why=f"the rules that the firewall of {self.host} has in {table(host)} are not drorch's",
                hint=f"who changed them? nft delete table inet {table(host)} removes them; then retry",
            )
        return self._tried(tools, where)

    def lift(self, tools: Tools, host: str) -> Failure | None:
        """Remove the rules."""
        text = f"table inet {table(host)}\ndelete table inet {table(host)}\n"
        done = self._run(tools, "-f", "-", stdin=text.encode())
        return None if done.ok else done.failure(f"letting {host} through at {self.host}", hint=self._hint())

    def ready(self, tools: Tools, host: str) -> str | Failure:
        """Whether it could be cut: nft takes the rules, without setting them; the ports can be tried."""
        where = self._where(tools.scene, host)
        if isinstance(where, Failure):
            return where
        text = rules(host, where, self.allow, self.ssh_port, itself=self.host == host)
        done = self._run(tools, "-c", "-f", "-", stdin=text.encode())
        if not done.ok:
            return done.failure(f"trying rules on the firewall of {self.host}", hint=self._hint())
        heard = self._heard(tools, where)
        if isinstance(heard, Failure):
            return heard
        silent = sorted({port for _, port, word in heard if word == "silent"})
        more = f"; silent already: {', '.join(map(str, silent))}" if silent else ""
        return f"the firewall of {self.host} takes the rules{more}"

    def _where(self, scene: Scene, host: str) -> tuple[str, ...] | Failure:
        if self.addresses is not None:
            return self.addresses
        said = scene.addresses.get(host, "")
        try:
            return (str(ipaddress.ip_address(said.strip("[]"))),)
        except ValueError:
            return Failure(
                why=f"a firewall needs the IP address of {host}, and its address is {said or 'not known'}",
                hint="say `addresses:`",
            )

    def _tried(self, tools: Tools, where: tuple[str, ...]) -> dict[str, Json] | Failure:
        heard = self._heard(tools, where)
        if isinstance(heard, Failure):
            return heard
        through = [f"{address}:{port} is {word}" for address, port, word in heard if word != "silent"]
        seen = self.from_ or "here"
        if through:
            return Failure(
                why=f"the firewall of {self.host} drops everything, yet from {seen} {', '.join(through)}",
                hint=f"is {self.host} really on the way? see how {seen} reaches it",
            )
        return {"addresses": list(where), "silent": list(self.ports), "from": seen}

    def _heard(self, tools: Tools, where: tuple[str, ...]) -> list[tuple[str, int, str]] | Failure:
        vantage = tools.host(self.from_) if self.from_ else tools.controller()
        heard = []
        for address in where:
            words = (address, str(HEARING), *(str(port) for port in self.ports))
            done = vantage.run(Command(("bash", "-c", TRY, "drorch", *words), timeout=PATIENCE))
            answers = dict(line.split(" ", 1) for line in done.text.splitlines() if " " in line)
            if not done.ok or any(answers.get(str(port), "unknown") == "unknown" for port in self.ports):
                return done.failure(
                    f"trying to connect from {vantage.name}", hint="it needs bash and timeout there"
                ).model_copy(update={"unknown": True})
            heard += [(address, port, answers[str(port)]) for port in self.ports]
        return heard

    def _run(self, tools: Tools, *words: str, stdin: bytes | None = None) -> Completed:
        return tools.host(self.host).run(Command(self._nft(*words), stdin=stdin, timeout=PATIENCE))

    def _nft(self, *words: str) -> tuple[str, ...]:
        return (*(("sudo", "-n") if self.sudo else ()), "nft", *words)

    def _hint(self) -> str:
        return f"does {self.host} have nft, and may it be used? log in as root, or say `sudo: true`"


def table(host: str) -> str:
    """The name of the table that fences a host."""
    return f"drorch_fence_{host.replace('-', '_')}"


def rules(host: str, addresses: tuple[str, ...], allow: tuple[str, ...], port: int, *, itself: bool) -> str:
    """The rules as nft takes them, in place of what was there before, all or nothing.

    No rule knows connections: those that stand are cut, too.
    """
    name = table(host)
    chains = "".join(_chain(hook, addresses, allow, port, itself=itself) for hook in ("input", "output", "forward"))
    return f"table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{chains}}}\n"


def _chain(hook: str, addresses: tuple[str, ...], allow: tuple[str, ...], port: int, *, itself: bool) -> str:
    policy = "drop" if itself else "accept"
    body = _own(hook, allow, port) if itself else _passing(addresses, allow, port)
    lines = "".join(f"\t\t{line}\n" for line in body)
    return f"\tchain {hook} {{\n\t\ttype filter hook {hook} priority {PRIORITY}; policy {policy};\n{lines}\t}}\n"


def _own(hook: str, allow: tuple[str, ...], port: int) -> Iterator[str]:
    if hook == "forward":
        return
    far, near, device = ("saddr", "dport", "iifname") if hook == "input" else ("daddr", "sport", "oifname")
    yield f'{device} "lo" accept'
    yield "icmpv6 type { 135, 136 } accept"
    for address in allow:
        yield f"{_family(address)} {far} {address} tcp {near} {port} accept"


def _passing(addresses: tuple[str, ...], allow: tuple[str, ...], port: int) -> Iterator[str]:
    for address in addresses:
        family = _family(address)
        for other in allow:
            if _family(other) == family:
                yield f"{family} saddr {other} {family} daddr {address} tcp dport {port} accept"
                yield f"{family} saddr {address} {family} daddr {other} tcp sport {port} accept"
        yield f"{family} saddr {address} drop"
        yield f"{family} daddr {address} drop"


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip"


def _lines(text: str) -> list[str]:
    """The rules alone, in order."""
    words = [line.strip() for line in text.splitlines()]
    return [line for line in words if line not in ("", "}") and not line.startswith(("table ", "delete "))]
