"""What the steps on off-site copies tell, remember and refuse, in a small world."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drorch.core.errors import StoreError, StoreUnreachable
from drorch.core.evidence import Evidence, Failure, Outcome, ProofLevel
from drorch.core.store import Lock
from drorch.mirror import ledger
from drorch.mirror.names import Kind
from drorch.steps.audit import Audit
from drorch.steps.mirror import Mirror
from drorch.stores.memory import Call, Held, MemoryStore, failing
from support.mirrors import Home, lacking, mirrored_world, sha
from support.tools import Cut, World, WorldTools

MIRROR = Mirror(kind="mirror", store="offsite")
AUDIT = Audit(kind="audit", store="offsite")


@dataclass
class Place:
    """A service with a backup, the files of its repository, and a store."""

    world: World
    home: Home
    store: MemoryStore

    def night(self, number: int, step: Any = MIRROR) -> Outcome:  # noqa: ANN401 - any step
        """One more run."""
        return self.world.as_run("backup", f"shop-nightly@{number}").perform(step)

    def good(self, number: int, step: Any = MIRROR) -> Evidence:  # noqa: ANN401 - any step
        """One that succeeds."""
        outcome = self.night(number, step)
        assert isinstance(outcome, Evidence), outcome
        return outcome


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Without locks."""
    return Place(*mirrored_world(tmp_path))


@pytest.fixture
def locked(tmp_path: Path) -> Place:
    """With locks of 30 days."""
    return Place(*mirrored_world(tmp_path, Lock(days=30)))


def test_a_store_that_got_worse_is_an_alarm(place: Place) -> None:
    """The copy is brought up to date, but the step fails until a person accepts less, also the night after."""
    assert place.good(1).levels == {"media": ProofLevel.COPIED}
    place.home.back_up()
    place.store.careless = True
    place.world.clock.at += timedelta(hours=25)
    for night in (2, 3):
        failed = place.night(night)
        assert isinstance(failed, Failure)
        assert "got worse" in failed.why
        assert "--accept" in failed.hint
    assert not lacking(place.store)


def test_a_store_that_refuses_nothing_proves_nothing(place: Place) -> None:
    """A copy in a store that takes any content is made, but claims no level and says why."""
    place.store.careless = True
    done = place.good(1)
    assert done.levels == {}
    assert "takes content that does not match" in done.exceptions[0]


def test_a_probe_lasts_a_day(place: Place) -> None:
    """The store is tried once a day, not each time."""
    for hours in (0, 1, 22, 3):
        place.world.clock.at += timedelta(hours=hours)
        place.good(hours)
    assert [call.verb for call in place.store.calls].count("probe") == 2


def test_a_quiet_pass_costs_listings_only(locked: Place) -> None:
    """When nothing is new and no lock is due, nothing is sent, extended or looked at."""
    locked.good(1)
    locked.world.clock.at += timedelta(hours=2)
    before = len(locked.store.calls)
    quiet = locked.good(2)
    assert {call.verb for call in locked.store.calls[before:]} == {"ready", "entries", "read"}
    assert [call.key for call in locked.store.calls[before:] if call.verb == "read"] == ["nas/config"] * 2
    assert quiet.facts["uploaded"] == quiet.facts["extended"] == 0


def test_locks_are_extended_each_third(locked: Place) -> None:
    """Extended as a whole when a third of the time has passed, and not before."""
    extended = []
    for night in range(12):
        extended.append(locked.good(night).facts["extended"] > 0)
        locked.world.clock.at += timedelta(days=5)
    assert extended == [False, False, False, True, False, False, True, False, False, True, False, False]


def test_a_pass_that_breaks_off_goes_on(place: Place) -> None:
    """What was sent before a store failed is not sent again, and what is there is whole."""
    for _ in range(5):
        place.home.back_up()
    place.store.before.append(failing("put", StoreUnreachable("the line is down"), at=7, key="nas/"))
    failed = place.night(1)
    assert isinstance(failed, Failure)
    assert failed.retryable
    assert not lacking(place.store)
    sent = {key for key in place.store.objects if key.startswith("nas/")}
    again = place.good(2)
    assert again.facts["uploaded"] == again.facts["objects"] - len(sent)


def test_a_deadline_ends_it_in_order(place: Place) -> None:
    """When its time is up the step says so, and the copy is whole."""

    def pass_time(_: Call) -> None:
        place.world.clock.at += timedelta(minutes=10)

    place.store.before.append(pass_time)
    outcome = place.night(1, MIRROR.model_copy(update={"timeout": timedelta(hours=2)}))
    assert isinstance(outcome, Failure)
    assert outcome.timed_out
    assert not lacking(place.store)


def test_what_others_wrote_is_looked_at(place: Place) -> None:
    """An object of the right size that was written since is compared, and mended when it is wrong."""
    place.good(1)
    place.world.clock.at += timedelta(hours=1)
    key = next(iter(place.home.shelf.entries("data/"))).key
    right = place.store.objects[f"nas/{key}"][-1].content
    place.store.careless = True
    place.store.put(f"nas/{key}", b"x" * len(right), sha256="0" * 64)
    place.store.careless = False
    mended = place.good(2)
    assert mended.facts["replaced_keys"] == [key]
    assert place.store.objects[f"nas/{key}"][-1].content == right


def test_a_copy_made_by_others_is_adopted_by_looking(place: Place) -> None:
    """When nothing is remembered every object there is compared once; then none."""
    place.good(1)
    place.world.values.clear()
    assert place.good(2).facts["looked_at"] == place.good(1).facts["objects"] - 1
    assert place.good(3).facts["looked_at"] == 0


def test_rot_at_the_source_is_named(place: Place) -> None:
    """A pack that rotted at home is named, is not copied, and what was copied before stays."""
    place.good(1)
    place.home.back_up()
    there = {one.key for one in place.store.entries("nas/")}
    rotten = next(one.key for one in place.home.shelf.entries("data/") if f"nas/{one.key}" not in there)
    held = place.home.shelf.objects[rotten][-1]
    place.home.shelf.objects[rotten] = [Held(held.id, b"rot", held.sha256, held.modified)]
    failed = place.night(2)
    assert isinstance(failed, Failure)
    assert rotten in failed.why
    assert "bit rot" in failed.why
    assert not lacking(place.store)


FINDINGS: dict[str, tuple[Any, str]] = {
    "missing": (lambda store, key: store.objects.pop(key), "missing"),
    "another size": (lambda store, key: _overwrite(store, key, b""), "altered"),
    "same size": (lambda store, key: _overwrite(store, key, b"x" * len(store.objects[key][-1].content)), "altered"),
    "sealed": (lambda store, key: _change(store, key, customer_key=True), "altered"),
    "unlocked": (lambda store, key: _change(store, key, locked_until=None), "unlocked"),
    "expiring": (
        lambda store, key: _change(store, key, locked_until=store.clock.now() + timedelta(days=2)),
        "expiring",
    ),
}


def _overwrite(store: MemoryStore, key: str, content: bytes) -> None:
    _change(store, key, content=content, sha256="0" * 64)


def _change(store: MemoryStore, key: str, **changed: Any) -> None:  # noqa: ANN401 - any field
    held = store.objects[key][-1]
    fields = {name: getattr(held, name) for name in Held.__slots__}
    store.objects[key] = [Held(**{**fields, **changed})]


@pytest.mark.parametrize("case", FINDINGS)
def test_an_audit_names_exactly_what_is_wrong(locked: Place, case: str) -> None:
    """One object in one way: it is counted there, by its key, and nowhere else."""
    locked.world.clock.at += timedelta(hours=1)
    locked.good(1)
    spoil, finding = FINDINGS[case]
    key = next(iter(locked.home.shelf.entries("data/"))).key
    spoil(locked.store, f"nas/{key}")
    failed = locked.night(2, AUDIT)
    assert isinstance(failed, Failure)
    assert failed.facts[f"{finding}_keys"] == [key]
    assert failed.facts["problems"] == 1


def test_rot_that_only_reading_shows(locked: Place) -> None:
    """Bytes that changed under a checksum that did not are found by reading, and by nothing less."""
    locked.good(1)
    key = next(iter(locked.home.shelf.entries("data/"))).key
    content = locked.store.objects[f"nas/{key}"][-1].content
    _change(locked.store, f"nas/{key}", content=b"x" * len(content))
    assert locked.good(2, AUDIT.model_copy(update={"within": None})).facts["problems"] == 0
    failed = locked.night(3, AUDIT.model_copy(update={"everything": True}))
    assert isinstance(failed, Failure)
    assert failed.facts["altered_keys"] == [key]


def test_everything_is_read_within_the_period(place: Place) -> None:
    """Audited once a week, all bytes are read within 28 days, and it is known up to when all was whole."""
    for kind in range(300):
        place.home.add(Kind.DATA, f"extra {kind}")
    place.good(0)
    weekly = AUDIT.model_copy(update={"within": timedelta(days=28)})
    shares = []
    for week in range(6):
        done = place.good(week + 1, weekly)
        shares.append(done.facts["hashed"] / done.facts["listed"])
        place.world.clock.at += timedelta(days=7)
    assert done.facts["coverage_percent"] == 100.0
    assert done.facts["intact_until"] is not None
    assert max(shares) < 0.5


def test_what_is_not_copied_yet_is_not_missing(place: Place) -> None:
    """What came after the last pass is pending, and what the repository no longer has is kept."""
    place.good(1)
    place.world.clock.at += timedelta(hours=1)
    gone = place.home.back_up()
    place.good(2)
    place.home.forget(gone)
    place.world.clock.at += timedelta(hours=1)
    place.home.back_up()
    done = place.good(3, AUDIT)
    assert (done.facts["pending"], done.facts["kept"], done.facts["missing"]) == (4, 4, 0)


def test_without_the_repository_the_audit_says_what_it_cannot_know(place: Place) -> None:
    """A copy is audited by its names alone when its source is gone, and says that missing ones are not known."""
    place.good(1)
    place.home.shelf.objects.clear()
    done = place.good(2, AUDIT)
    assert "what is missing in the copy is not known" in done.exceptions[0]
    assert done.facts["recorded"] > 0


def test_the_ledger_is_written_on_success_only(place: Place) -> None:
    """A pass that failed leaves what was remembered as it was."""
    place.good(1)
    memory = WorldTools(place.world, "", Cut()).memory
    before = ledger.read(memory, "offsite", "nas")
    place.home.back_up()
    place.store.before.append(failing("put", StoreUnreachable("down"), key="nas/snapshots"))
    assert isinstance(place.night(2), Failure)
    assert ledger.read(memory, "offsite", "nas") == before


def test_what_strangers_wrote_is_read_whole(place: Place) -> None:
    """An object that came after the last pass is read, though neither its share is due nor its source is left."""
    place.good(1)
    place.world.clock.at += timedelta(hours=1)
    key = next(iter(place.home.shelf.entries("data/"))).key
    place.home.shelf.objects.clear()
    size = len(place.store.objects[f"nas/{key}"][-1].content)
    _change(place.store, f"nas/{key}", content=b"x" * size, modified=place.world.clock.now())
    failed = place.night(2, AUDIT.model_copy(update={"within": None}))
    assert isinstance(failed, Failure)
    assert failed.facts["altered_keys"] == [key]


def test_what_the_repository_never_had_is_told(place: Place) -> None:
    """Who has the writer's key can add files whose hash is their name: audit and mirror say which."""
    place.good(1)
    place.world.clock.at += timedelta(hours=1)
    forged = f"index/{sha(b'forged')}"
    place.store.put(f"nas/{forged}", b"forged", sha256=sha(b"forged"))
    place.store.put("nas/a\n✓ well", b"", sha256=sha(b""))
    audited = place.good(2, AUDIT)
    assert set(audited.exceptions) == {f"unexpected in the copy: {key}" for key in (forged, "a\\n✓ well")}
    (said,) = place.good(3).exceptions
    assert forged in said


@pytest.mark.parametrize("sealed", [True, False])
def test_what_only_its_writer_can_read_is_altered(place: Place, *, sealed: bool) -> None:
    """The audit goes on to its end and names all of it; a store that just does not give something is no finding."""
    place.good(1)
    keys = ["config", next(iter(place.home.shelf.entries("data/"))).key]
    for key in keys:
        _change(place.store, f"nas/{key}", customer_key=sealed)

    def refuse(call: Call) -> None:
        if call.verb == "read" and call.key in {f"nas/{key}" for key in keys}:
            raise StoreError("it refused")

    place.store.before.append(refuse)
    failed = place.night(2, AUDIT.model_copy(update={"everything": True}))
    assert isinstance(failed, Failure)
    assert failed.facts.get("altered_keys") == (keys if sealed else None)
    assert sealed or failed.why == "it refused"


def test_what_an_audit_found_is_mended_whatever_its_age(place: Place) -> None:
    """A file that was overwritten in the very second of its pass is mended once an audit has named it."""
    done = place.good(1)
    key = next(iter(place.home.shelf.entries("data/"))).key
    right = place.store.objects[f"nas/{key}"][-1].content
    _overwrite(place.store, f"nas/{key}", b"x" * len(right))
    assert place.good(2).facts["replaced"] == 0
    assert isinstance(place.night(3, AUDIT), Failure)
    assert place.good(4).facts["replaced_keys"] == [key]
    assert place.good(5, AUDIT).facts["recorded"] == done.facts["objects"] - 1


def test_junk_is_no_damage(place: Place) -> None:
    """A file with a repository's name that the repository never had is unexpected, and keeps no audit from passing."""
    place.good(1)
    junk = "a" * 64
    place.store.careless = True
    place.store.put(f"nas/data/aa/{junk}", b"junk", sha256=junk)
    done = place.good(2, AUDIT.model_copy(update={"everything": True}))
    assert (done.facts["unexpected_keys"], done.facts["altered"]) == ([f"data/aa/{junk}"], 0)


def test_another_place_is_another_copy(place: Place) -> None:
    """What is remembered of one bucket is not believed of the next one of the same name."""
    place.good(1)
    place.store.name = "offsite elsewhere"
    assert place.good(2).facts["looked_at"] > 0
