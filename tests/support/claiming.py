"""Controllers that want the same service: threads whose every call of a store waits for its turn, and processes.

    python claiming.py FOLDER NONCE BARRIER [kill]

asks for the service ``shop`` in a folder store, as soon as the file BARRIER is there, and prints what came of it; with
``kill`` it dies by SIGKILL when the store has what it wrote, before anything is printed.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from drorch.claim.footing import Footing
from drorch.claim.log import Book
from drorch.claim.rules import Claim, Wanted
from drorch.core.clock import Clock, SystemClock
from drorch.core.evidence import Failure
from drorch.core.store import Receipt, Store
from drorch.stores.directory import DirectoryStore
from drorch.stores.memory import Call, MemoryStore
from support.stores import means

SURE = Footing(sure=True, reason="of a test")


def nonce(name: str) -> str:
    """A controller's own."""
    return name.encode().hex().ljust(64, "0")


def wanted(name: str, *, minutes: float = 30, take_over: str = "") -> Wanted:
    """What a controller of that name asks for."""
    return Wanted(
        nonce=nonce(name),
        holder=f"{name}@desk",
        run=f"shop-failover@{name}",
        plan="ab" * 32,
        length=timedelta(minutes=minutes),
        home_before="web1",
        home_wanted="web2",
        take_over=take_over,
    )


def got(outcome: Claim | Failure) -> Claim:
    """A claim that must have been given."""
    assert isinstance(outcome, Claim), outcome
    return outcome


def refused(outcome: object) -> Failure:
    """A failure that must have been given."""
    assert isinstance(outcome, Failure), outcome
    return outcome


class Heedless(MemoryStore):
    """Looks whether there is an object already, but two at once can both write, as in Ceph 16 with versions."""

    def put(self, key: str, content: bytes, *, sha256: str, absent: bool = False) -> Receipt:
        if absent and any(True for _ in self.entries(key)):
            return super().put(key, content, sha256=sha256, absent=True)
        return super().put(key, content, sha256=sha256)


class Turns:
    """Runs actors side by side so that only one is ever between two calls of the store; ``picks`` says who is next."""

    def __init__(self, store: MemoryStore, picks: Iterator[int]) -> None:
        self._picks = picks
        self._changed = threading.Condition()
        self._waiting: list[threading.Thread] = []
        self._turn: threading.Thread | None = None
        self._ended = 0
        store.before.append(self._wait)

    def run(self, actors: Sequence[Callable[[], None]]) -> None:
        """Until all have ended; what one raises is raised."""
        broken: list[BaseException] = []

        def act(actor: Callable[[], None]) -> None:
            try:
                self._wait(None)
                actor()
            except BaseException as error:  # noqa: BLE001 - it is raised below
                broken.append(error)
            finally:
                with self._changed:
                    self._ended += 1
                    self._changed.notify_all()

        threads = [threading.Thread(target=act, args=(actor,)) for actor in actors]
        for thread in threads:
            thread.start()
        with self._changed:
            while True:
                quiet = self._changed.wait_for(lambda: len(self._waiting) + self._ended == len(threads), timeout=20)
                assert quiet, "an actor hangs"
                if not self._waiting:
                    break
                self._turn = self._waiting.pop(next(self._picks) % len(self._waiting))
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._turn is None, timeout=20)
        for thread in threads:
            thread.join()
        if broken:
            raise broken[0]

    def _wait(self, call: Call | None) -> None:
        me = threading.current_thread()
        with self._changed:
            self._waiting = sorted([*self._waiting, me], key=lambda thread: thread.name)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._turn is me, timeout=20), "its turn never came"
            self._turn = None
            self._changed.notify_all()


def folder_store(folder: Path, clock: Clock) -> Store:
    """A folder that was made a store."""
    return DirectoryStore(kind="directory", path=str(folder)).open("disk", means(clock=clock))


def main(folder: str, name: str, barrier: str, *how: str) -> None:
    """Ask for it, and tell."""
    clock = SystemClock()
    store = folder_store(Path(folder), clock)
    if how:
        put = store.put

        def dying(key: str, content: bytes, *, sha256: str, absent: bool = False) -> Receipt:
            put(key, content, sha256=sha256, absent=absent)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        store.put = dying  # type: ignore[method-assign]  # dies in it
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    end = time.monotonic() + 30
    while not Path(barrier).exists() and time.monotonic() < end:
        time.sleep(0.001)
    outcome = Book(store, "shop", clock).take(wanted(name), SURE)
    sys.stdout.write(f"{type(outcome).__name__}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
