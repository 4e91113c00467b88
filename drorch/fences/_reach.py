"""Whether a host that is to be fenced can be asked, and is the one that is meant."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from drorch.core.errors import DrorchError, Interrupted, Unreachable
from drorch.core.evidence import Failure
from drorch.core.finding import Finding, Standing
from drorch.core.host import Command, Identity
from drorch.core.model import Json
from drorch.core.step import Tools

WORDS = "does not answer; unreachable is not fenced"
T = TypeVar("T")
PATIENCE = 10.0
"""Seconds for a host's first word."""
MOMENT = 3.0
"""The same of one that was fenced already, so that its silence matters little."""
BLINK = 0.3
"""Seconds for a host that is said to be off to show that it is not: the connection to it usually stands already."""
SPOT = 1.0
"""Seconds for other machines to say that they reach it; drorch may have to connect to them first."""
_SSH = 22


def silent(host: str, error: DrorchError | None = None) -> Failure:
    """The failure of a rung that needs the host and cannot have it."""
    if error is None or isinstance(error, Unreachable):
        said = f": {error.message}" if error else f" within {PATIENCE:.0f} s"
        hint = error.hint if error else ""
        return Failure(why=f"{host} {WORDS}{said}", hint=hint, facts={"silent": True}, timed_out=error is None)
    return Failure.of(error)


def boot_id(tools: Tools, host: str) -> str | Failure:
    """Since which boot a host runs.

    Raises:
        Unreachable: no connection could be made.
    """
    done = tools.host(host).run(Command(("cat", "/proc/sys/kernel/random/boot_id"), timeout=PATIENCE))
    return done.text.strip() if done.ok else done.failure(f"asking {host} whether it answers", retryable=True)


def who(identity: Identity, boot_id: str) -> dict[str, str]:
    """Which machine it was, for a proof."""
    return {
        "machine_id": identity.machine_id,
        "host_key": identity.host_key,
        "hostname": identity.hostname,
        "boot_id": boot_id,
    }


def another(host: str, identity: Identity, facts: dict[str, Json]) -> Failure | None:
    """Why the machine that answers now is not the one that was fenced; None when it is."""
    if identity.machine_id == facts.get("machine_id") and identity.host_key == facts.get("host_key"):
        return None
    return Failure(
        why=f"another machine ({identity.hostname}) answers as {host} now than the one that was fenced",
        hint=f"find out which of the two is {host}; correct its address or its pinned key in the inventory",
        unknown=True,
    )


def within(seconds: float, ask: Callable[[], T]) -> T | None:
    """The answer to a question, its errors included; None when there is none in time: nobody waits for a silent host as
    long as a connection to it would.
    """
    said: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            said.append(ask())
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked
            errors.append(error)

    asking = threading.Thread(target=run, name="drorch-fence", daemon=True)
    asking.start()
    asking.join(seconds)
    if errors:
        raise errors[0]
    return said[0] if said else None


def _answers(tools: Tools, host: str) -> bool:
    """Whether a host answers: silence says nothing, an answer says that it is not off."""
    try:
        return tools.host(host).run(Command(("true",), timeout=BLINK)).ok
    except DrorchError:
        return False


def seen(tools: Tools, host: str) -> str:
    """Who says that a host is not off, as a clause; empty when nobody does, which says nothing."""
    return seeing(tools, host)()


def seeing(tools: Tools, host: str) -> Callable[[], str]:
    """Begin to ask what `seen` tells, and give what waits for it: something else may be asked meanwhile.

    Drorch may be the one whose line is broken: every other machine of the run is asked as well whether it reaches it.
    """
    address, port = tools.scene.addresses.get(host), tools.scene.ports.get(host, _SSH)
    viewers = [name for name in tools.scene.addresses if name != host] if address else []
    reached: list[str] = []
    answering: Future[bool] = Future()

    def ask(viewer: str) -> None:
        with suppress(DrorchError, Interrupted), tools.host(viewer).dial(str(address), port, timeout=BLINK):
            reached.append(viewer)

    def listen() -> None:
        try:
            answering.set_result(_answers(tools, host))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            answering.set_exception(error)

    asking = [threading.Thread(target=ask, args=(name,), name=f"drorch-see-{host}", daemon=True) for name in viewers]
    for thread in (*asking, threading.Thread(target=listen, name=f"drorch-answers-{host}", daemon=True)):
        thread.start()

    def sight() -> str:
        with suppress(TimeoutError):  # the blink counts from here: nothing that was asked meanwhile shortens it
            if answering.result(BLINK):
                return f"{host} still answers"
        until = tools.clock.monotonic() + SPOT
        for thread in asking:
            thread.join(max(0.0, until - tools.clock.monotonic()))
        return f"{' and '.join(reached)} still reach{'es' if len(reached) == 1 else ''} {host}" if reached else ""

    return sight


def finding(about: str, failure: Failure) -> Finding:
    """What a failure to look means before anything is done."""
    standing = Standing.UNKNOWN if failure.unknown or failure.timed_out or failure.facts.get("silent") else Standing.BAD
    return Finding(about=about, what=failure.why, standing=standing, remedy=failure.hint or "look at it by hand")
