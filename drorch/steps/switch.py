"""``switch``: lead customers to the other host."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from drorch.core.errors import DrorchError, Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.finding import Finding, Standing
from drorch.core.model import Json
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.core.switch import Traffic, Turn
from drorch.steps._safe import unsafe
from drorch.steps._turn import looked, turn_of, unturnable
from drorch.switches import AnyWay


class Switch(Step):
    """Lead customers to the host that the failover or failback leads to, and see that the mechanism does.

    What leads to neither host is left alone. Ask with an `http` step afterwards whether customers are served.
    """

    kind: Literal["switch"]
    via: AnyWay
    """How, such as ``{haproxy: {host: edge, backend: shop}}``."""
    undo_wanted: Annotated[bool, Field(alias="undo")] = True
    """Whether a roll-back leads customers to the old host again."""

    @property
    def subject(self) -> str:
        """The way's word."""
        return self.via.word

    @property
    def default_timeout(self) -> timedelta:
        """Long enough for a name server's secondaries."""
        return timedelta(minutes=2)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return self.via.describe(turn_of(scene))

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The way's commands."""
        return self.via.preview(turn_of(scene))

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """Only where there is a turn, and only what the way can."""
        return unturnable(scene, self.kind, self.via)

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Only while the old host is fenced: look, lead, measure what still reaches the old one."""
        scene = tools.scene
        if not scene.moves:
            raise Refused(f"a {scene.kind} leads no customers elsewhere", hint="switch in a failover or failback")
        failure = unsafe(tools, earlier)
        if failure is not None:
            return failure
        turn = turn_of(scene)
        began = tools.clock.monotonic()
        found = self._usable(tools, turn)
        if isinstance(found, Failure):
            return found
        led = self.via.lead(tools, turn)
        if isinstance(led, Failure):
            return led
        facts: dict[str, Json] = {
            **led.facts,
            "way": self.via.word,
            "old": turn.old,
            "new": turn.new,
            "before": found.leads,
            "leads": "new",
        }
        released = self.via.release(tools, turn) if self.via.can_hold else None
        if isinstance(released, Failure):
            return released.model_copy(update={"why": f"customers are led to {turn.new}, but wait: {released.why}"})
        facts["seconds"] = round(tools.clock.monotonic() - began, 3)
        exceptions = list(led.exceptions)
        try:
            facts["residual"] = dict(self.via.residual(tools, turn))
        except DrorchError as error:
            exceptions.append(f"what still reaches {turn.old} is not known: {error.message}")
        _move(tools, turn.new)
        return Evidence(facts=facts, exceptions=tuple(exceptions))

    @property
    def can_undo(self) -> bool:
        """Unless it was said otherwise."""
        return self.undo_wanted

    def undo(self, tools: Tools, evidence: Evidence) -> Outcome:
        """Lead them back, unless somebody led them elsewhere meanwhile."""
        if not self.undo_wanted:
            return super().undo(tools, evidence)
        turn = turn_of(tools.scene)
        found = self._usable(tools, turn)
        if isinstance(found, Failure):
            return found
        led = self.via.back(tools, turn)
        if isinstance(led, Failure):
            return led
        _move(tools, turn.old)
        words = {"way": self.via.word, "old": turn.old, "new": turn.new, "before": found.leads, "leads": "old"}
        return led.model_copy(update={"facts": {**led.facts, **words}})

    def retract(self, tools: Tools) -> Outcome:
        """Lead them back if any are led to the new host."""
        if not self.undo_wanted:
            return super().retract(tools)
        turn = turn_of(tools.scene)
        found = self._usable(tools, turn)
        if isinstance(found, Failure):
            return found
        return Evidence(facts={"left": False}) if found.leads == "old" else self.undo(tools, Evidence(facts={}))

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """What the way finds, and where customers are led now."""
        turn = turn_of(tools.scene)
        yield from self.via.findings(tools, turn)
        yield _whereto(self.via.title, looked(self.via, tools, turn), turn)

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Only look: nothing live is led anywhere in a drill."""
        turn = turn_of(tools.scene)
        found = self._usable(tools, turn)
        if isinstance(found, Failure):
            return found
        doubts = [each for each in self.via.findings(tools, turn) if each.amiss]
        return Evidence(
            facts={"rehearsed": False, "looked_at": self.via.title, "leads": found.leads, **found.facts},
            exceptions=tuple(f"{each.about}: {each.what}" for each in doubts),
        )

    def _usable(self, tools: Tools, turn: Turn) -> Traffic | Failure:
        found = self.via.look(tools, turn)
        if isinstance(found, Failure) or found.leads != "elsewhere":
            return found
        return Failure(
            why=f"{self.via.title} leads to neither {turn.old} nor {turn.new}: {_shown(found)}",
            hint="somebody changed it; if that is not wanted, lead it to one of the two by hand, then retry",
            facts=found.facts,
        )


def _move(tools: Tools, host: str) -> None:
    """Remember where the service lives now; done again it keeps the time at which that began."""
    key = f"home:{tools.scene.service}"
    home = tools.memory.get(key) or {}
    if home.get("host") != host or home.get("run") != tools.run.id:
        tools.memory.put(key, {"host": host, "since": tools.clock.now().isoformat(), "run": tools.run.id})


def _shown(traffic: Traffic) -> str:
    return ", ".join(f"{key} {value}" for key, value in traffic.facts.items()) or "no details"


def _whereto(title: str, found: Traffic | Failure, turn: Turn) -> Finding:
    if isinstance(found, Failure):
        standing = Standing.UNKNOWN if found.unknown or found.timed_out else Standing.BAD
        return Finding(about=title, what=found.why, standing=standing, remedy=found.hint or "see what it says")
    words = {
        "old": (f"it leads to {turn.old}", Standing.GOOD, ""),
        "new": (
            f"it leads to {turn.new} already",
            Standing.DOUBTFUL,
            f"if the service lives on {turn.old}, lead customers there",
        ),
        "both": (
            f"it leads to {turn.old} and to {turn.new} at once",
            Standing.DOUBTFUL,
            f"take {turn.new} out, so that only a failover leads customers there",
        ),
        "nowhere": ("it leads nowhere", Standing.DOUBTFUL, f"lead it to {turn.old}: customers are not served now"),
        "elsewhere": (
            f"it leads to neither {turn.old} nor {turn.new}: {_shown(found)}",
            Standing.BAD,
            "a failover will refuse to touch it: lead it to one of the two, or correct the runbook",
        ),
    }
    what, standing, remedy = words[found.leads]
    return Finding(about=title, what=what, standing=standing, remedy=remedy, facts=found.facts)
