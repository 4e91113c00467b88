"""``command``: run a program on a host, or start one that goes on running."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drorch.core.errors import Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.host import Command, Completed, Host, Identity, printable
from drorch.core.model import Frozen, HostName, Json, SecretRef, VariableName, Words
from drorch.core.scene import Scene
from drorch.core.secret import Secret
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.core.template import fill, from_evidence
from drorch.steps import _processes as processes
from drorch.steps._apart import identified, refuse_live
from drorch.steps._folder import levels, make, run_folder

ALIVE_AFTER = 1.0
"""Seconds after its start at which a background program must still live."""
SAID = 4000
"""Characters of a program's output that its evidence keeps."""
LAST_NO = 125
"""Above it an exit code is the shell's or a signal's word, not a probe's."""


class CommandExpectation(Frozen):
    """What counts as success."""

    exit: Annotated[int, Field(ge=0, le=255)] = 0
    """The exit code."""
    stdout: str | None = None
    """Text that the standard output must contain."""


class RunCommand(Step):
    """Run a program on a host; with `background`, start one that runs until the clean-up or the undo.

    Whatever a drill's program leaves running is ended by the clean-up.
    """

    kind: Literal["command"]
    run: Words
    """The program and its arguments, as a list of words; no shell reads them."""
    host: HostName | None = None
    """Where; the standby of a drill or failover, else the primary, unless said. A drill refuses the live hosts."""
    probe: Words | None = None
    """A program that exits with 0 when there is nothing (more) to do: asked before, so that nothing is done twice,
    and after, as the proof; its output is the evidence's. Without one the program is run again when the run is cut
    while it runs."""
    undo_by: Annotated[Words | None, Field(alias="undo")] = None
    """A program that takes it back, for ``on_failure: undo``. Not run where the probe found it done beforehand."""
    background: bool = False
    """Start it and go on while it runs; it must live for a second at least. Its output is kept in a bounded log."""
    env: dict[VariableName, str | SecretRef] = Field(default_factory=dict)
    """Variables for the program; a value may be ``{secret: NAME}``."""
    cwd: str | None = None
    """Where it starts; the home of the host's user unless said."""
    expect: CommandExpectation = CommandExpectation()
    """What counts as success."""

    @model_validator(mode="after")
    def _background_has_no_end(self) -> Self:
        if self.background and self.expect != CommandExpectation():
            raise ValueError("expect asks for an end, and a background program has none; ask it with an http step")
        if self.background and self.probe:
            raise ValueError(
                "a background program needs no probe: it is found again by itself; ask it with an http step"
            )
        return self

    @property
    def default_timeout(self) -> timedelta:
        """Long enough for a start or a migration."""
        return timedelta(hours=1)

    def place(self, scene: Scene) -> str:
        """The host on which it runs."""
        return self.host or scene.target or scene.primary

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        verb = "start" if self.background else "run"
        return f"{verb} {self.run[0]} on {self.place(scene)}" + (
            " unless its probe finds it done" if self.probe else ""
        )

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """A drill must not touch what is live."""
        try:
            refuse_live(scene, self.place(scene), "runs commands")
        except Refused as refused:
            return (("host", refused.message, refused.hint),)
        return ()

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """The probe and the program; what is only known later stands as it is written."""
        host = self.place(scene)
        asked = [Planned(host, self.probe, note="exit code 0: nothing to do")] if self.probe else []
        return (*asked, Planned(host, self.run, note="goes on running" if self.background else ""))

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Probe, run, probe again; in the background: start it once, and see that it lives."""
        name = self.place(tools.scene)
        identity = identified(tools, name, "runs commands")
        filled = self._filled(tools, earlier)
        if self.background:
            return self._start(tools, filled, identity)
        host = tools.host(name)
        if tools.scene.drill:
            # What a drill's program leaves running is known by its mark, to this step done again and to the clean-up.
            state = processes.home(run_folder(tools.scene, tools.run.id, name, identity), tools.step)
            filled = replace(filled, env={**filled.env, processes.MARK: state})
            failure = processes.stop(host, state) if tools.repeated else None
            if failure is not None:
                return failure
        return self._wait(tools, host, filled)

    def _wait(self, tools: Tools, host: Host, filled: "_Filled") -> Outcome:
        if not filled.probe:
            return self._judged(tools, host.run(Command(filled.run, env=filled.env, cwd=filled.cwd)), filled)
        asked = self._probed(host, filled)
        if isinstance(asked, Completed) and not asked.ok:
            done = self._judged(tools, host.run(Command(filled.run, env=filled.env, cwd=filled.cwd)), filled)
            if isinstance(done, Failure):
                return done
            asked = self._probed(host, filled)
            if isinstance(asked, Completed) and not asked.ok:
                return Failure(
                    why=f"{filled.run[0]} on {host.name} ended well, yet its probe says that it is not done",
                    hint="correct the program or the probe",
                    facts=done.facts,
                )
            already = False
        else:
            # Of an attempt that may have been begun before, it is taken that it was this run that did it.
            already = not tools.repeated
        if isinstance(asked, Failure):
            return asked
        return Evidence(facts={**self._facts(tools, asked, filled), "already": already})

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return self.background or self.undo_by is not None

    def undo(self, tools: Tools, evidence: Evidence) -> Outcome:
        """End the running program; run `undo_by`, unless the probe said that there was nothing to do."""
        if not self.can_undo:
            return super().undo(tools, evidence)
        name = self.place(tools.scene)
        identity = identified(tools, name, "runs commands")
        host = tools.host(name)
        if self.background:
            state = processes.home(run_folder(tools.scene, tools.run.id, name, identity), tools.step)
            failure = processes.stop(host, state)
            if failure is not None:
                return failure
        undo = evidence.facts.get("undo")
        if undo is None or evidence.facts.get("already"):
            return Evidence(facts={"host": name, "ended": self.background, "undone": False})
        secret = {key: tools.secrets.get(value) for key, value in self.env.items() if isinstance(value, SecretRef)}
        done = host.run(Command(tuple(undo["argv"]), env={**undo["env"], **secret}, cwd=undo["cwd"]))
        if not done.ok:
            return done.failure(f"undoing {self.run[0]} on {name}")
        return Evidence(
            facts={"host": name, "ended": self.background, "undone": True, "seconds": round(done.seconds, 3)}
        )

    def _filled(self, tools: Tools, earlier: Earlier) -> "_Filled":
        lookup = from_evidence(earlier, {"run": tools.run.id, "service": tools.scene.service})
        return _Filled(
            run=tuple(fill(word, lookup) for word in self.run),
            probe=tuple(fill(word, lookup) for word in self.probe or ()),
            undo=tuple(fill(word, lookup) for word in self.undo_by or ()),
            env={
                key: tools.secrets.get(value) if isinstance(value, SecretRef) else fill(value, lookup)
                for key, value in self.env.items()
            },
            cwd=fill(self.cwd, lookup) if self.cwd else None,
        )

    def _probed(self, host: Host, filled: "_Filled") -> Completed | Failure:
        """The probe's answer: exit code 0 is yes, 1 to 125 no; anything else is no answer."""
        done = host.run(Command(filled.probe, env=filled.env, cwd=filled.cwd))
        if done.exit_code is None or done.exit_code > LAST_NO:
            return done.failure(f"probing with {filled.probe[0]} on {host.name}", hint="a probe ends with 0 or 1")
        return done

    def _judged(self, tools: Tools, completed: Completed, filled: "_Filled") -> Outcome:
        what = f"{filled.run[0]} on {self.place(tools.scene)}"
        facts = self._facts(tools, completed, filled)
        if completed.exit_code is None or completed.exit_code != self.expect.exit:
            expected = f" (expected {self.expect.exit})" if self.expect.exit else ""
            return completed.failure(what + expected).model_copy(update={"facts": facts})
        if self.expect.stdout is not None and self.expect.stdout not in completed.text:
            return Failure(why=f"{what} did not print {self.expect.stdout!r}", facts=facts)
        return Evidence(facts=facts)

    def _facts(self, tools: Tools, completed: Completed, filled: "_Filled") -> dict[str, Json]:
        """What a program's end tells: the probe's where there is one, since that is the proof."""
        # Redacted before it is cut or hashed: half a secret would no longer be found, and a hash can be guessed at.
        said = printable(tools.secrets.redact(completed.text)).strip()
        return {
            "host": self.place(tools.scene),
            "exit": completed.exit_code,
            "seconds": round(completed.seconds, 3),
            "stdout": said[-SAID:],
            "stdout_sha256": hashlib.sha256(said.encode()).hexdigest(),
            "truncated": completed.truncated,
            **filled.undo_facts(),
        }

    def _start(self, tools: Tools, filled: "_Filled", identity: Identity) -> Outcome:
        name = self.place(tools.scene)
        host = tools.host(name)
        folder = run_folder(tools.scene, tools.run.id, name, identity)
        state = processes.home(folder, tools.step)
        failure = make(host, levels(folder, "processes", f"processes/{tools.step}"))
        if failure is not None:
            return failure
        started = processes.start(host, state, filled.run, env=filled.env, cwd=filled.cwd)
        if isinstance(started, Failure):
            return started
        tools.clock.sleep(ALIVE_AFTER)
        found = processes.look(host, state)
        if isinstance(found, Failure):
            return found
        alive, log = found
        said = printable(tools.secrets.redact(log)).strip()
        if not alive:
            words = said or "it said nothing"
            return Failure(
                why=f"{filled.run[0]} on {name} ended within {ALIVE_AFTER:g} s of its start: {words}",
                hint=f"its output is in {state}/log, and its end stays in the clean-up's evidence",
            )
        return Evidence(
            facts={
                "host": name,
                "pid": started.pid,
                "started_ticks": started.started_ticks,
                "log": f"{state}/log",
                **filled.undo_facts(),
            }
        )


@dataclass(frozen=True, slots=True)
class _Filled:
    """The step's texts with every hole filled, each still one word."""

    run: tuple[str, ...]
    probe: tuple[str, ...]
    undo: tuple[str, ...]
    env: Mapping[str, str | Secret]
    cwd: str | None

    def undo_facts(self) -> dict[str, Json]:
        """What an undo will need: by then the evidence that filled the holes is out of its reach. No secrets."""
        if not self.undo:
            return {}
        plain = {key: value for key, value in self.env.items() if isinstance(value, str) and key != processes.MARK}
        return {"undo": {"argv": list(self.undo), "env": plain, "cwd": self.cwd}}
