"""``stop``: systemd units are stopped and masked, as the host itself says."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

from drorch.core.clock import Deadline
from drorch.core.errors import DrorchError, Unreachable
from drorch.core.evidence import Failure
from drorch.core.fence import Proof, Rung
from drorch.core.finding import Finding, Standing
from drorch.core.host import Identity
from drorch.core.model import Duration, Frozen, Json, format_duration, parse_duration
from drorch.core.scene import Scene
from drorch.core.step import Planned, Tools
from drorch.fences._reach import MOMENT, PATIENCE, another, finding, silent, who, within
from drorch.hosts.systemd import Slip, Systemd
from drorch.hosts.units import Look, UnitNames, full, listed


class Stopping(Frozen):
    """Which units, and how."""

    units: UnitNames
    """The systemd units, stopped in this order: what writes before the database. Units that stop along with them
    (``PartOf=``) are seen to as well."""
    timeout: Duration = parse_duration("60s")
    """How long their end is waited for; one that hangs is not fenced, and the next rung is tried."""
    sudo: bool = False
    """Whether root's rights are had by ``sudo -n``."""


def _bare(value: object) -> object:
    """Units alone, as ``postgresql`` or ``[shop, postgresql]``."""
    return {"units": value} if isinstance(value, str | list | tuple) else value


class Stop(Rung):
    """Stop systemd units over SSH, in order, and mask them, so that neither a reboot nor another unit brings them back.

    It is proven when the host itself says that each is inactive and masked and that no process of it is left. What is
    masked stays so when the host vanishes afterwards.
    """

    stop: Annotated[Stopping, BeforeValidator(_bare, json_schema_input_type=str | list[str] | Stopping)]
    """The unit, the units, or the units with more to say."""

    @property
    def graceful(self) -> bool:
        """The units end in their own time."""
        return True

    @property
    def longest(self) -> timedelta:
        """Their end, and a few questions."""
        return self.stop.timeout + timedelta(seconds=30)

    def describe(self, host: str) -> str:
        """The plan's line."""
        return f"stop and mask {listed(self.stop.units)} on {host}"

    def preview(self, host: str) -> tuple[Planned, ...]:
        """Stop, mask, ask."""
        names = tuple(full(name) for name in self.stop.units)
        rights = ("sudo", "-n") if self.stop.sudo else ()
        length = format_duration(self.stop.timeout)
        return (
            *(Planned(host, (*rights, "systemctl", "stop", name), note=f"at most {length}") for name in names),
            Planned(host, (*rights, "systemctl", "mask", *names)),
            Planned(host, ("systemctl", "show", *names), note="each inactive and masked, no process left"),
        )

    def problems(self, scene: Scene, host: str) -> tuple[tuple[str, str, str], ...]:
        """The databases' own units must be among them."""
        names = {full(name) for name in self.stop.units}
        for name in scene.sources:
            replication = scene.sources[name].replication()
            if replication is None or scene.home_of(name) != host:
                continue
            units = {full(unit) for unit in replication.units()}
            if units and not units & names and not any(_family(unit) & names for unit in units):
                shown = listed(sorted(units))
                message = f"{listed(self.stop.units)} stopped leaves {name} accepting writes on {host}"
                return (("units", message, f"add {shown}"),)
        return ()

    def fence(self, tools: Tools, host: str) -> Proof | Failure:
        """Look, stop what runs, mask, look again."""
        deadline = Deadline.after(min(self.stop.timeout, timedelta(seconds=tools.deadline.remaining())), tools.clock)
        systemd = self._systemd(tools, host)
        try:
            seen = within(PATIENCE, lambda: systemd.look(self.stop.units, with_parts=True))
            if seen is None or isinstance(seen, Failure):
                return seen or silent(host)
            identity = tools.host(host).identity()
            unknown = [unit.id for unit in seen.units if not unit.known]
            if unknown:
                return Failure(
                    why=f"{host} has no unit {listed(unknown)}",
                    hint="correct the name; systemctl list-units shows them",
                )
            plan = self._plan(tools, host, seen, who(identity, seen.boot_id))
            if isinstance(plan, Failure):
                return plan
            seen, ran = plan
            failure = self._bring_about(systemd, seen, deadline)
            if failure is not None:
                known = {"acted": True, "ran": ran, **who(identity, seen.boot_id), **failure.facts}
                return failure.model_copy(update={"facts": known})
            return self._proven(systemd, identity, seen, ran)
        except Unreachable as error:
            return silent(host, error)

    def holds(self, tools: Tools, proof: Proof) -> Failure | None:
        """While the host answers, the same units are looked at again. When it is silent, what was proven stays: masked
        units stay masked over a reboot.
        """
        names = tuple(proof.facts["units"])
        try:
            seen = within(MOMENT, lambda: self._systemd(tools, proof.host).look(names))
            if seen is None or isinstance(seen, Failure):
                return None if seen is None or seen.timed_out or seen.unknown else seen
            failure = another(proof.host, tools.host(proof.host).identity(), proof.facts)
        except Unreachable:
            return None
        except DrorchError as error:
            return Failure.of(error)
        return failure or _amiss(proof.host, seen)

    def lift(self, tools: Tools, proof: Proof) -> Failure | None:
        """Unmask, start in reverse order what ran before, and see that it runs."""
        systemd = self._systemd(tools, proof.host)
        facts = proof.facts or Slip(tools.host(proof.host), tools.scene.work[proof.host]).read() or {}
        if facts.get("run", tools.run.id) != tools.run.id or not facts.get("units"):
            return None  # nothing was ever begun
        # A mask that was only laid for the next boot shows once systemd has read it.
        failure = another(proof.host, tools.host(proof.host).identity(), facts) or systemd.reload()
        seen = failure or systemd.look(tuple(facts["units"]))
        if isinstance(seen, Failure):
            return seen
        failure = systemd.unmask(seen.units)
        return failure or self._started(systemd, [name for name in facts["units"] if name in facts.get("ran", ())])

    def findings(self, tools: Tools, host: str) -> Iterable[Finding]:
        """The units exist and run, and may be stopped."""
        about = f"fence {host}"
        systemd = self._systemd(tools, host)
        try:
            seen = within(PATIENCE, lambda: systemd.look(self.stop.units, with_parts=True))
            if seen is None:
                yield finding(about, silent(host))
                return
            identity = tools.host(host).identity()
        except Unreachable as error:
            yield finding(about, silent(host, error))
            return
        if isinstance(seen, Failure):
            yield finding(about, seen)
            return
        facts: dict[str, Json] = {unit.id: unit.words for unit in seen.units}
        yield self._found(about, host, seen, facts)
        lacking = systemd.lacking(identity.user)
        if lacking is not None:
            yield finding(about, lacking)

    def _found(self, about: str, host: str, seen: Look, facts: dict[str, Json]) -> Finding:
        unknown = [unit.id for unit in seen.units if not unit.known]
        if unknown:
            what = f"{host} has no unit {listed(unknown)}"
            return Finding(about=about, what=what, standing=Standing.BAD, remedy="correct its name", facts=facts)
        idle = [unit for unit in seen.units if not unit.runs]
        if idle:
            what = f"{listed(unit.id for unit in idle)} on {host} does not run now: {idle[0].words}"
            remedy = "is this the unit that serves, or is it masked since an earlier failover? else start it"
            return Finding(about=about, what=what, standing=Standing.DOUBTFUL, remedy=remedy, facts=facts)
        return Finding(about=about, what=f"{listed(facts)} on {host} can be stopped and masked", facts=facts)

    def _systemd(self, tools: Tools, host: str) -> Systemd:
        return Systemd(tools.host(host), sudo=self.stop.sudo)

    def _plan(self, tools: Tools, host: str, seen: Look, machine: dict[str, str]) -> tuple[Look, list[str]] | Failure:
        """All units with their parts, and which ran before this run first acted: a cut attempt noted it on the host."""
        slip = Slip(tools.host(host), tools.scene.work[host])
        ids = [unit.id for unit in seen.units]
        noted = slip.read() if tools.repeated or not all(unit.runs for unit in seen.units) else None
        if isinstance(noted, dict) and noted.get("run") == tools.run.id and set(ids) <= set(noted.get("units", ())):
            again = self._systemd(tools, host).look(noted["units"])
            return again if isinstance(again, Failure) else (again, list(noted["ran"]))
        ran = [unit.id for unit in seen.units if unit.runs]
        slip.write({"run": tools.run.id, "units": ids, "ran": ran, **machine})
        return seen, ran

    def _bring_about(self, systemd: Systemd, seen: Look, deadline: Deadline) -> Failure | None:
        host = systemd.host.name
        if all(unit.stopped for unit in seen.units):
            return systemd.mask([unit for unit in seen.units if not unit.masked])
        failure = None
        for unit in seen.units:
            if unit.stopped:
                continue
            done = systemd.change("stop", (unit.id,), timeout=max(deadline.remaining(), 0.1))
            if not done.ok:
                failure = done.failure(f"stopping {listed((unit.id,))} on {host}")
                break
        after = systemd.look([unit.id for unit in seen.units])
        if isinstance(after, Failure):
            return after
        alive = [unit for unit in after.units if not unit.stopped]
        if not alive:
            return systemd.mask([unit for unit in after.units if not unit.masked])
        # It must not come back by a reboot, whatever the next rung does; what runs keeps knowing how to stop itself.
        unmasked = systemd.mask([unit for unit in after.units if not unit.masked], load=False)
        pids = [str(pid) for unit in alive for pid in unit.processes]
        hints = [f"kill {' '.join(pids)} on {host}, then retry" if pids else f"look at it on {host}"]
        if unmasked is None:
            hints.append(f"it may not start again, unless you say: {systemd.unmasking(after.units)}")
        return Failure(
            why=f"{listed(unit.id for unit in alive)} on {host} is {alive[0].words}"
            + (f"; {failure.why}" if failure else ""),
            hint="; ".join(hints),
            timed_out=failure.timed_out if failure else False,
            facts={"units": {unit.id: unit.facts() for unit in after.units}},
        )

    def _started(self, systemd: Systemd, ran: list[str]) -> Failure | None:
        """Start again, in reverse order, what ran before, and see that it runs."""
        host = systemd.host.name
        for name in reversed(ran):
            done = systemd.change("start", (name,), timeout=self.stop.timeout.total_seconds())
            if not done.ok:
                return done.failure(f"starting {listed((name,))} on {host}", hint=systemd.journal((name,)))
        if not ran:
            return None
        seen = systemd.look(ran)
        if isinstance(seen, Failure):
            return seen
        down = [f"{unit.id} is {unit.words}" for unit in seen.units if not unit.runs]
        return Failure(why=f"on {host} {'; '.join(down)}", hint="start it by hand") if down else None

    def _proven(self, systemd: Systemd, identity: Identity, seen: Look, ran: list[str]) -> Proof | Failure:
        host = systemd.host.name
        after = systemd.look([unit.id for unit in seen.units])
        if isinstance(after, Failure):
            return after
        amiss = _amiss(host, after)
        if amiss is not None:
            return amiss
        named = listed(self.stop.units)
        verb = "are" if len(self.stop.units) > 1 else "is"
        return Proof(
            host=host,
            rung=self.word,
            words=f"{named} {verb} stopped and masked, as {host} itself says; a reboot does not bring that back",
            facts={
                "units": {unit.id: unit.facts() for unit in after.units},
                "ran": ran,
                **who(identity, after.boot_id),
            },
        )


def _amiss(host: str, seen: Look) -> Failure | None:
    """What is not as fenced units are; None when all are."""
    for unit in seen.units:
        if not unit.stopped:
            return Failure(why=f"{listed((unit.id,))} runs on {host}: {unit.words}", hint="fence it again, then retry")
        if not unit.masked:
            return Failure(
                why=f"{listed((unit.id,))} on {host} may start again: it is not masked", hint="fence it again"
            )
    return None


def _family(unit: str) -> set[str]:
    """What a unit of a template belongs to by custom: ``postgresql.service`` for ``postgresql@15-main.service``."""
    return {f"{unit.partition('@')[0]}.service"} if "@" in unit else set()
