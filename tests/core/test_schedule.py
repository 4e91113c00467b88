"""Schedules as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drorch.core.schedule import Schedule


@pytest.mark.parametrize(
    "cron",
    ["30 2 * * *", "*/15 0-6 1,15 jan-mar mon", "0 4 L * *", "0 4 LW * *", "0 4 * * fri#2", "0 4 * * 5L", "0  4 * * 7"],
)
def test_cron_lines_are_taken(cron: str) -> None:
    """What cron(5) and its usual extensions know is a schedule, and stays the text that the user wrote."""
    assert Schedule.model_validate({"cron": cron}).cron == cron


@pytest.mark.parametrize(
    ("cron", "word"),
    [
        ("", "has 0"),
        ("30 2 * *", "has 4"),
        ("0 30 2 * * *", "has 6"),
        ("@daily", "has 1"),
        ("61 2 * * *", "bad minute"),
        ("30 24 * * *", "bad hour"),
        ("30 2 * foo *", "bad month"),
        ("30 2 30 2 *", "bad day-of-month"),
        ("*/0 2 * * *", "bad minute"),
        ("30 2 * * 1#9", "bad day-of-week"),
        ("30 2 L/LW * *", "bad day-of-month"),
    ],
)
def test_a_wrong_cron_line_is_refused_where_it_is_written(cron: str, word: str) -> None:
    """A cron line that cannot be read is a mistake of the document, said with what is wrong in it."""
    with pytest.raises(ValidationError, match=word) as refused:
        Schedule.model_validate({"cron": cron})
    assert refused.value.errors()[0]["loc"] == ("cron",)


@given(st.lists(st.text("0123456789*,-/#LWMONJAFEB", max_size=6), min_size=5, max_size=5).map(" ".join))
def test_no_text_breaks_the_cron_check(cron: str) -> None:
    """Any text is either a schedule or a validation error, never another error."""
    try:
        Schedule.model_validate({"cron": cron})
    except ValidationError as refused:
        assert "cron expression" in str(refused)  # noqa: PT017 - both ends are right, this one with its words


@pytest.mark.parametrize("spec", [{}, {"daily": "02:30", "cron": "30 2 * * *"}, {"jitter": "10m"}])
def test_a_schedule_says_one_thing(spec: dict[str, str]) -> None:
    """None of the ways, or two of them, is refused."""
    with pytest.raises(ValidationError, match="exactly one of"):
        Schedule.model_validate(spec)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_a_zone_is_known_by_its_name(zone: str) -> None:
    """Names of the time zone database are taken as they are."""
    assert Schedule.model_validate({"daily": "02:30", "timezone": zone}).timezone == zone


@pytest.mark.parametrize(
    "zone", ["", "Europe", "Berlin", "europe/berlin ", "/etc/localtime", "../UTC", "posix/UTC", "a\0b"]
)
def test_an_unknown_zone_is_refused(zone: str) -> None:
    """Neither a folder of the database nor a path is a zone."""
    with pytest.raises(ValidationError, match="time zone's name"):
        Schedule.model_validate({"daily": "02:30", "timezone": zone})
