"""The nine rules of the off-site mirror: each has its own test, and each test is seen to fail when its rule is broken.

A rule is a function that asserts. `test_rule` runs it on drorch as it is; `test_broken` breaks the rule on purpose
first, and wants the assertion to fail: a test that nothing can fail proves nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from drorch.core.clock import FakeClock
from drorch.core.errors import DrorchError, Refused, StoreDenied, StoreError
from drorch.core.evidence import ProofLevel
from drorch.core.model import Json
from drorch.core.store import Lock, Version
from drorch.mirror import belonging, ledger, names, reclaim, recover, transfer
from drorch.mirror.names import CONFIG, Kind
from drorch.mirror.transfer import Known, Passed
from drorch.steps.audit import Audit
from drorch.steps.mirror import Mirror
from drorch.stores.memory import Call, Held, MemoryStore
from support.mirrors import FOLDER, Home, lacking, mirrored_world, offsite, sha
from support.tools import WorldTools

NOTHING = Known()


def passed(home: Home, store: MemoryStore, known: Known = NOTHING) -> Passed:
    """One mirror pass."""
    return transfer.transfer(home.shelf, store, FOLDER, known)


def judged(store: MemoryStore) -> None:
    """Have the copy judged after everything that is written to it or removed from it."""

    def judge(call: Call) -> None:
        if call.verb in {"put", "remove"}:
            assert not lacking(store), f"after {call.verb} of {call.key}"

    store.after.append(judge)


# -- the rules ---------------------------------------------------------------------------------------------------------


def sends_what_is_needed_first() -> None:
    """Packs, barrier, index, barrier, snapshots: whatever is there at a moment has all that it needs."""
    home = Home()
    for _ in range(4):
        home.back_up()
    store = offsite(home.clock)
    judged(store)
    passed(home, store)


def lists_what_is_needed_last() -> None:
    """Snapshots are listed before indexes, and these before packs: a backup in between is left for the next pass."""
    home = Home()
    home.back_up()
    store = offsite(home.clock)
    judged(store)

    def meanwhile(call: Call) -> None:
        if call.verb == "entries":
            home.back_up()

    home.shelf.before.append(meanwhile)
    passed(home, store)


def copies_only_what_belongs_to_a_repository() -> None:
    """Locks, temporary names and foreign files stay at home."""
    home = Home()
    home.back_up()
    for key in ("locks/" + "a" * 64, "data/ab/" + "ab" * 32 + "-tmp-1", "snapshots/notes.txt", "README"):
        home.shelf.put(key, b"", sha256=sha(b""))
    store = offsite(home.clock)
    passed(home, store)
    assert all(key == FOLDER + CONFIG or names.file_at(key[len(FOLDER) :]) for key in store.objects)
    assert not any("tmp" in key or "notes" in key for key in store.objects)


def begins_anew_when_a_pack_vanished() -> None:
    """A prune during the pass ends it before its next barrier, and everything is listed again."""
    home = Home()
    home.back_up()
    store = offsite(home.clock)
    judged(store)
    pruned: list[str] = []

    def meanwhile(call: Call) -> None:
        if call.verb == "read" and call.key.startswith("data/") and not pruned:
            pruned.append(call.key)
            home.prune()

    home.shelf.before.append(meanwhile)
    assert passed(home, store).rounds == 2
    assert not lacking(store)


def never_copies_rot() -> None:
    """What does not match its name at the source never arrives, whatever the store would take."""
    home = Home()
    home.back_up()
    (rotten,) = [entry.key for entry in home.shelf.entries("data/")][:1]
    held = home.shelf.objects[rotten][-1]
    home.shelf.objects[rotten] = [Held(held.id, b"rot", held.sha256, held.modified)]
    store = offsite(home.clock, careless=True)
    with suppress(StoreError):
        passed(home, store)
    assert FOLDER + rotten not in store.objects
    assert not lacking(store)


def never_mixes_repositories() -> None:
    """A config that differs is another repository: nothing is written."""
    clock = FakeClock()
    store = offsite(clock)
    mine, other = Home(clock), Home(clock, name="other")
    mine.back_up()
    other.back_up()
    passed(mine, store)
    before = dict(store.objects)
    with suppress(Refused):
        passed(other, store)
    assert store.objects == before


def keeps_keys() -> None:
    """Keys are added to a copy; one that is removed at the source stays."""
    home = Home()
    home.back_up()
    store = offsite(home.clock)
    passed(home, store)
    (first,) = [entry.key for entry in home.shelf.entries("keys/")]
    home.shelf.remove(first)
    second = home.add(Kind.KEYS, "another key")
    passed(home, store)
    note = reclaim.look(home.shelf, store, FOLDER)
    reclaim.reclaim(store, FOLDER, note)
    live = {entry.key for entry in store.entries(f"{FOLDER}keys/")}
    assert live == {FOLDER + first, f"{FOLDER}keys/{second}"}


def deletes_in_the_other_order() -> None:
    """Snapshots go first and packs last, so that whatever is left is whole."""
    home = Home()
    snapshots = [home.back_up() for _ in range(4)]
    store = offsite(home.clock)
    passed(home, store)
    for snapshot in snapshots[:3]:
        home.forget(snapshot)
    judged(store)
    gone = reclaim.look(home.shelf, store, FOLDER)
    reclaim.reclaim(store, FOLDER, gone)
    assert gone.count == 3 * 4


def deletes_nothing_before_its_time() -> None:
    """Only what was noted a grace period ago may go, after a complete pass with the same index, and no shrinking."""
    home = Home()
    snapshots = [home.back_up() for _ in range(5)]
    store = offsite(home.clock)
    done = passed(home, store)
    home.forget(snapshots[0])
    done = passed(home, store)
    known = ledger.Ledger(config=done.config, began=home.clock.now(), index=done.index)
    gone = reclaim.look(home.shelf, store, FOLDER)
    memory = _Memory()
    since = reclaim.note(memory, "offsite", "nas", gone, known, now=home.clock.now())
    later = home.clock.now() + timedelta(days=31)

    def allowed(**changed: object) -> int:
        asked = {"known": known, "grace": reclaim.GRACE, "now": later, "shrink": False, "since": since, **changed}
        with suppress(Refused):
            return reclaim.ripe(gone, **asked).count  # type: ignore[arg-type]  # by name
        return 0

    assert allowed() == 4
    assert allowed(now=home.clock.now() + timedelta(days=29)) == 0, "the grace period"
    assert allowed(since=None) == 0, "never noted"
    assert allowed(known=ledger.Ledger()) == 0, "no complete pass"
    assert allowed(known=known.model_copy(update={"index": "other"})) == 0, "another index"
    for snapshot in snapshots[1:4]:
        home.forget(snapshot)
    gone = reclaim.look(home.shelf, store, FOLDER)
    done = passed(home, store)
    known = ledger.Ledger(config=done.config, began=home.clock.now(), index=done.index)
    since = reclaim.note(memory, "offsite", "nas", gone, known, now=home.clock.now())
    assert allowed(known=known, since=since) == 0, "more than half"
    assert allowed(known=known, since=since, shrink=True) == 16


def holds_one_lease_with_prune(root: Path) -> None:
    """While a mirror runs nobody prunes: both hold the repository's lease."""
    world, _, store = mirrored_world(root)
    seen: list[bool] = []

    def held(call: Call) -> None:
        if call.verb == "put" and call.key.startswith("nas/"):
            seen.append("repository:nas" in world.held)

    store.before.append(held)
    world.evidence(Mirror(kind="mirror", store="offsite"))
    assert seen
    assert all(seen)


def extends_every_live_lock(root: Path) -> None:
    """An old pack that serves new snapshots is locked at every moment, as long as it is live."""
    world, _, store = mirrored_world(root, Lock(days=30))
    (old,) = [entry.key for entry in world.shelves["nas"].entries("data/")][:1]
    for run in range(12):
        world.as_run("backup", f"shop-nightly@{run}").evidence(Mirror(kind="mirror", store="offsite"))
        world.clock.at += timedelta(days=9)
        version = store.objects[f"nas/{old}"][0].id
        with pytest.raises(StoreDenied):
            store.remove(f"nas/{old}", version=version)


def recovers_whatever_was_done() -> None:
    """After everything was overwritten and deleted, the version whose hash equals its name is taken."""
    home = Home()
    for _ in range(3):
        home.back_up()
    store = offsite(home.clock)
    done = passed(home, store)
    home.clock.at += timedelta(hours=1)
    for key in list(store.objects):
        store.careless = True
        store.put(key, b"pay us", sha256=sha(b"pay us"))
        store.remove(key)
    into = MemoryStore("folder", clock=home.clock, versioned=False)
    recover.recover(store, FOLDER, into, as_of=None, config=done.config)
    assert {key: held[-1].content for key, held in into.objects.items()} == {
        key: held[-1].content for key, held in home.shelf.objects.items()
    }


def never_merges_levels(root: Path) -> None:
    """A listing shows no checksum, a checksum shows no bytes: each audit claims what it looked at, and no more."""
    world, _, _ = mirrored_world(root)
    world.evidence(Mirror(kind="mirror", store="offsite"))
    depths: dict[str, dict[str, Json]] = {
        "listing": {"recorded": False, "within": None},
        "recorded": {"recorded": True, "within": None},
        "a share": {"recorded": True, "within": "90d"},
        "everything": {"everything": True},
    }
    levels = {
        depth: world.evidence(Audit.model_validate({"kind": "audit", "store": "offsite", **asked})).levels.get("media")
        for depth, asked in depths.items()
    }
    assert levels == {
        "listing": None,
        "recorded": ProofLevel.COPIED,
        "a share": ProofLevel.COPIED,
        "everything": ProofLevel.INTACT,
    }


# -- how each is broken ------------------------------------------------------------------------------------------------


def _reversed_upload(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "UPLOADED", tuple(reversed(names.UPLOADED)))


def _reversed_listing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "LISTED", tuple(reversed(names.LISTED)))


def _any_name(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "file_at", lambda key: names.File(Kind.SNAPSHOTS, key.rpartition("/")[2]))
    patch.setattr(names.Files, "add", lambda files, id_, _: _TAKEN.setdefault(id(files), []).append(id_))
    patch.setattr(names.Files, "__iter__", _taken)
    patch.setattr(transfer._Pass, "_content", lambda *_: b"")
    patch.setattr(MemoryStore, "put", lambda store, key, *_, **__: store.objects.update({key: []}))


_TAKEN: dict[int, list[str]] = {}


def _taken(files: names.Files) -> Iterator[tuple[names.File, int]]:
    return ((names.File(Kind.SNAPSHOTS, id_), 0) for id_ in _TAKEN.get(id(files), ()))


def _vanishing_unseen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer._Pass, "_passable", lambda *_: None)


def _unread(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer._Pass, "_content", lambda self, file: self.source.read(file.key, limit=1 << 20))


def _no_identity(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(belonging, "agree", lambda *_: None)
    patch.setattr(transfer._Pass, "_put_config", lambda *_: None)


def _keys_go(patch: pytest.MonkeyPatch) -> None:
    everything = (*names.REMOVED, Kind.KEYS)
    patch.setattr(reclaim, "REMOVED", everything)
    patch.setattr(reclaim, "look", _looked_at_keys)


def _looked_at_keys(source: MemoryStore, target: MemoryStore, folder: str) -> reclaim.Gone:
    live = {entry.key for entry in source.entries("keys/")}
    ids = {
        e.key.rpartition("/")[2]: e.size for e in target.entries(f"{folder}keys/") if e.key[len(folder) :] not in live
    }
    return reclaim.Gone({**{kind: {} for kind in names.REMOVED}, Kind.KEYS: ids})


def _packs_go_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reclaim, "REMOVED", tuple(reversed(names.REMOVED)))


def _at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reclaim, "ripe", lambda gone, **_: gone)


def _no_lease(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def nothing(*_: object, **__: object) -> Iterator[None]:
        yield

    patch.setattr(WorldTools, "lease", nothing)


def _no_extension(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger, "extension", lambda *_: None)


def _newest_only(patch: pytest.MonkeyPatch) -> None:
    proper = MemoryStore.versions

    def latest(self: MemoryStore, start: str) -> Iterator[Version]:
        return (version for version in proper(self, start) if version.latest)

    patch.setattr(MemoryStore, "versions", latest)


def _one_level(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Audit, "_levels", lambda *_: {"media": ProofLevel.INTACT})


@dataclass(frozen=True)
class Rule:
    """A rule of FIELD's list by its number, its test, and how to break it."""

    number: int
    holds: Callable[..., None]
    broken: Callable[[pytest.MonkeyPatch], None]


RULES = (
    Rule(1, sends_what_is_needed_first, _reversed_upload),
    Rule(1, lists_what_is_needed_last, _reversed_listing),
    Rule(1, copies_only_what_belongs_to_a_repository, _any_name),
    Rule(2, begins_anew_when_a_pack_vanished, _vanishing_unseen),
    Rule(3, never_copies_rot, _unread),
    Rule(4, never_mixes_repositories, _no_identity),
    Rule(4, keeps_keys, _keys_go),
    Rule(5, deletes_in_the_other_order, _packs_go_first),
    Rule(5, deletes_nothing_before_its_time, _at_once),
    Rule(6, holds_one_lease_with_prune, _no_lease),
    Rule(7, extends_every_live_lock, _no_extension),
    Rule(8, recovers_whatever_was_done, _newest_only),
    Rule(9, never_merges_levels, _one_level),
)
NAMED = [pytest.param(rule, id=f"{rule.number}-{rule.holds.__name__}") for rule in RULES]


def _try(rule: Rule, root: Path) -> None:
    rule.holds(root) if rule.holds.__code__.co_argcount else rule.holds()


@pytest.mark.parametrize("rule", NAMED)
def test_rule(rule: Rule, tmp_path: Path) -> None:
    """Each rule holds."""
    _try(rule, tmp_path)


@pytest.mark.parametrize("rule", NAMED)
def test_broken(rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule's test notices when the rule is broken."""
    rule.broken(monkeypatch)
    with pytest.raises((AssertionError, DrorchError, pytest.fail.Exception)):
        _try(rule, tmp_path)


class _Memory:
    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def get(self, key: str) -> object:
        return self.values.get(key)

    def put(self, key: str, value: object) -> None:
        self.values[key] = value
