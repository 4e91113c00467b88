"""Where a service lives by now, and whether anything follows it there, as status tells it. Writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from drorch.config.inventory import Service
from drorch.core.errors import DrorchError
from drorch.core.model import Json
from drorch.core.replication import ReplicaState
from drorch.engine.journal import Journal, Record, Run
from drorch.engine.plan import Plan
from drorch.engine.preflight import seen_key
from drorch.reports.gaps import Gap
from drorch.reports.moved import lacking, moved, rejoined
from drorch.reports.text import moment


def home_gaps(
    name: str, service: Service, journal: Journal, *, runs: Sequence[Run], written: str | None, zone: ZoneInfo
) -> Iterator[Gap]:
    """What it means that a failover or failback moved the service; ``runs`` are its runs, ``written`` is its primary
    in the inventory's file.
    """
    said = journal.get(f"home:{name}")
    if not isinstance(said, Mapping):
        return
    home, since = str(said.get("host")), _time(said.get("since"))
    if home == service.primary:
        yield from _unprotected(name, journal, runs, said)
    if written is None or written == home or home != service.primary:
        return
    by = str(said.get("run") or f"set by {said.get('by') or '?'}")
    yield Gap(
        f"it lives on {home} since {moment(since, zone)} ({by}); the inventory says {written}",
        f"drorch failback {name}; or if it stays: services.{name}.primary in drorch.yaml",
        risk=False,
    )


def _unprotected(name: str, journal: Journal, runs: Sequence[Run], said: Mapping[str, Json]) -> Iterator[Gap]:
    """Whether the former primary follows the new one, as far as the records know; ``said`` is the service's home."""
    home, since = str(said["host"]), _time(said.get("since"))
    mover = next((run for run in runs if run.id == said.get("run")), None)
    if mover is None or since is None:
        return
    read = _read(journal, mover)
    did = moved(mover, *read) if read else None
    if did is None:
        what = f"whether anything follows {name} on {home} is not known: the records of {mover.id} cannot be read"
        yield Gap(what, f"drorch check --live {name}")
        return
    later = [run for run in runs if run.started >= mover.started and run.kind in _REJOIN]
    follows = [each for run in later if (found := _read(journal, run)) for each in rejoined(*found)]
    begun = did.no_return_at or mover.started
    lacks = tuple(
        source
        for source in lacking(did.promoted, did.old, (each for each in follows if each[2] >= begun))
        if not _followed(journal.get(seen_key(name, source)), home, since)
    )
    if lacks:
        back = f"drorch failback {name} --look" if did.kind == "failover" else f"drorch check --live {name}"
        yield Gap(
            f"{did.old} does not follow {home} yet ({', '.join(lacks)}): another failure now has no standby", back
        )


_REJOIN = ("failover", "failback", "maintenance")


def _read(journal: Journal, run: Run) -> tuple[tuple[Record, ...], Plan] | None:
    """A run's records and plan; None where they cannot be read."""
    try:
        return tuple(journal.records(run.id)), Plan.read(journal.plan_text(run.plan))
    except (DrorchError, ValidationError):
        return None


def _followed(said: Json, home: str, since: datetime) -> bool:
    """Whether a later look at the primary saw that somebody receives from it."""
    try:
        state = ReplicaState.model_validate(said)
    except ValidationError:
        return False
    return state.host == home and state.at > since and bool(state.followers)


def _time(said: Json) -> datetime | None:
    try:
        return datetime.fromisoformat(str(said))
    except ValueError:
        return None
