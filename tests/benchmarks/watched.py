"""A drorch process that notes when it waited for its hosts.

    python watched.py FILE VERB …

To FILE it writes, as JSON, when it began and ended, and from when to when each question to a host was open: a
connection, a command, a request. All times are of `time.monotonic`, which the processes of a machine share. Nothing is
imported here that drorch would not import by itself, nor earlier.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

BEGAN = time.monotonic()
WATCHED = {
    "drorch.hosts.local": ("LocalHost.run", "LocalHost.identity"),
    "drorch.hosts.ssh.host": ("SshHost.run", "SshHost.identity", "SshHost._new"),
    "drorch.steps._asking": ("ask",),
    "drorch.fences._reach": ("seeing",),
}
"""What asks a host, by module."""
ASIDE = ("probe", "drorch-answers", "drorch-see", "drorch-ssh")
"""How the threads' names begin for whose questions nobody waits."""

_asked: list[tuple[str, str, float, float]] = []
_within = threading.local()


class Finder(PathFinder):
    """Finds modules as Python does, and has the watched ones watched once they are there."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ANN401
        """The module's spec."""
        if fullname not in WATCHED or (spec := super().find_spec(fullname, path, target)) is None:
            return None
        execute = spec.loader.exec_module  # type: ignore[union-attr]  # as every file's loader has

        def watching(module: ModuleType) -> None:
            execute(module)
            for name in WATCHED[fullname]:
                where, _, last = name.rpartition(".")
                place = getattr(module, where) if where else module
                setattr(place, last, watched(name, getattr(place, last)))

        spec.loader.exec_module = watching  # type: ignore[union-attr,method-assign]
        return spec


def watched(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose calls are noted; what is called within another such call is part of that. Where it gives
    something that waits for what it began, that is noted as well.
    """

    def asking(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
        thread = threading.current_thread().name
        if getattr(_within, "deep", False) or thread.startswith(ASIDE):
            return function(*args, **kwargs)
        _within.deep, began = True, time.monotonic()
        try:
            given = function(*args, **kwargs)
            return watched(what, given) if callable(given) else given
        finally:
            _within.deep = False
            _asked.append((what, thread, began, time.monotonic()))

    return asking


def main() -> None:
    """Do what drorch would, and write what was noted when it ends."""
    file, words = Path(sys.argv[1]), sys.argv[2:]
    sys.meta_path.insert(0, Finder)
    from drorch.cli import main as drorch  # noqa: PLC0415 - its import is part of what is measured

    leave = drorch._leave  # where every drorch process ends

    def told(code: int) -> None:
        noted = {"began": BEGAN, "ended": time.monotonic(), "cpu": time.process_time(), "asked": _asked}
        file.write_text(json.dumps(noted))
        leave(code)

    drorch._leave = told
    drorch.main(words)


if __name__ == "__main__":
    main()
