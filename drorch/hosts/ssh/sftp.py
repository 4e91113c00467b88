"""One SFTP session over one channel: version 3 of the protocol, as servers speak it (draft-ietf-secsh-filexfer-02).

Requests are sent ahead of their answers, so a file takes the time of its bytes and not of its round trips. Everything
is waited for with an end: a server that says nothing for `patience` seconds, or needs longer for a file than its size
can explain, ends in `Stalled`. Used by one thread at a time; after anything but an `OSError` the session is of no use.
"""

import errno
import os
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from drorch.core.clock import Halt
from drorch.core.files import Found, moment
from drorch.hosts.ssh.connection import leave

if TYPE_CHECKING:
    import paramiko

PATIENCE = 45.0
"""Seconds of silence, while an answer is due, after which the server is given up."""

_TICK = 0.25  # seconds between looks at the halt
_SLOWEST = 10_000  # bytes in a second: slower is as good as not at all
_PIECE = 1 << 15  # bytes in a request that every server takes
_LARGEST_PIECE = 255 << 10
_AHEAD = 4 << 20  # bytes asked for or sent before the first answer
_LONGEST = 1 << 19  # bytes of one packet of the server's
_NAMES_AHEAD = 4

_INIT, _VERSION, _OPEN, _CLOSE, _READ, _WRITE, _LSTAT, _FSTAT = 1, 2, 3, 4, 5, 6, 7, 8
_OPENDIR, _READDIR, _REMOVE, _MKDIR, _STAT, _RENAME, _EXTENDED = 11, 12, 13, 14, 17, 18, 200
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS, _EXTENDED_REPLY = 101, 102, 103, 104, 105, 201
_OK, _EOF, _NO_SUCH_FILE, _DENIED, _FAILURE, _UNSUPPORTED = 0, 1, 2, 3, 4, 8
_READING, _NEW = 0x01, 0x02 | 0x08 | 0x20  # write, create, exclusively
_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_MORE = 0x1, 0x2, 0x4, 0x8, 0x80000000

FSYNC, POSIX_RENAME, STATVFS, LIMITS = (
    f"{word}@openssh.com".encode() for word in ("fsync", "posix-rename", "statvfs", "limits")
)

_T = TypeVar("_T")


class Stalled(Exception):
    """The server does not answer, or its answer makes no sense; what was asked for may have been done."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server tells of a file; None where it does not."""

    size: int | None
    mode: int | None
    modified: int | None

    @property
    def unclear(self) -> bool:
        """Whether only a look behind the name tells what it is: a link, or nothing was told."""
        return self.mode is None or stat.S_ISLNK(self.mode)

    def found(self, name: str) -> Found | None:
        """As a name in a folder; None for what is neither file nor folder."""
        folder = self.mode is not None and stat.S_ISDIR(self.mode)
        if not folder and self.mode is not None and not stat.S_ISREG(self.mode):
            return None
        return Found(name, self.size or 0, moment(self.modified or 0), folder=folder)


class Session:
    """A session with an SFTP server."""

    def __init__(self, channel: "paramiko.Channel", halt: Halt, *, patience: float = PATIENCE) -> None:
        self._channel = channel
        self._halt = halt
        self._patience = patience
        self._deadline = 0.0
        self._last = 0
        self._unread = bytearray()
        self._early: dict[int, tuple[int, _Reader]] = {}
        self._piece = _PIECE
        self.abilities: frozenset[bytes] = frozenset()
        """Names of the extensions that the server told of."""

    def begin(self) -> None:
        """Greet the server."""
        self._until(0)
        self._send(_text(bytes([_INIT]) + struct.pack(">I", 3)))
        kind, body = self._packet()
        if kind != _VERSION:
            raise Stalled("what answers speaks no SFTP")
        reader = _Reader(body)
        if reader.number() < 3:  # noqa: PLR2004 - the version
            raise Stalled("the server speaks an SFTP older than version 3")
        names = []
        while reader.left:
            names.append(reader.text())
            reader.text()
        self.abilities = frozenset(names)
        if LIMITS in self.abilities:
            self._find_limits()

    def look(self, path: bytes) -> Facts | None:
        """What is there, links followed."""
        self._until(0)
        try:
            return self._facts(_STAT, path)
        except FileNotFoundError:
            return None

    def scan(self, path: bytes) -> Iterator[tuple[bytes, Facts]]:
        """The names in a folder."""
        self._until(0)
        with self._opened(_OPENDIR, path) as handle:
            asked = deque(self._ask(_READDIR, _text(handle)) for _ in range(_NAMES_AHEAD))
            while asked:
                kind, reader = self._answer(asked.popleft())
                if kind == _NAME:
                    yield from reader.names()
                    self._until(0)
                    asked.append(self._ask(_READDIR, _text(handle)))
                elif _ended(kind, reader, path):
                    self._drain(asked)

    def read(self, path: bytes, most: int, take: Callable[[bytes], object]) -> None:
        """The first ``most`` bytes of a file, in order; all of it, and not what it grew meanwhile, if it is shorter."""
        self._until(0)
        with self._opened(_OPEN, path, struct.pack(">II", _READING, 0)) as handle:
            size = self._facts(_FSTAT, handle).size
            end = most if size is None else min(most, size)
            self._until(end)
            self._read(path, handle, end, take)

    def create(self, path: bytes, content: bytes) -> None:
        """A new file for its owner alone, its content made durable where the server can."""
        self._until(len(content))
        with self._opened(_OPEN, path, struct.pack(">III", _NEW, _HAS_MODE, 0o600)) as handle:
            self._write(path, handle, content)
            if FSYNC in self.abilities:
                self._do(_EXTENDED, _text(FSYNC) + _text(handle), path)

    def rename(self, old: bytes, new: bytes) -> None:
        """Give a file a name that is free: servers refuse, in no words that tell why, when it is not."""
        self._until(0)
        self._do(_RENAME, _text(old) + _text(new), new)

    def replace(self, old: bytes, new: bytes) -> None:
        """Give a file a name, whoever had it; only with `POSIX_RENAME`."""
        self._until(0)
        self._do(_EXTENDED, _text(POSIX_RENAME) + _text(old) + _text(new), new)

    def remove(self, path: bytes) -> None:
        """Remove a file; gone already is as good."""
        self._until(0)
        with suppress(FileNotFoundError):
            self._do(_REMOVE, _text(path), path)

    def make(self, path: bytes) -> None:
        """Make a folder."""
        self._until(0)
        self._do(_MKDIR, _text(path) + struct.pack(">II", _HAS_MODE, 0o700), path)

    def free(self, path: bytes) -> int | None:
        """Bytes that this user may still write there."""
        if STATVFS not in self.abilities:
            return None
        self._until(0)
        kind, reader = self._answer(self._ask(_EXTENDED, _text(STATVFS) + _text(path)))
        if kind != _EXTENDED_REPLY:
            _check(kind, reader, path)
            return None
        _, unit, _, _, available = (reader.long() for _ in range(5))
        return unit * available

    def close(self) -> None:
        """Leave."""
        leave(self._channel)

    def _find_limits(self) -> None:
        kind, reader = self._answer(self._ask(_EXTENDED, _text(LIMITS)))
        if kind == _EXTENDED_REPLY:
            _, reading, writing = (reader.long() for _ in range(3))
            known = [limit for limit in (reading, writing, _LARGEST_PIECE) if limit]
            self._piece = max(_PIECE, min(known))

    def _read(self, path: bytes, handle: bytes, end: int, take: Callable[[bytes], object]) -> None:
        asked: deque[tuple[int, int, int]] = deque()  # number of the request, offset, length
        ahead = given = 0
        while given < end:
            while ahead < end and ahead - given < _AHEAD:
                length = min(self._piece, end - ahead)
                asked.append((self._ask(_READ, _text(handle) + struct.pack(">QI", ahead, length)), ahead, length))
                ahead += length
            number, offset, length = asked.popleft()
            kind, reader = self._answer(number)
            if kind != _DATA:
                _ended(kind, reader, path)  # it became shorter
                self._drain(deque(number for number, _, _ in asked))
                return
            data = reader.text()
            take(data)
            given += len(data)
            if not data:
                raise Stalled("a read was answered without data")
            if len(data) < length:
                # What follows was asked for already, so this is answered last, and waited for first.
                rest = (offset + len(data), length - len(data))
                asked.appendleft((self._ask(_READ, _text(handle) + struct.pack(">QI", *rest)), *rest))

    def _write(self, path: bytes, handle: bytes, content: bytes) -> None:
        asked: deque[int] = deque()
        view = memoryview(content)
        most = max(1, _AHEAD // self._piece)
        for offset in range(0, len(content), self._piece):
            data = bytes(view[offset : offset + self._piece])
            asked.append(self._ask(_WRITE, _text(handle) + struct.pack(">Q", offset) + _text(data)))
            if len(asked) >= most:
                self._confirm(asked, path)
        while asked:
            self._confirm(asked, path)

    def _confirm(self, asked: deque[int], path: bytes) -> None:
        kind, reader = self._answer(asked.popleft())
        try:
            _check(kind, reader, path)
        except OSError:
            self._drain(asked)
            raise

    def _drain(self, asked: deque[int]) -> None:
        """Take the answers that nobody waits for any more."""
        while asked:
            self._answer(asked.popleft())

    def _do(self, kind: int, body: bytes, path: bytes) -> None:
        _check(*self._answer(self._ask(kind, body)), path)

    @contextmanager
    def _opened(self, kind: int, path: bytes, how: bytes = b"") -> Iterator[bytes]:
        """A handle; it is given back unless the session is of no more use."""
        answer, reader = self._answer(self._ask(kind, _text(path) + how))
        if answer != _HANDLE:
            _check(answer, reader, path)
            raise Stalled("nothing was opened, and no error told")
        handle = reader.text()
        try:
            yield handle
        except OSError:
            with suppress(OSError):
                self._do(_CLOSE, _text(handle), path)
            raise
        self._do(_CLOSE, _text(handle), path)  # some servers tell only here that a disk is full

    def _facts(self, kind: int, what: bytes) -> Facts:
        answer, reader = self._answer(self._ask(kind, _text(what)))
        if answer != _ATTRS:
            _check(answer, reader, what)
            raise Stalled("no attributes, and no error told")
        return reader.facts()

    def _ask(self, kind: int, body: bytes) -> int:
        """Send a request; gives its number."""
        self._last = (self._last + 1) & 0xFFFFFFFF
        self._send(_text(bytes([kind]) + struct.pack(">I", self._last) + body))
        return self._last

    def _answer(self, number: int) -> tuple[int, "_Reader"]:
        """The answer to a request; the order of answers is the server's."""
        while number not in self._early:
            kind, body = self._packet()
            reader = _Reader(body)
            if len(self._early) > _AHEAD // _PIECE + _NAMES_AHEAD:
                raise Stalled("the server answers what nobody asked")
            self._early[reader.number()] = kind, reader
        return self._early.pop(number)

    def _until(self, size: int) -> None:
        """Begin something that moves so many bytes."""
        self._deadline = time.monotonic() + 4 * self._patience + size / _SLOWEST

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        heard = time.monotonic()
        while rest:
            self._wait(heard)
            if sent := self._on_channel(partial(self._channel.send, bytes(rest))):
                rest = rest[sent:]
                heard = time.monotonic()

    def _packet(self) -> tuple[int, bytes]:
        (length,) = struct.unpack(">I", self._take(4))
        if not 1 <= length <= _LONGEST:
            raise Stalled(f"the server sends a packet of {length} bytes: a login that prints something breaks SFTP")
        body = self._take(length)
        return body[0], body[1:]

    def _take(self, count: int) -> bytes:
        heard = time.monotonic()
        while len(self._unread) < count:
            self._wait(heard)
            if data := self._on_channel(partial(self._channel.recv, 1 << 18)):
                self._unread += data
                heard = time.monotonic()
        data = bytes(self._unread[:count])
        del self._unread[:count]
        return data

    def _on_channel(self, act: Callable[[], _T]) -> _T | None:
        """Wait on the channel for a tick; None when nothing moved.

        Raises:
            EOFError: it ended.
        """
        try:
            moved = act()
        except TimeoutError:
            return None
        except OSError as error:
            raise EOFError from error
        if not moved:
            raise EOFError
        return moved

    def _wait(self, heard: float) -> None:
        """Before each wait of a tick."""
        self._halt.check()
        now = time.monotonic()
        if now - heard > self._patience:
            raise Stalled(f"the server said nothing for {self._patience:.0f} s")
        if now > self._deadline:
            raise Stalled("the server is slower than is of use")
        self._channel.settimeout(_TICK)


class _Reader:
    """Fields of a packet, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def number(self) -> int:
        return int.from_bytes(self._next(4))

    def long(self) -> int:
        return int.from_bytes(self._next(8))

    def text(self) -> bytes:
        return self._next(self.number())

    def facts(self) -> Facts:
        flags = self.number()
        size = self.long() if flags & _HAS_SIZE else None
        if flags & _HAS_OWNER:
            self._next(8)
        mode = self.number() if flags & _HAS_MODE else None
        modified = None
        if flags & _HAS_TIMES:
            self.number()
            modified = self.number()
        if flags & _HAS_MORE:
            for _ in range(2 * self.number()):
                self.text()
        return Facts(size, mode, modified)

    def names(self) -> Iterator[tuple[bytes, Facts]]:
        for _ in range(self.number()):
            name = self.text()
            self.text()  # as `ls -l` shows it
            facts = self.facts()
            if name not in {b".", b".."}:
                yield name, facts

    def _next(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) != count:
            raise Stalled("the server sends a packet that ends too early")
        self._at += count
        return data


def _check(kind: int, reader: _Reader, path: bytes) -> None:
    """Raise what a status says.

    Raises:
        EOFError: the end of a file or folder.
        OSError: what was asked for was refused.
    """
    if kind != _STATUS:
        raise Stalled(f"the server answers with a packet of the kind {kind}")
    code = reader.number()
    if code == _OK:
        return
    said = reader.text().decode("utf-8", "replace") if reader.left else ""
    if code == _EOF:
        raise EOFError
    number = {_NO_SUCH_FILE: errno.ENOENT, _DENIED: errno.EACCES, _UNSUPPORTED: errno.EOPNOTSUPP}.get(code)
    text = os.strerror(number) if number else f"the server says: {said or code}"
    raise OSError(number or errno.EREMOTEIO, text, os.fsdecode(path))


def _ended(kind: int, reader: _Reader, path: bytes) -> bool:
    """Whether a status tells the end of a file or folder; anything but that is an error."""
    try:
        _check(kind, reader, path)
    except EOFError:
        return True
    raise Stalled("the server tells success where data or an end is due")


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
