"""Four hosts in one network, each a namespace of its own; made by root, gone with the test."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from drorch.core.host import Command
from drorch.hosts.fake import Answer, FakeHost, Fault, Reply

NAMES = ("primary", "standby", "edge", "stranger")


@dataclass
class Network:
    """A bridge in a namespace, and one namespace per host beside it."""

    mark: str = field(default_factory=lambda: f"drorch-{secrets.token_hex(3)}")
    hosts: dict[str, FakeHost] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    """Hosts that cannot be reached by drorch; their network goes on."""

    def start(self) -> None:
        """Make them."""
        hub = f"{self.mark}-hub"
        _ip("netns", "add", hub)
        _ip("-n", hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", hub, "link", "set", "br0", "up")
        for number, name in enumerate(NAMES, 1):
            space = self.space(name)
            _ip("netns", "add", space)
            _ip("-n", hub, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", hub, "link", "set", name, "master", "br0", "up")
            _ip("-n", space, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            self.hosts[name] = FakeHost(name, answers=partial(self._run, name))
        _ip("-n", self.space("primary"), "addr", "add", "10.77.0.200/24", "dev", "eth0")

    def stop(self) -> None:
        """Remove them, and with them what they were connected by."""
        for name in (*NAMES, "hub"):
            subprocess.run(["ip", "netns", "del", self.space(name)], check=False, capture_output=True)

    def space(self, name: str) -> str:
        """A host's namespace."""
        return f"{self.mark}-{name}"

    def within(self, name: str, *words: str, check: bool = True) -> str:
        """Run a command there."""
        argv = [*self._inside(name), *words]
        return subprocess.run(argv, check=check, capture_output=True, text=True).stdout

    def at(self, address: str = "10.77.0.200") -> str:
        """Whom the edge finds at an address when it sends something there, as its customers' packets would."""
        self.within("edge", "perl", "-MSocket", "-e", _SEND, address, check=False)
        macs: dict[str, str] = {}
        for name in NAMES:
            (link,) = json.loads(self.within(name, "ip", "-j", "link", "show", "eth0"))
            macs[link["address"]] = name
        for _ in range(40):
            found = json.loads(self.within("edge", "ip", "-j", "neigh", "show", "to", address) or "[]")
            for each in found:
                if "lladdr" in each:
                    return macs.get(each["lladdr"], str(each["lladdr"]))
                if "FAILED" in each["state"]:
                    return ""
            self.within("edge", "sleep", "0.05")
        return ""

    def _inside(self, name: str) -> tuple[str, ...]:
        """Only the network is the host's own, apart from what its interfaces are called in ``/sys``."""
        return ("ip", "netns", "exec", self.space(name))

    def _run(self, name: str, command: Command) -> Answer:
        if name in self.cut:
            return Fault.GONE
        done = subprocess.run([*self._inside(name), *command.argv], check=False, capture_output=True, timeout=20)
        return Reply(done.returncode, done.stdout, done.stderr)


_SEND = 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, "", 0, sockaddr_in(9, inet_aton($ARGV[0])))'


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    """The address 10.77.0.200 is at the primary."""
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces are made")
    made = Network()
    try:
        made.start()
    except (OSError, subprocess.CalledProcessError) as error:
        made.stop()
        pytest.skip(f"needs namespaces and the ip command: {error}")
    yield made
    made.stop()
