"""What the steps about replicated databases share."""

from drorch.core.errors import DrorchError, Refused
from drorch.core.evidence import Failure
from drorch.core.model import Json
from drorch.core.replication import ReplicaState, Replication
from drorch.core.scene import Scene
from drorch.core.step import Memory, Tools


def replication_of(scene: Scene, source: str) -> Replication:
    """How a source is replicated.

    Raises:
        Refused: it is not.
    """
    found = scene.sources[source].replication()
    if found is None:
        raise Refused(f"nothing follows {source}", hint=f"say `replica:` of {source}, or restore it instead")
    return found


def unreplicated(scene: Scene, source: str, kind: str) -> tuple[tuple[str, str, str], ...]:
    """What is wrong with such a step in this scene: (key, message, hint) each."""
    if scene.kind == "backup":
        return (("kind", "a backup leaves servers as they are", f"{kind} in a failover, failback or maintenance"),)
    if source in scene.sources and scene.sources[source].replication() is None:
        return (("source", f"nothing follows {source}", f"say `replica:` of {source} in the inventory"),)
    return ()


def standing(tools: Tools, replication: Replication, host: str) -> ReplicaState | Failure:
    """How the server on a host stands; a host that cannot be asked is a failure whose outcome is unknown."""
    try:
        return replication.look(tools, tools.host(host))
    except DrorchError as error:
        return Failure.of(error).model_copy(update={"unknown": True})


def seen_key(service: str, source: str) -> str:
    """Under which name the memory keeps the newest state of the primary: a `ReplicaState`."""
    return f"seen:{service}:{source}"


def seen(memory: Memory, service: str, source: str) -> ReplicaState | None:
    """How the primary stood when it was last looked at."""
    found: Json = memory.get(seen_key(service, source))
    try:
        return None if found is None else ReplicaState.model_validate(found)
    except ValueError:  # another version's
        return None
