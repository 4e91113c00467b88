"""Plug-in folders: one file is one kind, found by itself."""

import inspect
import pkgutil
from importlib import import_module
from typing import TypeVar, get_args

from drorch.core.model import Frozen

T = TypeVar("T", bound=Frozen)


def kinds_in(package: str, path: list[str], base: type[T]) -> dict[str, type[T]]:
    """Every concrete subclass of ``base`` in the package's modules, by its ``kind``, in alphabetical order.

    A module holds exactly one kind, or none when its name begins with ``_``.
    """
    found: dict[str, type[T]] = {}
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
                (kind,) = get_args(value.model_fields["kind"].annotation)
                found[kind] = value
    return found
