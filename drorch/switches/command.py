"""``command``: lead customers by a program of one's own."""

import re
from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import Field, model_validator

from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding, Standing
from drorch.core.host import Command as Ordered
from drorch.core.host import Completed, printable
from drorch.core.model import Duration, Frozen, HostName, Regex, SecretRef, VariableName, Words, parse_duration
from drorch.core.step import Planned, Tools
from drorch.core.switch import Traffic, Turn, Way
from drorch.core.template import fill

QUOTED = 200
"""Characters of a check's output that are shown."""


class Leads(Frozen):
    """What the check prints, as regular expressions that match somewhere in it."""

    new: Regex
    """When customers are led to the new host."""
    old: Regex
    """When they are led to the old one."""


class Commands(Frozen):
    """Programs; ``{{ to }}``, ``{{ from }}``, ``{{ to_address }}`` and ``{{ from_address }}`` are filled in their
    words.
    """

    run: Words
    """Leads customers to ``{{ to }}``. It may be run again when it was cut, so it must bear that."""
    check: Words
    """Prints where customers are led now: without it nothing could be verified. It changes nothing."""
    leads: Leads | None = None
    """How to read what the check prints; the name or the address of a host, and nothing else, unless said."""
    undo: Words | None = None
    """Leads them back; `run` with the two hosts in each other's place unless said."""
    hold: Words | None = None
    """Lets new requests wait, for the `hold` step."""
    release: Words | None = None
    """Lets them go on; must succeed as well when nothing waits."""
    host: HostName | None = None
    """Where the programs run; the controller unless said."""
    env: dict[VariableName, str | SecretRef] = Field(default_factory=dict)
    """Variables for them; a value may be ``{secret: NAME}``."""
    timeout: Duration = parse_duration("30s")
    """How long each may take."""

    @model_validator(mode="after")
    def _what_holds_lets_go(self) -> Self:
        if (self.hold is None) != (self.release is None):
            raise ValueError("hold and release belong together")
        return self


class ByCommand(Way):
    """Any mechanism that a program can change, and another can ask."""

    command: Commands
    """The programs."""

    @property
    def title(self) -> str:
        """The program and where it runs."""
        return f"{self.command.run[0]} on {self._place}"

    def describe(self, turn: Turn) -> str:
        """The plan's line."""
        return f"lead customers to {turn.new} by {self.title}"

    def preview(self, turn: Turn) -> tuple[Planned, ...]:
        """The check, the program, the check."""
        check, run = (_filled(words, turn) for words in (self.command.check, self.command.run))
        return (
            Planned(self._place, check, note="where are customers led?"),
            Planned(self._place, run, note="unless they are led there already"),
        )

    def look(self, tools: Tools, turn: Turn) -> Traffic | Failure:
        """What the check prints."""
        done = self._run(tools, turn, self.command.check)
        if not done.ok:
            return _failed(tools, done, f"the check {self.command.check[0]} on {self._place}")
        said = printable(tools.secrets.redact(done.text)).strip()
        facts = {"check": said[:QUOTED]}
        new, old = self._reads(said, turn)
        if new and old:
            return Traffic(leads="both", facts=facts)
        return Traffic(leads="new" if new else "old" if old else "elsewhere", facts=facts)

    def lead(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Check, run, check."""
        began = tools.clock.monotonic()
        before = self.look(tools, turn)
        if isinstance(before, Failure):
            return before
        if before.leads == "elsewhere":
            return Failure(
                why=f"{self.title} leads to neither {turn.old} nor {turn.new}: {before.facts['check']!r}",
                hint="is that right, and do the regular expressions under `leads:` know it?",
                facts=before.facts,
            )
        after = before
        if before.leads != "new":
            done = self._run(tools, turn, self.command.run)
            if not done.ok:
                return _failed(tools, done, self.title)
            found = self.look(tools, turn)
            if isinstance(found, Failure):
                return found
            after = found
        if after.leads != "new":
            return Failure(
                why=f"{self.title} ended well, and yet its check says {after.facts['check']!r}",
                hint="correct the program or its check",
                facts=after.facts,
            )
        seconds = round(tools.clock.monotonic() - began, 3)
        return Evidence(facts={"before": before.leads, "leads": "new", **after.facts, "seconds": seconds})

    def back(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """By its own program for that, else by the same one."""
        said = self.command
        leads = Leads(new=said.leads.old, old=said.leads.new) if said.leads else None
        if said.undo is None:
            return ByCommand(command=said.model_copy(update={"leads": leads})).lead(tools, turn.back())
        # The words of an undo mean the hosts as they stand in the runbook.
        undo = tuple(_filled(said.undo, turn))
        check = tuple(_filled(said.check, turn))
        return ByCommand(command=said.model_copy(update={"leads": leads, "run": undo, "check": check})).lead(
            tools, turn.back()
        )

    def findings(self, tools: Tools, turn: Turn) -> Iterable[Finding]:
        """The check works."""
        found = self.look(tools, turn)
        if isinstance(found, Failure):
            standing = Standing.UNKNOWN if found.unknown or found.timed_out else Standing.BAD
            yield Finding(about=self.title, what=found.why, standing=standing, remedy=found.hint or "run it by hand")
        elif found.leads == "elsewhere":
            yield Finding(
                about=self.title,
                what=f"its check fits neither host: {found.facts['check']!r}",
                standing=Standing.BAD,
                remedy="correct the check, or the regular expressions under `leads:`",
            )
        else:
            yield Finding(about=self.title, what="its check answers", facts=found.facts)

    @property
    def can_hold(self) -> bool:
        """With a program for that."""
        return self.command.hold is not None

    def hold(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Run it."""
        return self._only(tools, turn, self.command.hold, held=True)

    def release(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Run it."""
        return self._only(tools, turn, self.command.release, held=False)

    @property
    def _place(self) -> str:
        return self.command.host or "controller"

    def _only(self, tools: Tools, turn: Turn, words: tuple[str, ...] | None, *, held: bool) -> Evidence | Failure:
        done = self._run(tools, turn, words) if words else None
        if done is not None and not done.ok:
            return _failed(tools, done, f"{done.command.argv[0]} on {self._place}")
        return Evidence(facts={"held": held, "seconds": round(done.seconds, 3) if done else 0.0})

    def _reads(self, said: str, turn: Turn) -> tuple[bool, bool]:
        """Whether it says the new host, and whether it says the old one."""
        leads = self.command.leads
        if leads is not None:
            return bool(re.search(leads.new, said)), bool(re.search(leads.old, said))
        new, old = ({host, turn.addresses.get(host, host)} for host in (turn.new, turn.old))
        return said in new, said in old

    def _run(self, tools: Tools, turn: Turn, words: tuple[str, ...]) -> Completed:
        said = self.command
        host = tools.host(said.host) if said.host else tools.controller()
        env = {
            key: tools.secrets.get(value) if isinstance(value, SecretRef) else value for key, value in said.env.items()
        }
        return host.run(Ordered(_filled(words, turn), env=env, timeout=said.timeout.total_seconds()))


def _failed(tools: Tools, done: Completed, what: str) -> Failure:
    failure = done.failure(what, hint="run it by hand, then retry", retryable=True)
    return failure.model_copy(update={"why": tools.secrets.redact(failure.why)})


def _filled(words: tuple[str, ...], turn: Turn) -> tuple[str, ...]:
    known: Mapping[str, str | None] = {
        "to": turn.new,
        "from": turn.old,
        "to_address": turn.addresses.get(turn.new),
        "from_address": turn.addresses.get(turn.old),
    }

    def lookup(name: str) -> str:
        value = known.get(name)
        if value is None:
            host = turn.new if name == "to_address" else turn.old
            wrong = f"{host} has no address" if name in known else f"nothing gives {{{{ {name} }}}}"
            raise DrorchError(wrong, hint="say `address:` of the host in the inventory" if name in known else "")
        return value

    return tuple(fill(word, lookup) for word in words)
