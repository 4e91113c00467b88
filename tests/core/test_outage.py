"""An outage is what customers were answered."""

from datetime import UTC, datetime, timedelta

from drorch.core.outage import Answered, Watched

START = datetime(2026, 3, 1, 3, tzinfo=UTC)


def after(seconds: float) -> datetime:
    """So long after the probe began."""
    return START + timedelta(seconds=seconds)


def watched(*answers: tuple[float, float, str]) -> Watched:
    """What a probe saw: when each request was sent, when answered, and what was wrong."""
    said = [Answered(after(sent), after(done), failure) for sent, done, failure in answers]
    return Watched(url="http://shop/", viewer="controller", began=START, last=START).with_answers(said)


def test_an_outage_lasts_from_the_first_failure_to_the_first_success() -> None:
    """It begins when the request that failed was sent, and ends when one is answered again."""
    seen = watched((0, 0.1, ""), (1, 6, "no answer"), (2, 7, "no answer"), (6, 6.5, ""), (7, 7.1, ""))
    assert seen.out == timedelta(seconds=5.5)
    assert (seen.asked, seen.failed) == (5, 2)
    assert seen.words == "5.5 s"


def test_a_request_that_had_to_wait_ends_no_outage_before_its_answer() -> None:
    """Of requests that overlap, the time in which none was answered counts once."""
    seen = watched((0, 0.1, ""), (1, 6, "no answer"), (2, 6.5, ""), (3, 8, "no answer"), (4, 9, ""), (9, 9.1, ""))
    assert seen.out == timedelta(seconds=8)
    assert len(seen.windows) == 1


def test_one_that_was_there_before_is_longer_than_what_was_seen() -> None:
    """When the very first request fails, nobody knows since when."""
    assert watched((0, 0.1, "refused"), (3, 3.1, "")).words == "at least 3.1 s"


def test_one_that_goes_on_is_said_to() -> None:
    """Without a success after it, it is not over."""
    assert watched((0, 0.1, ""), (1, 2, "refused")).words == "at least 1.0 s and still out"


def test_what_nobody_looked_at_may_hide_one() -> None:
    """While the controller was gone nothing asked."""
    seen = watched((0, 0.1, "")).model_copy(update={"unseen": 12.0})
    assert seen.words == "none seen, but nobody looked for 12 s"


def test_what_a_later_process_sees_is_added() -> None:
    """An outage that was open when the controller died is closed by the next one's first success."""
    first = watched((0, 0.1, ""), (1, 2, "refused"))
    later = first.with_answers([Answered(after(20), after(20.5), "")])
    assert later.out == timedelta(seconds=19.5)
    assert len(later.windows) == 1
