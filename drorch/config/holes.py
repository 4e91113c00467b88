"""``{{ … }}`` in the texts of steps: each must name a word or a fact of a step that is over by then."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from drorch.config.explain import nearest
from drorch.config.yaml import Path
from drorch.core.model import Json
from drorch.core.step import Step
from drorch.core.template import holes

WORDS: Final = frozenset({"run", "service", "kind", "to", "started", "loss", "outage"})
"""Words that every message can hold."""
COMMAND_WORDS: Final = frozenset({"run", "service"})
"""Words that programs and addresses can hold."""
TURN_WORDS: Final = frozenset({"from", "to", "from_address", "to_address"})
"""Words that a way to lead customers can hold: the two hosts, their addresses."""
_TURNS: Final = frozenset({"switch", "hold"})
_MESSAGES: Final = frozenset({"notify", "manual"})
_LOOSE: Final = re.compile(r"\{\{\s*(?:restore|run|service)\b[^}]*\}\}")


@dataclass(frozen=True, slots=True)
class Stands:
    """A step in its runbook."""

    step: Step
    path: Path
    """In the runbook's model."""
    id: str
    turn: int
    """When it runs: steps of one parallel block share a turn."""
    data: Json = None
    """What the user wrote."""


def wrong_holes(
    stands: Stands, steps: Sequence[Stands], facts: Mapping[str, frozenset[str]]
) -> Iterator[tuple[Path, str, str]]:
    """Holes that nothing will have filled: the path of the text in the step, message and hint each.

    ``facts`` tells, by step id, which facts a step leaves where that is known; every other fact is believed.
    """
    before = {other.id for other in steps if other.turn < stands.turn}
    kind = stands.step.kind
    words = WORDS if kind in _MESSAGES else TURN_WORDS if kind in _TURNS else COMMAND_WORDS
    for path, text in _texts(stands.data, ()):
        if path and path[0] in {"kind", "id"}:
            continue
        for name in holes(text):
            if wrong := _wrong(name, before, {other.id for other in steps}, words, facts):
                yield path, *wrong
        for loose in _LOOSE.findall(text):
            if not holes(loose):
                yield path, "a hole is {{ NAME }} or {{ STEP.FACT }} and nothing else", "take the rest out"


def _wrong(
    name: str, before: set[str], everywhere: set[str], words: frozenset[str], facts: Mapping[str, frozenset[str]]
) -> tuple[str, str] | None:
    shown = f"{{{{ {name} }}}}"
    head, _, fact = name.rpartition(".")
    if not head:
        return None if name in words else (f"nothing gives {shown}", nearest(name, sorted(words)))
    for step in (head, head.replace(".", "-", 1)):
        if step in before:
            if step in facts and fact not in facts[step]:
                return f"{head} has no {fact}", nearest(fact, sorted(facts[step]))
            return None
        if step in everywhere:
            return f"{shown} is not known yet: step {step} is not over before this one", "move it after that step"
    spoken = sorted(
        f"restore.{step.removeprefix('restore-')}" if step.startswith("restore-") else step for step in before
    )
    return f"nothing gives {shown}", nearest(head, spoken) if spoken else "no step before this one leaves a fact"


def _texts(data: Json, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, Mapping):
        for key, item in data.items():
            yield from _texts(item, (*path, key))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _texts(item, (*path, index))
