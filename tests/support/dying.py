"""A drorch process that is killed at a named moment of a step.

    python dying.py STEP:MOMENT,… VERB …

MOMENT is ``begun`` (its attempt is about to be performed), ``done`` (it was performed, nothing is recorded), ``kept``
(it is recorded, the journal was not told), ``told``, or a number *n*: in the middle of its *n*-th command on a host.
The first moment that it comes by kills it; if it comes by none it ends as any other.
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

_moments = sys.argv[1].split(",")
_within = ""
_commands = 0


def die_at(step: str, moment: str) -> None:
    """Die here, if this is such a moment."""
    if f"{step}:{moment}" in _moments:
        os.kill(os.getpid(), signal.SIGKILL)


def _performed(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def perform(self: object, planned: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes
        global _within, _commands  # noqa: PLW0603 - a process of its own
        die_at(planned.id, "begun")
        _within, _commands = planned.id, 0
        result = function(self, planned, *args, **kwargs)
        _within = ""
        die_at(planned.id, "done")
        return result

    return perform


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def append(self: object, run: str, key: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the same
        step = key.removeprefix("attempt ").partition("#")[0]
        die_at(step, "kept")
        result = function(self, run, key, *args, **kwargs)
        die_at(step, "told")
        return result

    return append


def _ran(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(self: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the same
        global _commands  # noqa: PLW0603 - the same
        if _within:
            _commands += 1
            if f"{_within}:{_commands}" in _moments:
                threading.Timer(_MIDDLE, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return function(self, *args, **kwargs)

    return run


Performer.attempt = _performed(Performer.attempt)  # type: ignore[method-assign]  # that is what this is for
Journal.append = _told(Journal.append)  # type: ignore[method-assign]  # the same
_DeadlineHost.run = _ran(_DeadlineHost.run)  # type: ignore[method-assign]  # the same
main(sys.argv[2:])
