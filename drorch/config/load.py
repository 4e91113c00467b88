"""Documents → checked models. Nothing else reads a user's YAML."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from drorch.config.inventory import Inventory
from drorch.config.names import defined, unknown_names
from drorch.config.runbook import Runbook
from drorch.config.salvage import Salvaged, salvage
from drorch.config.sense import case, doubtful, senseless, sources_of
from drorch.config.stock import doubtful_stock, with_absolute_paths, wrong_stock
from drorch.config.yaml import MAX_BYTES, Document, read
from drorch.core.errors import ConfigError, Problem
from drorch.core.host import printable

INVENTORY: Final = "drorch.yaml"
"""The inventory's file, in the config folder."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Inventory and runbooks that passed every check."""

    inventory: Inventory
    """Every path of the controller in it is absolute."""
    runbooks: Mapping[str, Runbook]
    """By name, in alphabetical order."""
    origins: Mapping[str, Path] = field(default_factory=dict)
    """Each runbook's file, by its name."""
    file: Path = Path(INVENTORY)
    """The inventory's file."""
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a folder found."""

    documents: Documents | None
    """None when there are problems."""
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    files: tuple[Path, ...]
    """What was read."""


def load(config: Path, runbooks: Path | None = None) -> Documents:
    """The documents of a config folder.

    ``runbooks`` is the runbooks' folder; unless said, ``runbooks`` in the config folder, else beside it.

    Raises:
        ConfigError: with every problem of every file.
    """
    checked = check(config, runbooks)
    if checked.documents is None:
        raise ConfigError(checked.problems)
    return checked.documents


def check(config: Path, runbooks: Path | None = None) -> Checked:
    """Read and check everything; never raises for what stands, or is missing, in the files."""
    inventory_file = config / INVENTORY
    files, problems, warnings = _runbook_files(config, runbooks)
    document = _document(inventory_file)
    inventory = salvage(document, Inventory, {"site": "unnamed"})
    problems += [*document.problems, *([] if document.data is None else inventory.problems)]
    names = defined(document.data)
    problems += unknown_names(inventory, names)
    problems += wrong_stock(inventory)
    warnings += doubtful_stock(inventory)

    books: dict[str, Salvaged[Runbook]] = {}
    origins: dict[str, Path] = {}
    for file in files:
        text = _document(file)
        problems += text.problems
        if text.data is None:
            continue
        book = salvage(text, Runbook, {"kind": "maintenance", "runbook": _name_of(file)})
        problems += book.problems
        wrong, doubts = _in_context(book, inventory, names if document.data is not None else None)
        problems += wrong
        warnings += doubts
        if book.model is None or book.left_out(("runbook",)):
            continue
        name = book.model.runbook
        if name in books:
            problems.append(
                book.problem(("runbook",), f"{books[name].document.file} has this name already", "rename one of them")
            )
            continue
        books[name], origins[name] = book, file
        if name != file.stem:
            warnings.append(book.problem(("runbook",), f"the file is called {text.file}", f"call it {name}.yaml"))

    problems += _rehearsals(books)
    problems = sorted(set(problems))
    warnings = sorted(set(warnings))
    documents = None
    if not problems and inventory.model is not None:
        documents = Documents(
            inventory=with_absolute_paths(inventory.model, config.absolute()),
            runbooks=_whole({name: model for name in sorted(books) if (model := books[name].model) is not None}),
            origins=origins,
            file=inventory_file,
            warnings=tuple(warnings),
        )
    return Checked(documents, tuple(problems), tuple(warnings), (inventory_file, *files))


def _rehearsals(books: Mapping[str, Salvaged[Runbook]]) -> Iterator[Problem]:
    """A problem for each rehearsal of what is no failover of the same service."""
    for book in books.values():
        if book.model is None or book.model.rehearses is None or book.left_out(("rehearses",)):
            continue
        other = books[book.model.rehearses].model if book.model.rehearses in books else None
        mine = [name for name, one in books.items() if one.model is not None and one.model.moves]
        hint = f"there is {', '.join(sorted(mine))}" if mine else "write one"
        if other is None:
            yield book.problem(("rehearses",), f"there is no runbook {book.model.rehearses}", hint)
        elif not other.moves or other.service != book.model.service:
            yield book.problem(
                ("rehearses",), f"{other.runbook} is no failover or failback of {book.model.service}", hint
            )


def _whole(runbooks: Mapping[str, Runbook]) -> dict[str, Runbook]:
    """The runbooks, each rehearsal with the steps of what it rehearses."""
    return {
        name: runbook if runbook.rehearses is None else runbook.rehearsing(runbooks[runbook.rehearses])
        for name, runbook in runbooks.items()
    }


def _in_context(
    book: Salvaged[Runbook], inventory: Salvaged[Inventory], names: Mapping[str, tuple[str, ...]] | None
) -> tuple[list[Problem], list[Problem]]:
    """What is wrong with a runbook in this inventory, and what is doubtful; names are not looked up when that could not
    be read.
    """
    known: dict[str, tuple[str, ...]] = dict(names or {})
    if book.model is not None and names is not None:
        sources = sources_of(inventory.document.data)
        if book.model.service in sources and not book.left_out(("service",)):
            known["source"] = sources[book.model.service]
    one = case(book, inventory.model, known)
    if one is None:
        return [], []
    if one.whole:
        known["step"] = tuple(stands.id for stands in one.steps)
    return [*unknown_names(book, known), *senseless(one)], list(doubtful(one))


def _runbook_files(config: Path, said: Path | None) -> tuple[list[Path], list[Problem], list[Problem]]:
    inside = config / "runbooks"
    folder = said or (inside if inside.is_dir() else config.absolute().parent / "runbooks")
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        problem = Problem(_shown(folder), 0, "", "there is no such folder", "make it, or say another with --runbooks")
        return [], [problem] if said else [], []
    except OSError as error:
        return [], [Problem(_shown(folder), 0, "", f"cannot be read: {error.strerror}", "")], []
    seen = [entry for entry in entries if not entry.name.startswith(".") and entry.name != INVENTORY]
    files = [entry for entry in seen if entry.suffix == ".yaml"]
    strays = [
        Problem(_shown(entry), 0, "", "is not read", "a runbook's file ends in .yaml")
        for entry in seen
        if entry.suffix.lower() in {".yml", ".json", ".yaml"} and entry.suffix != ".yaml"
    ]
    return files, [], strays


def _document(file: Path) -> Document:
    shown = _shown(file)
    try:
        if file.exists() and not file.is_file():
            return Document(shown, None, problems=(Problem(shown, 0, "", "is no file", "remove it"),))
        with file.open("rb") as stream:
            return read(stream.read(MAX_BYTES + 1), shown)
    except FileNotFoundError:
        hint = "drorch init FOLDER writes one; --config or DRORCH_CONFIG says where yours is"
        return Document(shown, None, problems=(Problem(shown, 0, "", "there is no such file", hint),))
    except OSError as error:
        hint = "--config and --runbooks name folders" if isinstance(error, NotADirectoryError) else ""
        return Document(shown, None, problems=(Problem(shown, 0, "", f"cannot be read: {error.strerror}", hint),))


def _shown(path: Path) -> str:
    """The path as people see it: from here when it is below, on one line, safe to print."""
    full = path.absolute()
    try:
        text = str(full.relative_to(Path.cwd()))
    except (ValueError, OSError):
        text = str(full)
    return printable(os.fsencode(text).decode("utf-8", "replace")).replace("\n", "\\n").replace("\t", "\\t")


def _name_of(file: Path) -> str:
    """A name for a runbook whose own could not be read."""
    name = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "-" for char in file.stem.lower())
    return name.strip("-_")[:60] or "unnamed"
