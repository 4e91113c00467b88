"""The labs that live on this machine, for processes that did not start them: to cause faults from elsewhere."""

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path

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
    def folder(self) -> Path:
        """Where this machine keeps it."""
        return paths.folder(self.number)

    @property
    def power_fault(self) -> str:
        """How the provider's command misbehaves; empty when it does not."""
        try:
            return (self.folder / "power-fault").read_text()
        except FileNotFoundError:
            return ""

    def set_power_fault(self, fault: str) -> None:
        """Let it misbehave: ``lie``, ``hang``, ``fail`` or ``slow``; empty ends it."""
        (self.folder / "power-fault").write_text(fault)


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
