"""The lab's network: one switch in a namespace of its own, a cable to each machine, and faults of cables."""

import subprocess
from dataclasses import dataclass

from lab import paths
from lab.raze import remove_spaces

CONTROLLER, EDGE, WEB1, WEB2, SECOND_DNS, S3, CUSTOMER, FLOATING = 1, 10, 11, 12, 20, 30, 100, 200
"""The last numbers of the addresses."""

_TABLE = """\
table bridge cables {
  set cut { type ifname; }
  set blocked { type ifname . ifname; }
  chain loss { }
  chain forward {
    type filter hook forward priority 0
    iifname @cut drop
    oifname @cut drop
    meta protocol ip iifname . oifname @blocked drop
    meta protocol ip jump loss
  }
}
"""


@dataclass(frozen=True)
class Network:
    """The network of a lab. Its faults live in the kernel: any process may set them, all see them.

    A machine is named by its cable. The cable `controller` is this machine's own: drorch and the tests look in there.
    """

    number: int

    def address(self, last: int) -> str:
        """An address of this lab."""
        return f"10.77.{self.number}.{last}"

    @property
    def controller(self) -> str:
        """The address of this machine in the lab."""
        return self.address(CONTROLLER)

    def make(self) -> None:
        """The switch, and the controller's cable."""
        space, outside = paths.space(self.number), paths.space(self.number)
        _ip("netns", "add", space)
        _batch(space, "link add switch type bridge", "link set switch up", "link set lo up")
        _ip("link", "add", outside, "type", "veth", "peer", "name", "controller", "netns", space)
        _batch("", f"addr add {self.controller}/24 dev {outside}", f"link set {outside} up")
        _batch(space, "link set controller master switch", "link set controller up")
        self._nft(_TABLE)

    def plug(self, machine: str, *addresses: str) -> None:
        """A new machine at the switch, in a namespace of its own; its first address is the one that makes it known."""
        space = paths.space(self.number, machine)
        _ip("netns", "add", space)
        _batch(
            paths.space(self.number),
            f"link add {machine} type veth peer name eth0 address {_hardware(addresses[0])} netns {space}",
            f"link set {machine} master switch",
            *(() if self.is_cut(machine) else (f"link set {machine} up",)),
        )
        _batch(
            space,
            "link set lo up",
            *(f"addr add {address}/24 dev eth0" for address in addresses),
            "link set eth0 up",
        )

    def unplug(self, machine: str) -> None:
        """Remove a machine from the network, at once: nobody hears a farewell."""
        _ip("-n", paths.space(self.number), "link", "delete", machine, check=False)
        remove_spaces(self.number, machine)

    def cut(self, machine: str) -> None:
        """Pull the cable: nothing comes or goes, and nobody is told."""
        self._nft(f"add element bridge cables cut {{ {machine} }}")
        _ip("-n", paths.space(self.number), "link", "set", machine, "down", check=False)

    def mend(self, machine: str) -> None:
        """Plug the cable in again."""
        if self.is_cut(machine):
            self._nft(f"delete element bridge cables cut {{ {machine} }}")
        _ip("-n", paths.space(self.number), "link", "set", machine, "up", check=False)

    def is_cut(self, machine: str) -> bool:
        """Whether its cable is pulled."""
        asked = ("nft", "get", "element", "bridge", "cables", "cut", f"{{ {machine} }}")
        return self._inside(*asked, check=False).returncode == 0

    def block(self, source: str, target: str) -> None:
        """Let nothing pass from one machine to another; what comes back still passes."""
        self._nft(f"add element bridge cables blocked {{ {source} . {target} }}")

    def heal(self) -> None:
        """End all faults but slowness: every cable is plugged in, nothing is blocked, nothing gets lost."""
        self._nft("flush set bridge cables cut\nflush set bridge cables blocked\nflush chain bridge cables loss")
        self._inside("ip", "link", "set", "controller", "up")
        self._inside("ip", "link", "set", "customer", "up")

    def lose(self, machine: str, percent: float) -> None:
        """Lose so many of a machine's packets, both ways, on top of other losses."""
        some = f"numgen random mod 1000 < {round(percent * 10)} " if percent < 100 else ""
        self._nft(
            f"add rule bridge cables loss iifname {machine} {some}drop\n"
            f"add rule bridge cables loss oifname {machine} {some}drop"
        )

    def slow(self, machine: str, rate: str | None) -> None:
        """Let a cable carry no more than, say, ``1mbit``, each way; None lets it carry what it can."""
        for space, device in ((paths.space(self.number), machine), (paths.space(self.number, machine), "eth0")):
            words = ["tc", "-n", space, "qdisc", "replace" if rate else "delete", "dev", device, "root"]
            if rate:
                words += ["tbf", "rate", rate, "burst", "32kb", "latency", "100ms"]
            _run(words, check=rate is not None)

    def _inside(self, *words: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run(["ip", "netns", "exec", paths.space(self.number), *words], text, check=check)

    def _nft(self, rules: str) -> None:
        self._inside("nft", "-f", "-", text=rules)


def _hardware(address: str) -> str:
    """The hardware address of a machine: the same after each boot, so that its neighbours need not learn it anew."""
    return ":".join(("02", "00", *(f"{int(part):02x}" for part in address.split("."))))


def _ip(*words: str, check: bool = True) -> None:
    _run(["ip", *words], check=check)


def _batch(space: str, *lines: str) -> None:
    _run(["ip", *(("-n", space) if space else ()), "-batch", "-"], "\n".join(lines) + "\n")


def _run(words: list[str], text: str = "", *, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=30)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}\n{text}")
    return done
