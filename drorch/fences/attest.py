"""``attest``: a person's word, when nothing else can be had."""

from typing import Annotated

from pydantic import Field

from drorch.core.evidence import Failure
from drorch.core.fence import Proof, Rung
from drorch.core.model import Duration, Frozen, parse_duration
from drorch.core.step import Question, Tools


class Attesting(Frozen):
    """How a person is asked."""

    instructions: Annotated[str, Field(max_length=4000)] = ""
    """What they should look at before they give their word; added to the question."""
    timeout: Duration = parse_duration("30m")
    """How long they have; no answer is a no."""


class Attest(Rung):
    """A person states that the host can no longer accept writes: it is kept with their name, and is only their word."""

    attest: Attesting
    """How they are asked; ``attest`` alone is enough."""

    def describe(self, host: str) -> str:
        """The plan's line."""
        return f"a person attests that {host} can no longer accept writes"

    def question(self, host: str) -> Question | None:
        """What they attest."""
        more = f"\n{self.attest.instructions.strip()}" if self.attest.instructions else ""
        text = (
            f"Nothing else could prove that {host} is fenced. Unreachable is not fenced: if it still runs, customers"
            f" and programs that reach it go on writing there, and those writes will be lost.{more}\n"
            f"Do you attest that {host} can no longer accept writes? Your name is kept with the answer."
        )
        return Question(text=text, timeout=self.attest.timeout, verbs=("attest", "refuse"))

    def fence(self, tools: Tools, host: str) -> Proof | Failure:
        """Only a person can; the fence step puts the answer in place."""
        return Failure(why=f"nobody has attested that {host} is fenced", hint="drorch attest RUN, or retry")

    def holds(self, tools: Tools, proof: Proof) -> Failure | None:
        """A word stands until it is taken back."""
        return None if proof.attested else Failure(why="the attestation names nobody")
