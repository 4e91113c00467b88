"""``power_off``: a command takes the power away, and another says so."""

import re
from collections.abc import Iterable
from datetime import timedelta

from pydantic import Field

from drorch.core.clock import Deadline
from drorch.core.errors import DrorchError
from drorch.core.evidence import Failure
from drorch.core.fence import Proof, Rung
from drorch.core.finding import Finding, Standing
from drorch.core.host import Command, Completed, Host, printable
from drorch.core.model import Duration, Frozen, HostName, Json, Regex, SecretRef, VariableName, Words, parse_duration
from drorch.core.scene import Scene
from drorch.core.secret import Secret
from drorch.core.step import Planned, Tools
from drorch.fences._reach import finding, seeing, seen

PATIENCE = 15.0
"""Seconds that one answer to `status` may take, unless all of it must be over before."""
LIMIT = 1 << 16
"""Bytes of an answer that are read; a longer one is none."""
SAID = 300
"""Characters of an answer that are kept."""


_NO_PROGRAM = frozenset({126, 127})
"""Exit codes with which shells and hosts say that there is none; POSIX, 2.8.2."""


class Powering(Frozen):
    """The commands; no shell reads them."""

    command: Words
    """Takes the power away, such as ``[hcloud, server, poweroff, web1]``. That it succeeds proves nothing."""
    status: Words | None = None
    """Says whether the power is on, such as ``[hcloud, server, describe, web1, -o, "format={{.Status}}"]``. Only its
    answer is the proof."""
    off: Regex | None = None
    """A regular expression that its output matches when the power is off, and never else: ``^off$``."""
    on: Words | None = None
    """Gives the power back, to undo it."""
    host: HostName | None = None
    """Where the commands run; on the machine on which drorch runs unless said."""
    env: dict[VariableName, str | SecretRef] = Field(default_factory=dict)
    """Variables for the commands; a value may be ``{secret: NAME}``."""
    timeout: Duration = parse_duration("2m")
    """How long the status may take to say that it is off."""
    poll: Duration = parse_duration("1s")
    """How long after an answer it is asked again."""


class PowerOff(Rung):
    """Take a host's power away by a command, and ask until another command says that it is off.

    A command that says that it succeeded proves nothing; a status that fails, hangs or cannot be read proves nothing.
    """

    power_off: Powering
    """The commands."""

    @property
    def longest(self) -> timedelta:
        """The command, and the wait for its effect."""
        return self.power_off.timeout + timedelta(seconds=PATIENCE)

    def describe(self, host: str) -> str:
        """The plan's line."""
        return f"power {host} off by {self.power_off.command[0]}"

    def preview(self, host: str) -> tuple[Planned, ...]:
        """Both commands."""
        where = self.power_off.host or "controller"
        asked = Planned(where, self.power_off.status or (), note=f"until it matches {self.power_off.off}")
        return (Planned(where, self.power_off.command), *((asked,) if self._proves else ()))

    def problems(self, scene: Scene, host: str) -> tuple[tuple[str, str, str], ...]:
        """Without a status it can prove nothing; on the host itself it could not say so."""
        if not self._proves:
            message = "without `status` and `off` this can never prove that the power is off"
            hint = "say which command tells whether it is on, and what it prints when it is off"
            return (("status" if self.power_off.status is None else "off", message, hint),)
        if self.power_off.host == host:
            return (("host", f"{host} cannot tell that its own power is off", "name another host, or leave it out"),)
        return ()

    def stands(self, tools: Tools, host: str) -> Proof | None:
        """Whether the status says that it is off, and nothing says otherwise."""
        sight = seeing(tools, host)
        try:
            said = self._status(tools)
        except DrorchError:
            return None
        if isinstance(said, Failure) or not self._is_off(said) or sight():
            return None
        return self._proof(host, said)

    def fence(self, tools: Tools, host: str) -> Proof | Failure:
        """Ask, take the power away, ask until it is off."""
        settings = self.power_off
        limit = min(settings.timeout, timedelta(seconds=tools.deadline.remaining()))
        deadline = Deadline.after(limit, tools.clock)
        said = self._status(tools)
        if isinstance(said, Failure) and not self._proves:
            return said
        if isinstance(said, Failure) or not self._is_off(said):
            done = self._run(tools, settings.command, limit.total_seconds() / 2)
            said = self._await(tools, host, done, deadline)
            if isinstance(said, Failure):
                return said
        if sight := seen(tools, host):
            return Failure(
                why=f"{self._name} says that {host} is off, and {sight}",
                hint=f"was another machine powered off? correct `command`, `status` or the address of {host}",
                unknown=True,
                facts={"status": said, "acted": True},
            )
        return self._proof(host, said)

    def holds(self, tools: Tools, proof: Proof) -> Failure | None:
        """The status is asked again; unless it says off, nothing is known."""
        try:
            said = self._status(tools)
        except DrorchError as error:
            return Failure.of(error)
        if isinstance(said, Failure):
            return said
        if self._is_off(said):
            return None
        return Failure(
            why=f"{proof.host} is no longer off: {self._name} says {said!r}",
            hint=f"power {proof.host} off again, then retry",
            facts={"status": said},
        )

    def lift(self, tools: Tools, proof: Proof) -> Failure | None:
        """Give the power back, and ask until the status no longer says that it is off."""
        settings = self.power_off
        if settings.on is None:
            return Failure(
                why=f"{proof.host} is off, and no `on` command is known", hint=f"power {proof.host} on by hand"
            )
        deadline = Deadline.after(settings.timeout, tools.clock)
        done = self._run(tools, settings.on, settings.timeout.total_seconds())
        while True:
            said = self._status(tools)
            if isinstance(said, str) and not self._is_off(said):
                return None
            if deadline.remaining() <= settings.poll.total_seconds():
                why = said.why if isinstance(said, Failure) else f"{self._name} still says {said!r}"
                more = "" if done.ok else f"; {self._failed(tools, done, settings.on).why}"
                return Failure(why=f"{proof.host} is not known to be on again: {why}{more}", hint="power it on by hand")
            tools.clock.sleep(settings.poll.total_seconds())

    def findings(self, tools: Tools, host: str) -> Iterable[Finding]:
        """The status answers, and says that the power is on."""
        about = f"power of {host}"
        try:
            said = self._status(tools)
        except DrorchError as error:
            yield Finding.of(about, error)
            return
        if isinstance(said, Failure):
            yield finding(about, said)
        elif not self._is_off(said):
            yield Finding(about=about, what=f"{self._name} answers, and {host} is on", facts={"status": said})
        elif sight := seen(tools, host):
            what = f"{self._name} says that {host} is off, and {sight}: `off` matches what it must not"
            remedy = "correct `off`, or the machine that `status` asks for"
            yield Finding(about=about, what=what, standing=Standing.BAD, remedy=remedy, facts={"status": said})
        else:
            yield Finding(about=about, what=f"{self._name} says that {host} is off", facts={"status": said})

    @property
    def _proves(self) -> bool:
        return self.power_off.status is not None and bool(self.power_off.off)

    @property
    def _name(self) -> str:
        return (self.power_off.status or self.power_off.command)[0]

    def _is_off(self, said: str) -> bool:
        return re.search(self.power_off.off or r"(?!)", said, re.MULTILINE) is not None

    def _proof(self, host: str, said: str) -> Proof:
        return Proof(
            host=host,
            rung=self.word,
            words=f"{host} is powered off, as {self._name} says",
            facts={"status": said[:SAID]},
        )

    def _await(self, tools: Tools, host: str, done: Completed, deadline: Deadline) -> str | Failure:
        """The status that says off. What the command said of itself is no proof, neither that it acted nor that not."""
        poll = self.power_off.poll.total_seconds()
        may_have_acted = done.ok or done.exit_code is None
        while True:
            said = self._status(tools)
            if isinstance(said, str) and self._is_off(said):
                return said
            if not may_have_acted or deadline.remaining() <= poll:
                break
            tools.clock.sleep(poll)
        facts: dict[str, Json] = {"acted": may_have_acted}
        if isinstance(said, Failure):
            why = said.why
        else:
            why, facts["status"] = f"{self._name} says {said[:SAID]!r}", said[:SAID]
        if not done.ok:
            failed = self._failed(tools, done, self.power_off.command)
            return failed.model_copy(update={"why": f"{failed.why}; and {why}", "facts": facts})
        return Failure(
            why=f"{self.power_off.command[0]} said that it powers {host} off, and it is not known to be off: {why}",
            hint=f"look at the provider's console whether {host} is off",
            unknown=isinstance(said, Failure),
            facts=facts,
        )

    def _status(self, tools: Tools) -> str | Failure:
        """What the status says, safe to keep; whatever is not exit code 0 is no answer."""
        if self.power_off.status is None or not self._proves:
            return Failure(why="no command tells whether the power is off", hint="say `status` and `off`")
        done = self._run(tools, self.power_off.status, min(PATIENCE, self.power_off.timeout.total_seconds()))
        if not done.ok or done.truncated:
            failed = self._failed(tools, done, self.power_off.status)
            return failed.model_copy(
                update={"unknown": True, "why": f"whether the power is on is unknown: {failed.why}"}
            )
        return printable(tools.secrets.redact(done.text).strip())

    def _failed(self, tools: Tools, done: Completed, words: tuple[str, ...]) -> Failure:
        absent = done.exit_code in _NO_PROGRAM
        hint = "install it there, or correct its path" if absent else "are its credentials valid?"
        failure = done.failure(f"{words[0]} on {self._place(tools).name}", hint=hint)
        return failure.model_copy(update={"why": tools.secrets.redact(failure.why)})

    def _run(self, tools: Tools, words: tuple[str, ...], timeout: float) -> Completed:
        env: dict[str, str | Secret] = {
            key: tools.secrets.get(value) if isinstance(value, SecretRef) else value
            for key, value in self.power_off.env.items()
        }
        return self._place(tools).run(Command(words, env=env, timeout=timeout, output_limit=LIMIT))

    def _place(self, tools: Tools) -> Host:
        return tools.host(self.power_off.host) if self.power_off.host else tools.controller()
