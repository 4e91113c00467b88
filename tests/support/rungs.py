"""Rungs with what they ask, all in memory: a failover of the shop away from a primary that they fence."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from drorch.core.evidence import Evidence, Failure
from drorch.core.fence import Proof, Rung
from drorch.core.finding import Finding
from drorch.core.host import Command, Host
from drorch.core.model import Json
from drorch.core.replication import Pair, ReplicaState, Replication
from drorch.core.step import Planned, Tools
from drorch.fences import AnyRung
from drorch.hosts.fake import Answer, FakeHost, Reply
from drorch.sources.files import Files
from support.tools import CANARY, START, Cut, World, WorldTools
from support.units import FakeSystemd, FakeUnit, machine

RUNG: TypeAdapter[Rung] = TypeAdapter(AnyRung)


class Ledger(Replication):
    """A database that is a word in a file of its host."""

    def units(self) -> tuple[str, ...]:
        return ("postgresql",)

    def look(self, tools: Tools, host: Host) -> ReplicaState | Failure:
        frozen = self.frozen(tools, host)
        if isinstance(frozen, Failure):
            return frozen
        return ReplicaState(host=host.name, role="standby" if frozen else "primary", at=START)

    def freeze(self, tools: Tools, host: Host) -> Failure | None:
        done = host.run(Command(("freeze",)))
        return None if done.ok else done.failure("freezing")

    def frozen(self, tools: Tools, host: Host) -> bool | Failure:
        done = host.run(Command(("frozen",)))
        return done.text == "yes" if done.ok and done.text else done.failure("trying to write")

    def thaw(self, tools: Tools, host: Host) -> Failure | None:
        done = host.run(Command(("thaw",)))
        return None if done.ok else done.failure("thawing")

    def promote(self, tools: Tools, host: Host, before: ReplicaState, *, former: str) -> Evidence | Failure:
        raise NotImplementedError

    def follow(self, tools: Tools, pair: Pair, *, keep: str, fresh: bool = False) -> Evidence | Failure:
        raise NotImplementedError

    def preview(self, host: str, action: Literal["promote", "follow"]) -> tuple[Planned, ...]:
        raise NotImplementedError

    def findings(self, tools: Tools, primary: Host, standby: Host) -> Iterable[Finding]:
        raise NotImplementedError

    def rehearse(self, tools: Tools, host: Host, folder: str, token: str) -> Evidence | Failure:
        raise NotImplementedError

    def forget(self, tools: Tools, host: Host, folder: str, token: str) -> Failure | None:
        raise NotImplementedError


class Replicated(Files):
    """A source that a standby follows."""

    def replication(self) -> Replication:
        return Ledger()


@dataclass
class Provider:
    """Whoever can take the power away. It is a machine's only answer."""

    primary: FakeHost
    power: str = "on"
    lies: bool = False
    """Whether it says that it did what it did not."""
    slow: int = 0
    """So often it still says the former word."""
    said: dict[str, str] = field(default_factory=dict)

    def __call__(self, command: Command) -> Answer | None:
        word = command.argv[-1]
        if word == "status":
            if self.slow:
                self.slow -= 1
                return Reply(stdout=b"status: stopping\n")
            return Reply(stdout=f"status: {self.power}\n".encode())
        if not self.lies:
            self.power = word
            self.primary.reachable = word == "on"
        return Reply(stdout=f"done with {CANARY}\n".encode())


@dataclass
class Router:
    """nft of a router, and whether anybody comes through."""

    tables: dict[str, str] = field(default_factory=dict)
    around: bool = False
    """Whether there is another way."""

    def nft(self, command: Command) -> Answer | None:
        words = command.argv[1:]
        if words[-2:] == ("-f", "-"):
            assert isinstance(command.stdin, bytes)
            text = command.stdin.decode()
            name = text.split()[2]
            if "-c" not in words:
                self.tables.pop(name, None)
                if "{" in text:
                    self.tables[name] = text.split("\n", 2)[2]
            return Reply()
        found = self.tables.get(words[-1])
        return Reply(stdout=found.encode()) if found else Reply(1, stderr=b"Error: No such file or directory\n")

    def connect(self, command: Command) -> Answer | None:
        word = "silent" if self.tables and not self.around else "open"
        return Reply(stdout="".join(f"{port} {word}\n" for port in command.argv[6:]).encode())


_STAT = (
    "# pxname,svname,status,scur,qcur,stot,bck,act,addr,check_status,last_chk\nshop,web1,{},{},0,9,0,1,10.0.0.1,,\n\n"
)


@dataclass
class Balancer:
    """An HAProxy with one server of one backend."""

    status: str = "UP"
    sessions: int = 3
    stubborn: int = 0
    """So often sessions do not end."""

    def __call__(self, command: Command) -> Answer | None:
        line = next((word for word in command.argv if "show stat" in word), "")
        if "state maint" in line:
            self.status = "MAINT"
        if "state ready" in line:
            self.status, self.sessions = "UP", 3
        if "shutdown sessions" in line:
            self.stubborn, self.sessions = max(0, self.stubborn - 1), self.sessions if self.stubborn else 0
        return Reply(stdout=_STAT.format(self.status, self.sessions).encode()) if line else None


@dataclass
class Fenced:
    """A rung in a world that it can fence."""

    world: World
    said: Json
    asked: str
    """The host that it asks; ``controller`` for the machine of drorch itself."""
    back: Callable[[], object]
    """The primary accepts writes again."""
    keeps: bool
    """Whether its proof outlives that nobody answers any more."""
    state: Callable[[], str]
    """All that could be changed, in words."""

    @property
    def rung(self) -> Rung:
        """As read from YAML."""
        return RUNG.validate_python(self.said)

    def tools(self, cut: Cut | None = None, *, again: bool = False) -> WorldTools:
        """For one attempt."""
        return WorldTools(self.world, "fence-primary", cut or Cut(), again)

    def fence(self, *, again: bool = False) -> Proof:
        """It must succeed."""
        found = self.rung.fence(self.tools(again=again), "primary")
        assert isinstance(found, Proof), found
        return found

    def answer(self, answer: Answer | None) -> None:
        """What it asks answers everything so from now on; None for silence."""
        host = FakeHost(self.asked, reachable=answer is not None, answers=lambda _: answer)
        if self.asked == "controller":
            self.world.at = host  # type: ignore[assignment]  # anything that runs commands
        else:
            self.world.hosts[self.asked] = host


def world_of(root: Path, **units: FakeUnit) -> tuple[World, FakeHost, FakeSystemd]:
    """A failover of the shop, whose primary has these units besides a database."""
    world = World(root, {"ledger": Replicated(kind="files", paths=("/srv",))}, kind="failover", run="shop-failover@1")
    primary, systemd = machine("primary", **units)
    world.hosts |= {"primary": primary, "edge": FakeHost("edge"), "standby": FakeHost("standby")}
    world.at = FakeHost("controller", is_controller=True)  # type: ignore[assignment]  # anything that runs commands
    world.scene = world.scene_with(
        hosts=frozenset(world.hosts),
        work=dict.fromkeys(world.hosts, "~/.drorch"),
        addresses={"primary": "10.0.0.1", "standby": "10.0.0.2"},
    )
    return world, primary, systemd


def stop(root: Path) -> Fenced:
    """A shop that hides where masks lie, and Debian's way of many databases."""
    units = {"shop": FakeUnit(own=True), "postgresql": FakeUnit(parts=("db@15.service",))}
    world, _, systemd = world_of(root, **units)
    systemd.units["db@15.service"] = FakeUnit()

    def back() -> None:
        systemd.units["db@15.service"].masked = ""
        systemd.units["db@15.service"].start()

    return Fenced(
        world, {"stop": ["shop", "postgresql"]}, "primary", back, keeps=True, state=lambda: str(systemd.units)
    )


def read_only(root: Path) -> Fenced:
    """A database that can be frozen."""
    world, primary, _ = world_of(root)
    state = {"frozen": "no"}

    def answers(command: Command) -> Answer | None:
        match command.argv[0]:
            case "freeze" | "thaw" as word:
                state["frozen"] = "yes" if word == "freeze" else "no"
                return Reply()
            case "frozen":
                return Reply(stdout=state["frozen"].encode())
            case _:
                return Reply(stdout=b"6ab1\n")

    primary.answers = answers
    return Fenced(
        world,
        {"read_only": "ledger"},
        "primary",
        lambda: state.update(frozen="no"),
        keeps=True,
        state=lambda: str(state),
    )


def power_off(root: Path) -> Fenced:
    """A provider that does what it says."""
    world, primary, _ = world_of(root)
    provider = Provider(primary)
    world.at = FakeHost("controller", answers=provider, is_controller=True)  # type: ignore[assignment]  # the same
    said = {
        "power_off": {
            "command": ["cloud", "off"],
            "status": ["cloud", "status"],
            "off": "^status: off$",
            "on": ["cloud", "on"],
            "env": {"TOKEN": {"secret": "canary"}},
        }
    }
    return Fenced(
        world,
        said,
        "controller",
        lambda: setattr(provider, "power", "on"),
        keeps=False,
        state=lambda: provider.power,
    )


def balancer(root: Path) -> Fenced:
    """An HAProxy that everything passes."""
    world, _, _ = world_of(root)
    edge = Balancer()
    world.hosts["edge"] = FakeHost("edge", answers=edge)
    cut = {"host": "edge", "backend": "shop", "server": "web1"}
    return Fenced(
        world,
        {"edge": {"haproxy": cut, "complete": True}},
        "edge",
        lambda: setattr(edge, "status", "UP"),
        keeps=False,
        state=lambda: str(edge),
    )


def firewall(root: Path) -> Fenced:
    """A router that everything passes, and a standby behind it that tries."""
    world, _, _ = world_of(root)
    router = Router()
    world.hosts["edge"] = FakeHost("edge", answers=router.nft)
    world.hosts["standby"] = FakeHost("standby", answers=router.connect)
    cut = {"host": "edge", "ports": [5432, 443], "from": "standby", "allow": ["10.0.0.9"]}
    said = {"edge": {"firewall": cut, "complete": True}}
    return Fenced(world, said, "edge", router.tables.clear, keeps=False, state=lambda: str(router))


MAKERS: Mapping[str, tuple[Callable[[Path], Fenced], ...]] = {
    "stop": (stop,),
    "read_only": (read_only,),
    "power_off": (power_off,),
    "edge": (balancer, firewall),
}
