"""The contract that every rung keeps. A new rung needs a world here that it can fence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from drorch.core.errors import Interrupted
from drorch.core.evidence import Failure
from drorch.core.fence import Proof
from drorch.core.finding import Standing
from drorch.fences import RUNGS
from drorch.hosts.fake import Answer, Fault, Reply
from support.rungs import MAKERS, RUNG, Fenced
from support.tools import CANARY, Cut, words_of

CASES = [pytest.param(maker, id=maker.__name__) for makers in MAKERS.values() for maker in makers]
NO_ANSWERS = [
    pytest.param(None, id="silence"),
    pytest.param(Fault.HANG, id="hangs"),
    pytest.param(Fault.LOST, id="lost"),
    pytest.param(Fault.LIE, id="lies"),
    pytest.param(Fault.FLOOD, id="floods"),
    pytest.param(Reply(1, stderr=b"no"), id="refuses"),
    pytest.param(Reply(0, stdout=b"\x1b[31m all is well \xff\n\n"), id="babbles"),
]


@pytest.fixture
def fenced(request: pytest.FixtureRequest, tmp_path: Path) -> Fenced:
    """A rung in its world."""
    made: Fenced = request.param(tmp_path)
    return made


every_rung = pytest.mark.parametrize("fenced", CASES, indirect=True)


def test_every_rung_has_a_world() -> None:
    """No rung escapes this contract, but the one that only a person can climb."""
    assert set(MAKERS) | {"attest"} == set(RUNGS)


@every_rung
def test_it_describes_itself(fenced: Fenced) -> None:
    """One line without a full stop; what it would execute is known beforehand, and executed by asking for it."""
    line = fenced.rung.describe("primary")
    assert line == line.strip()
    assert "primary" in line
    assert "\n" not in line
    assert not line.endswith(".")
    planned = fenced.rung.preview("primary")
    assert planned
    assert {each.host for each in planned} <= {*fenced.world.scene.hosts, "controller"}
    assert CANARY not in str(planned)
    assert fenced.world.commands == []


@every_rung
def test_it_survives_json(fenced: Fenced) -> None:
    """What a plan stores reads back as the same rung."""
    assert RUNG.validate_python(json.loads(json.dumps(fenced.rung.model_dump(mode="json")))) == fenced.rung


@every_rung
def test_nothing_is_wrong_with_it(fenced: Fenced) -> None:
    """A rung that can fence has no problems in its scene."""
    assert fenced.rung.problems(fenced.world.scene, "primary") == ()


@every_rung
def test_a_second_time_proves_the_same(fenced: Fenced) -> None:
    """A host that is fenced already is proven to be, by the same proof."""
    assert fenced.fence() == fenced.fence(again=True)


@every_rung
def test_a_proof_holds(fenced: Fenced) -> None:
    """Nothing has changed: what was proven is so, also after it was stored."""
    proof = Proof.model_validate_json(fenced.fence().model_dump_json())
    assert (proof.host, proof.rung, proof.attested) == ("primary", fenced.rung.word, False)
    assert fenced.rung.holds(fenced.tools(), proof) is None


@every_rung
def test_a_host_that_comes_back_breaks_the_proof(fenced: Fenced) -> None:
    """A primary that accepts writes again is seen, and told with what to do."""
    proof = fenced.fence()
    fenced.back()
    failure = fenced.rung.holds(fenced.tools(), proof)
    assert failure is not None
    assert failure.why
    assert failure.hint


@every_rung
def test_looking_changes_nothing(fenced: Fenced) -> None:
    """Neither the look before a failover nor that whether a proof holds brings anything about."""
    before = fenced.state()
    found = list(fenced.rung.findings(fenced.tools(), "primary"))
    assert found
    assert {finding.standing for finding in found} == {Standing.GOOD}
    assert fenced.state() == before
    assert fenced.rung.stands(fenced.tools(), "primary") is None
    assert fenced.state() == before
    proof = fenced.fence()
    after = fenced.state()
    fenced.rung.holds(fenced.tools(), proof)
    assert fenced.state() == after


@every_rung
def test_it_survives_a_cut_between_each_effect_and_the_record(
    request: pytest.FixtureRequest, fenced: Fenced, tmp_path: Path
) -> None:
    """Cut after any of its effects and tried again, it gives the proof of an undisturbed run."""
    undisturbed = fenced.fence()
    maker: Callable[[Path], Fenced] = request.node.callspec.params["fenced"]
    at, cut = 0, True
    while cut:
        at += 1
        (tmp_path / str(at)).mkdir()
        other = maker(tmp_path / str(at))
        try:
            other.rung.fence(other.tools(Cut(at)), "primary")
        except Interrupted:
            assert other.fence(again=True) == undisturbed, f"cut after effect {at}"
        else:
            cut = False
    assert at > 1


@every_rung
@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_no_answer_is_no_proof(fenced: Fenced, answer: Answer | None) -> None:
    """Whatever does not say that the host is fenced proves nothing: silence, a lie, a flood, a broken connection."""
    fenced.answer(answer)
    try:
        found = fenced.rung.fence(fenced.tools(), "primary")
    except Exception as error:  # noqa: BLE001 - what the step makes of an error is the step's
        found = Failure(why=str(error))
    assert isinstance(found, Failure)
    assert "\x1b" not in found.why
    assert fenced.rung.stands(fenced.tools(), "primary") is None


@every_rung
@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_what_can_no_longer_be_asked_is_judged(fenced: Fenced, answer: Answer | None) -> None:
    """What lies on the fenced host's own disk outlives that it falls silent; what others say must be said again."""
    proof = fenced.fence()
    fenced.answer(answer)
    failure = fenced.rung.holds(fenced.tools(), proof)
    assert (failure is None) == (fenced.keeps and answer in (None, Fault.HANG, Fault.LOST))


@every_rung
def test_no_answer_is_found_before(fenced: Fenced) -> None:
    """A rung that cannot work is no good finding, and says what to do."""
    fenced.answer(None)
    for finding in fenced.rung.findings(fenced.tools(), "primary"):
        assert finding.standing in (Standing.UNKNOWN, Standing.BAD)
        assert finding.remedy


@every_rung
def test_a_fence_can_be_lifted(fenced: Fenced) -> None:
    """It is gone afterwards, also when lifted twice, and what ran runs again."""
    before = fenced.state()
    proof = fenced.fence()
    for _ in range(2):
        assert fenced.rung.lift(fenced.tools(), proof) is None
    assert fenced.rung.holds(fenced.tools(), proof) is not None
    assert fenced.state().replace("200", "100") == before


@every_rung
def test_it_leaks_no_secret(fenced: Fenced) -> None:
    """A secret stands in no proof and no argument list."""
    assert CANARY not in fenced.fence().model_dump_json()
    assert CANARY not in words_of(fenced.world.commands)
