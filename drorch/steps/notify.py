"""``notify``: tell people."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import StringConstraints

from drorch.core.evidence import Evidence, Outcome
from drorch.core.model import NotifyName
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools
from drorch.steps._texts import fill_kindly, moved


class Notify(Step):
    """Send a message over a route of the inventory. Cut in the middle, it may be sent twice; it is never lost."""

    kind: Literal["notify"]
    to: NotifyName
    """The route."""
    message: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    """The text; ``{{ run }}``, ``{{ service }}``, ``{{ to }}``, ``{{ loss }}``, ``{{ outage }}``, ``{{ STEP.FACT }}``
    are filled, an unknown one reads ``unknown``."""
    title: str | None = None
    """Its first line; the service and the run unless said."""

    @property
    def default_timeout(self) -> timedelta:
        """Messages are small."""
        return timedelta(minutes=2)

    @property
    def subject(self) -> str:
        """The route."""
        return self.to

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return f"tell {self.to}: {self.message.strip().splitlines()[0][:100].rstrip('.')}"

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Send it."""
        scene = tools.scene
        words = {
            "run": tools.run.id,
            "service": scene.service,
            "kind": scene.kind,
            "to": scene.target or scene.primary,
            "started": tools.run.started.isoformat(),
            **moved(tools, earlier),
        }
        title = fill_kindly(self.title or "[{{ service }}] {{ run }}", earlier, words)
        body = tools.secrets.redact(fill_kindly(self.message, earlier, words))
        tools.notifier(self.to).send(title, body)
        return Evidence(facts={"to": self.to, "title": title, "characters": len(body)})
