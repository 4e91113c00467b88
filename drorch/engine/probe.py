"""The probe: asks again and again, as a customer would, while a service is moved. What it saw becomes evidence."""

import threading
from bisect import insort
from collections.abc import Callable
from typing import Final

from drorch.config.inventory import Probe
from drorch.core.clock import Clock
from drorch.core.errors import DrorchError
from drorch.core.host import Host
from drorch.core.model import Json
from drorch.core.outage import Answered, Watched, watched_key
from drorch.core.step import Memory
from drorch.steps._asking import Asked, ask

PATIENCE: Final = 5.0
"""Seconds after which a customer gives up on a request."""
AT_ONCE: Final = 32
"""Requests that may wait for their answers at once: one that hangs must not hide that the next is served."""
_GOOD: Final = range(200, 400)
_KEPT_EVERY = 2.0


class Prober:
    """Asks in a thread of its own, from its making until `close`. A later process of the same run goes on with what was
    seen before.
    """

    def __init__(self, probe: Probe, host: Callable[[], Host], clock: Clock, memory: Memory) -> None:
        self._probe = probe
        self._host = host
        self._clock = clock
        self._memory = memory
        self._run: str | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        now = clock.now()
        self._before = Watched(url=probe.url, viewer=probe.host or "controller", began=now, last=now)
        self._answers: list[Answered] = []
        self._shown = self._before
        self._kept = 0.0
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._thread = threading.Thread(target=self._ask_on, daemon=True, name="probe")
        self._thread.start()

    @property
    def watched(self) -> Watched:
        """What was seen so far; of requests that wait still, nothing is known."""
        with self._lock:
            return self._before.with_answers(self._answers)

    def attach(self, run: str) -> None:
        """What is seen belongs to this run from now on, with what an earlier process saw for it."""
        said = self._memory.get(watched_key(run))
        with self._lock:
            self._run = run
            if isinstance(said, dict):
                before = Watched.model_validate(said)
                gap = max(0.0, (self._before.began - before.last).total_seconds())
                self._before = before.model_copy(update={"unseen": before.unseen + gap})
        self._keep()

    def close(self) -> None:
        """Ask no more; who waits for an answer still is not waited for."""
        self._over.set()
        self._thread.join()
        self._keep()

    def _ask_on(self) -> None:
        while not self._over.is_set():
            if self._places.acquire(blocking=False):
                threading.Thread(target=self._ask_once, daemon=True, name="probe request").start()
            self._over.wait(self._probe.every.total_seconds())

    def _ask_once(self) -> None:
        sent = self._clock.now()
        try:
            failure = self._ask()
        finally:
            self._places.release()
        if self._over.is_set():
            return
        with self._lock:
            insort(self._answers, Answered(sent, self._clock.now(), failure), key=lambda one: one.sent)
            shown = self._before.with_answers(self._answers)
            turned = [(one.began, one.ended) for one in shown.windows] != [
                (one.began, one.ended) for one in self._shown.windows
            ]
            self._shown = shown
        if turned or self._clock.monotonic() - self._kept > _KEPT_EVERY:
            self._keep()

    def _ask(self) -> str:
        try:
            answer = ask(self._host(), Asked(self._probe.url, "GET", {}), PATIENCE)
        except DrorchError as error:
            return error.message
        except Exception as error:  # noqa: BLE001 - who only looks on must not stop anything
            return f"{type(error).__name__}: {error}"
        return "" if answer.status in _GOOD else f"status {answer.status}"

    def _keep(self) -> None:
        with self._lock:
            if self._run is None:
                return
            self._kept = self._clock.monotonic()
            said: Json = self._before.with_answers(self._answers).model_dump(mode="json")
            self._memory.put(watched_key(self._run), said)
