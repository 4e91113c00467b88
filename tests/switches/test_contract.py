"""What every way to lead customers promises; one suite for all of them, with the real things."""

import json
from contextlib import suppress
from itertools import count

import pytest

from drorch.core.errors import DrorchError, Interrupted
from drorch.core.evidence import Failure
from drorch.core.finding import Standing
from drorch.core.model import Json
from drorch.hosts.fake import Answer, Fault, Reply
from drorch.switches import WAYS
from support.tools import Cut
from support.turns import WAY, Rig, succeeded

from .conftest import MAKERS

VOLATILE = {"seconds", "before", "old_requests", "cached_seconds", "everywhere"}
"""Facts that differ from one performance to the next by their nature."""
ANSWERS: list[Answer] = [*Fault, Reply(stdout=b"\x1b[2J nonsense\n"), Reply(exit_code=1, stderr=b"\x1b[2J no")]


def _facts(rig: Rig) -> dict[str, Json]:
    return {key: value for key, value in rig.lead().facts.items() if key not in VOLATILE}


def test_every_way_has_a_rig() -> None:
    """No way escapes this contract."""
    assert set(MAKERS) == set(WAYS)


def test_it_describes_itself(rig: Rig) -> None:
    """The plan's line is one line without a full stop, and asks nobody."""
    line = rig.way.describe(rig.turn)
    assert line
    assert line == line.strip()
    assert "\n" not in line
    assert not line.endswith(".")
    assert rig.way.title
    assert rig.way.preview(rig.turn) == rig.way.preview(rig.turn)
    assert rig.world.commands == []


def test_it_survives_json(rig: Rig) -> None:
    """What a plan stores reads back as the same way, with and without its defaults."""
    for left_out in (False, True):
        text = json.dumps(rig.way.model_dump(mode="json", exclude_defaults=left_out))
        assert WAY.validate_python(json.loads(text)) == rig.way


def test_nothing_is_wrong_with_it(rig: Rig) -> None:
    """A way that works has no problems, and finds nothing bad."""
    assert rig.way.problems(rig.turn) == ()
    bad = [
        each for each in rig.way.findings(rig.tools(), rig.turn) if each.standing in (Standing.BAD, Standing.UNKNOWN)
    ]
    assert bad == []


def test_it_leads_customers_there_and_back(rig: Rig) -> None:
    """What it says and where customers really get are the same, there, there again, and back."""
    assert (rig.look(), rig.customers()) == ("old", "primary")
    first = _facts(rig)
    assert (rig.look(), rig.customers()) == ("new", "standby")
    assert _facts(rig) == first
    assert (rig.look(), rig.customers()) == ("new", "standby")
    for _ in range(2):
        succeeded(rig.way.back(rig.tools(), rig.turn))
        assert (rig.look(), rig.customers()) == ("old", "primary")


def test_a_look_changes_nothing(rig: Rig) -> None:
    """Looking, finding and measuring leave customers where they are."""
    rig.look()
    list(rig.way.findings(rig.tools(), rig.turn))
    rig.way.residual(rig.tools(), rig.turn)
    assert rig.customers() == "primary"


def test_it_survives_a_cut_after_each_effect(rig: Rig) -> None:
    """Cut between any effect and the record, then done again, customers are led to the new host."""
    for at in rig.cuts or count(1):
        with suppress(Interrupted):
            rig.way.lead(rig.tools(Cut(at)), rig.turn)
            break
        rig.lead()
        assert rig.customers() == "standby", f"cut after effect {at}"
        succeeded(rig.way.back(rig.tools(), rig.turn))


def test_what_leads_elsewhere_is_left_alone(rig: Rig) -> None:
    """It is told, and not overwritten."""
    rig.astray()
    there = rig.customers()
    assert there not in {"primary", "standby"}
    assert rig.look() == "elsewhere"
    assert isinstance(rig.way.lead(rig.tools(), rig.turn), Failure)
    assert isinstance(rig.way.back(rig.tools(), rig.turn), Failure)
    assert rig.customers() == there


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_an_unknown_answer_is_no_success(rig: Rig, answer: Answer) -> None:
    """Whatever is not understood fails, and is never taken for the new host."""
    rig.answer(answer)
    with suppress(DrorchError):
        found = rig.way.look(rig.tools(), rig.turn)
        assert isinstance(found, Failure) or found.leads == "elsewhere"
    assert isinstance(rig.attempt(), Failure)
    assert any(each.standing in (Standing.BAD, Standing.UNKNOWN) for each in rig.findings())
