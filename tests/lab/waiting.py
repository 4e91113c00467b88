"""Waiting for the truth, with an end."""

import time
from collections.abc import Callable

PATIENCE = 45.0
"""Seconds that anything in the lab may take; more is a failure of the lab."""


class LabFailed(Exception):
    """A part of the lab does not do what it must; the text says what it said."""


def until(truth: Callable[[], bool], what: str, *, within: float = PATIENCE) -> None:
    """Wait for something to become true; asked every 5 ms.

    Raises:
        LabFailed: it does not in time.
    """
    limit = time.monotonic() + within
    while not truth():
        if time.monotonic() > limit:
            raise LabFailed(f"not within {within:.0f} s: {what}")
        time.sleep(0.005)
