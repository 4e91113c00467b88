"""What a look tells of drills: the level that the last one reached, and nothing kinder."""

from datetime import timedelta

import pytest

from drorch.config.runbook import Runbook
from drorch.core.finding import Finding, Standing
from drorch.core.step import RunState
from drorch.engine.journal import Run
from drorch.reports.live import drill_findings
from reports.test_readiness import DAY, NOW, drill

SOURCES = ("database", "media")


def told(*runs: Run, books: dict[str, Runbook] | None = None) -> list[Finding]:
    """The findings; the newest run comes first."""
    return list(
        drill_findings("shop", SOURCES, books or {}, sorted(runs, key=lambda one: one.started, reverse=True), NOW)
    )


@pytest.mark.parametrize(
    ("run", "words", "standing"),
    [
        (drill(3 * DAY), "reached `restored` 3 d ago", Standing.GOOD),
        (drill(3 * DAY, level="serving"), "reached `serving` 3 d ago", Standing.GOOD),
        (drill(150 * DAY), "reached `restored` 150 d ago", Standing.DOUBTFUL),
        (drill(3 * DAY, "old", "media"), "did not restore database", Standing.DOUBTFUL),
        (
            drill(3 * DAY, state=RunState.FAILED, detail={"why": "no room"}),
            "proves nothing: no room",
            Standing.DOUBTFUL,
        ),
    ],
)
def test_the_last_drill_says_how_far_it_came(run: Run, words: str, standing: Standing) -> None:
    """Its lowest level counts, and its age; an older and better one does not help."""
    (found,) = told(run, drill(timedelta(days=160), level="serving"))
    assert words in found.what
    assert found.standing is standing
    assert bool(found.remedy) is (standing is not Standing.GOOD)


def test_a_drill_that_was_called_off_is_none() -> None:
    """Neither is no drill at all."""
    for runs in ((), (drill(DAY, state=RunState.CANCELLED),)):
        (found,) = told(*runs)
        assert (found.what, found.remedy) == ("no drill has restored a backup of shop", "drorch drill shop")
