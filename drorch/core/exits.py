"""Exit codes: decided here and nowhere else."""

from enum import IntEnum
from typing import TYPE_CHECKING

from drorch.core.errors import Busy, ConfigError, DrorchError, NoSuchRun, Refused, SettingsError, UnknownName

if TYPE_CHECKING:
    from drorch.core.step import RunState


class Exit(IntEnum):
    """What a drorch process says by its exit code; scripts may rely on these."""

    OK = 0
    FAILED = 1
    """What was asked for did not succeed."""
    USAGE = 2
    """The command line is wrong."""
    CONFIG = 3
    """The documents or settings are wrong; nothing was done."""
    EXCEPTIONS = 4
    """Completed, but not everything went as it should: see the exceptions."""
    WAITING = 5
    """The run waits for a person."""
    REFUSED = 6
    """A safety rule or a person said no."""
    BUSY = 7
    """Another process works on it."""
    UNKNOWN = 8
    """No such run, service, host or repository."""
    AT_RISK = 9
    """`drorch status --check`: an objective is missed or something is unproven. `drorch posture --check`: a digit of
    3-2-1-1-0 fails."""
    INTERRUPTED = 130
    """Stopped by ctrl-C or a signal; `drorch resume` goes on."""


_BY_STATE = {
    "completed": Exit.OK,
    "completed_with_exceptions": Exit.EXCEPTIONS,
    "cancelled": Exit.REFUSED,
    "waiting_approval": Exit.WAITING,
    "paused_failed": Exit.WAITING,
    "paused_operator": Exit.WAITING,
}


def of_state(state: "RunState") -> Exit:
    """The exit code of a run that ended so."""
    return _BY_STATE.get(state.value, Exit.FAILED)


def of_error(error: DrorchError) -> Exit:
    """The exit code of an error."""
    for kind, code in (
        (ConfigError, Exit.CONFIG),
        (SettingsError, Exit.CONFIG),
        (Refused, Exit.REFUSED),
        (Busy, Exit.BUSY),
        (NoSuchRun, Exit.UNKNOWN),
        (UnknownName, Exit.UNKNOWN),
    ):
        if isinstance(error, kind):
            return code
    return Exit.FAILED
