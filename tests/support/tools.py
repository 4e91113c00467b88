"""A small world in which steps are performed: two machines that are folders, a repository, a clock that is told.

Hosts are real, so are the sources and the secrets; the repository is in memory. A `Cut` stops the world
after its n-th effect, as a kill between an effect and its record does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drorch.core.clock import Clock, Deadline, FakeClock, Halt
from drorch.core.errors import Busy, DrorchError, Interrupted
from drorch.core.evidence import Evidence, Failure, Outcome, Progress
from drorch.core.host import Command, Completed, Host, LineSink, LocalHostSpec
from drorch.core.model import Json, SecretRef
from drorch.core.repository import Repository, RepositorySpec
from drorch.core.scene import Objectives, RunFacts, RunKind, Scene
from drorch.core.secret import Secrets, SecretSpec
from drorch.core.source import Source
from drorch.core.step import Earlier, Memory, Notifier, Step
from drorch.core.store import Reading, Shelf, Store
from drorch.hosts.local import LocalHost
from drorch.repositories.memory import MemoryRepository
from drorch.stores.directory import DirectoryStore
from drorch.vault.secrets import SecretStore

CANARY = "canary-5d41402a-do-not-show"
"""The value of the secret ``canary``."""
START = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)


@dataclass
class Cut:
    """Counts effects, and stops the world after the ``at``-th; never, when that is 0."""

    at: int = 0
    effects: int = 0

    def effect(self) -> None:
        """Something was brought about."""
        self.effects += 1
        if self.effects == self.at:
            raise Interrupted


@dataclass
class _Cutting:
    """Anything, whose methods are effects."""

    inner: Any
    cut: Cut
    methods: frozenset[str]
    commands: list[Command]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it stands before
        found = getattr(self.inner, name)
        if name not in self.methods:
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
            result = found(*args, **kwargs)
            self.cut.effect()
            return result

        return counted

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        self.commands.append(command)
        done: Completed = self.inner.run(command, on_line=on_line)
        self.cut.effect()
        return done


@dataclass
class Kept:
    """`core.step.Memory` in a dictionary; what is put is an effect."""

    values: dict[str, Json]
    cut: Cut

    def get(self, key: str) -> Json:
        return self.values.get(key)

    def put(self, key: str, value: Json) -> None:
        self.values[key] = value
        self.cut.effect()


@dataclass
class Told:
    """A notifier that keeps what it is told; ``fails`` makes it refuse."""

    messages: list[tuple[str, str]] = field(default_factory=list)
    fails: bool = False

    def send(self, title: str, body: str) -> None:
        if self.fails:
            raise DrorchError("the chat is down", retryable=True)
        self.messages.append((title, body))


class World:
    """What steps act on; it stays when an attempt is cut."""

    def __init__(
        self,
        root: Path,
        sources: Mapping[str, Source],
        *,
        kind: RunKind = "drill",
        run: str = "shop-drill@2026-03-01T02:30Z",
        halt: Halt | None = None,
    ) -> None:
        self.root = root
        self.halt = halt or Halt()
        self.clock = FakeClock(START)
        self.run = RunFacts(id=run, plan="ab" * 32, started=START)
        self.hosts: dict[str, Host] = {}
        for name in ("primary", "standby"):
            (root / name).mkdir(exist_ok=True, parents=True)
            self.hosts[name] = LocalHost(name, LocalHostSpec(home=str(root / name)), halt=self.halt)
        self.at = LocalHost("controller", LocalHostSpec(), halt=self.halt)
        self.secrets: Secrets = SecretStore({"canary": SecretSpec(env="CANARY")}, self.at, {"CANARY": CANARY})
        self.repositories: dict[str, Repository] = {"nas": MemoryRepository("nas")}
        self.repositories["nas"].create(self.at)
        self.repositories["vault2"] = MemoryRepository("vault2")
        self.repositories["vault2"].create(self.at)
        self.stores: dict[str, Store] = {}
        self.shelves: dict[str, Shelf] = {}
        self.values: dict[str, Json] = {}
        self.held: set[str] = set()
        self.told = Told()
        self.commands: list[Command] = []
        self.progressed: list[Progress] = []
        self.scene = Scene(
            kind=kind,
            service="shop",
            objectives=Objectives(),
            primary="primary",
            target="standby" if kind in {"drill", "failover"} else None,
            sources=dict(sources),
            repository="nas",
            repositories={
                "nas": RepositorySpec(url="/srv/nas", password=SecretRef(secret="canary")),
                "vault2": RepositorySpec(url="/srv/vault2", password=SecretRef(secret="copy")),
            },
            hosts=frozenset(self.hosts),
            controller_side=frozenset(self.hosts),
            work=dict.fromkeys(self.hosts, "~/.drorch"),
            stores={"offsite": DirectoryStore(kind="directory", path=str(root / "offsite"))},
        )

    def as_run(self, kind: RunKind, run: str, started: datetime | None = None) -> "World":
        """The same world, seen by another run."""
        other = object.__new__(World)
        other.__dict__.update(self.__dict__)
        target = "standby" if kind in {"drill", "failover"} else None
        other.scene = self.scene_with(kind=kind, target=target)
        other.run = RunFacts(id=run, plan="ab" * 32, started=started or self.run.started)
        return other

    def scene_with(self, **changed: Any) -> Scene:  # noqa: ANN401 - any of its fields
        """The scene with other fields."""
        return replace(self.scene, **changed)

    def perform(
        self, step: Step, earlier: Earlier | None = None, *, name: str = "", cut: Cut | None = None, again: bool = False
    ) -> Outcome:
        """One attempt; errors become failures as in the engine. ``again``: it may have been begun before."""
        length = step.timeout or step.default_timeout
        tools = WorldTools(self, name or step_name(step), cut or Cut(), again, length)
        try:
            return step.perform(tools, earlier or {})
        except DrorchError as error:
            return Failure.of(error)

    def undo(self, step: Step, evidence: Evidence, *, name: str = "") -> Outcome:
        """Take a step back."""
        try:
            return step.undo(WorldTools(self, name or step_name(step), Cut(), repeated=True), evidence)
        except DrorchError as error:
            return Failure.of(error)

    def evidence(self, step: Step, earlier: Earlier | None = None, *, name: str = "", again: bool = False) -> Evidence:
        """One attempt that must succeed."""
        outcome = self.perform(step, earlier, name=name, again=again)
        assert isinstance(outcome, Evidence), outcome
        return outcome


def step_name(step: Step) -> str:
    """The id that the plan gives a step."""
    return step.id or "-".join(word for word in (step.kind, step.subject) if word)


@dataclass
class WorldTools:
    """`core.step.Tools` of one attempt in a world."""

    world: World
    step: str
    cut: Cut
    repeated: bool = False
    length: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        self.deadline = Deadline.after(self.length, self.world.clock)

    @property
    def scene(self) -> Scene:
        return self.world.scene

    @property
    def run(self) -> RunFacts:
        return self.world.run

    @property
    def clock(self) -> Clock:
        return self.world.clock

    @property
    def secrets(self) -> Secrets:
        return self.world.secrets

    @property
    def memory(self) -> Memory:
        return Kept(self.world.values, self.cut)

    def host(self, name: str) -> Host:
        return self._host(self.world.hosts[name])

    def controller(self) -> Host:
        return self._host(self.world.at)

    def repository(self, name: str | None = None) -> Repository:
        methods = frozenset({"backup", "restore", "compare", "check", "forget", "snapshots", "identify", "copy_from"})
        found = self.world.repositories[name or self.scene.repository]
        cutting: Any = _Cutting(found, self.cut, methods, self.world.commands)
        return cutting  # type: ignore[no-any-return]  # it stands before a repository

    def store(self, name: str) -> Store:
        cutting: Any = _Cutting(self.world.stores[name], self.cut, frozenset({"put", "extend", "remove"}), [])
        return cutting  # type: ignore[no-any-return]  # it stands before a store

    def files(self, repository: str) -> Shelf:
        return self.world.shelves[repository]

    def mirrored(self, repository: str, store: str) -> Repository:
        return self.world.repositories[f"{repository}@{store}"]

    def elsewhere(self, repository: str, reading: Reading) -> Repository:
        return self.world.repositories[f"{repository}@{reading.url}"]

    @contextmanager
    def lease(self, name: str, *, wait: timedelta) -> Iterator[None]:
        if name in self.world.held:
            raise Busy(f"{name} is held")
        self.world.held.add(name)
        try:
            yield
        finally:
            self.world.held.remove(name)

    def notifier(self, name: str) -> Notifier:
        cutting: Any = _Cutting(self.world.told, self.cut, frozenset({"send"}), self.world.commands)
        return cutting  # type: ignore[no-any-return]  # it stands before a notifier

    def progress(self, progress: Progress) -> None:
        self.world.progressed.append(progress)

    def _host(self, host: Host) -> Host:
        methods = frozenset({"put", "get", "identity", "dial"})
        cutting: Any = _Cutting(host, self.cut, methods, self.world.commands)
        return cutting  # type: ignore[no-any-return]  # it stands before a host


def words_of(commands: Sequence[Command]) -> str:
    """Every word that was ever executed, for looking for what must not stand there."""
    return "\n".join(" ".join(command.argv) for command in commands)
