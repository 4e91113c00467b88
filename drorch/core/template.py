"""``{{ name.of.a.fact }}`` in a runbook's texts, filled from this run's evidence. No expressions, no code.

A name never begins with a dot: ``{{.State.Running}}`` in a program's arguments is the program's own.
"""

import re
from collections.abc import Callable, Mapping

from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence

_HOLE = re.compile(r"\{\{\s*([A-Za-z0-9_][A-Za-z0-9_.-]*)\s*\}\}")


def holes(text: str) -> tuple[str, ...]:
    """The dotted names that a text asks for."""
    return tuple(_HOLE.findall(text))


def fill(text: str, lookup: Callable[[str], str]) -> str:
    """The text with each hole filled."""
    return _HOLE.sub(lambda match: lookup(match.group(1)), text)


def from_evidence(earlier: Mapping[str, Evidence], more: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """A lookup over facts: ``restore.media.path`` is the fact ``path`` of the newest evidence of the step with id
    ``restore-media``; ``STEP.FACT`` is a fact of the step with that id; ``more`` holds single words such as ``run``.

    The lookup raises `DrorchError` for a name that nothing gives.
    """

    def lookup(name: str) -> str:
        if more and name in more:
            return more[name]
        head, _, fact = name.rpartition(".")
        for step in (head, head.replace(".", "-", 1)):
            if step in earlier and fact in earlier[step].facts:
                return str(earlier[step].facts[fact])
        msg = f"nothing in this run gives {{{{ {name} }}}}"
        raise DrorchError(msg, hint=f"known here: {', '.join(sorted(_names(earlier, more))) or 'nothing'}")

    return lookup


def _names(earlier: Mapping[str, Evidence], more: Mapping[str, str] | None) -> set[str]:
    return {f"{step}.{fact}" for step, evidence in earlier.items() for fact in evidence.facts} | set(more or ())
