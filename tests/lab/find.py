"""The labs that live on this machine, for processes that did not start them: to cause faults from elsewhere."""

import fcntl
import json
from dataclasses import dataclass

from lab import paths
from lab.host import Host
from lab.network import Network


@dataclass(frozen=True)
class Found:
    """A lab that lives."""

    number: int
    hosts: dict[str, Host]

    @property
    def network(self) -> Network:
        """Cables and their faults."""
        return Network(self.number)

    @property
    def current_power_fault(self) -> str:
        """What `Lab.power_fault` said."""
        try:
            return (paths.folder(self.number) / "power-fault").read_text()
        except FileNotFoundError:
            return ""


def found() -> list[Found]:
    """All of them."""
    return [_look(number) for number in sorted(int(file.stem) for file in paths.RUN.glob("*.lock")) if _lives(number)]


def _lives(number: int) -> bool:
    with paths.lock(number).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _look(number: int) -> Found:
    hosts = {}
    for kept in sorted((paths.folder(number) / "hosts").glob("*/host.json")):
        name, known = kept.parent.name, json.loads(kept.read_text())
        hosts[name] = Host(name, Network(number), known["last"], tuple(known["more"]), known["volumes"])
    return Found(number, hosts)
