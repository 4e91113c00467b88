"""What the steps that work on off-site copies share."""

from collections.abc import Callable, Iterable

from drorch.core.errors import DrorchError
from drorch.core.evidence import Progress
from drorch.core.host import printable
from drorch.core.model import Json
from drorch.core.repository import Snapshot
from drorch.core.step import Tools
from drorch.mirror.transfer import Stage
from drorch.steps._points import choose

_EVERY = 0.1


def newest(tools: Tools, snapshots: Iterable[Snapshot]) -> dict[str, Json]:
    """The newest complete recovery point of each source of the service among these snapshots."""
    found: dict[str, Json] = {}
    copied = tuple(snapshots)
    now = max(tools.clock.now(), tools.run.started)
    for source in tools.scene.sources:
        try:
            chosen = choose(copied, tools.scene, source, "latest", run=tools.run.id, now=now)
        except DrorchError:
            continue  # there is none yet
        found[source] = {"snapshot": chosen.main.id, "time": chosen.time.isoformat(), "run": chosen.run}
    return found


def in_line(key: str) -> str:
    """An object's key, which whoever wrote it chose, as one line that is safe to print."""
    return printable(key).replace("\n", "\\n").replace("\t", "\\t")


def shown(tools: Tools) -> Callable[[Stage], None]:
    """Progress with the time left, reckoned from the bytes, or from the objects where no bytes are sent.

    What comes within `_EVERY` seconds of the one before is left out, the end of a stage never.
    """
    began: list[float] = []
    last = ("", float("-inf"))

    def show(stage: Stage) -> None:
        nonlocal last
        now = tools.clock.monotonic()
        if stage.text == last[0] and stage.done != stage.total and now - last[1] < _EVERY:
            return
        last, left = (stage.text, now), None
        if stage.total:
            if not began:
                began.append(now)
            share = stage.done_bytes / stage.total_bytes if stage.total_bytes else stage.done / stage.total
            left = (now - began[0]) * (1 - share) / share if share > 0 else None
        tools.progress(
            Progress(
                step=tools.step,
                text=stage.text,
                done_bytes=stage.done_bytes,
                total_bytes=stage.total_bytes,
                done_files=stage.done,
                total_files=stage.total,
                seconds_left=left,
            )
        )

    return show
