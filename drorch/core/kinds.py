"""Plug-in folders: one file is one kind, found by itself."""

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TypeVar, get_args

from drorch.core.model import Frozen

T = TypeVar("T", bound=Frozen)


def worded_in(package: str, path: list[str], base: type[T]) -> dict[str, type[T]]:
    """Every concrete subclass of ``base`` in the package's modules, by the name of its first field: the word that users
    write, as in ``{stop: …}``. A module holds exactly one, or none when its name begins with ``_``.
    """
    return {next(iter(kind.model_fields)): kind for kind in _found(package, path, base)}


def worded(kinds: dict[str, type[T]]) -> Callable[[object], str | None]:
    """Tells by its word which of these kinds a value is: for a union of them."""

    def word(value: object) -> str | None:
        if isinstance(value, dict):
            return next((str(key) for key in value if key in kinds), None)
        return next((word for word, kind in kinds.items() if isinstance(value, kind)), None)

    return word


def kinds_in(package: str, path: list[str], base: type[T]) -> dict[str, type[T]]:
    """Every concrete subclass of ``base`` in the package's modules, by its ``kind``, in alphabetical order.

    A module holds exactly one kind, or none when its name begins with ``_``.
    """
    found: dict[str, type[T]] = {}
    for value in _found(package, path, base):
        (kind,) = get_args(value.model_fields["kind"].annotation)
        found[kind] = value
    return found


def _found(package: str, path: list[str], base: type[T]) -> Iterator[type[T]]:
    for module in sorted(pkgutil.iter_modules(path), key=lambda module: module.name):
        if module.name.startswith("_"):
            continue
        content = import_module(f"{package}.{module.name}")
        for value in vars(content).values():
            if (
                isinstance(value, type)
                and issubclass(value, base)
                and value.__module__ == content.__name__
                and not inspect.isabstract(value)
                and value is not base
            ):
                yield value
