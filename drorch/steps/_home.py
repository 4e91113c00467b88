"""Where a service lives now, remembered beyond the run."""

from drorch.core.step import Tools


def moved(tools: Tools, host: str) -> None:
    """Remember that it lives on this host; done again it keeps the time at which that began."""
    key = f"home:{tools.scene.service}"
    home = tools.memory.get(key) or {}
    if home.get("host") != host or home.get("run") != tools.run.id:
        tools.memory.put(key, {"host": host, "since": tools.clock.now().isoformat(), "run": tools.run.id})
