"""Names across documents: everything that is mentioned must exist. Follows the `Ref` marks, whatever the kind."""

from collections.abc import Iterator, Mapping
from typing import Final

from drorch.config.explain import nearest
from drorch.config.salvage import M, Salvaged
from drorch.core.errors import Problem
from drorch.core.refs import references

TABLES: Final[Mapping[str, str]] = {
    "host": "hosts",
    "service": "services",
    "repository": "repositories",
    "store": "stores",
    "secret": "secrets",
    "notify": "notify",
    "person": "people",
}
"""What a name may name → the inventory's key that defines it."""

Known = Mapping[str, tuple[str, ...]]
"""Names by what they name."""


def defined(inventory: object) -> dict[str, tuple[str, ...]]:
    """The names that an inventory's data defines, also where what is said about them is wrong."""
    tables = inventory if isinstance(inventory, Mapping) else {}
    return {
        what: tuple(str(name) for name in (tables.get(key) if isinstance(tables.get(key), Mapping) else None) or ())
        for what, key in TABLES.items()
    }


def unknown_names(salvaged: Salvaged[M], known: Known) -> Iterator[Problem]:
    """A problem for each mention of what does not exist; kinds of names that ``known`` lacks are not looked at.

    A secret's name is never repeated: it may be the secret itself, written in the wrong place.
    """
    if salvaged.model is None:
        return
    for path, mark, name in references(salvaged.model):
        if mark.to not in known or name in known[mark.to]:
            continue
        what = "route" if mark.to == "notify" else mark.to
        message = f"there is no {what} of this name" if mark.to == "secret" else f"there is no {what} {name}"
        place = f"{TABLES[mark.to]}: in the inventory" if mark.to in TABLES else "it"
        names = known[mark.to]
        hint = nearest(name, names) if names else f"define it under {place}" if mark.to in TABLES else "there is none"
        yield salvaged.problem(path, message, hint)
