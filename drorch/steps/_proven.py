"""The last proven recovery point of each source, remembered beyond the run: `retain` never removes it."""

from datetime import datetime

from drorch.core.evidence import Evidence
from drorch.core.step import Memory, Tools


def _key(service: str, source: str) -> str:
    return f"proven:{service}:{source}"


def snapshots(memory: Memory, service: str, source: str) -> tuple[str, ...]:
    """The ids of its snapshots, and of those that they are copies of; none when nothing was ever proven."""
    found = memory.get(_key(service, source))
    return tuple(found["snapshots"]) if isinstance(found, dict) else ()


def remember(tools: Tools, repository: str, evidence: Evidence) -> None:
    """Remember the point that this evidence proves, unless a newer one is remembered already."""
    if evidence.source is None or evidence.level is None:
        return
    key = _key(tools.scene.service, evidence.source)
    known = tools.memory.get(key)
    time = str(evidence.facts["snapshot_time"])
    if isinstance(known, dict) and datetime.fromisoformat(known["time"]) > datetime.fromisoformat(time):
        return
    tools.memory.put(
        key,
        {
            "snapshots": [*evidence.facts["snapshots"].values(), *evidence.facts.get("originals", {}).values()],
            "time": time,
            "level": evidence.level.value,
            "at": tools.clock.now().isoformat(),
            "run": tools.run.id,
            "repository": repository,
        },
    )
