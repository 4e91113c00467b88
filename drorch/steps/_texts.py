"""Filling the texts that people read."""

from collections.abc import Mapping

from drorch.core.errors import DrorchError
from drorch.core.step import Earlier
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
