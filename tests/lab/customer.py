"""A customer: places orders at a steady pace from a place of its own, and remembers what was answered.

What it says is the truth about an outage: an order that was acknowledged must be in the database afterwards.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.database import Database
from lab.dns import NoAddress, Resolver
from lab.waiting import until

_NEW_NET = 0x40000000
_HIGHEST_ARTICLE = 20
_AT_ONCE = 256
"""Requests under way; a tick that would be one more is left out."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One order that was placed, or not."""

    order: str
    began: float
    """By `time.monotonic`, which all processes of a machine share."""
    ended: float
    failure: str = ""
    """Empty: it was acknowledged."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which orders failed."""

    began: float
    """When the first one that failed was sent."""
    ended: float | None
    """When the first one after it was acknowledged; None: not yet."""
    failed: int

    @property
    def seconds(self) -> float:
        """How long it lasted; for ever when it has not ended."""
        return float("inf") if self.ended is None else self.ended - self.began


@dataclass
class Customer:
    """Places orders from its `start` to its `stop`."""

    url: str
    """Where the shop is; a name is looked up at `resolver`."""
    space: str | None = None
    """The network namespace it lives in; this process's own, when None."""
    pace: float = 50.0
    """Orders per second."""
    patience: float = 2.0
    """Seconds after which it gives an order up."""
    resolver: Resolver = field(default_factory=lambda: Resolver(()))
    attempts: list[Attempt] = field(default_factory=list)
    """In the order in which they ended."""
    _ending: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    def start(self) -> "Customer":
        """Begin."""
        self._thread = threading.Thread(target=self._live, name="lab-customer", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> "Customer":
        """Place no more; what is under way ends first."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(self.patience + 10)
        return self

    @contextlib.contextmanager
    def shopping(self) -> Iterator["Customer"]:
        """Placing orders within the context, at least one of which was acknowledged before."""
        self.start()
        try:
            self.await_orders()
            yield self
        finally:
            self.stop()

    @property
    def acknowledged(self) -> set[str]:
        """The ids of all orders that were acknowledged."""
        return {attempt.order for attempt in tuple(self.attempts) if not attempt.failure}

    @property
    def failures(self) -> list[Attempt]:
        """All that failed; they may be in the database or not."""
        return [attempt for attempt in tuple(self.attempts) if attempt.failure]

    @property
    def reasons(self) -> Counter[str]:
        """Why orders failed, and how many of them."""
        return Counter(attempt.failure for attempt in self.failures)

    def lost(self, database: Database) -> set[str]:
        """The orders that were acknowledged and are not there."""
        return self.acknowledged - database.orders()

    def outages(self) -> list[Outage]:
        """When orders failed; two that overlap are one."""
        found: list[Outage] = []
        began, failed = None, 0
        for attempt in sorted(self.attempts, key=lambda attempt: attempt.began):
            if attempt.failure:
                began = attempt.began if began is None else began
                failed += 1
            elif began is not None:
                last = found[-1] if found else None
                if last is not None and last.ended is not None and began <= last.ended:
                    found[-1] = Outage(last.began, max(last.ended, attempt.ended), last.failed + failed)
                else:
                    found.append(Outage(began, attempt.ended, failed))
                began, failed = None, 0
        return [*found, Outage(began, None, failed)] if began is not None else found

    @property
    def outage(self) -> float:
        """Seconds of all outages together."""
        return sum(outage.seconds for outage in self.outages())

    @property
    def slowest(self) -> float:
        """Seconds that the slowest acknowledged order took."""
        return max(
            (attempt.ended - attempt.began for attempt in tuple(self.attempts) if not attempt.failure), default=0
        )

    def await_orders(self, count: int = 1, *, within: float = 30.0) -> None:
        """Wait until so many more orders, sent from now on, are acknowledged."""
        now, before = time.monotonic(), len(self.attempts)

        def there() -> bool:
            recent = self.attempts[before:]
            return sum(attempt.began >= now and not attempt.failure for attempt in recent) >= count

        until(there, f"{count} more orders are acknowledged", within=within)

    def await_failure(self, *, within: float = 30.0) -> None:
        """Wait until another order has failed."""
        before = len(self.failures)
        until(lambda: len(self.failures) > before, "an order fails", within=within)

    def _live(self) -> None:
        if self.space is not None:
            enter(self.space)
        asyncio.run(self._shop())

    async def _shop(self) -> None:
        visits = _Visits(self.url, self.resolver)
        under_way: set[asyncio.Task[None]] = set()
        begun, ticks = time.monotonic(), 0
        while not self._ending.is_set():
            if len(under_way) < _AT_ONCE:
                task = asyncio.create_task(self._order(visits))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            ticks = max(ticks + 1, int((time.monotonic() - begun) * self.pace))  # what was slept through is left out
            await asyncio.sleep(begun + ticks / self.pace - time.monotonic())
        if under_way:
            await asyncio.wait(under_way)
        visits.close()

    async def _order(self, visits: "_Visits") -> None:
        order, began, failure = str(uuid.uuid4()), time.monotonic(), ""
        body = json.dumps({"id": order, "article": 1 + int(order[:4], 16) % _HIGHEST_ARTICLE}).encode()
        try:
            async with asyncio.timeout(self.patience):
                status, text = await visits.post("/orders", body)
            if status != 201:
                said = "" if b"<html" in text else text.decode(errors="replace").strip()
                failure = f"HTTP {status}: {said}" if said else f"HTTP {status}"
        except TimeoutError:
            failure = f"no answer within {self.patience:g} s"
        except asyncio.IncompleteReadError:
            failure = "the connection was closed without an answer"
        except (OSError, EOFError, ValueError, NoAddress) as error:
            failure = f"{type(error).__name__}: {error}"
        self.attempts.append(Attempt(order, began, time.monotonic(), failure))


class _Visits:
    """Connections to the shop that are used again and again, as browsers do."""

    def __init__(self, url: str, resolver: Resolver) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._resolver = resolver
        self._idle: list[tuple[str, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        address = await self._address()
        reader, writer = await self._connection(address)
        try:
            head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            heads = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            text = await reader.readexactly(int(heads.get("content-length", "0")))
        except BaseException:
            writer.close()
            raise
        if heads.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append((address, reader, writer))
        return int(lines[0].split()[1]), text

    def close(self) -> None:
        """Close what is idle."""
        for _, _, writer in self._idle:
            writer.close()

    async def _address(self) -> str:
        if self._host.replace(".", "").isdigit():
            return self._host
        return await asyncio.get_running_loop().run_in_executor(None, self._resolver.address, self._host)

    async def _connection(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            at, reader, writer = self._idle.pop()
            if at == address and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(address, self._port)


def enter(space: str) -> None:
    """Move this thread, and those that it starts, into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = os.open(Path("/run/netns") / space, os.O_RDONLY)
    try:
        if libc.setns(file, _NEW_NET):
            raise OSError(ctypes.get_errno(), f"cannot enter {space}")
    finally:
        os.close(file)
