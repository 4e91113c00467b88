"""``promote``: make a standby the primary."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Literal

from pydantic import TypeAdapter

from drorch.core.errors import Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.fence import Rung
from drorch.core.finding import Finding, Standing
from drorch.core.model import HostName, SourceName
from drorch.core.replication import Loss, ReplicaState, Replication, loss
from drorch.core.scene import Scene, token
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.fences import AnyRung
from drorch.steps._apart import identified
from drorch.steps._folder import run_folder
from drorch.steps._home import moved
from drorch.steps._intent import note, noted
from drorch.steps._replicas import replication_of, seen, standing, unreplicated
from drorch.steps._safe import fence_of, unsafe

_RUNG: TypeAdapter[Rung] = TypeAdapter(AnyRung)
_PAUSE = 0.2
_LIVE = 30.0


class Promote(Step):
    """Make a standby the primary, and prove it: out of recovery, one timeline further, a write succeeds.

    Never without a proof that the old primary is fenced. In a planned switchover the standby must have received
    everything; else it is measured what is lost at most.
    """

    kind: Literal["promote"]
    source: SourceName
    """The database."""
    host: HostName | None = None
    """The standby; where the failover or failback leads to unless said."""

    @property
    def subject(self) -> str:
        """The database."""
        return self.source

    @property
    def default_timeout(self) -> timedelta:
        """What was received is replayed first."""
        return timedelta(minutes=10)

    @property
    def irreversible(self) -> bool:
        """From here on the two differ."""
        return True

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return f"make {self._place(scene)} the primary of {scene.sources[self.source].describe()}"

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """A standby, elsewhere, in a run that moves the service."""
        if scene.kind == "maintenance":
            return (("kind", "a maintenance promotes nothing", "promote in a failover or failback"),)
        if self.host == scene.primary:
            return (("host", f"{self.host} is where {scene.service} lives", "name the standby"),)
        return unreplicated(scene, self.source, self.kind)

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The server's own commands."""
        return replication_of(scene, self.source).preview(self._place(scene), "promote")

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Only while the old primary is fenced: look, promote, verify."""
        scene = tools.scene
        if not scene.moves:
            raise Refused(f"a {scene.kind} promotes nothing", hint="promote in a failover or failback")
        name = self._place(scene)
        if name == scene.primary:
            raise Refused(f"{scene.service} lives on {name} already", hint="name the standby")
        failure = unsafe(tools, earlier)
        if failure is not None:
            return failure
        identified(tools, name, "promotes")
        replication = replication_of(scene, self.source)
        primary = self._primary(tools, earlier, replication)
        before = self._before(tools, replication, name, primary)
        if isinstance(before, Failure):
            return before
        lost, state = before
        done = replication.promote(tools, tools.host(name), state, former=scene.primary)
        if isinstance(done, Failure):
            return done.model_copy(update={"facts": {**done.facts, "loss": lost.model_dump(mode="json")}})
        moved(tools, name)
        facts = {**done.facts, "host": name, "loss": lost.model_dump(mode="json"), "loss_words": lost.words}
        return done.model_copy(update={"facts": facts})

    def retract(self, tools: Tools) -> Outcome:
        """Before it acts it notes what it found; from then on nobody can be sure that the standby stays one."""
        if noted(tools, self._key(tools.scene)) is None:
            return Evidence(facts={"left": False})
        name = self._place(tools.scene)
        return Failure(
            why=f"{name} was told, or about to be told, to become the primary",
            hint=f"go through with it: drorch resume {tools.run.id}",
            unknown=True,
        )

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """Whether the standby could be promoted now, and what that would lose at most."""
        scene = tools.scene
        replication = replication_of(scene, self.source)
        with ThreadPoolExecutor(1) as pool:  # both wait for the primary, which may be gone
            losing = pool.submit(self._loss_now, tools, replication)
            yield from replication.findings(tools, tools.host(scene.primary), tools.host(self._place(scene)))
            yield losing.result()

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Promote a copy of the standby's data, on another port."""
        scene = tools.scene
        name = self._place(scene)
        identity = identified(tools, name, "promotes")
        folder = run_folder(scene, tools.run.id, name, identity)
        done = replication_of(scene, self.source).rehearse(
            tools, tools.host(name), f"{folder}/{self.source}", token(tools.run.id, self.source)
        )
        if isinstance(done, Failure):
            return done
        return done.model_copy(update={"facts": {**done.facts, "host": name, "rehearsed": True}})

    def forget(self, tools: Tools) -> Failure | None:
        """Stop the copy, and remove it."""
        scene = tools.scene
        name = self._place(scene)
        identity = tools.host(name).identity()
        folder = run_folder(scene, tools.run.id, name, identity)
        return replication_of(scene, self.source).forget(
            tools, tools.host(name), f"{folder}/{self.source}", token(tools.run.id, self.source)
        )

    def _key(self, scene: Scene) -> str:
        return f"promote:{scene.service}:{self.source}"

    def _place(self, scene: Scene) -> str:
        return self.host or scene.destination_host

    def _primary(self, tools: Tools, earlier: Earlier, replication: Replication) -> ReplicaState | Failure:
        """How the old primary stands; when it is not fenced by its own hand it is gone, and not waited for."""
        scene = tools.scene
        fence = fence_of(earlier, scene.primary)
        by_itself = fence is not None and _RUNG.validate_python(fence.facts["rung"]).graceful
        if scene.mode == "planned" or by_itself:
            state = standing(tools, replication, scene.primary)
            if not isinstance(state, Failure) or scene.mode == "planned":
                return state
        known = self._seen(tools)
        return known or Failure(why=f"{scene.primary} was never looked at", unknown=True)

    def _seen(self, tools: Tools) -> ReplicaState | None:
        """How the primary stood when it was last looked at: this one, not the one before an earlier move."""
        known = seen(tools.memory, tools.scene.service, self.source)
        return known if known is not None and known.host == tools.scene.primary else None

    def _before(
        self, tools: Tools, replication: Replication, name: str, primary: ReplicaState | Failure
    ) -> tuple[Loss, ReplicaState] | Failure:
        """How the standby stood before, and what its promotion loses; noted, so that it is still known after a cut."""
        key = self._key(tools.scene)
        former = noted(tools, key)
        while True:
            state = standing(tools, replication, name)
            if not isinstance(state, Failure) or not state.retryable or tools.deadline.remaining() <= _PAUSE:
                break
            tools.clock.sleep(_PAUSE)
        if isinstance(state, Failure):
            return state
        if state.role == "primary":
            return self._promoted(tools, state, primary, former)
        refusal = (
            _foreign(state, primary)
            or _apart(state, primary)
            or (_missing(tools, state, primary) if tools.scene.mode == "planned" else None)
        )
        if refusal is not None:
            return refusal
        known = None if isinstance(primary, Failure) else primary
        lost = loss(state, known, tools.clock.now(), seen=_basis(tools, known))
        note(tools, key, {"state": state.model_dump(mode="json"), "loss": lost.model_dump(mode="json")})
        return lost, state

    def _promoted(
        self, tools: Tools, state: ReplicaState, primary: ReplicaState | Failure, former: dict[str, object] | None
    ) -> tuple[Loss, ReplicaState] | Failure:
        """It is the primary already: by an attempt of this run that was cut, or by somebody's hand."""
        if former is not None:
            return Loss.model_validate(former["loss"]), ReplicaState.model_validate(former["state"])
        refusal = _foreign(state, primary)
        if refusal is not None:
            return refusal
        known = primary.history if isinstance(primary, ReplicaState) else None
        if known is not None and state.history is not None and state.history <= known:
            return Failure(
                why=f"{state.host} is a primary, yet no further than the old one: on timeline {state.history}",
                hint="was its standby.signal removed by hand? let nobody write there before that is clear",
            )
        return Loss(basis=f"{state.host} was the primary already"), state

    def _loss_now(self, tools: Tools, replication: Replication) -> Finding:
        scene = tools.scene
        live = standing(tools, replication, scene.primary)
        standby = standing(tools, replication, self._place(scene))
        primary = self._seen(tools) if isinstance(live, Failure) else live
        known = None if isinstance(standby, Failure) else standby
        silent = isinstance(live, Failure)
        found = loss(known, primary, tools.clock.now(), seen=_basis(tools, primary, silent=silent))
        facts = {
            "loss": found.model_dump(mode="json"),
            "primary_state": None if isinstance(live, Failure) else live.model_dump(mode="json"),
            "standby_state": None if known is None else known.model_dump(mode="json"),
        }
        what = f"promoting {self._place(scene)} now loses {found.words}" + (f" ({found.basis})" if found.basis else "")
        unknown = not found.none and found.seconds is None
        return Finding(
            about=self.source,
            what=what,
            standing=Standing.UNKNOWN if unknown else Standing.GOOD,
            remedy="look again when the primary and its standby answer" if unknown else "",
            facts=facts,
        )


def _foreign(state: ReplicaState, primary: ReplicaState | Failure) -> Failure | None:
    if isinstance(primary, Failure) or not primary.cluster or not state.cluster or primary.cluster == state.cluster:
        return None
    return Failure(
        why=f"{state.host} holds another database than {primary.host}: {state.cluster} instead of {primary.cluster}",
        hint=f"is this the right host behind the address of {state.host}? nothing was promoted",
    )


def _apart(state: ReplicaState, primary: ReplicaState | Failure) -> Failure | None:
    """Why the standby is none of this primary: it once was promoted, so that it lacks all that was written since."""
    if isinstance(primary, Failure) or state.history is None or primary.history is None:
        return None
    if state.history <= primary.history:
        return None
    return Failure(
        why=f"{state.host} is on timeline {state.history}, {primary.host} on {primary.history}: they went apart",
        hint=f"give {primary.host} back to its work (drorch abort), and make {state.host} its standby anew (rejoin)",
    )


def _missing(tools: Tools, state: ReplicaState, primary: ReplicaState | Failure) -> Failure | None:
    """Why a planned switchover may not promote now: the old primary's last word is not known, or not received."""
    unplanned = f"see to it and retry, or give up that nothing is lost: drorch unplanned {tools.run.id}"
    if isinstance(primary, Failure):
        return Failure(
            why=f"whether {state.host} has everything is not known: {primary.why}", hint=unplanned, unknown=True
        )
    if primary.role == "primary":
        return Failure(why=f"{primary.host} still accepts writes", hint=f"fence {primary.host} again, then retry")
    if primary.position is None or (primary.role == "stopped" and not primary.clean):
        return Failure(why=f"{primary.host} was not stopped in order, so its last word is not known", hint=unplanned)
    left = primary.position - (state.position or 0)
    if left <= 0:
        return None
    return Failure(
        why=f"{state.host} has not received the last {left} bytes of {primary.host}",
        hint=f"start {primary.host} again until it has, or: drorch unplanned {tools.run.id}",
        facts={"missing_bytes": left},
    )


def _basis(tools: Tools, primary: ReplicaState | None, *, silent: bool = False) -> str:
    if primary is None:
        return "the primary was never looked at"
    seconds = (tools.clock.now() - primary.at).total_seconds()
    if seconds < _LIVE and not silent:
        return f"{primary.host} answers"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{primary.host} was last seen {seconds / size:.0f} {unit} ago"
    return f"{primary.host} was last seen {seconds:.0f} s ago"
