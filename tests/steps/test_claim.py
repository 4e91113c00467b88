"""What the steps on claims tell and refuse, in a small world with two controllers."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from drorch.claim.log import Book
from drorch.core.errors import DrorchError, Refused, StoreError, StoreUnreachable
from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Standing
from drorch.core.step import Earlier, Step
from drorch.sources.files import Files
from drorch.steps._claimed import claimed, held
from drorch.steps.claim import Claim
from drorch.steps.release import Release
from drorch.stores.memory import Call, MemoryStore, failing
from drorch.stores.sftp import SftpStore
from support.claiming import refused
from support.mirrors import offsite
from support.tools import Cut, World, WorldTools

CLAIM = Claim(kind="claim", store="offsite")
OPTIONAL = Claim(kind="claim", store="offsite", required=False)
RELEASE = Release(kind="release", store="offsite")
SWITCHED = {"switch": Evidence(facts={})}
GONE = StoreUnreachable("offsite does not answer")


@dataclass
class Two:
    """Two controllers, one store."""

    here: World
    there: World
    store: MemoryStore

    def claimed(self, step: Step = CLAIM) -> Earlier:
        """What this one's run knows when it has claimed."""
        return {"claim": self.here.evidence(step)}

    def held(self, earlier: Earlier) -> Failure | None:
        """What a step before the point of no return is told."""
        return held(WorldTools(self.here, "promote", Cut()), earlier)

    def gone(self) -> None:
        """The store answers no more."""

        def fails(_call: Call) -> None:
            raise GONE

        self.store.before.append(fails)

    def back(self) -> None:
        """It answers again."""
        self.store.before.clear()

    def book(self) -> Book:
        """What is written."""
        return Book(self.store, "shop", self.here.clock)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    """Before a failover."""
    source = {"media": Files(kind="files", paths=("~/media",))}
    here = World(tmp_path / "here", source, kind="failover", run="shop-failover@2026-03-01T02:30:00Z")
    there = World(tmp_path / "there", source, kind="failover", run="shop-failover@2026-03-01T02:30:00Z")
    store = offsite(here.clock)
    here.stores["offsite"] = there.stores["offsite"] = store
    return Two(here, there, store)


def test_a_run_of_the_same_name_is_another(two: Two) -> None:
    """Two controllers that begin in the same second have runs of the same name, and still one of them only goes on."""
    assert not isinstance(two.here.perform(CLAIM), Failure)
    no = refused(two.there.perform(CLAIM))
    assert "is being moved by" in no.why
    assert not no.retryable
    assert two.held(two.claimed()) is None


def test_what_the_evidence_says(two: Two) -> None:
    """Epoch, holder, end, and whether it can be relied on, and why."""
    said = claimed(two.claimed())
    assert said is not None
    assert (said.epoch, said.service, said.sure, said.home_before, said.home_wanted) == (
        1,
        "shop",
        True,
        "primary",
        "standby",
    )
    assert said.until is not None
    assert said.at is not None
    assert said.until - said.at == timedelta(minutes=30)
    assert "@" in said.holder
    assert "versions" in said.reason


def test_a_run_that_claimed_nothing_goes_on(two: Two) -> None:
    """A plan without a claim, or whose claim was skipped, is not held up."""
    assert two.held({}) is None
    assert two.held(SWITCHED) is None


def test_who_was_overtaken_stops(two: Two) -> None:
    """Before anything that cannot be taken back the run learns that somebody took over, and why."""
    earlier = two.claimed()
    taken = two.there.evidence(CLAIM.model_copy(update={"take_over": "here\nlost its power"}))
    assert "here lost its power" in taken.exceptions[0]
    told = two.held(earlier)
    assert isinstance(told, Failure)
    assert "took it over" in told.why
    assert told.hint
    released = two.here.evidence(RELEASE, {**earlier, **SWITCHED})
    assert released.facts["released"] is False
    assert "lives on standby" in released.exceptions[0]


@pytest.mark.parametrize(
    ("later", "events"),
    [(timedelta(minutes=14), 1), (timedelta(minutes=15), 2), (timedelta(hours=2), 2), (-timedelta(1), 2)],
)
def test_half_a_claim_is_renewed(two: Two, later: timedelta, events: int) -> None:
    """With less than half of it left a claim is renewed; also when it is over, and when this clock went backwards."""
    earlier = two.claimed()
    two.here.clock.at += later
    assert two.held(earlier) is None
    now = two.book().holding()
    assert now.number == events
    assert now.claim is not None
    if events > 1:
        assert now.claim.until >= two.here.clock.now() + timedelta(minutes=30)


def test_an_unreachable_store_stops_until_a_person_decides(two: Two) -> None:
    """Where a claim is required and the store does not answer the step fails, and says how to go on all the same."""
    two.gone()
    no = refused(two.here.perform(CLAIM))
    assert no.retryable
    assert "by phone" in no.hint
    assert "skip" in no.hint
    two.back()
    earlier = two.claimed()
    two.gone()
    told = two.held(earlier)
    assert isinstance(told, Failure)
    assert told.retryable
    assert "cannot be told" in told.why


def test_an_optional_claim_goes_on_without_a_store(two: Two) -> None:
    """Where it is optional the run goes on unclaimed, says so, and tells the store at its end where the service is."""
    two.gone()
    evidence = two.here.evidence(OPTIONAL)
    assert evidence.facts["claim"]["epoch"] == 0
    assert "another controller" in evidence.exceptions[0]
    earlier = {"claim": evidence, **SWITCHED}
    assert two.held(earlier) is None
    assert "lives on standby" in two.here.evidence(RELEASE, earlier).exceptions[0]
    two.back()
    first = two.here.evidence(RELEASE, earlier)
    assert first.facts["home"] == "standby"
    assert two.here.evidence(RELEASE, earlier, again=True) == first
    home = two.book().holding().home
    assert home is not None
    assert home.host == "standby"


def test_an_optional_claim_does_not_pass_somebody_elses(two: Two) -> None:
    """That nobody has to be asked where the store is silent does not mean that its no is ignored."""
    two.there.evidence(CLAIM)
    refused(two.here.perform(OPTIONAL))


def test_an_optional_claim_goes_on_when_the_store_falls_silent(two: Two) -> None:
    """An optional claim that can be confirmed no more holds nobody up, one that was lost does."""
    earlier = two.claimed(OPTIONAL)
    two.gone()
    assert two.held(earlier) is None
    two.back()
    two.there.evidence(CLAIM.model_copy(update={"take_over": "a test"}))
    assert two.held(earlier) is not None


@pytest.mark.parametrize("careless", [False, True])
def test_an_unsure_store_is_told(two: Two, *, careless: bool) -> None:
    """Where the store may take a second writer the run goes on, and its evidence says what to do about it."""
    store = MemoryStore("offsite", clock=two.here.clock, versioned=False)
    if careless:
        store.before.append(failing("probe", StoreError("it may not try that")))
    two.here.stores["offsite"] = store
    evidence = two.here.evidence(CLAIM)
    assert ["agree by phone" in text for text in evidence.exceptions] == [True] * careless
    assert evidence.facts["claim"]["sure"] is not careless
    assert two.held({"claim": evidence}) is None


def test_a_claim_whose_answer_was_lost_is_given_back(two: Two) -> None:
    """A claim whose step failed after it was written is found by the release, which nothing else tells of it."""
    two.store.after.append(failing("put", GONE))
    refused(two.here.perform(CLAIM))
    two.store.after.clear()
    assert two.book().holding().claim is not None
    evidence = two.here.evidence(RELEASE)
    assert evidence.facts["released"] is True
    assert evidence.facts["outcome"] == "not moved"
    assert two.book().holding().claim is None
    assert two.book().holding().home is None


def test_nothing_claimed_is_nothing_to_release(two: Two) -> None:
    """A run that ended before it claimed anything leaves no trace in the store."""
    evidence = two.here.evidence(RELEASE)
    assert evidence.facts["released"] is False
    assert evidence.exceptions == ()
    assert two.store.calls == []


def test_a_release_that_cannot_be_told_is_tried_again(two: Two) -> None:
    """Where the store does not answer at the end the step fails, saying when the claim ends by itself."""
    earlier = two.claimed()
    two.gone()
    no = refused(two.here.perform(RELEASE, {**earlier, **SWITCHED}))
    assert no.retryable
    assert "03:00:00 UTC" in no.hint
    assert "shop lives on standby" in no.why


def test_a_claim_that_is_undone_leaves_the_service_where_it_was(two: Two) -> None:
    """Taken back, it is free for others, and the service is said to live where it did; released again adds nothing."""
    evidence = two.here.evidence(CLAIM)
    for _ in range(2):
        assert isinstance(two.here.undo(CLAIM, evidence), Evidence)
    assert two.here.evidence(RELEASE, {"claim": evidence}).facts["outcome"] == "undone"
    now = two.book().holding()
    assert (now.number, now.claim) == (2, None)
    assert now.home is not None
    assert now.home.host == "primary"
    two.there.evidence(CLAIM)


def test_a_drill_claims_nothing(two: Two) -> None:
    """A drill looks only, so that it never stands in a failover's way."""
    drill = two.here.as_run("drill", "shop-drill@1")
    assert isinstance(drill.perform(CLAIM), Failure)
    with pytest.raises(Refused, match="claims nothing"):
        CLAIM.perform(WorldTools(drill, "claim", Cut()), {})
    rehearsed = CLAIM.rehearse(WorldTools(drill, "claim", Cut()), {})
    assert isinstance(rehearsed, Evidence)
    assert rehearsed.facts["rehearsed"] is False
    assert two.book().holding().number == 0


def test_a_look_before_tells_who_is_at_work(two: Two) -> None:
    """A preflight writes nothing, and tells of others' claims, of claims that were left behind, and of another home."""

    def found() -> list[tuple[Standing, str]]:
        before = len([call for call in two.store.calls if call.verb == "put"])
        findings = list(CLAIM.preflight(WorldTools(two.here, "claim", Cut())))
        assert len([call for call in two.store.calls if call.verb == "put"]) == before
        assert all(one.remedy for one in findings if one.standing is not Standing.GOOD)
        return [(one.standing, one.what) for one in findings]

    assert found() == [(Standing.GOOD, "nobody claims shop")]
    other = two.there.evidence(CLAIM)
    ((standing, what),) = found()
    assert standing is Standing.BAD
    assert "is being moved by" in what
    two.here.clock.at += timedelta(hours=1)
    ((standing, what),) = found()
    assert standing is Standing.DOUBTFUL
    assert "never released" in what
    two.there.evidence(RELEASE, {"claim": other, **SWITCHED})
    assert [standing for standing, _ in found()] == [Standing.GOOD, Standing.DOUBTFUL]
    two.gone()
    with pytest.raises(DrorchError):
        found()


def test_a_look_before_tells_of_an_untried_store(two: Two) -> None:
    """A store without versions that was not probed within a day is unknown ground."""
    two.here.stores["offsite"] = MemoryStore("offsite", clock=two.here.clock, versioned=False)
    first, *_ = CLAIM.preflight(WorldTools(two.here, "claim", Cut()))
    assert first.standing is Standing.UNKNOWN
    assert first.remedy == "drorch store probe offsite"


def test_doubts(two: Two) -> None:
    """A folder of the controller, a store on the primary, and a standing take-over are worth less than they look."""
    scene = two.here.scene
    assert [key for key, *_ in CLAIM.doubts(scene)] == ["store"]
    far = SftpStore(kind="sftp", host="primary", path="/srv/offsite")
    scene = replace(scene, stores={"offsite": far})
    assert "is gone when that is" in CLAIM.doubts(scene)[0][1]
    assert [key for key, *_ in CLAIM.model_copy(update={"take_over": "x"}).doubts(scene)] == ["store", "take_over"]
    assert CLAIM.doubts(replace(scene, primary="web9")) == ()
