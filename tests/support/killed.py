"""A drorch process that kills itself at the N-th boundary between an effect and its record.

    python killed.py N COUNT_FILE VERB …

The boundaries are: a run is noted; an attempt is about to be performed; it has been performed, its record not written;
its record is written, the journal not told; the journal is told. With N = 0 nothing is killed. The number of
boundaries passed is written to COUNT_FILE, so that a test can visit them all.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drorch.cli.main import main
from drorch.engine.journal import Journal
from drorch.engine.perform import Performer

_at, _file = int(sys.argv[1]), Path(sys.argv[2])
_passed = 0
_lock = threading.Lock()


def boundary() -> None:
    """Die here, if this is the one."""
    global _passed  # noqa: PLW0603 - a process of its own
    with _lock:
        _passed += 1
        beside = _file.with_suffix(".new")
        beside.write_text(str(_passed))
        beside.replace(_file)
        if _passed == _at:
            os.kill(os.getpid(), signal.SIGKILL)


def around(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a boundary on either side."""

    def bounded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
        boundary()
        result = function(*args, **kwargs)
        boundary()
        return result

    return bounded


for place, name in ((Journal, "begin"), (Journal, "append"), (Performer, "attempt")):
    setattr(place, name, around(getattr(place, name)))
main(sys.argv[3:])
