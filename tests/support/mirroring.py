"""A mirror pass, from a folder to a folder, that kills its own process at the N-th thing that it does to a disk.

    python mirroring.py SOURCE STORE N

With N = 0 nothing is killed.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drorch.core.clock import SystemClock
from drorch.mirror.transfer import Known, transfer
from drorch.stores._disk import Disk
from drorch.stores._folder import FolderShelf, FolderStore

_passed = 0
_lock = threading.Lock()


def counted(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The function, with death before it and after it where its turn comes."""

    def pass_by() -> None:
        global _passed  # noqa: PLW0603 - a process of its own
        with _lock:
            _passed += 1
            if _passed == at:
                os.kill(os.getpid(), signal.SIGKILL)

    def bounded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
        pass_by()
        result = function(*args, **kwargs)
        pass_by()
        return result

    return bounded


def main(source: str, store: str, at: int) -> None:
    """The pass."""
    for name in ("create", "move", "remove", "make"):
        setattr(Disk, name, counted(getattr(Disk, name), at))
    clock = SystemClock()
    shelf = FolderShelf("source", Disk(Path(source)), clock=clock, lanes=4, marker="config", unmarked="")
    transfer(shelf, FolderStore("offsite", store, Disk(Path(store)), clock=clock, lanes=4), "nas/", Known())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
