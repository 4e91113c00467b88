"""Fencing: to make sure that the old primary can no longer accept writes. Unreachable is not fenced.

A ladder's rungs are tried in order until one gives a proof. One file in `drorch.fences` is one rung; the name of its
model's one required field is the word that users write: ``{stop: [postgresql, shop]}``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import timedelta

from pydantic import Field

from drorch.core.evidence import Failure
from drorch.core.finding import Finding
from drorch.core.model import Frozen, Json
from drorch.core.scene import Scene
from drorch.core.step import Planned, Question, Tools


class Proof(Frozen):
    """Why a host can certainly no longer accept writes."""

    host: str
    """The fenced one."""
    rung: str
    """The word of the rung that gave it."""
    words: str
    """One sentence without a full stop, such as ``postgresql is stopped and masked, as web1 itself says``."""
    facts: dict[str, Json] = Field(default_factory=dict)
    """What was seen: unit states, answers of the provider, positions."""
    attested: bool = False
    """Whether a person's word is all there is; it is never stronger than that."""


class Rung(Frozen, ABC):
    """One way to fence a host."""

    @property
    def word(self) -> str:
        """Its kind, as users write it."""
        return next(iter(type(self).model_fields))

    @property
    def graceful(self) -> bool:
        """Whether the host itself is asked, so that nothing that it acknowledged is lost: the only kind of rung that a
        planned switchover uses.
        """
        return False

    @property
    def lasting(self) -> bool:
        """Whether it keeps holding when the host comes back by itself (masked units do, a power-off does until somebody
        presses the button, a cut at the edge does for what passes there).
        """
        return True

    @property
    def longest(self) -> timedelta:
        """About how long `fence` may take before it gives up."""
        return timedelta(minutes=1)

    @abstractmethod
    def describe(self, host: str) -> str:
        """What it does, for the plan, without a full stop; pure."""

    def preview(self, host: str) -> tuple[Planned, ...]:
        """Every command that it would run; pure."""
        return ()

    def question(self, host: str) -> Question | None:
        """What a person must attest before `fence`; None for a rung that asks nobody."""
        return None

    def problems(self, scene: Scene, host: str) -> tuple[tuple[str, str, str], ...]:
        """What is wrong with it in this scene: (key below it, message, hint) each; pure."""
        return ()

    def stands(self, tools: Tools, host: str) -> Proof | None:
        """The proof that the host is fenced this way already, found out at once, changing nothing and without the host
        itself, which may be silent; None where it is not, or that cannot be told so.
        """
        return None

    @abstractmethod
    def fence(self, tools: Tools, host: str) -> Proof | Failure:
        """Bring it about and prove it: probe, act, verify. Safe to repeat, cut at any moment. A rung that cannot prove
        it fails, also when it acted: an answer that is not understood, or none, is no proof.
        """

    @abstractmethod
    def holds(self, tools: Tools, proof: Proof) -> Failure | None:
        """Look again, changing nothing, whether an earlier proof still holds; None when it certainly does.

        Asked before each irreversible step. What cannot be asked any more is judged by the rung: a stopped and masked
        unit on a host that has since vanished is still stopped, a provider that no longer answers proves nothing.
        """

    def lift(self, tools: Tools, proof: Proof) -> Failure | None:
        """Take the fence away again (unmask, power on, let through); for the undo before anything irreversible."""
        return Failure(why=f"what {self.word} did cannot be taken back by drorch", hint="take it back by hand")

    def findings(self, tools: Tools, host: str) -> Iterable[Finding]:
        """Whether it could work now, found out without changing anything."""
        return ()
