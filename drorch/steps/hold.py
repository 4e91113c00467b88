"""``hold``: let new requests wait while a planned switchover is under way."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Literal

from drorch.core.errors import Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.finding import Finding, Standing
from drorch.core.scene import Mode, Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.steps._turn import looked, turn_of, unturnable
from drorch.switches import AnyWay


class Hold(Step):
    """Let new requests wait instead of failing, and those that are being answered end: for a planned switchover in
    which none fails. The `switch` step by the same way lets them go on.

    Should drorch die meanwhile, the edge itself ends the hold after a while; put it just before the fence.
    """

    kind: Literal["hold"]
    via: AnyWay
    """Where: the same as in the `switch` step, such as ``{haproxy: {host: edge, backend: shop, hold: true}}``."""
    when: Mode | None = "planned"
    """A failover that was not planned has nothing to wait for."""

    @property
    def subject(self) -> str:
        """The way's word."""
        return self.via.word

    @property
    def default_timeout(self) -> timedelta:
        """Customers do not wait for ever."""
        return timedelta(minutes=1)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return f"let new requests wait at {self.via.title}"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The way's words are only known when its limit is."""
        return ()

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """The way must be able to."""
        if not self.via.can_hold:
            hint = "say `hold: true`" if self.via.word == "haproxy" else "leave the step out"
            return (("via", f"{self.via.title} cannot let requests wait", hint),)
        return unturnable(scene, self.kind, self.via)

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Let them wait; what fails is let go again."""
        if not tools.scene.moves:
            raise Refused(f"a {tools.scene.kind} holds no requests", hint="hold in a failover or failback")
        turn = turn_of(tools.scene)
        held = self.via.hold(tools, turn)
        if isinstance(held, Failure):
            released = self.via.release(tools, turn)
            if isinstance(released, Failure):
                return held.model_copy(update={"why": f"{held.why}; and letting go failed, too: {released.why}"})
        return held

    @property
    def can_undo(self) -> bool:
        """Always."""
        return True

    def undo(self, tools: Tools, evidence: Evidence) -> Outcome:
        """Let them go on."""
        return self.via.release(tools, turn_of(tools.scene))

    def retract(self, tools: Tools) -> Outcome:
        """The same."""
        return self.via.release(tools, turn_of(tools.scene))

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """What the way finds; a hold must leave somebody to let go."""
        found = looked(self.via, tools, turn_of(tools.scene))
        if isinstance(found, Failure):
            yield Finding.failed(self.via.title, found)
        elif found.leads != "old":
            yield Finding(
                about=self.via.title,
                what=f"requests would wait there though it leads {found.leads}",
                standing=Standing.DOUBTFUL,
                remedy="see what the switch's finding says",
            )

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Nothing live waits for a drill."""
        return Evidence(facts={"rehearsed": False, "looked_at": self.via.title})
