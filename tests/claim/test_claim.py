"""Of two controllers that want to move a service only one may, in whatever store they meet."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from drorch.claim.footing import Footing, doubt, footing, known
from drorch.claim.log import FOLDER, SETTLED, Book, Released, Unreadable
from drorch.claim.rules import Claim, Event, Home
from drorch.core.clock import FakeClock, SystemClock
from drorch.core.evidence import Failure
from drorch.core.model import Json
from drorch.core.store import Store
from drorch.stores.memory import Call, MemoryStore
from support import claiming
from support.claiming import SURE, Heedless, folder_store, got, nonce, refused, wanted
from support.rclone import RcloneS3
from support.s3store import opened
from support.stores import KINDS, Given, Stage, sha

UNSURE = Footing(sure=False, reason="of a test")
WHERE = ("memory", "memory-versioned", "directory", "sftp", "ceph", "ceph-versioned")


@dataclass
class Place:
    """A store that controllers share."""

    kind: str
    stage: Stage

    def book(self) -> Book:
        """Another controller's."""
        return Book(self.stage.open(), "shop", SystemClock())


@pytest.fixture(params=WHERE)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each kind of store in turn, in an empty place."""
    folder = tmp_path / "store"
    folder.mkdir()
    with ExitStack() as stack:
        yield Place(request.param, KINDS[request.param](Given(request.getfixturevalue, folder, stack)))


class Notes:
    """`core.step.Memory` in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, Json] = {}

    def get(self, key: str) -> Json:
        return self.values.get(key)

    def put(self, key: str, value: Json) -> None:
        self.values[key] = value


def at_once(actors: list[Callable[[], Claim | Failure]]) -> list[Claim | Failure]:
    """Done by as many threads, all beginning together."""
    barrier = threading.Barrier(len(actors))

    def act(actor: Callable[[], Claim | Failure]) -> Claim | Failure:
        barrier.wait(20)
        return actor()

    with ThreadPoolExecutor(len(actors)) as threads:
        return list(threads.map(act, actors))


# -- in every kind of store --------------------------------------------------------------------------------------------


def test_one_of_many_wins(place: Place) -> None:
    """Of many who ask at once exactly one has it, and all the others are told who."""
    names = [f"c{number}" for number in range(8 if place.kind == "sftp" else 20)]
    books = [place.book() for _ in names]
    for book in books:
        book.store.ready()
    outcomes = at_once(
        [lambda book=book, name=name: book.take(wanted(name), SURE) for book, name in zip(books, names, strict=True)]  # type: ignore[misc]  # mypy cannot infer defaults
    )
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
    assert place.book().holding().claim == winner
    losers = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert all(winner.holder in loser.why and winner.run in loser.why for loser in losers)


def test_a_claim_from_its_taking_to_its_release(place: Place) -> None:
    """It is taken once, kept, confirmed, renewed, refused to others, released once, and tells where the service is."""
    anna, ben = place.book(), place.book()
    mine = got(anna.take(wanted("anna"), SURE))
    assert got(anna.take(wanted("anna"), SURE)) == mine
    assert got(anna.confirm(mine.nonce, mine.epoch)) == mine
    assert mine.until - mine.at == timedelta(minutes=30)
    assert (mine.home_before, mine.home_wanted) == ("web1", "web2")
    no = refused(ben.take(wanted("ben"), SURE))
    assert "anna@desk" in no.why
    assert no.hint
    renewed = got(anna.renew(mine.nonce, mine.epoch, SURE))
    assert renewed.epoch == mine.epoch
    assert renewed.until >= mine.until
    refusal = place.book().holding().refused
    assert refusal is not None
    assert refusal.holder == "ben@desk"
    for _ in range(2):
        done = place.book().release(mine.nonce, mine.epoch, SURE, outcome="moved", home="web2")
        assert isinstance(done, Released)
    theirs = got(ben.take(wanted("ben"), SURE))
    assert theirs.epoch > mine.epoch
    assert theirs.home_before == "web2"
    assert anna.release(mine.nonce, mine.epoch, SURE, outcome="other", home="web9") == done
    home = ben.holding().home
    assert home is not None
    assert (home.host, home.run, home.outcome) == ("web2", mine.run, "moved")


def test_a_claim_that_is_over_can_be_had(place: Place) -> None:
    """When its time has passed anybody may have it, exactly one of those who ask at once; its holder learns it."""
    mine = got(place.book().take(wanted("anna", minutes=0), SURE))
    books = [place.book() for _ in range(4)]
    outcomes = at_once(
        [lambda book=book, at=at: book.take(wanted(f"c{at}"), SURE) for at, book in enumerate(books)]  # type: ignore[misc]  # mypy cannot infer defaults
    )
    (theirs,) = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
    assert theirs.epoch > mine.epoch
    assert not theirs.taken_from
    for told in (books[0].confirm(mine.nonce, mine.epoch), books[0].renew(mine.nonce, mine.epoch, SURE)):
        assert theirs.holder in refused(told).why


def test_a_live_claim_is_taken_over_by_one_person_only(place: Place) -> None:
    """With a reason a live claim is ended; of several who do that at once one has it, and who had it learns why."""
    mine = got(place.book().take(wanted("anna"), SURE))
    books = [place.book() for _ in range(4)]
    outcomes = at_once(
        [
            lambda book=book, at=at: book.take(wanted(f"c{at}", take_over="anna's laptop drowned"), SURE)  # type: ignore[misc]  # mypy cannot infer defaults
            for at, book in enumerate(books)
        ]
    )
    holders = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
    # Whoever read before the other wrote is refused; whoever came later meant the other.
    final = place.book().holding().claim
    assert final in holders
    assert [one for one in holders if isinstance(place.book().confirm(one.nonce, one.epoch), Claim)] == [final]
    told = refused(place.book().confirm(mine.nonce, mine.epoch))
    assert "took it over (anna's laptop drowned)" in told.why
    assert place.book().release(mine.nonce, mine.epoch, SURE, outcome="moved", home="web2") is None


def test_services_do_not_meet(place: Place) -> None:
    """Claims of one service say nothing of another's, nor does what else lies in the store."""
    store = place.stage.open()
    store.put("nas/config", b"x", sha256=sha(b"x"))
    store.put(f"{FOLDER}shop/notes", b"x", sha256=sha(b"x"))
    got(Book(store, "shop", SystemClock()).take(wanted("anna"), SURE))
    got(Book(store, "shop2", SystemClock()).take(wanted("ben"), SURE))
    assert [entry.key for entry in store.entries("nas/")] == ["nas/config"]


def test_every_kind_is_known_to_be_sure(place: Place) -> None:
    """What a store can do is known from its versions, or by a probe that is made once a day."""
    notes, store, now = Notes(), place.stage.open(), SystemClock().now()
    assert (known(store, notes, now) is None) is not store.versioned
    first = footing(store, notes, now)
    assert first.sure
    assert not doubt("offsite", first)
    assert known(store, notes, now) == first
    assert footing(store, notes, now + timedelta(days=2)).sure


# -- stores that take a second writer ----------------------------------------------------------------------------------


@pytest.fixture
def versioned(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Store]]:
    """A real bucket with versions that ignores the condition, and one in memory."""
    with ExitStack() as stack:
        real = KINDS["ceph-versioned"](Given(request.getfixturevalue, tmp_path, stack))
        yield [real.open(), MemoryStore(clock=FakeClock())]


def test_the_first_version_counts(versioned: list[Store]) -> None:
    """Where two wrote the same event, the first one's is true for everybody, whatever comes over it later."""
    for store in versioned:
        book = Book(store, "shop", SystemClock())
        for name in ("anna", "ben"):
            event = book._event("claim", book.holding().model_copy(update={"number": 0}), wanted=wanted(name))
            content = event.model_dump_json().encode()
            store.put(f"{FOLDER}shop/00000001", content, sha256=sha(content))
        mine = book.holding().claim
        assert mine is not None
        assert mine.holder == "anna@desk"
        store.remove(f"{FOLDER}shop/00000001")
        assert "anna@desk" in refused(book.take(wanted("eve"), SURE)).why
        assert got(book.confirm(mine.nonce, mine.epoch)) == mine


def test_an_unsure_store_says_so_and_waits() -> None:
    """A store that takes a second writer is told by its probe; a write settles there before it counts."""
    clock = FakeClock()
    store = Heedless(clock=clock, versioned=False)
    notes = Notes()
    notes.put("probe:memory", None)
    trial = {"name": "second_put", "what": "to write again", "good": False, "answer": "it did"}
    seen = {"grade": "refuses", "best": "refuses", "trials": [trial], "at": clock.now(), "place": store.shown}
    notes.put("probe:memory", seen)
    unsure = footing(store, notes, clock.now())
    assert not unsure.sure
    assert "agree by phone" in doubt("offsite", unsure)

    late = Book(store, "shop", clock)
    event = late._event("claim", late.holding(), wanted=wanted("ben"))
    content = event.model_dump_json().encode()
    clock_sleep = clock.sleep

    def overwritten(seconds: float) -> None:
        clock_sleep(seconds)
        store.put(f"{FOLDER}shop/00000001", content, sha256=sha(content))

    clock.sleep = overwritten  # type: ignore[method-assign]  # the other one writes while we wait
    told = refused(Book(store, "shop", clock).take(wanted("anna"), unsure))
    assert "ben@desk" in told.why
    assert clock.slept[0] == SETTLED


def test_a_real_store_without_the_condition_is_not_sure(rclone_s3: RcloneS3) -> None:
    """A server that takes any second put is found out, and a claim in it still keeps away whoever comes later."""
    store = opened(rclone_s3.endpoint, rclone_s3.bucket(), (rclone_s3.access_key, rclone_s3.secret_key))
    unsure = footing(store, Notes(), SystemClock().now())
    assert not unsure.sure
    got(Book(store, "shop", FakeClock()).take(wanted("anna"), unsure))
    refused(Book(store, "shop", FakeClock()).take(wanted("ben"), unsure))


def test_a_holder_that_was_overwritten_learns_it() -> None:
    """Where a second writer came too late to be seen at once, the first one learns it before its next step."""
    store = Heedless(clock=FakeClock(), versioned=False)
    book = Book(store, "shop", FakeClock())
    before = book.holding()
    mine = got(book.take(wanted("anna"), UNSURE))
    content = book._event("claim", before, wanted=wanted("ben")).model_dump_json().encode()
    store.put(f"{FOLDER}shop/00000001", content, sha256=sha(content))
    assert "ben@desk in run shop-failover@ben took it" in refused(book.confirm(mine.nonce, mine.epoch)).why


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [timedelta(days=400), -timedelta(days=400)])
def test_a_wrong_clock_steals_nothing(wrong: timedelta) -> None:
    """A controller whose clock is a year ahead or behind gets a claim when it is over by the store's clock, not before;
    and its own lasts as long as anybody's.
    """
    stores = FakeClock()
    store = MemoryStore(clock=stores)
    mine = got(Book(store, "shop", FakeClock()).take(wanted("anna"), SURE))
    skewed = Book(store, "shop", FakeClock(stores.now() + wrong))
    refused(skewed.take(wanted("ben"), SURE))
    stores.at = mine.until - timedelta(milliseconds=1)
    refused(skewed.take(wanted("ben"), SURE))
    stores.at = mine.until
    theirs = got(skewed.take(wanted("ben"), SURE))
    assert theirs.until - stores.now() == theirs.length


def test_a_renewal_keeps_it() -> None:
    """A renewed claim is live for its whole length again, also when it was over and nobody had asked."""
    clock = FakeClock()
    book = Book(MemoryStore(clock=clock), "shop", clock)
    mine = got(book.take(wanted("anna"), SURE))
    for minutes in (20, 29, 300):
        clock.at += timedelta(minutes=minutes)
        renewed = got(book.renew(mine.nonce, mine.epoch, SURE))
        assert renewed.until == clock.now() + mine.length
        refused(book.take(wanted("ben"), SURE))


def test_a_stores_clock_that_is_put_back_ends_nothing_early() -> None:
    """What comes later is never earlier: a claim cannot be had sooner, nor an old one come to life again."""
    clock = FakeClock()
    book = Book(MemoryStore(clock=clock), "shop", clock)
    first = got(book.take(wanted("anna"), SURE))
    clock.at = first.until
    theirs = got(book.take(wanted("ben"), SURE))
    clock.at -= timedelta(days=1)
    refused(book.take(wanted("anna"), SURE))
    assert got(book.renew(theirs.nonce, theirs.epoch, SURE)).until == theirs.until


# -- what should not be ------------------------------------------------------------------------------------------------


def test_an_event_that_cannot_be_read_is_no_free_place() -> None:
    """Nobody takes for free what they cannot read; a person can, with a reason."""
    store = MemoryStore(clock=FakeClock())
    book = Book(store, "shop", FakeClock())
    mine = got(book.take(wanted("anna"), SURE))
    for content in (b"\xff", b'{"format": 2}', store.read(f"{FOLDER}shop/00000001", limit=9999)):
        number = book_number(store) + 1
        store.put(f"{FOLDER}shop/{number:08}", content, sha256=sha(content))
        with pytest.raises(Unreadable):
            book.take(wanted("ben"), SURE)
        with pytest.raises(Unreadable) as caught:
            book.confirm(mine.nonce, mine.epoch)
        assert "with a reason" in caught.value.hint
        mine = got(book.take(wanted("ben", take_over="anna agreed by phone"), SURE))
        got(book.confirm(mine.nonce, mine.epoch))


def book_number(store: Store) -> int:
    """Of the newest event."""
    return max(int(entry.key.rpartition("/")[2]) for entry in store.entries(FOLDER))


def test_deleted_events_end_a_claim() -> None:
    """A holder whose claim somebody deleted does not go on as if nothing were."""
    store = MemoryStore(clock=FakeClock(), versioned=False)
    book = Book(store, "shop", FakeClock())
    mine = got(book.take(wanted("anna"), SURE))
    store.remove(f"{FOLDER}shop/00000001")
    assert "not in the store any more" in refused(book.confirm(mine.nonce, mine.epoch)).why
    other = got(book.take(wanted("ben"), SURE))
    assert other.epoch == mine.epoch
    assert "ben@desk" in refused(book.renew(mine.nonce, mine.epoch, SURE)).why


def test_a_lost_answer_is_no_lost_claim() -> None:
    """Where the store did it and only the answer was lost, to ask again finds that it is ours."""
    store = MemoryStore(clock=FakeClock(), versioned=False)
    book = Book(store, "shop", FakeClock())

    def lost(call: Call) -> None:
        if call.verb == "put":
            store.after.clear()
            raise ConnectionError

    store.after.append(lost)
    with pytest.raises(ConnectionError):
        book.take(wanted("anna"), SURE)
    assert got(book.take(wanted("anna"), SURE)).epoch == 1
    assert book_number(store) == 1


@pytest.mark.parametrize("verb", ["renew", "release"])
def test_an_attempt_in_between_costs_the_holder_nothing(verb: str) -> None:
    """What a holder writes while others ask comes after what they wrote, and is not lost."""
    store = MemoryStore(clock=FakeClock(), versioned=False)
    book = Book(store, "shop", FakeClock())
    mine = got(book.take(wanted("anna"), SURE))

    def between(call: Call) -> None:
        if call.verb == "put":
            store.before.clear()
            refused(book.take(wanted("ben"), SURE))

    store.before.append(between)
    if verb == "renew":
        got(book.renew(mine.nonce, mine.epoch, SURE))
        assert book.holding().refused is not None
    else:
        assert isinstance(book.release(mine.nonce, mine.epoch, SURE, outcome="moved", home="web2"), Released)
        assert book.holding().claim is None
    assert book_number(store) == 3


def test_an_event_says_what_was_before_it() -> None:
    """The newest event alone is enough: a hundred failovers later one object is read."""
    store = MemoryStore(clock=FakeClock())
    book = Book(store, "shop", FakeClock())
    for name in ("anna", "ben", "cleo"):
        mine = got(book.take(wanted(name), SURE))
        book.release(mine.nonce, mine.epoch, SURE, outcome="moved", home=f"of-{name}")
    store.calls.clear()
    home = book.holding().home
    assert isinstance(home, Home)
    assert home.host == "of-cleo"
    assert [call.verb for call in store.calls] == ["versions", "read"]
    newest = Event.model_validate_json(store.read(f"{FOLDER}shop/00000006", limit=9999))
    assert newest.before.home is not None
    assert newest.before.home.host == "of-ben"
    assert len(newest.model_dump_json()) < 3000


# -- processes ---------------------------------------------------------------------------------------------------------


def ask(folder: Path, name: str, barrier: Path, *how: str) -> "subprocess.Popen[str]":
    """A process that asks for the service."""
    words = [sys.executable, claiming.__file__, str(folder), name, str(barrier), *how]
    where = {**os.environ, "PYTHONPATH": str(Path(claiming.__file__).parents[1])}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=where)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes(tmp_path: Path) -> None:
    """Of processes that ask at once one has it; one that dies by SIGKILL when it was written has it when it is back."""
    folder = tmp_path / "store"
    folder.mkdir()
    store = folder_store(folder, SystemClock())
    store.create()  # type: ignore[attr-defined]  # a folder's
    barrier = tmp_path / "go"
    processes = [ask(folder, name, barrier) for name in ("anna", "ben")]
    dying = ask(folder, "cleo", tmp_path / "later", "kill")
    barrier.touch()
    said = sorted(process.communicate(timeout=30)[0].strip() for process in processes)
    assert said == ["Claim", "Failure"]
    book = Book(store, "shop", SystemClock())
    winner = book.holding().claim
    assert winner is not None
    book.release(winner.nonce, winner.epoch, SURE, outcome="moved", home="web2")
    (tmp_path / "later").touch()
    assert dying.wait(30) == -9
    assert dying.stdout is not None
    dying.stdout.close()
    before = book_number(store)
    assert got(book.take(wanted("cleo"), SURE)).epoch == before
    assert book_number(store) == before
    assert nonce("cleo") == wanted("cleo").nonce
