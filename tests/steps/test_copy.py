"""What `copy` promises beyond the contract, performed in a small world."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from drorch.core.errors import RepositoryError
from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Domain
from drorch.core.model import Json, SecretRef
from drorch.core.repository import RepositorySpec, Snapshot
from drorch.core.step import Step
from drorch.sources.files import Files
from drorch.steps import AnyStep
from drorch.steps.copy import Copy
from support.tools import START, World, WorldTools

ADAPTER: TypeAdapter[Step] = TypeAdapter(AnyStep)
COPY: Json = {"kind": "copy", "to": "vault2"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A shop with two folders, seen by a nightly run."""
    sources = {}
    for name in ("media", "papers"):
        folder = tmp_path / "primary" / name
        folder.mkdir(parents=True)
        (folder / "a").write_text(name)
        sources[name] = Files(kind="files", paths=(str(folder),))
    return World(tmp_path, sources, kind="backup", run="shop-nightly@2026-03-01T02:30Z")


def _step(said: Json) -> Step:
    return ADAPTER.validate_python(said)


def _night(world: World, days: int, *sources: str) -> dict[str, Evidence]:
    nightly = world.as_run("backup", f"shop-nightly@-{days}", START - timedelta(days=days))
    return {f"backup-{name}": nightly.evidence(_step({"kind": "backup", "source": name})) for name in sources}


def _there(world: World, name: str = "vault2") -> tuple[Snapshot, ...]:
    return world.repositories[name].snapshots(world.at)


def _failed(world: World, said: Json = COPY, **how: Any) -> Failure:  # noqa: ANN401 - whatever `perform` takes
    outcome = world.perform(_step(said), **how)
    assert isinstance(outcome, Failure), outcome
    return outcome


def test_every_point_is_copied_once(world: World) -> None:
    """The first run copies all, the next what came since; each source's newest point is shown as copied."""
    _night(world, 3, "media", "papers")
    _night(world, 2, "media")
    done = world.evidence(_step(COPY))
    assert (done.facts["copied"], done.facts["there_already"]) == (3, 0)
    assert done.levels == {"media": ProofLevel.COPIED, "papers": ProofLevel.COPIED}
    _night(world, 1, "media", "papers")
    done = world.as_run("backup", "shop-nightly@next").evidence(_step(COPY))
    assert (done.facts["copied"], done.facts["there_already"]) == (2, 3)
    (new,) = done.facts["new"]["media"]
    assert done.facts["points"]["media"]["copy"] == new
    assert done.facts["points"]["media"]["time"] == (START - timedelta(days=1)).isoformat()
    originals = {each.original: each for each in _there(world)}
    assert originals.keys() == {each.id for each in _there(world, "nas")}
    assert originals[done.facts["points"]["media"]["snapshot"]].id == new


def test_only_the_newest_of_some(world: World) -> None:
    """`latest` leaves older points where they are, and `sources` the other sources."""
    for days in (3, 2, 1):
        _night(world, days, "media", "papers")
    done = world.evidence(_step({**COPY, "only": "latest", "sources": ["media"]}))
    assert set(done.levels) == {"media"}
    (copy,) = _there(world)
    assert copy.id == done.facts["points"]["media"]["copy"]
    assert copy.time == START - timedelta(days=1)


def test_a_source_without_a_point_is_an_exception(world: World) -> None:
    """The others are copied, and nothing is claimed of it; with nothing at all the step fails."""
    assert "no complete recovery point of media or papers" in _failed(world).why
    _night(world, 1, "media")
    done = world.evidence(_step(COPY))
    assert set(done.levels) == {"media"}
    assert len(done.exceptions) == 1
    assert "papers" in done.exceptions[0]


def test_a_backup_of_this_run_that_is_gone_is_alarming(world: World) -> None:
    """What the run took an hour ago and is not there now was removed by somebody: that is no success."""
    earlier = _night(world, 0, "media", "papers")
    _night(world, 1, "media", "papers")
    taken = earlier["backup-media"].facts["snapshot"]
    world.repositories["nas"].forget(world.at, [taken], prune=True)
    failure = _failed(world, earlier=earlier)
    assert taken[:12] in failure.why
    assert "who removed it" in failure.hint


def test_both_repositories_are_held_in_one_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is the source, the leases are taken by name, and a busy one is waited for before anything is read."""
    _night(world, 1, "media", "papers")
    asked: list[str] = []
    lease = WorldTools.lease

    @contextmanager
    def noted(self: WorldTools, name: str, *, wait: timedelta) -> Iterator[None]:
        asked.append(name)
        with lease(self, name, wait=wait):
            yield

    monkeypatch.setattr(WorldTools, "lease", noted)
    world.evidence(_step(COPY))
    turned = world.as_run("backup", "other@1")
    turned.scene = world.scene_with(repository="vault2")
    turned.perform(_step({**COPY, "to": "nas"}))
    assert asked == ["repository:nas", "repository:vault2"] * 2
    world.held.add("repository:vault2")
    assert _failed(world).retryable


def _checks(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Json]:
    target: Any = world.repositories["vault2"]
    check, done = target.check, []

    def noted(at: object, *, subset: object) -> object:
        done.append(subset)
        return check(at, subset=subset)

    monkeypatch.setattr(target, "check", noted)
    return done


def test_the_structure_is_checked_when_something_was_copied(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not again while nothing is new."""
    checks = _checks(world, monkeypatch)
    for run, taken in enumerate((("media", "papers"), (), ("papers",))):
        _night(world, 3 - run, *taken)
        world.as_run("backup", f"shop-nightly@{run}").evidence(_step(COPY))
    assert checks == [None, None]


def test_no_level_without_a_good_check(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage in the copy fails the step, and the check is done again next time although nothing is new by then."""
    _night(world, 1, "media", "papers")

    def damaged(*_: object, **__: object) -> None:
        raise RepositoryError("the repository is damaged")

    with monkeypatch.context() as patched:
        patched.setattr(world.repositories["vault2"], "check", damaged)
        assert "damaged" in _failed(world).why
    checks = _checks(world, monkeypatch)
    done = world.as_run("backup", "shop-nightly@again").evidence(_step(COPY))
    assert (done.facts["copied"], checks) == (0, [None])


def test_each_run_reads_the_next_share_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `subset` a share is read every time, and the coverage told; `check` goes on where `copy` stopped."""
    checks = _checks(world, monkeypatch)
    _night(world, 1, "media", "papers")
    for run in range(2):
        done = world.as_run("backup", f"shop-nightly@{run}").evidence(_step({**COPY, "subset": "1/3"}))
    assert done.facts["check"]["coverage_percent"] == 66.7
    check = _step({"kind": "check", "repository": "vault2", "subset": "1/3"})
    assert world.as_run("backup", "check@1").evidence(check).facts["coverage_percent"] == 100.0
    assert checks == [(1, 3), (2, 3), (3, 3)]


def test_what_a_drill_proved_from_the_copy_stays_in_both(world: World) -> None:
    """A point restored from the copy is protected where it came from, and the other way round."""
    taken = _night(world, 9, "media", "papers")
    world.evidence(_step(COPY))
    drill = world.as_run("drill", "shop-drill@1")
    restore = drill.evidence(_step({"kind": "restore", "source": "media", "repository": "vault2"}))
    verify = drill.evidence(_step({"kind": "verify", "source": "media"}), {"restore-media": restore})
    original = taken["backup-media"].facts["snapshot"]
    assert (restore.facts["original"], verify.facts["original"]) == (original, original)
    assert restore.facts["snapshot"] != original
    for days in (3, 2, 1):
        _night(world, days, "media", "papers")
    world.evidence(_step(COPY))
    for repository in ("nas", "vault2"):
        keep = {"kind": "retain", "keep": {"last": 1}, "sources": ["media"], "repository": repository}
        facts = world.as_run("backup", f"retain@{repository}").evidence(_step(keep)).facts
        kept = [id_ for id_, why in facts["kept"]["media"].items() if "protected" in why]
        assert kept == [original if repository == "nas" else restore.facts["snapshot"]]


# --- what `drorch check` says ---------------------------------------------------------------------------------------


def _spec(url: str, opened_by: str, key: str = "", domain: Domain | None = None) -> RepositorySpec:
    credentials = {"AWS_ACCESS_KEY_ID": SecretRef(secret=key)} if key else {}
    password = SecretRef(secret=opened_by)
    return RepositorySpec(url=url, password=password, credentials=credentials, domain=domain or Domain())


NAS = _spec("/srv/nas", "canary")
WRONG: dict[str, tuple[RepositorySpec, RepositorySpec, str]] = {
    "one place": (NAS, _spec("/srv/nas", "copy"), "are one place"),
    "one password": (NAS, _spec("/srv/vault2", "canary"), "the same password"),
    "two accounts": (
        _spec("s3:https://a.example.com/b", "canary", "one"),
        _spec("s3:https://b.example.com/b", "copy", "other"),
        "two accounts",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_a_copy_is_a_problem(world: World, case: str) -> None:
    """The same place, the same password and two S3 accounts are told before anything runs."""
    own, other, words = WRONG[case]
    scene = world.scene_with(repositories={"nas": own, "vault2": other})
    ((key, message, hint),) = Copy(kind="copy", to="vault2").problems(scene)
    assert (key, words in message, bool(hint)) == ("to", True, True)


def test_the_services_own_repository_is_no_copy(world: World) -> None:
    """It is refused by its name."""
    ((_, message, _),) = Copy(kind="copy", to="nas").problems(world.scene)
    assert "own repository" in message


@pytest.mark.parametrize(
    ("own", "other", "doubtful"),
    [
        (Domain(), Domain(), False),
        (Domain(provider="a"), Domain(provider="b"), False),
        (Domain(provider="a"), Domain(provider="a"), True),
    ],
)
def test_a_copy_in_the_same_domain_is_doubtful(world: World, own: Domain, other: Domain, doubtful: bool) -> None:  # noqa: FBT001 - a column
    """Where both fail together the copy is worth less: that is a warning; what is not said is not judged."""
    specs = {"nas": _spec("/srv/nas", "canary", domain=own), "vault2": _spec("/srv/vault2", "copy", domain=other)}
    assert bool(Copy(kind="copy", to="vault2").doubts(world.scene_with(repositories=specs))) is doubtful
