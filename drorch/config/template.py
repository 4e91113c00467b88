"""A starting point: a commented, valid inventory with two runbooks, and the schemas for the editor."""

import json
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from drorch.config.schema import json_schema
from drorch.core.errors import DrorchError, Refused


def init(folder: Path) -> tuple[Path, ...]:
    """Write it; gives the files in the order in which to read them. The folder is made when it is missing.

    Raises:
        Refused: one of the files is there already; nothing was written.
        DrorchError: the folder cannot be written to.
    """
    content = {folder / name: text for name, text in _contents()}
    there = next((path for path in content if path.is_symlink() or path.exists()), None)
    if there is not None:
        raise Refused(f"{there} is there already; nothing was written", hint="say another folder: drorch init FOLDER")
    try:
        for path, text in content.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as stream:  # never over what came into being meanwhile
                stream.write(text)
    except OSError as error:
        raise DrorchError(f"{error.filename}: {error.strerror}", hint="say a folder that you may write to") from error
    return tuple(content)


def _contents() -> Iterator[tuple[str, str]]:
    yield from _templates(files("drorch.config") / "templates", "")
    yield "schema/inventory.json", json.dumps(json_schema("inventory"), indent=1) + "\n"
    yield "schema/runbook.json", json.dumps(json_schema("runbook"), indent=1) + "\n"


def _templates(folder: Traversable, above: str) -> Iterator[tuple[str, str]]:
    """Every file of the folder and those below it, by its path within; files first."""
    for entry in sorted(folder.iterdir(), key=lambda one: (one.is_dir(), one.name)):
        if entry.is_dir():
            yield from _templates(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield f"{above}{entry.name}", entry.read_text(encoding="utf-8")
