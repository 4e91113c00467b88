"""Filling the texts that people read."""

from collections.abc import Mapping

from drorch.core.errors import DrorchError
from drorch.core.outage import Watched, watched_key
from drorch.core.replication import Loss
from drorch.core.step import Earlier, Tools
from drorch.core.template import fill, from_evidence


def fill_kindly(text: str, earlier: Earlier, words: Mapping[str, str]) -> str:
    """The text with each hole filled; what nothing gives reads ``unknown``, since a message with a gap beats none."""
    lookup = from_evidence(earlier, words)

    def found(name: str) -> str:
        try:
            return lookup(name)
        except DrorchError:
            return "unknown"

    return fill(text, found)


def moved(tools: Tools, earlier: Earlier) -> dict[str, str]:
    """What a failover can tell so far: ``loss`` and ``outage``."""
    words = {}
    losses = [Loss.model_validate(said).words for one in earlier.values() if (said := one.facts.get("loss"))]
    if losses:
        words["loss"] = ", ".join(dict.fromkeys(losses))
    if (watched := tools.memory.get(watched_key(tools.run.id))) is not None:
        words["outage"] = Watched.model_validate(watched).words
    return words
