"""A command's input, handed over piece by piece beside everything else."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from drorch.core.errors import HostError
from drorch.core.secret import Secret
from drorch.hosts.words import encoded

_CHUNK = 1 << 16

Input = bytes | Path | BinaryIO | Secret | None


def pieces(stdin: Input) -> Iterator[bytes]:
    """The input as it is to arrive.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    if isinstance(stdin, Secret):
        yield encoded(stdin.reveal())
    elif isinstance(stdin, bytes):
        view = memoryview(stdin)
        for start in range(0, len(view), _CHUNK):
            yield bytes(view[start : start + _CHUNK])
    elif isinstance(stdin, Path):
        with stdin.open("rb") as file:
            yield from _read(file)
    elif stdin is not None:
        yield from _read(stdin)


def _read(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def readable(stdin: Input) -> None:
    """Refuse a file that cannot be opened, before anything starts.

    Raises:
        HostError: it cannot.
    """
    if isinstance(stdin, Path):
        try:
            os.close(os.open(stdin, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise HostError(f"cannot read {stdin}: {error.strerror}") from error


class Feed:
    """A thread that writes an input to whoever takes it.

    ``take`` writes some bytes of a piece and gives their number; 0 when nobody reads any more, None when the reader
    is busy. ``end`` tells the reader that the input is complete; it is not called when it was not. ``first`` goes
    before the input.
    """

    def __init__(
        self, stdin: Input, take: Callable[[memoryview], int | None], end: Callable[[], object], *, first: bytes = b""
    ) -> None:
        self.error: Exception | None = None
        """Why the input could not be read to its end; the command must then not be believed."""
        self._pieces = chain((first,), pieces(stdin))
        self._take = take
        self._end = end
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="drorch-feed", daemon=True)

    @contextmanager
    def running(self) -> Iterator["Feed"]:
        """Feed until the input or the context ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            # A foreign file object may block in its own read for ever; its thread is left behind then.
            self._thread.join(1)

    def _work(self) -> None:
        while True:
            try:
                piece = next(self._pieces, None)
            except Exception as error:  # noqa: BLE001 a foreign file object may raise anything; it is kept and told
                self.error = error
                return
            if piece is None:
                if not self._stopped.is_set():
                    self._end()
                return
            if not self._hand_over(memoryview(piece)):
                return

    def _hand_over(self, rest: memoryview) -> bool:
        while rest:
            if self._stopped.is_set():
                return False
            taken = self._take(rest)
            if taken == 0:
                return False
            rest = rest[taken or 0 :]
        return True
