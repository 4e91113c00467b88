"""Choosing a recovery point: pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from drorch.core import retention
from drorch.core.errors import DrorchError
from drorch.core.repository import Snapshot
from drorch.core.scene import PointSelection, Scene


@dataclass(frozen=True, slots=True)
class Chosen:
    """A complete recovery point of a source."""

    run: str
    """The run that took it."""
    parts: Mapping[str, Snapshot]
    """Its snapshots by `Part.name`, in the order of the source's parts; the last is the main one."""

    @property
    def main(self) -> Snapshot:
        """The main part's snapshot."""
        return list(self.parts.values())[-1]

    @property
    def time(self) -> datetime:
        """What happened before this is in it: its oldest snapshot's time."""
        return min(snapshot.time for snapshot in self.parts.values())


def choose(
    snapshots: Sequence[Snapshot], scene: Scene, source: str, selection: PointSelection, *, run: str, now: datetime
) -> Chosen:
    """The recovery point that is meant, out of the service's snapshots.

    ``random`` gives the same point for the same run, so that a second attempt does not restore another one. Snapshots
    from after ``now`` are no candidates: their clock was wrong, or they came after the run began.

    Raises:
        DrorchError: there is none; the message tells what there is instead.
    """
    group = (scene.service, source)
    names = tuple(part.name for part in scene.sources[source].parts())
    by_id = {snapshot.id: snapshot for snapshot in snapshots}
    points = retention.points(snapshots, {group: names}).get(group, ())
    past = [point for point in points if point.time <= now]
    whole = [point for point in past if point.complete]
    if not whole:
        raise DrorchError(f"there is no complete recovery point of {source}", hint=_instead(points, past, now))
    point = _pick(whole, by_id, selection, run)
    if point is None:
        span = f"{_moment(whole[0].time)} to {_moment(whole[-1].time)}"
        raise DrorchError(f"no complete recovery point of {source} is {selection}", hint=f"there are those of {span}")
    parts: dict[str, Snapshot] = {}
    for id_ in point.snapshots:
        origin = by_id[id_].origin
        if origin is not None:
            parts[origin.part] = by_id[id_]
    return Chosen(point.run, {name: parts[name] for name in names})


def _pick(
    points: Sequence[retention.Point], by_id: Mapping[str, Snapshot], selection: PointSelection, run: str
) -> retention.Point | None:
    if selection == "latest":
        return points[-1]
    if selection == "random":
        return points[int.from_bytes(hashlib.sha256(run.encode()).digest()[:8]) % len(points)]
    if selection.startswith("before:"):
        limit = datetime.fromisoformat(selection.removeprefix("before:"))
        return next((point for point in reversed(points) if point.time < limit), None)
    meant = [snapshot for id_, snapshot in by_id.items() if id_.startswith(selection)]
    if len(meant) > 1:
        raise DrorchError(f"{len(meant)} snapshots begin with {selection}", hint="give more digits")
    # The id may be another source's: then what the same run took of this source is meant.
    runs = {snapshot.origin.run for snapshot in meant if snapshot.origin is not None}
    return next((point for point in reversed(points) if point.run in runs), None)


def _instead(points: Sequence[retention.Point], past: Sequence[retention.Point], now: datetime) -> str:
    if past:
        return f"{len(past)} lack a part, the newest of {_moment(past[-1].time)}; run a backup and look at its failures"
    if points:
        return f"the only ones are from after {_moment(now)}: was a clock wrong?"
    return "run a backup first; or is this the wrong repository?"


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
