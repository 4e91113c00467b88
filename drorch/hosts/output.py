"""What a command says: bounded, whatever it says."""

from drorch.core.host import LineSink

LINE_LIMIT = 4 << 20
"""Bytes of one line that are handed on; the rest of a longer line is thrown away."""


class Sink:
    """The end of one stream: kept up to ``limit`` bytes, or handed on line by line and not kept.

    `truncated` tells that something was thrown away.
    """

    def __init__(self, limit: int, on_line: LineSink | None = None) -> None:
        self.truncated = False
        self._limit = LINE_LIMIT if on_line else limit
        self._on_line = on_line
        self._kept = bytearray()

    @property
    def data(self) -> bytes:
        """What was kept; nothing where lines were handed on."""
        return b"" if self._on_line else bytes(self._kept)

    def feed(self, data: bytes) -> None:
        """Take the next bytes. An error of the line's receiver passes through."""
        if self._on_line is None:
            self._keep(data)
            return
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._keep(piece)
            self._hand_on(self._on_line)
        self._keep(rest)

    def finish(self) -> None:
        """Hand on a last line that has no newline; for streams that came to their own end."""
        if self._on_line is not None and self._kept:
            self._hand_on(self._on_line)

    def _keep(self, data: bytes) -> None:
        room = self._limit - len(self._kept)
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        self._kept += data

    def _hand_on(self, on_line: LineSink) -> None:
        line = bytes(self._kept)
        self._kept.clear()
        on_line(line)
