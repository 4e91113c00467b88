"""What the steps about traffic share."""

from drorch.core.errors import DrorchError
from drorch.core.evidence import Failure
from drorch.core.scene import Scene
from drorch.core.step import Tools
from drorch.core.switch import Traffic, Turn, Way


def turn_of(scene: Scene) -> Turn:
    """From where to where customers are led.

    Raises:
        Refused: there is no host to lead to.
    """
    return Turn(old=scene.primary, new=scene.destination_host, addresses=scene.addresses)


def unturnable(scene: Scene, kind: str, way: Way) -> tuple[tuple[str, str, str], ...]:
    """What is wrong with a way in this scene: (key, message, hint) each."""
    if scene.kind in ("backup", "maintenance"):
        return (("kind", f"a {scene.kind} leads no customers elsewhere", f"{kind} in a failover or failback"),)
    if scene.target is None:
        return ()
    return tuple(("via", message, hint) for message, hint in way.problems(turn_of(scene)))


def looked(way: Way, tools: Tools, turn: Turn) -> Traffic | Failure:
    """What the way sees; an error is a failure."""
    try:
        return way.look(tools, turn)
    except DrorchError as error:
        return Failure.of(error)
