"""Climbing a ladder of fences: what was tried, what a look shows, and how it is taken back."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from drorch.core.errors import DrorchError, Interrupted, Unreachable
from drorch.core.evidence import Failure
from drorch.core.fence import Proof, Rung
from drorch.core.finding import Finding, Standing
from drorch.core.model import Json
from drorch.core.step import Tools
from drorch.steps._intent import note, noted
from drorch.steps._replicas import standing

_AGAIN = 1.0  # seconds until a host that boots is asked again


class Tried:
    """The rungs that proved nothing; what they did all the same is noted, so that an undo after a cut knows it."""

    def __init__(self, tools: Tools, host: str) -> None:
        self._tools = tools
        self._key = f"fence:{host}"
        self.entries: list[Json] = list(noted(tools, self._key) or [])

    def add(self, rung: Rung, failure: Failure, seconds: float) -> None:
        """One that failed."""
        said = rung.model_dump(mode="json")
        entry = {"rung": rung.word, "why": failure.why, "hint": failure.hint, "seconds": round(seconds, 3)}
        former = [one for one in self.entries if one.get("said") == said]
        if failure.facts.get("acted"):
            entry |= {"said": said, "facts": failure.facts}
        elif former:
            entry |= {"said": said, "facts": former[0]["facts"]}
        self.entries = [one for one in self.entries if one.get("said") != said] + [entry]
        if "said" in entry:
            note(self._tools, self._key, self.entries)

    @property
    def acted(self) -> dict[str, dict[str, Json]]:
        """What those said that did something all the same, by their words."""
        return {str(one["rung"]): one["facts"] for one in self.entries if "said" in one}

    def cut_short(self, rungs: Iterable[Rung]) -> None:
        """An earlier attempt that was cut may have begun what asks the host itself, which keeps a note there."""
        known = [one.get("said") for one in self.entries]
        begun = [(rung.word, rung.model_dump(mode="json")) for rung in rungs if rung.graceful]
        if self._tools.repeated:
            self.entries += [
                {"rung": word, "why": "cut", "hint": "", "said": said, "facts": {}}
                for word, said in begun
                if said not in known
            ]


def succeeded(tools: Tools, host: str) -> Failure | None:
    """Why a host must stay fenced: a database of the service has another primary by now, whoever made it one."""
    scene = tools.scene
    for name, source in scene.sources.items():
        replication = source.replication()
        if replication is None or not scene.moves or scene.destination_host == host:
            continue
        state = standing(tools, replication, scene.destination_host)
        if not isinstance(state, Failure) and state.role == "primary":
            return Failure(
                why=f"{name} has its primary on {state.host} by now, so {host} stays fenced",
                hint=f"two primaries would differ for ever: lead {scene.service} back with drorch failback",
            )
    return None


def lift(tools: Tools, rung: Rung, proof: Proof, *, wait: bool) -> Failure | None:
    """Take a rung's work away; a host that was just powered on is waited for."""
    while True:
        try:
            failure = rung.lift(tools, proof)
        except Unreachable as error:
            failure = Failure.of(error)
            if wait and tools.deadline.remaining() > _AGAIN:
                tools.clock.sleep(_AGAIN)
                continue
        except DrorchError as error:
            failure = Failure.of(error)
        return failure


@dataclass
class Look:
    """A rung's look at the world in a thread of its own: one host that hangs must not hide what the others say."""

    rung: Rung
    tools: Tools
    host: str
    _found: list[Finding] = field(default_factory=list)
    _stopped: list[Interrupted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._ask, name=f"drorch-look-{self.rung.word}", daemon=True)
        self._thread.start()

    def found(self, seconds: float) -> list[Finding]:
        """What it found; that it hangs, when it does."""
        self._thread.join(seconds)
        if self._stopped:
            raise self._stopped[0]
        if self._thread.is_alive():
            what = f"{self.rung.word}: no answer in time"
            late = Finding(
                about=f"fence {self.host}",
                what=what,
                standing=Standing.UNKNOWN,
                remedy=f"see whether {self.host} answers",
            )
            return [late]
        return self._found

    def _ask(self) -> None:
        try:
            self._found.extend(self.rung.findings(self.tools, self.host))
        except Interrupted as error:
            self._stopped.append(error)
        except DrorchError as error:
            self._found.append(Finding.of(f"fence {self.host}", error))
