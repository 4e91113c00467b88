"""A drorch process that is killed at a named moment of a step.

    python dying.py STEP:MOMENT VERB …

MOMENT is ``begun`` (its attempt is about to be performed), ``done`` (it was performed, nothing is recorded), ``kept``
(it is recorded, the journal was not told), ``told``, or a number *n*: in the middle of its *n*-th command on a host. A
process that does not come by ends as any other.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from drorch.cli.main import main
from drorch.engine.journal import Journal
from drorch.engine.perform import Performer, _DeadlineHost

_MIDDLE = 0.03
"""Seconds after its beginning at which a command is in its middle."""

_step, _, _moment = sys.argv[1].rpartition(":")
_within = False
_commands = 0


def die_at(moment: str) -> None:
    """Die here, if this is the moment."""
    if moment == _moment:
        os.kill(os.getpid(), signal.SIGKILL)


def _performed(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def perform(self: object, planned: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes
        global _within  # noqa: PLW0603 - a process of its own
        if planned.id != _step:
            return function(self, planned, *args, **kwargs)
        die_at("begun")
        _within = True
        result = function(self, planned, *args, **kwargs)
        _within = False
        die_at("done")
        return result

    return perform


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def append(self: object, run: str, key: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the same
        mine = key.startswith(f"attempt {_step}#")
        if mine:
            die_at("kept")
        result = function(self, run, key, *args, **kwargs)
        if mine:
            die_at("told")
        return result

    return append


def _ran(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(self: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the same
        global _commands  # noqa: PLW0603 - the same
        if _within:
            _commands += 1
            if str(_commands) == _moment:
                threading.Timer(_MIDDLE, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return function(self, *args, **kwargs)

    return run


Performer.attempt = _performed(Performer.attempt)  # type: ignore[method-assign]  # that is what this is for
Journal.append = _told(Journal.append)  # type: ignore[method-assign]  # the same
_DeadlineHost.run = _ran(_DeadlineHost.run)  # type: ignore[method-assign]  # the same
main(sys.argv[2:])
