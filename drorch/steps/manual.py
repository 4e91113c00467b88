"""``manual``: something that only a person can do."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import StringConstraints

from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Question, Step, Tools
from drorch.core.template import fill
from drorch.steps._texts import fill_kindly

_SHOWN = 100
"""Characters of the instructions that the plan's line shows."""


class Manual(Step):
    """Show instructions to a person, go on when they confirm; no answer within the timeout (24 h) is a no."""

    kind: Literal["manual"]
    instructions: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    """What to do, and how to see that it is done. ``{{ restore.SOURCE.path }}`` and the like are filled."""

    @property
    def default_timeout(self) -> timedelta:
        """How long a person has."""
        return timedelta(hours=24)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        words = self._words(scene)
        known = fill(self.instructions, lambda name: words.get(name, f"{{{{ {name} }}}}"))  # the rest only a run knows
        first, *more = known.strip().splitlines()
        text = first.rstrip(".") if len(first) <= _SHOWN else f"{first[:_SHOWN].rsplit(' ', 1)[0]} …"
        return f"a person confirms: {text}{' …' if more and not text.endswith('…') else ''}"

    def question(self, scene: Scene, earlier: Earlier) -> Question | None:
        """The instructions, filled."""
        text = fill_kindly(self.instructions, earlier, self._words(scene))
        return Question(text=text, timeout=self.timeout or self.default_timeout)

    @staticmethod
    def _words(scene: Scene) -> dict[str, str]:
        return {"service": scene.service, "to": scene.target or scene.primary}

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Keep who confirmed; the engine put the answer under this step's own id."""
        answer = earlier.get(tools.step)
        if answer is None or not answer.facts.get("confirmed_by"):
            return Failure(why="nobody confirmed it", hint="answer with drorch confirm")
        return Evidence(facts={"confirmed_by": answer.facts["confirmed_by"], "note": answer.facts.get("note", "")})
