"""Which runbook would bring about what no record shows yet. Pure."""

from collections.abc import Iterator, Mapping

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook


def running(
    kind: str, inventory: Inventory, runbooks: Mapping[str, Runbook], *, repository: str = "", store: str = ""
) -> Iterator[str]:
    """The runbooks with a step of that kind, of that repository and store where they are given."""
    for name, runbook in runbooks.items():
        service = inventory.services.get(runbook.service)
        for placed in runbook.placed():
            step = placed.step
            about = getattr(step, "repository", None) or (service.repository if service else "")
            if step.kind == kind and repository in ("", about) and store in ("", getattr(step, "store", "")):
                yield name
                break
