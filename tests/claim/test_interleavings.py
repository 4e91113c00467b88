"""However the calls of several controllers fall between each other, no two of them have the service at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from drorch.claim.log import Book, Released
from drorch.claim.rules import Claim
from drorch.core.clock import FakeClock
from drorch.stores.memory import MemoryStore
from support.claiming import SURE, Heedless, Turns, wanted

STORES: dict[str, Callable[[FakeClock], MemoryStore]] = {
    "refuses": lambda clock: MemoryStore(clock=clock, versioned=False),
    "keeps versions": lambda clock: MemoryStore(clock=clock),
    "keeps versions, and takes a second writer": lambda clock: Heedless(clock=clock),
}
VERBS = ("confirm", "renew", "renew", "release", "die", "wait", "again")


@dataclass
class Had:
    """A claim that somebody believed to have."""

    claim: Claim
    until: datetime
    """When it ended, by the store's clock."""


@dataclass
class Controller:
    """One that takes the service, and then does what it is told to."""

    name: str
    book: Book
    stores: FakeClock
    verbs: list[str]
    take_over: str = ""
    had: list[Had] = field(default_factory=list)

    def act(self) -> None:
        """From asking to the end."""
        ask = wanted(self.name, minutes=10, take_over=self.take_over)
        claim = self._take(self.book.take(ask, SURE))
        for verb in self.verbs:
            if verb == "wait":
                self.stores.at += timedelta(minutes=4)
            if verb == "again" and claim is None:
                claim = self._take(self.book.take(ask, SURE))
            if claim is None or verb in ("wait", "again"):
                continue
            if verb == "die":
                return
            if verb == "release":
                done = self.book.release(claim.nonce, claim.epoch, SURE, outcome="", home=self.name)
                if isinstance(done, Released):
                    self.had[-1].until = min(self.had[-1].until, done.at)
                claim = None
                continue
            ours = getattr(self.book, verb)(claim.nonce, claim.epoch, *([SURE] if verb == "renew" else []))
            if isinstance(ours, Claim):
                self.had[-1].until = ours.until
            else:
                claim = None

    def _take(self, outcome: object) -> Claim | None:
        if not isinstance(outcome, Claim):
            return None
        self.had.append(Had(outcome, outcome.until))
        return outcome


@given(
    kind=st.sampled_from(sorted(STORES)),
    picks=st.lists(st.integers(0, 5), max_size=60),
    verbs=st.lists(st.lists(st.sampled_from(VERBS), max_size=4), min_size=2, max_size=3),
    skews=st.lists(st.integers(-1000, 1000), min_size=3, max_size=3),
)
def test_no_two_at_a_time(kind: str, picks: list[int], verbs: list[list[str]], skews: list[int]) -> None:
    """Nobody takes what another has before it is over or released, by the store's clock, whatever their own show."""
    stores = FakeClock()
    had = played(STORES[kind](stores), stores, picks, verbs, skews, take_over=False)
    for one, other in combinations(had, 2):
        first, second = sorted((one, other), key=lambda each: each.claim.epoch)
        assert first.claim.epoch < second.claim.epoch
        assert first.until <= second.claim.at


@given(
    kind=st.sampled_from(sorted(STORES)),
    picks=st.lists(st.integers(0, 5), max_size=60),
    verbs=st.lists(st.lists(st.sampled_from(VERBS), max_size=4), min_size=2, max_size=3),
)
def test_only_the_newest_is_confirmed(kind: str, picks: list[int], verbs: list[list[str]]) -> None:
    """Where they take over from each other, one at most is confirmed afterwards: the one with the highest epoch."""
    stores = FakeClock()
    store = STORES[kind](stores)
    had = played(store, stores, picks, verbs, [0, 0, 0], take_over=True)
    epochs = [each.claim.epoch for each in had]
    assert len(set(epochs)) == len(epochs)
    store.before.clear()
    book = Book(store, "shop", stores)
    confirmed = [
        each.claim.epoch for each in had if isinstance(book.confirm(each.claim.nonce, each.claim.epoch), Claim)
    ]
    assert confirmed in ([], [max(epochs)])


def played(
    store: MemoryStore,
    stores: FakeClock,
    picks: list[int],
    verbs: list[list[str]],
    skews: list[int],
    *,
    take_over: bool,
) -> list[Had]:
    """Every claim that somebody believed to have."""
    controllers = [
        Controller(
            name=f"c{number}",
            book=Book(store, "shop", FakeClock(stores.now() + timedelta(hours=skews[number]))),
            stores=stores,
            verbs=done,
            take_over="a test" if take_over else "",
        )
        for number, done in enumerate(verbs)
    ]
    order = iter(picks)
    Turns(store, iter(lambda: next(order, 0), None)).run([each.act for each in controllers])
    return [had for each in controllers for had in each.had]
