"""Words for measurements and lines for terminals."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drorch.core.step import RunState
from drorch.reports.readiness import Readiness
from drorch.reports.text import Span, at_most, columns, length, line, precise, render, size, to_json, width, write


@pytest.mark.parametrize(
    ("seconds", "cut", "up"),
    [
        (0, "0 s", "0 s"),
        (59.2, "59 s", "1 min"),
        (61, "1 min", "2 min"),
        (3600, "1 h", "1 h"),
        (4 * 3600 + 9 * 60 + 1, "4 h 9 min", "4 h 10 min"),
        (86399, "23 h 59 min", "1 d"),
        (86400 + 3599, "1 d", "1 d 1 h"),
        (9 * 86400 + 23 * 3600 + 1, "9 d 23 h", "10 d"),
        (120 * 86400 + 5, "120 d", "121 d"),
        (-65, "-1 min", "-1 min"),
    ],
)
def test_a_length_of_time_reads_well(seconds: float, cut: str, up: str) -> None:
    """Ages are cut to two units, promises rounded up."""
    assert length(timedelta(seconds=seconds)) == cut
    assert at_most(timedelta(seconds=seconds)) == up


@given(st.integers(0, 10**8))
def test_a_promise_is_never_too_small(seconds: int) -> None:
    """What would be lost is said at least as large as it is."""
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    words = at_most(timedelta(seconds=seconds)).split()
    said = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert seconds <= said <= seconds * 1.1 + 60


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (1_234_567_890, "1.2 GB"), (5e15, "5000.0 TB")],
)
def test_a_size_reads_well(count: float, words: str) -> None:
    """Bytes in powers of 1000, one digit, never a thousand of a unit."""
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_a_measurement_keeps_its_precision(seconds: float, words: str) -> None:
    """What was measured is said finer than an age."""
    assert precise(seconds) == words


@given(
    st.lists(st.text(st.sampled_from("ab wörk漢\x1b\n\t "), max_size=70), max_size=6),
    st.integers(0, 50),
    st.integers(40, 100),
)
def test_no_row_is_wider_than_the_terminal(pieces: list[str], hanging: int, wide: int) -> None:
    """Whatever is said, and however long its words, it fits, and nothing of it is lost."""
    text = render([line(*pieces, hanging=hanging)], columns_wide=wide, colour=False)
    assert all(width(row) <= wide for row in text.splitlines())
    whole = render([line(*pieces)], columns_wide=None, colour=False)
    assert "".join(text.split()) == "".join(whole.split())


def test_foreign_text_cannot_reach_the_terminal() -> None:
    """Escapes and newlines of a host become visible or blank, whatever builds the line."""
    assert line("a\x1b[31mb\nc\td").plain == r"a\x1b[31mb c d"


def test_columns_align_and_wrap_below_themselves() -> None:
    """Each column begins at one place, the last one's continuation too."""
    rows = columns([("a", "bb", "one two three four five six seven eight nine"), ("aaaa", "b", "x")], indent=2)
    assert render(rows, columns_wide=40, colour=False).splitlines() == [
        "  a     bb  one two three four five six",
        "            seven eight nine",
        "  aaaa  b   x",
    ]


def test_a_pipe_gets_whole_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut or coloured where no terminal is."""
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    write([line(Span("word " * 40, "bad"))], stream)
    assert stream.getvalue() == ("word " * 40).rstrip() + "\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variable", "value", "coloured"), [("LANG", "C", True), ("NO_COLOR", "1", False), ("TERM", "dumb", False)]
)
def test_colour_can_be_declined(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, coloured: bool) -> None:  # noqa: FBT001 - a case
    """A terminal is coloured unless the user said no."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(variable, value)
    stream = _Terminal()
    write([line(Span("bad", "bad"))], stream)
    assert ("\x1b[" in stream.getvalue()) is coloured


def test_reports_are_json() -> None:
    """Times are UTC, lengths of time seconds under a name that says so, even where there is none."""
    ready = Readiness(
        service="shop",
        primary="web1",
        verdict="proven",
        headline="",
        rpo=timedelta(hours=1),
        rto=None,
        loss=None,
        back_in=None,
        sources=(),
        drills=(),
        offsite=(),
        gaps=(),
        attention=(),
        running=("a",),
        runbooks=(),
    )
    said = to_json(ready)
    assert (said["rpo_seconds"], said["rto_seconds"], said["running"]) == (3600.0, None, ["a"])
    assert to_json({"at": datetime(2026, 1, 1, tzinfo=UTC), "state": RunState.FAILED}) == {
        "at": "2026-01-01T00:00:00+00:00",
        "state": "failed",
    }
