"""Preflight: what the living world looks like before a run, above all before a failover. Changes nothing on any host.

Everything is asked at once, and nothing is waited for longer than the limit: what has not answered by then is unknown,
and said to be. What was seen of a replicated primary is remembered, so that a later look, when it no longer answers,
can tell what it had.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from pydantic import Field

from drorch.core.clock import Deadline
from drorch.core.errors import DrorchError
from drorch.core.finding import Finding, Standing
from drorch.core.host import Command, SshHostSpec
from drorch.core.model import Frozen, Json, SecretRef
from drorch.core.refs import references
from drorch.core.replication import Loss, ReplicaState, loss
from drorch.core.scene import Mode, RunFacts
from drorch.core.step import Toolbox
from drorch.engine.perform import looking_tools
from drorch.engine.plan import Plan, PlannedStep

LIMIT: Final = 6.0
"""Seconds for which anything is waited for."""
PATIENCE: Final = 15.0
"""The same of what nothing should be begun without: hosts that are needed, and a standby that is to be promoted."""

_REACH = 2.5
"""Seconds in which a port answers, or is not reached."""
_CONNECT = timedelta(seconds=3)
_HURRY = timedelta(seconds=0.3)
"""How long the old primary is knocked at when nobody waits for what is said of it; its fence asks it patiently."""
_SKEW = 2.0
"""Seconds by which a clock may be wrong before it is worth a word."""
_LEAST_FREE = 1 << 30
_LOOK = 'df -Pk "$1" 2>/dev/null || df -Pk /; date +%s.%N'


class Sight(Frozen):
    """Whether one machine reaches another."""

    viewer: str
    """A host, or ``here``: the controller."""
    seen: str
    reached: bool | None
    """None where the viewer itself could not be asked."""
    why: str = ""


class Looked(Frozen):
    """A finding with the step that it is about."""

    step: str = ""
    finding: Finding


class Preflight(Frozen):
    """What was seen."""

    service: str
    runbook: str
    plan: str
    """The plan's digest."""
    mode: Mode | None
    at: datetime
    seconds: float
    findings: tuple[Looked, ...]
    sights: tuple[Sight, ...] = ()
    losses: dict[str, Loss] = Field(default_factory=dict)
    """What promoting or restoring now would lose, by source."""

    @property
    def worst(self) -> Standing:
        """The worst that was found."""
        return max((one.finding.standing for one in self.findings), key=lambda one: one.height, default=Standing.GOOD)

    def knowing(self, further: Iterable[Finding]) -> "Preflight":
        """With findings that were made elsewhere."""
        return self.model_copy(
            update={"findings": (*self.findings, *(Looked(step="", finding=each) for each in further))}
        )

    def of(self, standing: Standing) -> tuple[Looked, ...]:
        """The findings that stand so."""
        return tuple(one for one in self.findings if one.finding.standing is standing)


@dataclass(slots=True)
class _Asked:
    """One question, asked in a thread of its own."""

    about: str
    step: str
    ask: Callable[[], Iterable[Finding | Sight]]
    needed: bool = False
    """Whether nothing should be begun without an answer, so that it is waited for longer."""
    answers: list[Finding | Sight] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask; every error is an answer."""
        try:
            self.answers.extend(self.ask())
        except DrorchError as error:
            silent = error.retryable and not self.needed  # what its host's silence means is said of the host
            self.answers.append(Finding.of(self.about, error, standing=Standing.UNKNOWN if silent else Standing.BAD))
        except Exception as error:  # noqa: BLE001 - a defect must not hide the other findings
            what = f"looking at it broke: {type(error).__name__}: {error}"
            self.answers.append(
                Finding(about=self.about, what=what, standing=Standing.UNKNOWN, remedy="please report this defect")
            )
        finally:
            self.done.set()


def preflight(plan: Plan, box: Toolbox, *, digest: str | None = None, limit: float = LIMIT) -> Preflight:
    """Look at everything that a plan needs; ``digest`` is that of the plan as it will be carried out."""
    began, at = box.clock.monotonic(), box.clock.now()
    deadline = Deadline.after(timedelta(seconds=limit), box.clock)
    patient = Deadline.after(timedelta(seconds=max(limit, PATIENCE)), box.clock)
    between = Deadline.after(timedelta(seconds=max(limit, 0.7 * PATIENCE)), box.clock)  # time to tell of who hangs
    facts = RunFacts(id=f"{plan.runbook}@preflight", plan=plan.digest, started=at)
    questions = [
        *(
            _Asked(name, "", partial(_host, plan, box, name), needed=_absent(plan, name) is Standing.BAD)
            for name in plan.hosts
        ),
        *(_Asked(f"secret {name}", "", partial(_secret, box, name)) for name in plan.secrets),
        *(_sights(plan, box) if plan.scene.moves else ()),
        *(
            _Asked(
                planned.id,
                planned.id,
                partial(planned.step.preflight, looking_tools(plan, facts, box, between if final else deadline)),
                needed=final,
            )
            for planned in _applies(plan)
            for final in (planned.step.irreversible,)
        ),
    ]
    for question in questions:
        threading.Thread(target=question.run, daemon=True, name=f"look at {question.about}").start()
    findings: list[Looked] = []
    sights: list[Sight] = []
    for question in questions:
        until = patient if question.needed else deadline
        if not question.done.wait(until.remaining()):
            findings.append(Looked(step=question.step, finding=_late(question, box.clock.monotonic() - began)))
            continue
        for answer in question.answers:
            if isinstance(answer, Sight):
                sights.append(answer)
            else:
                findings.append(Looked(step=question.step, finding=answer))
    return Preflight(
        service=plan.service_name,
        runbook=plan.runbook,
        plan=digest or plan.digest,
        mode=plan.mode,
        at=at,
        seconds=round(box.clock.monotonic() - began, 3),
        findings=tuple({(one.finding.about, one.finding.what): one for one in reversed(findings)}.values())[::-1],
        sights=tuple(sights),
        losses=_losses(plan, box, findings),
    )


def impatient(plan: Plan, *, hurry: bool = False) -> Plan:
    """The same plan with hosts that are not waited for long: for a look only. In a hurry, least of all for the old
    primary of an unplanned failover, which mostly is gone.
    """
    hosts = dict(plan.hosts)
    for name, spec in plan.hosts.items():
        if isinstance(spec, SshHostSpec):
            lost = hurry and plan.mode == "unplanned" and name == plan.service.primary
            within = min(spec.connect_timeout, _HURRY if lost else _CONNECT)
            hosts[name] = spec.model_copy(update={"connect_timeout": within})
    return plan.model_copy(update={"hosts": hosts})


def _applies(plan: Plan) -> Iterator[PlannedStep]:
    """The steps that the plan performs in its mode, and that can be judged now: of a standby that an earlier step makes
    anew nothing can be told before.
    """
    anew: set[str] = set()
    for one in plan.steps():
        if one.step.when not in (None, plan.mode) or one.part != "perform":
            continue
        if one.step.kind == "rejoin":
            anew.add(str(getattr(one.step, "source", "")))
        elif one.step.kind in ("promote", "caught_up") and getattr(one.step, "source", None) in anew:
            continue
        yield one


def _late(question: _Asked, seconds: float) -> Finding:
    return Finding(
        about=question.about,
        what=f"no answer within {seconds:.0f} s",
        standing=Standing.BAD if question.needed else Standing.UNKNOWN,
        remedy="it hangs or cannot be reached: look at it, or look again",
    )


def _absent(plan: Plan, host: str) -> Standing:
    """What it means that a host does not answer: nothing new of a lost primary, little of one that only looks on."""
    if host == plan.service.primary:
        return Standing.UNKNOWN if plan.mode == "unplanned" else Standing.BAD
    acts = {name for step in _applies(plan) for _, mark, name in references(step.step) if mark.to == "host"}
    onlooker = host in plan.service.vantages and host not in {*acts, plan.target}
    return Standing.DOUBTFUL if onlooker else Standing.BAD


def _secret(box: Toolbox, name: str) -> Iterator[Finding]:
    box.secrets.get(SecretRef(secret=name))
    yield Finding(about=f"secret {name}", what="can be had")


def _host(plan: Plan, box: Toolbox, name: str) -> Iterator[Finding]:
    """Whether a host answers, is the one that is meant, has room and tells the time."""
    host = box.host(name)
    began = box.clock.monotonic()
    try:
        host.identity()
    except DrorchError as error:
        yield Finding.of(name, error, standing=_absent(plan, name) if error.retryable else Standing.BAD)
        return
    answered = box.clock.monotonic() - began
    asked = box.clock.now()
    work = plan.hosts[name].work.replace("~", ".", 1)
    done = host.run(Command(("sh", "-c", _LOOK, "sh", work), timeout=LIMIT))
    if not done.ok:
        yield Finding(
            about=name,
            what=done.failure(f"looking at {name}").why,
            standing=Standing.UNKNOWN,
            remedy=f"log in to {name} and look",
        )
        return
    *table, moment = done.text.strip().splitlines()
    yield Finding(about=name, what=f"answers in {1000 * answered:.0f} ms and is the one that is meant")
    yield from _room(name, table)
    skew = abs(float(moment) - asked.timestamp())
    if skew > _SKEW + done.seconds:
        yield Finding(
            about=name,
            what=f"its clock is {skew:.0f} s off",
            standing=Standing.DOUBTFUL,
            remedy="let it follow a time server: ages and losses are reckoned from clocks",
            facts={"skew_seconds": round(skew, 1)},
        )


def _room(name: str, table: list[str]) -> Iterator[Finding]:
    cells = table[-1].split() if table else []
    if len(cells) < 5 or not cells[3].isdigit():  # noqa: PLR2004 - df's columns
        return
    free = int(cells[3]) << 10
    if free < _LEAST_FREE:
        yield Finding(
            about=name,
            what=f"{free >> 20} MiB are free on {cells[-1]}",
            standing=Standing.DOUBTFUL if free else Standing.BAD,
            remedy=f"make room on {name}: a database that becomes the primary writes more than a standby",
            facts={"free_bytes": free},
        )


def _sights(plan: Plan, box: Toolbox) -> Iterator[_Asked]:
    """Who reaches the old and the new home: the controller, they each other, and every vantage."""
    ends = [name for name in (plan.service.primary, plan.target) if name]
    viewers = dict.fromkeys([*reversed(ends), *plan.service.vantages])
    for seen in ends:
        spec = plan.hosts.get(seen)
        if not isinstance(spec, SshHostSpec):
            continue
        yield _Asked(f"here to {seen}", "", partial(_sight, box, None, seen, spec))
        for viewer in viewers:
            if viewer != seen:
                yield _Asked(f"{viewer} to {seen}", "", partial(_sight, box, viewer, seen, spec))


def _sight(box: Toolbox, viewer: str | None, seen: str, spec: SshHostSpec) -> Iterator[Sight]:
    host = box.controller() if viewer is None else box.host(viewer)
    name = viewer or "here"
    if viewer is not None:
        try:
            host.identity()
        except DrorchError as error:
            yield Sight(viewer=name, seen=seen, reached=None, why=error.message)
            return
    try:
        with host.dial(spec.address, spec.port, timeout=min(_REACH, spec.connect_timeout.total_seconds())):
            yield Sight(viewer=name, seen=seen, reached=True)
    except DrorchError as error:
        yield Sight(viewer=name, seen=seen, reached=False, why=error.message)


# -- loss --------------------------------------------------------------------------------------------------------------


def _losses(plan: Plan, box: Toolbox, findings: Iterable[Looked]) -> dict[str, Loss]:
    """What each source would lose, by what the steps' findings carry: ``loss``, or the states of a replicated pair."""
    losses: dict[str, Loss] = {}
    for one in findings:
        facts, source = one.finding.facts, str(one.finding.facts.get("source") or one.finding.about)
        if (primary := _state(facts.get("primary_state"))) is not None:
            box.memory.put(seen_key(plan.service_name, source), primary.model_dump(mode="json"))
        if "loss" in facts:
            losses[source] = Loss.model_validate(facts["loss"])
        elif "standby_state" in facts or "primary_state" in facts:
            losses[source] = _replicated(plan, box, source, facts)
    return losses


def _replicated(plan: Plan, box: Toolbox, source: str, facts: Mapping[str, Json]) -> Loss:
    standby = _state(facts.get("standby_state"))
    primary = _state(facts.get("primary_state"))
    now = box.clock.now()
    if primary is not None:
        return loss(standby, primary, now, seen=f"{primary.host} answers")
    primary = _state(box.memory.get(seen_key(plan.service_name, source)))
    if primary is None or primary.host != plan.service.primary:
        return loss(standby, None, now, seen=f"{plan.service.primary} does not answer and was never seen")
    minutes = (now - primary.at).total_seconds() / 60
    return loss(standby, primary, now, seen=f"{primary.host} does not answer; last seen {minutes:.0f} min ago")


def seen_key(service: str, source: str) -> str:
    """Under which the newest state of a replicated primary is remembered."""
    return f"seen:{service}:{source}"


def _state(said: Json) -> ReplicaState | None:
    return ReplicaState.model_validate(said) if isinstance(said, dict) else None


def refusals(seen: Preflight, plan: Plan) -> tuple[Looked, ...]:
    """The findings for which nothing should be begun: with these a failover would stop half-way.

    What is wrong with the old primary is no such thing: it is why people fail over, or what a failback mends.
    """
    fences = {planned.id for planned in plan.steps() if planned.step.kind in ("fence", "rejoin")}
    about = {plan.service.primary, *(f"here to {plan.service.primary}",)}
    return tuple(one for one in seen.of(Standing.BAD) if one.step not in fences and one.finding.about not in about)
