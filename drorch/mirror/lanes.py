"""Lanes: many calls side by side, with bounded memory, that end together at a barrier."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

MEMORY: Final = 56 << 20
"""Bytes of content that lanes may hold together: three of restic's usual packs, which have a little more than 16 MiB.
One larger file is still taken, alone."""

_TICK = 0.2


class Lanes:
    """Side by side, but no wider than ``width`` and no heavier than `MEMORY`. Made by `lanes`."""

    def __init__(self, width: int, check: Callable[[], None], memory: int, pool: ThreadPoolExecutor) -> None:
        self._width = width
        self._check = check
        self._memory = memory
        self._pool = pool
        self._changed = threading.Condition()
        self._busy = 0
        self._held = 0
        self._broken: BaseException | None = None

    def do(self, job: Callable[[], None], *, weight: int = 0) -> None:
        """Start a job as soon as there is room for it; ``weight`` is the bytes that it will hold.

        Raises:
            BaseException: what an earlier job, or ``check``, raised. No further job starts then.
        """
        with self._changed:
            while not self._has_room(weight):
                self._wait()
            self._look()
            self._busy += 1
            self._held += weight
        self._pool.submit(self._run, job, weight)

    def barrier(self) -> None:
        """Wait until every job is done.

        Raises:
            BaseException: what a job, or ``check``, raised.
        """
        with self._changed:
            while self._busy:
                self._wait()
            self._look()

    def _has_room(self, weight: int) -> bool:
        return self._busy < self._width and (self._held == 0 or self._held + weight <= self._memory)

    def _wait(self) -> None:
        self._changed.wait(_TICK)
        self._look()

    def _look(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._check()

    def _run(self, job: Callable[[], None], weight: int) -> None:
        try:
            if self._broken is None:
                job()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the jobs are given out
            with self._changed:
                self._broken = self._broken or error
        finally:
            with self._changed:
                self._busy -= 1
                self._held -= weight
                self._changed.notify_all()


@contextmanager
def lanes(width: int, check: Callable[[], None], *, memory: int = MEMORY) -> Iterator[Lanes]:
    """Lanes that are all empty again when the context ends, however it ends.

    ``check`` is called often, and raises to stop everything: a deadline has passed, a stop was asked for.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, width), thread_name_prefix="drorch-lane")
    opened = Lanes(max(1, width), check, memory, pool)
    try:
        yield opened
    except BaseException as error:
        with opened._changed:  # noqa: SLF001 - its maker
            opened._broken = opened._broken or error  # noqa: SLF001 - the same
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=False)
