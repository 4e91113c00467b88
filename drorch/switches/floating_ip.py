"""``floating_ip``: move an address from host to host in one network."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from drorch.core.errors import Unreachable
from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding, Standing
from drorch.core.host import Command, Completed
from drorch.core.model import Frozen, HostName, Json
from drorch.core.step import Planned, Tools
from drorch.core.switch import Traffic, Turn, Way
from drorch.switches import _arp as arp

PATIENCE = 10.0
"""Seconds that one command may take."""
HEARD = 5.0
"""Seconds for which others are given to hear of a move."""
PAUSE = 0.1


def _with_network(text: str) -> str:
    if ":" in text:
        raise ValueError("is an IPv6 address, which cannot float yet; move an IPv4 address, or use dns or haproxy")
    try:
        found = ipaddress.IPv4Interface(text)
    except ValueError:
        raise ValueError("must be an IPv4 address with its network, such as 192.0.2.10/24") from None
    if "/" not in text:
        raise ValueError("must say its network, too, such as 192.0.2.10/24")
    return str(found)


class FloatingAddress(Frozen):
    """An address that one host at a time has, beside its own."""

    address: Annotated[str, AfterValidator(_with_network)]
    """It and its network, such as ``192.0.2.10/24``. No host's own configuration names it: it would be back with that
    host after its next start."""
    interface: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,15}$")]
    """The interface that gets it, on either host, such as ``eth0``."""
    announce: Annotated[int, Field(ge=1, le=30)] = 3
    """How often, once a second, the network is told; the first time at once."""
    seen_from: HostName | None = None
    """A third host in that network, which then has to find the address at the new host."""


class FloatingIp(Way):
    """Take the address from the old host, where that can be reached, give it to the new one, and tell the network at
    once (gratuitous ARP), or neighbours would look for it at the old one for minutes. Needs root on both hosts.
    """

    floating_ip: FloatingAddress
    """Which address, and where."""

    @property
    def title(self) -> str:
        """The address."""
        return f"address {self._alone}"

    def describe(self, turn: Turn) -> str:
        """The plan's line."""
        return f"move {self.title} to {self.floating_ip.interface} of {turn.new}"

    def preview(self, turn: Turn) -> tuple[Planned, ...]:
        """What is run on either host."""
        said = self.floating_ip
        take = ("ip", "addr", "replace", said.address, "dev", said.interface)
        give = ("ip", "addr", "del", said.address, "dev", said.interface)
        return (
            Planned(turn.old, give, note="where it can be reached; it is fenced"),
            Planned(turn.new, take, note="then it is announced by ARP"),
        )

    def look(self, tools: Tools, turn: Turn) -> Traffic | Failure:
        """Which host says that it has the address; who answers for it, where a third host can see that."""
        found = self._both(tools, turn)
        return found if isinstance(found, Failure) else found.traffic()

    def lead(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Give, take, announce, see."""
        began = tools.clock.monotonic()
        before = self._both(tools, turn)
        if isinstance(before, Failure):
            return before
        if before.leads == "elsewhere":
            return Failure(
                why=f"{self.title} is at neither {turn.old} nor {turn.new}: {before.seen} answers for it",
                hint="find out whose that is; two hosts with one address would both be lost",
                facts=before.traffic().facts,
            )
        said = self.floating_ip
        if before.old:
            failure = self._run(tools, turn.old, arp.GIVE, said.address, self._alone)
            if failure is not None:
                return failure
        failure = self._run(tools, turn.new, arp.TAKE, said.interface, said.address)
        failure = failure or self._run(tools, turn.new, arp.ANNOUNCE, said.interface, self._alone, str(said.announce))
        if failure is not None:
            return failure
        after = self._heard(tools, turn)
        if isinstance(after, Failure):
            return after
        return Evidence(
            facts={
                "before": before.leads,
                "leads": "new",
                "address": said.address,
                "mac": after.mac,
                "old_host": "unreachable; it is fenced" if after.old is None else "does not have it",
                "seen_from": said.seen_from,
                "seconds": round(tools.clock.monotonic() - began, 3),
            }
        )

    def findings(self, tools: Tools, turn: Turn) -> Iterable[Finding]:
        """Both hosts have the interface and let it be changed; a third one looks."""
        for name in (turn.old, turn.new):
            done = self._done(tools, name, _ABLE, self.floating_ip.interface)
            words = _UNABLE.get(done.exit_code or 0)
            if done.ok and done.text == "able\n":
                yield self._finding(f"{name} can take it at {self.floating_ip.interface}")
            elif words is not None:
                what, remedy = words
                yield self._finding(f"{name} {what}", Standing.BAD, remedy)
            else:
                why = (
                    f"{name} gives no answer that drorch understands" if done.ok else done.failure(f"asking {name}").why
                )
                yield self._finding(why, Standing.UNKNOWN, f"look at {name}")
        if self.floating_ip.seen_from is None:
            yield self._finding(
                "no third host sees whether a move is heard",
                Standing.DOUBTFUL,
                "say a host in the same network under `seen_from:`",
            )

    @property
    def _alone(self) -> str:
        return self.floating_ip.address.partition("/")[0]

    def _both(self, tools: Tools, turn: Turn) -> "_Whose | Failure":
        new = self._has(tools, turn.new)
        if isinstance(new, Failure):
            return new
        try:
            found = self._has(tools, turn.old)
        except Unreachable:
            old = None
        else:
            if isinstance(found, Failure):
                return found
            old = found
        seen = self._seen(tools)
        if isinstance(seen, Failure):
            return seen
        return _Whose(
            old=None if old is None else any(self._alone in each.addresses for each in old),
            new=any(self._alone in each.addresses for each in new),
            mac=self._mac(new),
            old_mac=self._mac(old or []),
            seen=seen,
        )

    def _mac(self, found: list[arp.Interface]) -> str:
        return next((each.mac.lower() for each in found if each.name == self.floating_ip.interface), "")

    def _has(self, tools: Tools, name: str) -> list[arp.Interface] | Failure:
        done = tools.host(name).run(Command(("ip", "-j", "addr", "show"), timeout=PATIENCE))
        if not done.ok:
            return done.failure(f"asking {name} for its addresses", retryable=True)
        try:
            found = arp.interfaces(done.text)
        except ValueError as error:
            return Failure(why=f"{name} tells its addresses in a way that drorch does not understand: {error}")
        if all(each.name != self.floating_ip.interface for each in found):
            known = ", ".join(each.name for each in found) or "none"
            return Failure(why=f"{name} has no interface {self.floating_ip.interface}", hint=f"it has {known}")
        return found

    def _seen(self, tools: Tools) -> str | Failure | None:
        """The hardware address at which a third host finds it; empty for nobody, None when there is no third host."""
        name = self.floating_ip.seen_from
        if name is None:
            return None
        done = self._done(tools, name, arp.SEE, self._alone)
        if done.exit_code == 4:  # noqa: PLR2004 - the script's own
            return Failure(why=f"{name} has neither perl nor python3 to look for it", hint="install one of them")
        if not done.ok:
            return done.failure(f"asking {name} who has {self._alone}", retryable=True)
        try:
            return arp.neighbour(done.text.strip())
        except ValueError as error:
            return Failure(why=f"{name} tells its neighbours in a way that drorch does not understand: {error}")

    def _heard(self, tools: Tools, turn: Turn) -> "_Whose | Failure":
        """Wait until the new host has it, the old one does not, and the third one has heard of it."""
        until = tools.clock.monotonic() + min(HEARD, tools.deadline.remaining())
        while True:
            found = self._both(tools, turn)
            if isinstance(found, Failure):
                return found
            if found.leads == "new" and found.seen in (None, found.mac):
                return found
            if tools.clock.monotonic() >= until:
                where = f"finds it at {found.seen}" if found.seen else "finds nobody at it"
                seen = f"{self.floating_ip.seen_from} {where}" if found.seen is not None else "it leads there not"
                return Failure(
                    why=f"{self.title} was moved to {turn.new} ({found.mac}), and yet {seen}",
                    hint=f"does {turn.old} answer for it still? is {self.floating_ip.seen_from or turn.new} in that"
                    " network?",
                    retryable=True,
                    facts=found.traffic().facts,
                )
            tools.clock.sleep(PAUSE)

    def _run(self, tools: Tools, name: str, script: str, *words: str) -> Failure | None:
        done = self._done(tools, name, script, *words)
        if done.ok:
            return None
        hint = f"drorch needs root on {name} for this" if "permitted" in done.errors else ""
        if done.exit_code == 4:  # noqa: PLR2004 - the script's own
            hint = f"install perl or python3 on {name}: neighbours must be told"
        return done.failure(f"moving {self.title} at {name}", hint=hint, retryable=True)

    def _done(self, tools: Tools, name: str, script: str, *words: str) -> Completed:
        return tools.host(name).run(Command(("/bin/sh", "-c", script, "drorch", *words), timeout=PATIENCE))

    def _finding(self, what: str, standing: Standing = Standing.GOOD, remedy: str = "") -> Finding:
        return Finding(about=self.title, what=what, standing=standing, remedy=remedy)


_ABLE = r"""
[ -e "/sys/class/net/$1" ] || exit 3
command -v perl >/dev/null || command -v python3 >/dev/null || exit 4
command -v ip >/dev/null || exit 5
[ "$(id -u)" -eq 0 ] || exit 6
echo able
"""
_UNABLE = {
    3: ("has no such interface", "correct `interface:`"),
    4: ("has neither perl nor python3 to announce it", "install one of them"),
    5: ("has no ip command", "install iproute2"),
    6: ("lets drorch in as a user who cannot move addresses", "let drorch in as root there"),
}


@dataclass(frozen=True, slots=True)
class _Whose:
    """Who has the address."""

    old: bool | None
    """Whether the old host says that it has it; None when it cannot be reached."""
    new: bool
    mac: str
    """The new host's hardware address."""
    old_mac: str
    """The old host's; empty when it cannot be reached."""
    seen: str | None
    """At which hardware address a third host finds it; empty for nobody, None when there is no third host."""

    @property
    def leads(self) -> Literal["old", "new", "both", "nowhere", "elsewhere"]:
        """Where it leads. A fenced host that cannot be asked has it, should somebody unknown answer for it."""
        if self.new:
            return "both" if self.old else "new"
        if self.old:
            return "old"
        if not self.seen or self.seen in (self.mac, self.old_mac):
            # What a neighbour remembers of a host that says that it has it no more.
            return "nowhere"
        return "old" if self.old is None else "elsewhere"

    def traffic(self) -> Traffic:
        """For the step."""
        facts: dict[str, Json] = {"old": "unreachable" if self.old is None else self.old, "new": self.new}
        return Traffic(leads=self.leads, facts={**facts, **({"seen_at": self.seen} if self.seen else {})})
