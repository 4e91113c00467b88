"""Keeping a rehearsal away from what is live."""

from drorch.core.errors import Refused, Unreachable, UntrustedHost
from drorch.core.host import Identity
from drorch.core.scene import Scene
from drorch.core.step import Tools


def live_hosts(scene: Scene) -> frozenset[str]:
    """The hosts on which the service lives: its primary and each source's own."""
    return frozenset({scene.primary, *(scene.home_of(source) for source in scene.sources)})


def refuse_live(scene: Scene, host: str, what: str) -> None:
    """Refuse a drill's step on a live host, by name.

    Raises:
        Refused: it is one.
    """
    if scene.drill and host in live_hosts(scene):
        raise Refused(f"a drill never {what} on {host}, where {scene.service} lives", hint="name the standby as host")


def identified(tools: Tools, host: str, what: str, *, strict: bool = True) -> Identity:
    """Who a host is, asked before anything is done on it; in a drill certainly none of the live machines.

    A live machine that does not answer proves nothing and stops nothing: it is told apart by its pinned name. Without
    ``strict`` nor does one that answers with a key that is not the pinned one: a clean-up must not fail for that.

    Raises:
        Refused: this is a drill and the host is a live machine, under whatever name.
        HostError: the host, or a live one that answers, is not the one that the inventory pins.
    """
    refuse_live(tools.scene, host, what)
    identity = tools.host(host).identity()
    if tools.scene.drill:
        for live in sorted(live_hosts(tools.scene)):
            try:
                other = tools.host(live).identity()
            except Unreachable:
                continue
            except UntrustedHost:
                if strict:
                    raise
                continue
            if identity.same_machine(other):
                raise Refused(
                    f"{host} and {live} are one machine ({identity.hostname}), and a drill never {what} there",
                    hint=f"correct the address of {host} in the inventory",
                )
    return identity
