"""What can be made to go wrong, and where. A test says it before it happens; everything else goes well."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar

from support.strict.words import Request


@dataclass(frozen=True)
class Answer:
    """This answer, and nothing done. A status of 200 hides the error in a success, as S3 does after long work."""

    status: int
    code: str
    retry_after: int | None = None
    """Seconds."""


INTERNAL = Answer(500, "InternalError")
UNAVAILABLE = Answer(503, "ServiceUnavailable")
SLOW_DOWN = Answer(503, "SlowDown")
TOO_MANY = Answer(429, "TooManyRequests", retry_after=1)
HIDDEN = Answer(200, "InternalError")
CONFLICT = Answer(409, "ConditionalRequestConflict")
PRECONDITION = Answer(412, "PreconditionFailed")
EXPIRED = Answer(400, "ExpiredToken")
DENIED = Answer(403, "AccessDenied")


@dataclass(frozen=True)
class Lost:
    """Done as asked, but the connection ends without an answer."""


@dataclass(frozen=True)
class Cut:
    """Done as asked, but the answer's body ends early, and the connection with it."""

    after: int = 1
    """Bytes of the body that are sent."""


@dataclass(frozen=True)
class Reset:
    """The connection is reset while the request's body arrives; nothing done."""

    after: int = 1
    """Bytes of the body that are taken."""


@dataclass(frozen=True)
class Drip:
    """Done as asked, but the answer comes slowly, its head too."""

    piece: int = 1
    """Bytes."""
    pause: float = 0.1
    """Seconds after each piece."""


@dataclass(frozen=True)
class Late:
    """Done as asked, after a while."""

    seconds: float


@dataclass(frozen=True)
class Flipped:
    """Done as asked, but one bit of the answer's body is another."""

    at: int = 0
    """Index of the byte."""


@dataclass(frozen=True)
class Hide:
    """A listing that does not know yet: objects whose keys match are left out."""

    pattern: str


@dataclass(frozen=True)
class Ghost:
    """A listing that still knows: an object that is not there is listed."""

    key: str
    size: int = 1


Effect = Answer | Lost | Cut | Reset | Drip | Late | Flipped | Hide | Ghost
_Kind = TypeVar("_Kind")


@dataclass
class Fault:
    """An effect, and which requests it strikes: after the first ``skip`` that match, the next ``times``."""

    effect: Effect
    on: str = "*"
    """Pattern for the operation: ``PutObject``, ``Put*``, ``ListObject*``."""
    key: str = "*"
    """Pattern for the key, or for a listing's prefix; ``*`` also matches ``/``."""
    skip: int = 0
    times: int | None = 1
    """None for ever."""
    met: int = 0
    """Requests that matched so far."""
    struck: int = 0
    """Requests that were struck so far."""

    def strikes(self, request: Request) -> bool:
        """Whether it strikes this one; counts."""
        name = request.key or request.query.get("prefix", "")
        if not (fnmatchcase(request.operation, self.on) and fnmatchcase(name, self.key)):
            return False
        self.met += 1
        if self.met <= self.skip or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True


@dataclass
class Plan:
    """All faults of a server; may be filled while it works."""

    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def struck(self, request: Request) -> "Struck":
        """What strikes this request: every fault that matches counts, all that are due work together."""
        with self.lock:
            return Struck(tuple(fault.effect for fault in self.faults if fault.strikes(request)))


@dataclass(frozen=True)
class Struck:
    """The effects on one request."""

    effects: tuple[Effect, ...] = ()

    def all(self, kind: type[_Kind]) -> Iterator[_Kind]:
        """Those of a kind."""
        return (effect for effect in self.effects if isinstance(effect, kind))

    def first(self, kind: type[_Kind]) -> _Kind | None:
        """The first of a kind."""
        return next(self.all(kind), None)
