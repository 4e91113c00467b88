"""Whether a host that is to be fenced can be asked, and is the one that is meant."""

import threading

from drorch.core.errors import DrorchError, Interrupted, Unreachable
from drorch.core.evidence import Failure
from drorch.core.finding import Finding, Standing
from drorch.core.host import Command, Identity
from drorch.core.model import Json
from drorch.core.step import Tools

WORDS = "does not answer; unreachable is not fenced"
PATIENCE = 10.0
"""Seconds for a host's first word."""
BLINK = 0.3
"""Seconds for a host that is said to be off to show that it is not: the connection to it usually stands already."""


def silent(host: str, error: DrorchError) -> Failure:
    """The failure of a rung that needs the host and cannot have it."""
    if isinstance(error, Unreachable):
        return Failure(why=f"{host} {WORDS}: {error.message}", hint=error.hint, facts={"silent": True})
    return Failure.of(error)


def boot_id(tools: Tools, host: str) -> str | Failure:
    """Since which boot a host runs: the first question to it, which waits for no silent host for long.

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


def answers(tools: Tools, host: str) -> bool:
    """Whether a host answers within the blink of an eye: silence says nothing, an answer says that it is not off."""
    heard: list[bool] = []
    stopped: list[Interrupted] = []

    def ask() -> None:
        try:
            heard.append(tools.host(host).run(Command(("true",), timeout=BLINK)).ok)
        except Interrupted as error:
            stopped.append(error)
        except DrorchError:
            heard.append(False)

    asking = threading.Thread(target=ask, name=f"drorch-answers-{host}", daemon=True)
    asking.start()
    asking.join(BLINK)
    if stopped:
        raise stopped[0]
    return any(heard)


def finding(about: str, failure: Failure) -> Finding:
    """What a failure to look means before anything is done."""
    standing = Standing.UNKNOWN if failure.unknown or failure.timed_out or failure.facts.get("silent") else Standing.BAD
    return Finding(about=about, what=failure.why, standing=standing, remedy=failure.hint or "look at it by hand")
