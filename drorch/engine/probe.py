"""The probe: asks again and again, as a customer would, while a service is moved. What it saw becomes evidence."""

import threading
from collections.abc import Callable
from typing import Final

from drorch.config.inventory import Probe
from drorch.core.clock import Clock
from drorch.core.errors import DrorchError
from drorch.core.host import Host
from drorch.core.model import Json
from drorch.core.outage import Watched, watched_key
from drorch.core.step import Memory
from drorch.steps._asking import Asked, ask

PATIENCE: Final = 5.0
"""Seconds after which a customer gives up on a request."""
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
        self._watched = Watched(url=probe.url, viewer=probe.host or "controller", began=now, last=now)
        self._kept = 0.0
        self._thread = threading.Thread(target=self._ask_on, daemon=True, name="probe")
        self._thread.start()

    @property
    def watched(self) -> Watched:
        """What was seen so far."""
        with self._lock:
            return self._watched

    def attach(self, run: str) -> None:
        """What is seen belongs to this run from now on, with what an earlier process saw for it."""
        said = self._memory.get(watched_key(run))
        with self._lock:
            self._run = run
            if isinstance(said, dict):
                before, mine = Watched.model_validate(said), self._watched
                self._watched = before.model_copy(
                    update={"unseen": before.unseen + max(0.0, (mine.began - before.last).total_seconds())}
                )
        self._keep()

    def close(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(PATIENCE + 1)
        self._keep()

    def _ask_on(self) -> None:
        while not self._over.is_set():
            sent = self._clock.now()
            failure = self._ask()
            with self._lock:
                before = self._watched
                self._watched = before.answered(sent, self._clock.now(), failure)
                turned = before.windows != self._watched.windows
            if turned or self._clock.monotonic() - self._kept > _KEPT_EVERY:
                self._keep()
            self._over.wait(self._probe.every.total_seconds())

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
            run, watched = self._run, self._watched
        if run is None:
            return
        self._kept = self._clock.monotonic()
        said: Json = watched.model_dump(mode="json")
        self._memory.put(watched_key(run), said)
