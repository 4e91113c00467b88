"""What an attempt was about to do, noted before it does it, so that an attempt after a cut can report all of it.

The end that is brought about never depends on a note: only the report does.
"""

from drorch.core.model import Json
from drorch.core.step import Tools


def noted(tools: Tools, key: str) -> Json:
    """What an earlier attempt at this very step of this very run noted; None for nothing."""
    if not tools.repeated:
        return None
    note = tools.memory.get(key)
    mine = isinstance(note, dict) and note.get("run") == tools.run.id and note.get("step") == tools.step
    return note["noted"] if mine else None


def note(tools: Tools, key: str, value: Json) -> None:
    """Note it; takes the place of the key's former note, so notes do not pile up."""
    tools.memory.put(key, {"run": tools.run.id, "step": tools.step, "noted": value})
