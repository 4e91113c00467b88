"""What a look tells of drills: the level that the last one reached, and nothing kinder."""

import pytest

from drorch.core.finding import Finding, Standing
from drorch.core.step import RunState
from drorch.engine.journal import Run
from drorch.reports.live import drill_finding
from reports.test_readiness import DAY, EDITED, NOW, drill, judge


def told(*runs: Run) -> Finding:
    """The finding."""
    newest_first = sorted(runs, key=lambda one: one.started, reverse=True)
    return drill_finding("shop", judge(runs).drills, newest_first, NOW)


@pytest.mark.parametrize(
    ("run", "words", "standing"),
    [
        (drill(3 * DAY), "3 d ago, reached `restored`", Standing.GOOD),
        (drill(3 * DAY, level="serving"), "3 d ago, reached `serving`", Standing.GOOD),
        (drill(3 * DAY, level="taken"), "it did not restore database, media", Standing.DOUBTFUL),
        (drill(150 * DAY), "the next one is overdue", Standing.DOUBTFUL),
        (drill(3 * DAY, plan=EDITED), "its plan was edited since", Standing.DOUBTFUL),
        (drill(3 * DAY, "old", "media"), "it did not restore database", Standing.DOUBTFUL),
        (drill(3 * DAY, state=RunState.FAILED, detail={"why": "no room"}), "failed: no room", Standing.DOUBTFUL),
    ],
)
def test_the_last_drill_says_how_far_it_came(run: Run, words: str, standing: Standing) -> None:
    """It counts where status lets it count, with its lowest level."""
    found = told(run)
    assert words in found.what
    assert found.standing is standing
    assert bool(found.remedy) is (standing is not Standing.GOOD)


def test_a_drill_that_was_called_off_is_none() -> None:
    """Neither is no drill at all."""
    for runs in ((), (drill(DAY, state=RunState.CANCELLED),)):
        found = told(*runs)
        assert (found.what, found.remedy) == ("no drill has restored a backup of shop", "drorch drill shop")
