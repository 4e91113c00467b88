"""Choosing a recovery point, over lists of snapshots: no world."""

from datetime import UTC, datetime, timedelta

import pytest

from drorch.core.errors import DrorchError
from drorch.core.model import SecretRef
from drorch.core.repository import RepositorySpec, Snapshot, Tags
from drorch.core.scene import Objectives, Scene
from drorch.sources.postgres import Postgres
from drorch.steps._points import choose

NOW = datetime(2026, 3, 10, tzinfo=UTC)
SOURCE = Postgres(kind="postgres", database="shop")
PARTS = tuple(part.name for part in SOURCE.parts())
SCENE = Scene(
    kind="drill",
    service="shop",
    objectives=Objectives(),
    primary="web1",
    target="web2",
    sources={"database": SOURCE, "copy": SOURCE},
    repository="nas",
    repositories={"nas": RepositorySpec(url="/srv/nas", password=SecretRef(secret="nas"))},
    hosts=frozenset({"web1", "web2"}),
    controller_side=frozenset(),
    work={"web1": "~/.drorch", "web2": "~/.drorch"},
)


def snapshot(day: int, part: str, *, source: str = "database", number: int = 0) -> Snapshot:
    """What the backup of that day took of one part."""
    tags = Tags(service="shop", source=source, part=part, run=f"nightly@{day}", plan="0" * 16)
    digits = f"{day:02x}{PARTS.index(part):02x}{number:02x}{len(source):02x}"
    return Snapshot(id=digits.ljust(64, "0"), time=NOW - timedelta(days=10 - day), host="web1", tags=tags.words())


def night(day: int, source: str = "database") -> list[Snapshot]:
    """A whole point."""
    return [snapshot(day, part, source=source) for part in PARTS]


NIGHTS = [each for day in (1, 2, 3) for each in night(day)]


def picked(snapshots: list[Snapshot], selection: str, *, source: str = "database", run: str = "drill@1") -> str:
    """The run whose point is chosen."""
    return choose(snapshots, SCENE, source, selection, run=run, now=NOW).run


@pytest.mark.parametrize(
    ("selection", "run"),
    [
        ("latest", "nightly@3"),
        ("before:2026-03-03T00:00:00Z", "nightly@2"),
        ("before:2026-03-02T12:00:00+02:00", "nightly@2"),
        (night(1)[0].id, "nightly@1"),
        (night(2)[-1].id[:8], "nightly@2"),
    ],
)
def test_a_selection_means_one_point(selection: str, run: str) -> None:
    """Each way to say which point is meant gives that point."""
    assert picked(NIGHTS, selection) == run


def test_only_whole_points_count() -> None:
    """A night on which a part is missing is passed over for the one before."""
    assert picked([*NIGHTS, snapshot(4, PARTS[-1])], "latest") == "nightly@3"


def test_every_part_comes_from_the_same_run() -> None:
    """The parts of a point belong together, the main one last."""
    chosen = choose(NIGHTS, SCENE, "database", "latest", run="drill@1", now=NOW)
    assert list(chosen.parts) == list(PARTS)
    assert chosen.main.origin is not None
    assert {each.origin.run for each in chosen.parts.values() if each.origin} == {"nightly@3"}
    assert chosen.main.origin.part == PARTS[-1]


def test_a_part_taken_twice_counts_once() -> None:
    """Of two snapshots of one part in one run, the newer is taken."""
    later = snapshot(3, PARTS[-1], number=1).model_copy(update={"time": NOW - timedelta(days=6)})
    chosen = choose([*NIGHTS, later], SCENE, "database", "latest", run="drill@1", now=NOW)
    assert chosen.main == later


def test_snapshots_from_the_future_are_no_candidates() -> None:
    """A snapshot whose time lies after the run's start is not restored."""
    assert picked([*NIGHTS, *night(12)], "latest") == "nightly@3"


def test_random_stays_the_same_for_a_run_and_differs_between_runs() -> None:
    """A second attempt of a run restores the same point, and many runs visit them all."""
    assert len({picked(NIGHTS, "random", run="drill@7") for _ in range(5)}) == 1
    assert {picked(NIGHTS, "random", run=f"drill@{n}") for n in range(50)} == {"nightly@1", "nightly@2", "nightly@3"}


def test_another_sources_snapshot_means_its_run() -> None:
    """A snapshot id given for a whole drill picks, of the other sources, what the same run took."""
    both = [*NIGHTS, *night(1, "copy"), *night(2, "copy")]
    assert picked(both, night(1, "copy")[0].id) == "nightly@1"


@pytest.mark.parametrize(
    ("snapshots", "selection", "told"),
    [
        ([], "latest", "run a backup first"),
        ([snapshot(1, PARTS[0])], "latest", "lack a part"),
        (night(12), "latest", "was a clock wrong"),
        (NIGHTS, "before:2020-01-01T00:00:00Z", "2026-03-01"),
        (NIGHTS, "deadbeef", "2026-03-01"),
        (night(1, "copy"), "latest", "run a backup first"),
    ],
)
def test_nothing_to_restore_says_what_there_is(snapshots: list[Snapshot], selection: str, told: str) -> None:
    """Without a fitting point the error tells what there is instead."""
    with pytest.raises(DrorchError) as caught:
        picked(snapshots, selection)
    assert told in str(caught.value)


def test_an_ambiguous_id_is_refused() -> None:
    """Digits with which two snapshots begin choose neither."""
    twins = [each.model_copy(update={"id": "abcdef01" + each.id[:56]}) for each in NIGHTS]
    with pytest.raises(DrorchError, match="begin with abcdef01"):
        picked(twins, "abcdef01")
