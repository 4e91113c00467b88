"""What is remembered about a store's probes."""

from datetime import UTC, datetime, timedelta

import pytest

from drorch.core.errors import StoreError
from drorch.core.model import Json
from drorch.core.store import Grade, Probe, Trial
from drorch.mirror.trust import FRESH_FOR, Known, fresh, remember, remembered

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GOOD = {
    Grade.NEITHER: (),
    Grade.REFUSES: ("wrong_md5", "tampered_payload"),
    Grade.LOCKS: ("wrong_md5", "tampered_payload", "locked_deletion", "locked_shortening"),
}


class Notes:
    """`core.step.Memory` in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, Json] = {}

    def get(self, key: str) -> Json:
        return self.values.get(key)

    def put(self, key: str, value: Json) -> None:
        self.values[key] = value


def probe(grade: Grade) -> Probe:
    """One that comes to that grade."""
    return Probe(trials=tuple(Trial(name=name, what="", good=True, answer="no") for name in GOOD[grade]))


def test_the_best_is_kept_until_less_is_accepted() -> None:
    """A store that was better once stays worse with every further probe, and is as good as ever once accepted."""
    notes = Notes()
    story = [Grade.REFUSES, Grade.LOCKS, Grade.REFUSES, Grade.NEITHER]
    seen = [remember(notes, "s3", probe(grade), NOW) for grade in story]
    assert [known.grade for known in seen] == story
    assert [known.worse for known in seen] == [False, False, True, True]
    assert remembered(notes, "s3") == seen[-1]
    assert not remember(notes, "s3", probe(Grade.NEITHER), NOW, accept=True).worse
    assert remembered(notes, "other") is None


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        (timedelta(), True),
        (FRESH_FOR - timedelta(seconds=1), True),
        (FRESH_FOR, False),
        (-timedelta(seconds=1), False),
    ],
)
def test_a_probe_counts_for_a_day(ago: timedelta, *, expected: bool) -> None:
    """Older than a day, or dated in the future, it does not count; nor does none."""
    known = Known(grade=Grade.LOCKS, best=Grade.LOCKS, trials=(), at=NOW - ago)
    assert fresh(known, NOW) is expected
    assert not fresh(None, NOW)


def test_what_cannot_be_read_is_no_fresh_start() -> None:
    """A broken memory is an error, or a store that got worse would pass for a new one; only a person starts over."""
    notes = Notes()
    notes.put("probe:s3", {"grade": "splendid"})
    with pytest.raises(StoreError, match="cannot be read"):
        remembered(notes, "s3")
    with pytest.raises(StoreError, match="cannot be read"):
        remember(notes, "s3", probe(Grade.REFUSES), NOW)
    assert remember(notes, "s3", probe(Grade.REFUSES), NOW, accept=True).best is Grade.REFUSES
