"""A machine with systemd that exists only in memory: what `drorch.hosts.systemd` asks and orders there, and faults."""

from dataclasses import dataclass, field
from typing import Literal

from drorch.core.host import Command, FakeHostSpec
from drorch.hosts import systemd
from drorch.hosts.fake import Answer, FakeHost, Fault, Reply
from drorch.hosts.units import CONTROL, OWN_FILES


@dataclass
class FakeUnit:
    """A service. As in life: who stops it does not wait for its parts, a stop that hangs leaves it deactivating, and a
    mask is only known once it was read.
    """

    active: str = "active"
    own: bool = False
    """Whether its file lies where a mask would have to lie."""
    parts: tuple[str, ...] = ()
    hangs: bool = False
    """Whether a stop never ends."""
    leaves: tuple[int, ...] = ()
    """Processes that a stop leaves alive."""
    breaks: bool = False
    """Whether it fails as soon as it is started."""
    masked: Literal["", "masked", "masked-runtime"] = ""
    control: bool = False
    """Whether it is masked where that goes before its own file."""
    stale: bool = False
    pid: int = 100
    processes: tuple[int, ...] = (100,)

    def stop(self) -> bool:
        """Whether it ends."""
        if self.hangs:
            self.active = "deactivating"
            return False
        if self.active == "active":
            self.active, self.pid, self.processes = "inactive", 0, self.leaves
        return True

    def start(self) -> bool:
        """Whether it runs."""
        if self.breaks or self.masked:
            self.active = "failed" if self.breaks else self.active
            return False
        if self.active != "active":
            self.active, self.pid, self.processes = "active", 200, (200,)
        return True

    def shown(self, name: str) -> str:
        """As `systemctl show` does."""
        loaded = "masked" if self.masked and not self.stale else "loaded"
        folder = CONTROL if self.control else OWN_FILES if self.own or self.masked else "/usr/lib/systemd/system"
        sub = {"active": "running", "inactive": "dead", "failed": "failed"}.get(self.active, "stop-sigterm")
        return "\n".join(
            (
                f"Id={name}",
                f"LoadState={loaded}",
                f"ActiveState={self.active}",
                f"SubState={sub}",
                f"UnitFileState={self.masked or 'enabled'}",
                f"MainPID={self.pid}",
                f"FragmentPath={folder}/{name}",
                f"NeedDaemonReload={'yes' if self.stale else 'no'}",
                f"Job={'7' if self.active == 'deactivating' else ''}",
                f"ConsistsOf={' '.join(self.parts)}",
            )
        )


_MISSING = "Id={}\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nNeedDaemonReload=no"


@dataclass
class FakeSystemd:
    """Answers for a `FakeHost`."""

    units: dict[str, FakeUnit] = field(default_factory=dict)
    slip: bytes | None = None
    boot: str = "6ab1"
    silent: bool = False
    """Whether systemd itself hangs."""
    orders: list[tuple[str, ...]] = field(default_factory=list)
    """What changed something, without the path of the program."""

    def __call__(self, command: Command) -> Answer | None:
        """Answer as such a machine does."""
        words = command.argv[2:] if command.argv[:2] == ("sudo", "-n") else command.argv
        if words[0] == "true":
            return Reply()
        if self.silent:
            return Fault.HANG
        if words[:2] == ("/bin/sh", "-c"):
            return self._script(words[2], words[4:], command)
        if words[0] == "journalctl":
            return Reply(stdout=b"the disk is full\nshop.service: Failed\n")
        if words[:2] == ("systemctl", "--no-ask-password"):
            return self._systemctl(words[2], tuple(word for word in words[3:] if word[:1] != "-"), words)
        return None

    def _script(self, script: str, words: tuple[str, ...], command: Command) -> Answer | None:
        if script == systemd.LOOK:
            known = {name: self.units[name].shown(name) for name in words[1:] if name in self.units}
            blocks = [known.get(name, _MISSING.format(name)) for name in words[1:]]
            lives = [f"{name} {pid}\n" for name in known for pid in self.units[name].processes]
            shown = "\n\n".join(blocks)
            return Reply(stdout=f"boot {self.boot}\n{shown}\n\nprocesses\n{''.join(lives)}".encode())
        if script == systemd._WRITE:
            assert isinstance(command.stdin, bytes)
            self.slip = command.stdin
            return Reply()
        if script == systemd._READ:
            return Reply(stdout=self.slip or b"")
        if script in (systemd._MASK, systemd._UNMASK):
            for mask in words:
                unit = self.units[mask.removeprefix(f"{CONTROL}/")]
                unit.control = script == systemd._MASK
                unit.masked, unit.stale = "masked" if unit.control else "", True
            return Reply()
        return None

    def _systemctl(self, verb: str, names: tuple[str, ...], words: tuple[str, ...]) -> Answer | None:
        if verb != "list-jobs":
            self.orders.append((verb, *names))
        units = [self.units[name] for name in names]
        if verb == "stop":
            return Reply() if all(unit.stop() for unit in units) else Fault.HANG
        if verb == "start":
            return Reply() if all(unit.start() for unit in units) else Reply(1, stderr=b"Job failed")
        if verb == "mask" and any(unit.own for unit in units):
            return Reply(1, stderr=b"Failed to mask unit: File already exists.")
        for unit in units:
            if verb == "mask":
                unit.masked, unit.stale = "masked", True
            elif unit.masked == ("masked-runtime" if "--runtime" in words else "masked"):
                unit.masked, unit.stale = "", True
        if "--no-reload" not in words:
            for unit in self.units.values():
                unit.stale = False
        return Reply()


def machine(name: str, **units: FakeUnit) -> tuple[FakeHost, FakeSystemd]:
    """A machine with these services."""
    made = FakeSystemd({f"{unit}.service": state for unit, state in units.items()})
    return FakeHost(name, FakeHostSpec(connector="fake"), answers=made), made
