"""A limit for all bytes that are sent, shared by all lanes."""

import re
import threading
from collections.abc import Iterator

from drorch.core.clock import Clock

_RATE = re.compile(r"^(\d+(?:\.\d+)?) ?([kMG])B/s$")
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}

LARGEST_PIECE = 256 * 1024
"""Bytes that are handed to the network at once."""
_PIECES_PER_SECOND = 10


def rate_of(text: str) -> float:
    """Bytes per second from such as ``20 MB/s``; decimal units, as providers count."""
    match = _RATE.match(text)
    if match is None:
        msg = f"no bandwidth: {text}"
        raise ValueError(msg)
    return float(match[1]) * _UNITS[match[2]]


class Allowance:
    """Bytes that may be sent by now: who takes some waits until they are due; first come, first served."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._due = clock.monotonic()
        self._lock = threading.Lock()

    @property
    def piece(self) -> int:
        """Bytes to take at once."""
        return (
            LARGEST_PIECE if self._rate is None else max(1024, min(LARGEST_PIECE, int(self._rate / _PIECES_PER_SECOND)))
        )

    def take(self, size: int) -> float:
        """Wait until so many bytes may be sent; the seconds that it took. `Interrupted` when a stop is asked for."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock.monotonic()
            begin = max(now, self._due)
            self._due = begin + size / self._rate
        if begin > now:
            self._clock.sleep(begin - now)
        return begin - now

    def pieces(self, content: bytes) -> Iterator[memoryview]:
        """The content bit by bit, none before it may be sent."""
        view = memoryview(content)
        for start in range(0, len(view), self.piece):
            bit = view[start : start + self.piece]
            self.take(len(bit))
            yield bit
