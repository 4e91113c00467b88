"""``service``: start or stop systemd units on a host."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drorch.core.errors import Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.finding import Finding, Standing
from drorch.core.model import Duration, HostName, Json, format_duration
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.hosts.systemd import Slip, Systemd
from drorch.hosts.units import Look, Unit, UnitNames, full, listed
from drorch.steps._apart import identified, refuse_live
from drorch.steps._intent import note, noted
from drorch.steps._safe import fence_of, unsafe


class Service(Step):
    """Start or stop systemd units on a host, in order, and see that it is so: exactly one of `start` and `stop`.

    A unit that is masked is unmasked before it is started. In a failover nothing is started unless the fence holds.
    """

    kind: Literal["service"]
    host: HostName
    """Where. A drill refuses the live hosts."""
    start: UnitNames | None = None
    """The units to start, such as ``shop`` or ``[queue, shop]``."""
    stop: UnitNames | None = None
    """The units to stop; nothing keeps them from being started again."""
    for_: Annotated[Duration, Field(alias="for")] = timedelta()
    """How long what was started must go on running before that is believed, such as ``5s``."""
    sudo: bool = False
    """Whether root's rights are had by ``sudo -n``."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.start is None) == (self.stop is None):
            raise ValueError("must have exactly one of start, stop")
        return self

    @property
    def subject(self) -> str:
        """The host."""
        return self.host

    @property
    def default_timeout(self) -> timedelta:
        """Long enough for a slow start."""
        return timedelta(minutes=3) + self.for_

    @property
    def can_undo(self) -> bool:
        """What it changed is changed back."""
        return True

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        stays = f" and see it run for {format_duration(self.for_)}" if self.start and self.for_ else ""
        return f"{self._verb} {listed(self._names)} on {self.host}{stays}"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """One command for each unit."""
        rights = ("sudo", "-n") if self.sudo else ()
        return tuple(Planned(self.host, (*rights, "systemctl", self._verb, full(name))) for name in self._names)

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """A drill must not touch what is live; a failover must not start what it fences."""
        try:
            refuse_live(scene, self.host, f"{self._verb}s services")
        except Refused as refused:
            return (("host", refused.message, refused.hint),)
        if scene.kind == "failover" and self.start and self.host == scene.primary != scene.target:
            message = f"a failover away from {self.host} starts nothing there"
            return (("host", message, "name the host that it leads to"),)
        return ()

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Look, change what is not so yet, look again."""
        if self.start:
            failure = self._may_start(tools, earlier)
            if failure is not None:
                return failure
        began = tools.clock.monotonic()
        identity = identified(tools, self.host, f"{self._verb}s services")
        systemd = self._systemd(tools)
        seen = systemd.look(self._names, with_parts=bool(self.stop))
        if isinstance(seen, Failure):
            return seen
        unknown = [unit.id for unit in seen.units if not unit.known]
        if unknown:
            return Failure(
                why=f"{self.host} has no unit {listed(unknown)}",
                hint="correct the name; systemctl list-units shows them",
            )
        first = noted(tools, self._key) or self._first(seen)
        note(tools, self._key, first)
        after = self._started(tools, systemd, seen) if self.start else self._stopped(tools, systemd, seen)
        if isinstance(after, Failure):
            return after
        units: dict[str, Json] = {
            unit.id: {
                "before": first["states"].get(unit.id, ""),
                "now": f"{unit.active} ({unit.sub})",
                "pid": unit.main_pid,
            }
            for unit in after.units
        }
        return Evidence(
            facts={
                "host": self.host,
                "machine_id": identity.machine_id,
                self._verb: units,
                "changed": first["changes"],
                "unmasked": first["masked"],
                "seconds": round(tools.clock.monotonic() - began, 3),
            }
        )

    def undo(self, tools: Tools, evidence: Evidence) -> Outcome:
        """Stop what did not run before, mask what was masked; or start again what was stopped."""
        identified(tools, self.host, f"{self._verb}s services")
        systemd = self._systemd(tools)
        changed = [str(name) for name in reversed(evidence.facts["changed"])]
        if not changed:
            return Evidence(facts={"host": self.host, "undone": []})
        seen = systemd.look(changed, with_parts=bool(self.start))
        if isinstance(seen, Failure):
            return seen
        for unit in seen.units:
            done = systemd.change("stop" if self.start else "start", (unit.id,), timeout=tools.deadline.remaining())
            if not done.ok:
                return done.failure(f"undoing the {self._verb} of {listed((unit.id,))} on {self.host}")
        after = systemd.look([unit.id for unit in seen.units])
        if isinstance(after, Failure):
            return after
        wrong = [unit for unit in after.units if not (unit.stopped if self.start else unit.runs)]
        if wrong:
            return Failure(why=f"{listed((wrong[0].id,))} on {self.host} is {wrong[0].words}", hint="see to it by hand")
        masked = [unit for unit in after.units if unit.id in evidence.facts["unmasked"] and not unit.masked]
        failure = systemd.mask(masked) if masked else None
        return failure or Evidence(facts={"host": self.host, "undone": changed})

    def retract(self, tools: Tools) -> Outcome:
        """What it was about to change was noted before."""
        first = noted(tools, self._key)
        if first is None:
            return Evidence(facts={"left": False})
        return self.undo(tools, Evidence(facts={"changed": first["changes"], "unmasked": first["masked"]}))

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """The units exist, and may be started or stopped."""
        about = f"{listed(self._names)} on {self.host}"
        systemd = self._systemd(tools)
        seen = systemd.look(self._names)
        if isinstance(seen, Failure):
            yield _finding(about, seen)
            return
        unknown = [unit.id for unit in seen.units if not unit.known]
        if unknown:
            what = f"{self.host} has no unit {listed(unknown)}"
            yield Finding(about=about, what=what, standing=Standing.BAD, remedy="install it there, or correct its name")
            return
        lacking = systemd.lacking(tools.host(self.host).identity().user)
        if lacking is not None:
            yield _finding(about, lacking)
            return
        states = "; ".join(f"{listed((unit.id,))} is {unit.words}{', masked' * unit.masked}" for unit in seen.units)
        yield Finding(about=about, what=f"can be {'started' if self.start else 'stopped'}: {states}")

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """The units themselves are live, so they are only looked at."""
        found = tuple(self.preflight(tools))
        return Evidence(
            facts={"rehearsed": False, "looked_at": [f"{finding.about}: {finding.what}" for finding in found]},
            exceptions=tuple(f"{finding.about}: {finding.what}" for finding in found if finding.amiss),
        )

    @property
    def _verb(self) -> Literal["start", "stop"]:
        return "start" if self.start else "stop"

    @property
    def _names(self) -> tuple[str, ...]:
        return self.start or self.stop or ()

    @property
    def _key(self) -> str:
        return f"service:{self.host}"

    def _systemd(self, tools: Tools) -> Systemd:
        return Systemd(tools.host(self.host), sudo=self.sudo)

    def _may_start(self, tools: Tools, earlier: Earlier) -> Failure | None:
        if fence_of(earlier, self.host) is not None:
            return Failure(
                why=f"{self.host} is fenced in this very run, so nothing is started there",
                hint="correct the host of the step",
            )
        return unsafe(tools, earlier)

    def _first(self, seen: Look) -> dict[str, Json]:
        """How it was before anything was done, and so what an undo must change back."""
        change = [unit.id for unit in seen.units if (not unit.runs if self.start else unit.runs)]
        return {
            "states": {unit.id: f"{unit.active} ({unit.sub})" for unit in seen.units},
            "changes": change,
            "masked": [unit.id for unit in seen.units if unit.masked] if self.start else [],
        }

    def _started(self, tools: Tools, systemd: Systemd, seen: Look) -> Look | Failure:
        held = [unit for unit in seen.units if unit.load == "masked"]
        if held:
            failure = self._freed(tools, systemd, held)
            if failure is not None:
                return failure
        for unit in seen.units:
            if unit.runs:
                continue
            done = systemd.change("start", (unit.id,), timeout=tools.deadline.remaining())
            if not done.ok:
                return self._said(systemd, done.failure(f"starting {listed((unit.id,))} on {self.host}"), unit)
        after = self._all(systemd, seen)
        if isinstance(after, Failure) or not self.for_:
            return after
        tools.clock.sleep(self.for_.total_seconds())
        later = self._all(systemd, seen)
        if isinstance(later, Failure):
            return later
        for one, other in zip(after.units, later.units, strict=True):
            if one.main_pid != other.main_pid:
                length = format_duration(self.for_)
                why = f"{listed((one.id,))} on {self.host} did not run for {length}: it was started anew meanwhile"
                return self._said(systemd, Failure(why=why), one)
        return later

    def _stopped(self, tools: Tools, systemd: Systemd, seen: Look) -> Look | Failure:
        for unit in seen.units:
            if unit.stopped:
                continue
            done = systemd.change("stop", (unit.id,), timeout=tools.deadline.remaining())
            if not done.ok:
                return self._said(systemd, done.failure(f"stopping {listed((unit.id,))} on {self.host}"), unit)
        return self._all(systemd, seen)

    def _all(self, systemd: Systemd, seen: Look) -> Look | Failure:
        """How they stand now, when all of them do as they must."""
        after = systemd.look([unit.id for unit in seen.units])
        if isinstance(after, Failure):
            return after
        wrong = [unit for unit in after.units if not (unit.runs if self.start else unit.stopped)]
        if not wrong:
            return after
        why = f"{listed((wrong[0].id,))} on {self.host} is {wrong[0].words}"
        return self._said(systemd, Failure(why=why), wrong[0])

    def _freed(self, tools: Tools, systemd: Systemd, held: list[Unit]) -> Failure | None:
        """Let masked units start again, and those that a fence masked along with them."""
        names = {unit.id for unit in held}
        slip = Slip(systemd.host, tools.scene.work[self.host]).read()
        fenced = set(slip.get("units", ())) if isinstance(slip, dict) else set()
        if not fenced & names:
            return systemd.unmask(held)
        whole = systemd.look(sorted(names | fenced))
        return whole if isinstance(whole, Failure) else systemd.unmask(whole.units)

    def _said(self, systemd: Systemd, failure: Failure, unit: Unit) -> Failure:
        """The failure, with the last that the unit said."""
        said = systemd.journal((unit.id,))
        about = (f"{unit.id}:", "Start", "Stopp", "Failed to ")  # what systemd says of it, not what it says itself
        own = [line for line in said.splitlines() if not line.startswith(about)]
        hint = failure.hint or f"journalctl -u {unit.id} on {self.host} tells more, then retry"
        return failure.model_copy(
            update={
                "why": failure.why + (f"; it said: {own[-1]}" if own else ""),
                "hint": hint,
                "facts": {**failure.facts, "journal": said},
            }
        )


def _finding(about: str, failure: Failure) -> Finding:
    standing = Standing.UNKNOWN if failure.unknown or failure.timed_out else Standing.BAD
    return Finding(about=about, what=failure.why, standing=standing, remedy=failure.hint or "look at it by hand")
