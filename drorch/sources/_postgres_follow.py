"""A PostgreSQL server that once was a primary, or is empty or broken, becomes a standby of the leader."""

from dataclasses import dataclass, field

from drorch.core.evidence import Evidence, Failure, Progress
from drorch.core.model import Json
from drorch.core.replication import Pair, ReplicaState
from drorch.core.step import Tools
from drorch.sources import _postgres_control as control
from drorch.sources._postgres_fork import Fork, OnlyHere, only_here, waited_for
from drorch.sources._postgres_leader import Leader
from drorch.sources._postgres_look import Place, find, look, written
from drorch.sources._postgres_server import Server
from drorch.sources._postgres_shop import Standing, Workshop
from drorch.sources._postgres_way import Choice, Way

_PAUSE = 0.1
_SPARE = 1.1
"""How much more than its size a copy is given."""


@dataclass
class Following:
    """One server, on its way to being a standby."""

    server: Server
    tools: Tools
    pair: Pair
    keep: str
    fresh: bool
    facts: dict[str, Json] = field(default_factory=dict)
    exceptions: list[str] = field(default_factory=list)

    def carry_out(self) -> Evidence | Failure:
        """Bring it about: whatever stands already is not done again."""
        began = self.tools.clock.monotonic()
        leader = Leader.of(self.server, self.tools, self.pair)
        if isinstance(leader, Failure):
            return leader
        failure = self._follows(leader) or self._completed(leader)
        if failure is not None:
            return failure.model_copy(update={"facts": {**self.facts, **failure.facts}})
        self.facts["seconds"] = round(self.tools.clock.monotonic() - began, 3)
        return Evidence(facts=self.facts, exceptions=tuple(self.exceptions))

    def _follows(self, leader: Leader) -> Failure | None:
        """Have it run as a standby of the leader."""
        self.facts |= {
            "how": "as it is",
            "kept": None,
            "cluster": leader.state.cluster,
            "timeline": leader.state.history,
        }
        state = look(self.server, self.tools, self.pair.follower)
        if isinstance(state, ReplicaState) and leader.leads(state):
            return self._ended(state)
        place = self._place(leader, state)
        if isinstance(place, Failure):
            return place
        refusal = self._refused(leader, state, place)
        if refusal is not None:
            return refusal
        failure = leader.ready(self.server.replica.slot_of(self.pair.follower.name))
        if failure is not None:
            return failure
        self._tell("stopping what runs there")
        failure = control.stop(self.server, self.tools, self.pair.follower, place)
        failure = failure or control.hold(self.server, self.pair.follower)
        return failure or self._made(leader, place)

    def _place(self, leader: Leader, state: ReplicaState | Failure) -> Place | Failure:
        settings = {} if isinstance(state, Failure) else state.facts.get("settings", {})
        data, config = settings.get("data_directory", ""), settings.get("config_file", "")
        return self._find(leader, data, config)

    def _find(self, leader: Leader, data: str, config: str) -> Place | Failure:
        """Its files; where there are none, the programs of the leader's version."""
        version = leader.state.version.split(".")[0]
        return find(self.server, self.tools, self.pair.follower, data=data, config=config, version=version)

    def _ended(self, state: ReplicaState) -> Failure | None:
        """It follows already; an attempt that was cut after that knows how it came about."""
        data = str(state.facts["settings"]["data_directory"])
        shop = Workshop(server=self.server, data=data, keep=self.keep)
        stand = shop.stand(self.pair.follower)
        if isinstance(stand, Failure):
            return stand
        self._remember(stand)
        return shop.finish(self.tools, self.pair.follower)

    def _remember(self, stand: Standing) -> None:
        """What an attempt did that was cut after it."""
        before = dict(stand.before)
        self.exceptions += before.pop("exceptions", [])
        self.facts |= before

    def _mark(self, shop: Workshop) -> Failure | None:
        return shop.mark(self.pair.follower, {**self.facts, "exceptions": self.exceptions})

    def _refused(self, leader: Leader, state: ReplicaState | Failure, place: Place) -> Failure | None:
        """Why nothing may be done to it."""
        name, cluster = self.pair.follower.name, leader.state.cluster
        other = isinstance(state, ReplicaState) and state.cluster not in {"", cluster}
        if (other or place.cluster not in {"", cluster}) and not self.fresh:
            found = state.cluster if isinstance(state, ReplicaState) and state.cluster else place.cluster
            return Failure(
                why=f"PostgreSQL on {name} holds another database: system identifier {found} instead of {cluster}",
                hint="is this the right host? if what is there may be replaced (it is kept): `fresh: true`",
            )
        if isinstance(state, ReplicaState) and state.role == "primary" and not other:
            timeline = leader.state.history
            if state.history is not None and timeline is not None and state.history >= timeline:
                return Failure(
                    why=f"{name} and {self.pair.leader.name} are both primaries ({state.history} and {timeline})",
                    hint="find out which one customers use; stop the other one by hand, then retry",
                )
        return None

    def _made(self, leader: Leader, place: Place) -> Failure | None:
        """Stopped, it becomes a standby."""
        host = self.pair.follower
        shop = Workshop(server=self.server, data=place.data, keep=self.keep)
        stand = shop.stand(host)
        if isinstance(stand, Failure):
            return stand
        shop = shop.model_copy(update={"keep": stand.keep})
        found = self._resumed(shop, stand) or self._find(leader, place.data, place.config)
        if isinstance(found, Failure):
            return found
        way = Choice(self.server, self.pair.follower, leader, found, self.fresh).way()
        failure = self._carried(leader, found, shop, way)
        if failure is not None:
            return failure
        if self.facts["how"] == "as it is":
            self._remember(stand)
        self._tell(f"starting it as a standby of {self.pair.leader.name}")
        settings = leader.settings(shop.data, self.pair.follower.name)
        failure = shop.settle(self.tools, host, settings)
        failure = failure or control.start(self.server, self.tools, host, found)
        return failure or self._streams(leader) or shop.finish(self.tools, host)

    def _resumed(self, shop: Workshop, stand: Standing) -> Failure | None:
        """Go on where an attempt was cut: a half rewound folder is worth nothing, a swap is ended."""
        if stand.new and not stand.there:
            return shop.swap(self.tools, self.pair.follower)
        if stand.rewinding and stand.kept:
            self._tell("taking back what a rewind that was cut left half done")
            return shop.take_back(self.tools, self.pair.follower)
        return None

    def _carried(self, leader: Leader, place: Place, shop: Workshop, way: Way) -> Failure | None:
        host = self.pair.follower
        self.facts |= {"how": way.how, "reason": way.why}
        if way.parted is not None:
            self.facts |= {"parted_timeline": way.parted.timeline, "parted_at": written(way.parted.at)}
        if way.how == "as it is":
            self.facts["only_here"] = OnlyHere().facts() if way.parted is not None else None
            return None
        self.facts["kept"] = f"{shop.kept}/data" if place.version else None
        if way.parted is not None and place.cluster == leader.state.cluster:
            failure = self._reported(place, shop, way.parted)
            if failure is not None:
                return failure
        stand = shop.stand(host)
        if isinstance(stand, Failure):
            return stand
        if stand.tablespaces:
            self.exceptions.append(f"{host.name} has tablespaces: what lies in them was not kept")
        if way.how == "rewound":
            done = self._rewound(leader, place, shop, stand)
            if not isinstance(done, str):
                return done
            self.facts |= {"how": "copied", "reason": done}
        return self._copied(leader, place, shop)

    def _reported(self, place: Place, shop: Workshop, parted: Fork) -> Failure | None:
        """Say what only it had, before anything is overwritten."""
        self._tell("reading what only it has")
        found = only_here(self.server, self.pair.follower, place, parted)
        file = f"{shop.kept}/only-here.tsv" if found.count else None
        waited = waited_for(self.server, self.pair.follower, place)
        self.facts["only_here"] = {**found.facts(), "file": file, "waited_for": waited or None}
        if not found.known:
            self.exceptions.append("what only it had is not known to its end: its log could not be read")
        if not found.count:
            return None
        if not waited:  # else nobody was told that they were committed, unless a session chose not to wait
            several = f"{found.count} transactions were" if found.count > 1 else "1 transaction was"
            self.exceptions.append(f"{several} committed on {self.pair.follower.name} only: see {file}")
        return shop.write(self.pair.follower, "only-here.tsv", found.text)

    def _rewound(self, leader: Leader, place: Place, shop: Workshop, stand: Standing) -> Failure | str | None:
        """Rewind it; a text says why it must be copied instead."""
        host = self.pair.follower
        if not stand.kept and stand.bytes * _SPARE > stand.free:
            return _no_room(host.name, f"keep {stand.bytes} bytes of what is there", stand)
        self._tell("keeping what is there")
        failure = self._mark(shop) or shop.preserve(self.tools, host)
        if failure is not None:
            return failure
        if not place.clean:
            self._tell("bringing what crashed to its end")
            failure = shop.recover(self.tools, host, place)
            if failure is not None:
                return failure.why
        self._tell("rewinding it")
        done = shop.rewind(self.tools, host, place, leader.conninfo())
        if done.ok:
            return None
        failure = done.failure(f"pg_rewind on {host.name}")
        return failure if done.exit_code is None else failure.why

    def _copied(self, leader: Leader, place: Place, shop: Workshop) -> Failure | None:
        host = self.pair.follower
        stand = shop.stand(host)
        if isinstance(stand, Failure):
            return stand
        size = leader.size()
        if isinstance(size, Failure):
            return size
        if leader.tablespaces or stand.tablespaces:
            return Failure(
                why="a server with tablespaces cannot be copied beside the old one",
                hint="move the old data away and copy it by hand with pg_basebackup, then retry",
            )
        if size * _SPARE > stand.free:
            return _no_room(host.name, f"copy {size} bytes of the leader", stand)
        self._tell(f"copying {size} bytes of {self.pair.leader.name}")
        slot = self.server.replica.slot_of(host.name)
        done = shop.copy_leader(self.tools, host, place.binaries, leader.conninfo(), slot)
        if not done.ok:
            return leader.unreached(done, f"copying {self.pair.leader.name} to {host.name}")
        return self._mark(shop) or shop.swap(self.tools, host)

    def _streams(self, leader: Leader) -> Failure | None:
        """Wait until it receives from the leader, and has all that the leader had when this began."""
        wanted = leader.state.position or 0
        while True:
            state = look(self.server, self.tools, self.pair.follower)
            if isinstance(state, ReplicaState):
                if state.role == "primary":
                    return self._never()
                if leader.leads(state) and (state.applied or 0) >= wanted:
                    return None
                self._tell(f"catching up, {max(0, wanted - (state.applied or 0))} bytes are left")
            if self.tools.deadline.remaining() <= _PAUSE or (
                isinstance(state, ReplicaState) and state.role == "stopped"
            ):
                if isinstance(state, Failure):
                    return state
                return Failure(
                    why=f"{self.pair.follower.name} does not follow {self.pair.leader.name}: it is {_words(state)}",
                    hint=f"see its log, then retry; {self.pair.leader.name} is not touched by this",
                    retryable=True,
                )
            self.tools.clock.sleep(_PAUSE)

    def _never(self) -> Failure:
        """It must not be a primary: another data folder than the one that was made a standby was started."""
        place = find(self.server, self.tools, self.pair.follower)
        failure = (
            place if isinstance(place, Failure) else control.stop(self.server, self.tools, self.pair.follower, place)
        )
        more = f"; and it could not be stopped: {failure.why}" if failure else ", and was stopped again"
        return Failure(
            why=f"PostgreSQL on {self.pair.follower.name} started as a primary{more}",
            hint="say `data:` and `unit:` of `replica` so that they belong together",
        )

    def _completed(self, leader: Leader) -> Failure | None:
        """What the leader needs to be whole again, and what the follower no longer does."""
        state = look(self.server, self.tools, self.pair.follower)
        if isinstance(state, Failure):
            return state
        self.facts |= {
            "lag_bytes": max(0, (leader.state.position or 0) - (state.applied or 0)),
            "receiving": state.receiving,
            "slot": state.facts.get("slot"),
        }
        done = leader.complete()
        if isinstance(done, Failure):
            return done
        self.facts["synchronous_standby_names"] = done.names or None
        self.exceptions += done.exceptions
        self.exceptions += leader.forget_slots(state)
        return None

    def _tell(self, text: str) -> None:
        self.tools.progress(Progress(step=self.tools.step, text=text))


def _no_room(host: str, what: str, stand: Standing) -> Failure:
    return Failure(
        why=f"{host} has no room to {what}: {stand.free} bytes are free",
        hint="remove what earlier rejoins kept, or say `kept:` on a larger disk; nothing was changed",
        facts={"free_bytes": stand.free},
    )


def _words(state: ReplicaState) -> str:
    receiving = "" if state.receiving else ", not receiving"
    return f"a {state.role} on timeline {state.history}{receiving}"
