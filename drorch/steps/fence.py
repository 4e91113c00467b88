"""``fence``: make sure that the old primary can no longer accept writes, and prove it."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from drorch.core.errors import DrorchError, Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.fence import Proof, Rung
from drorch.core.finding import Finding, Standing
from drorch.core.model import HostName, Json
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.fences import AnyRung
from drorch.fences.attest import Attest
from drorch.steps._ladder import Look, Tried, lift, succeeded
from drorch.steps._safe import fence_facts

SLACK = timedelta(minutes=1)
"""Beside what the rungs may take."""
_SPARE = 0.5  # seconds of a look's time that are kept for telling what was seen

_RUNG: TypeAdapter[Rung] = TypeAdapter(AnyRung)


class Fence(Step):
    """Fence a host: the rungs of the ladder are tried in order until one of them *proves* that the host can no longer
    accept writes. Unreachable is not fenced, and what cannot be found out is no proof.

    A planned switchover uses only the rungs that ask the host itself.
    """

    kind: Literal["fence"]
    host: HostName
    """The host to fence: where the service lives."""
    ladder: Annotated[tuple[AnyRung, ...], Field(min_length=1)]
    """How, in this order: ``{stop: UNITS}``, ``{read_only: SOURCE}``, ``{power_off: {…}}``, ``{edge: {…}}``,
    ``attest``."""

    @property
    def subject(self) -> str:
        """The host."""
        return self.host

    @property
    def default_timeout(self) -> timedelta:
        """Five minutes, or as long as all rungs may take one after the other."""
        return max(timedelta(minutes=5), sum((rung.longest for rung in self._acting(self.ladder)), SLACK))

    @property
    def can_undo(self) -> bool:
        """As long as nothing irreversible was done, the host gets back to work."""
        return True

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return f"fence {self.host}: {'; else '.join(rung.describe(self.host) for rung in self._rungs(scene))}"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The commands of every rung, in order."""
        return tuple(planned for rung in self._rungs(scene) for planned in rung.preview(self.host))

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """The right host, and a ladder of which every rung can be reached and can prove something."""
        found = []
        if not scene.moves and scene.kind != "maintenance":
            found.append(("kind", f"a {scene.kind} never fences a host", "put it into a failover"))
        words = [rung.word for rung in self.ladder]
        if "attest" in words[:-1]:
            found.append(("ladder", "nothing after attest is ever tried", "a person's word is the last rung"))
        for rung in self.ladder:
            said = rung.problems(scene, self.host)
            found.extend(("ladder", f"{rung.word}: {message}", hint) for _, message, hint in said)
        return tuple(found)

    def doubts(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """A host that is down can only be fenced from outside; and each rung needs its time."""
        found = []
        if scene.kind == "failover" and self.host != scene.primary:
            message = f"{scene.service} lives on {scene.primary}, and this fences {self.host}"
            found.append(("host", message, f"say `host: {scene.primary}`, unless it lives there only for now"))
        if scene.moves and not any(not rung.graceful and not isinstance(rung, Attest) for rung in self.ladder):
            message = f"when {self.host} is unreachable, nothing but a person's word can fence it"
            found.append(("ladder", message, "add a rung that works without it, such as power_off"))
        needed = sum((rung.longest for rung in self._acting(self.ladder)), timedelta())
        if self.timeout is not None and self.timeout < needed:
            message = f"the rungs may take {needed.total_seconds():.0f} s one after the other"
            found.append(("timeout", message, "give it more time, or the rungs less"))
        return tuple(found)

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Climb the ladder; whatever stands already is proof at once."""
        if tools.scene.drill:
            raise Refused(f"a drill never fences {self.host}", hint="rehearse the failover instead")
        rungs = self._rungs(tools.scene)
        word = earlier.get(tools.step)
        if word is not None and word.facts.get("attested_by") and rungs and isinstance(rungs[-1], Attest):
            return self._attested(tools, word, rungs[-1])
        tried = Tried(tools, self.host)
        for rung in rungs:
            proof = rung.stands(tools, self.host)
            if proof is not None:
                tried.cut_short(rungs)
                return Evidence(facts={**fence_facts(proof, rung), "tried": tried.entries})
        for rung in self._acting(rungs):
            began = tools.clock.monotonic()
            outcome = self._climb(tools, rung)
            if isinstance(outcome, Proof):
                return Evidence(facts={**fence_facts(outcome, rung), "tried": tried.entries})
            tried.add(rung, outcome, tools.clock.monotonic() - began)
        return self._unfenced(tools, rungs, tried.entries)

    def undo(self, tools: Tools, evidence: Evidence) -> Outcome:
        """Take the fence away, and what rungs did that proved nothing; never where another host rules by now."""
        failure = succeeded(tools, self.host)
        if failure is not None:
            return failure
        proof = Proof.model_validate(evidence.facts["proof"])
        lifting = [] if proof.attested else [(_RUNG.validate_python(evidence.facts["rung"]), proof)]
        for one in reversed(evidence.facts.get("tried", [])):
            if one.get("said", evidence.facts["rung"]) != evidence.facts["rung"]:
                rung = _RUNG.validate_python(one["said"])
                lifting.append((rung, Proof(host=self.host, rung=rung.word, words="it was tried", facts=one["facts"])))
        return self._gone([(rung, lift(tools, rung, what, wait=True)) for rung, what in lifting])

    def retract(self, tools: Tools) -> Outcome:
        """Take away what rungs did or began; which did is noted, seen on the host, or told by what stands."""
        failure = succeeded(tools, self.host)
        if failure is not None:
            return failure
        acted = Tried(tools, self.host).acted
        rungs = [(rung, acted.get(rung.word)) for rung in self._acting(self._rungs(tools.scene))]
        outside = [(one, facts) for one, facts in rungs if not one.graceful and (facts or one.stands(tools, self.host))]
        lifted = []
        for rung, facts in (*reversed(outside), *((one, facts) for one, facts in reversed(rungs) if one.graceful)):
            what = Proof(host=self.host, rung=rung.word, words="it was tried", facts=facts or {})
            wait = bool(outside) or facts is not None  # it answered then, or was just powered on
            lifted.append((rung, lift(tools, rung, what, wait=wait)))
        return self._gone(lifted)

    def _gone(self, lifted: list[tuple[Rung, Failure | None]]) -> Outcome:
        failures = [failure for _, failure in lifted if failure is not None]
        if failures:
            return Failure(
                why=f"the fence around {self.host} is not gone: {'; '.join(failure.why for failure in failures)}",
                hint="; ".join(dict.fromkeys(failure.hint for failure in failures if failure.hint)),
                unknown=any(failure.unknown for failure in failures),
            )
        return Evidence(facts={"host": self.host, "lifted": [rung.word for rung, _ in lifted]})

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """What every rung finds; and whether anything but a person's word works now."""
        rungs = [rung for rung in self._rungs(tools.scene) if not isinstance(rung, Attest)]
        looks = [Look(rung, tools, self.host) for rung in rungs]
        working = 0
        for look in looks:
            found = look.found(max(0.1, tools.deadline.remaining() - _SPARE))
            working += not any(finding.standing in (Standing.BAD, Standing.UNKNOWN) for finding in found)
            yield from found
        if working:
            return
        attest = any(isinstance(rung, Attest) for rung in self._rungs(tools.scene))
        yield Finding(
            about=f"fence {self.host}",
            what=f"nothing can fence {self.host} " + ("but a person's word" if attest else "at this moment"),
            standing=Standing.DOUBTFUL if attest else Standing.BAD,
            remedy="see to the rungs above, or add one that works without it, such as power_off",
        )

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Nothing live is touched: only looked at."""
        found = tuple(self.preflight(tools))
        return Evidence(
            facts={
                "rehearsed": False,
                "looked_at": [f"{finding.about}: {finding.what}" for finding in found],
            },
            exceptions=tuple(
                f"{finding.about}: {finding.what}; {finding.remedy}" for finding in found if finding.amiss
            ),
        )

    def _rungs(self, scene: Scene) -> tuple[Rung, ...]:
        """Those that count: in a planned switchover those that lose nothing."""
        return tuple(rung for rung in self.ladder if rung.graceful or scene.mode != "planned")

    @staticmethod
    def _acting(rungs: Iterable[Rung]) -> Iterator[Rung]:
        return (rung for rung in rungs if not isinstance(rung, Attest))

    def _climb(self, tools: Tools, rung: Rung) -> Proof | Failure:
        if tools.deadline.passed:
            return Failure(why="there was no time left for it", hint="give the step a longer timeout", timed_out=True)
        try:
            return rung.fence(tools, self.host)
        except DrorchError as error:
            return Failure.of(error)

    def _attested(self, tools: Tools, word: Evidence, rung: Rung) -> Evidence:
        """A person's word, which is never more than that."""
        name = str(word.facts["attested_by"])
        proof = Proof(
            host=self.host,
            rung=rung.word,
            words=f"{name} attests that {self.host} can no longer accept writes",
            facts={"by": name, "note": word.facts.get("note", ""), "at": word.facts.get("at", "")},
            attested=True,
        )
        return Evidence(
            facts={**fence_facts(proof, rung), "tried": word.facts.get("tried") or Tried(tools, self.host).entries},
            exceptions=(f"{self.host} is fenced only by the word of {name}",),
        )

    def _unfenced(self, tools: Tools, rungs: tuple[Rung, ...], tried: list[Json]) -> Failure:
        planned = tools.scene.mode == "planned"
        why = "; ".join(f"{one['rung']}: {one['why']}" for one in tried)
        attest = rungs[-1] if rungs and isinstance(rungs[-1], Attest) else None
        asked = attest.question(self.host) if attest else None
        hints = [one["hint"] for one in tried if one["hint"]][-1:]
        if planned:
            hints.append(f"if {self.host} cannot be helped: drorch unplanned {tools.run.id}")
        elif asked is not None:
            hints.append(f"once you know that {self.host} can no longer accept writes: drorch attest {tools.run.id}")
        return Failure(
            why=f"{self.host} is not fenced: {why or 'no rung of the ladder asks the host itself'}",
            hint="; ".join(hints) or "see to the cause, then retry",
            facts={
                "host": self.host,
                "attest": asked is not None,
                "acted": any("said" in one for one in tried),
                "tried": tried,
                **({"question": asked.text} if asked is not None else {}),
            },
        )
