"""Commands as people see them, and what is loaded for them."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drorch.hosts import shown
from drorch.hosts.output import Sink
from drorch.hosts.words import encoded


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("ls", "-l"), "ls -l"),
        (("a b", "", "it's"), "'a b' '' 'it'\"'\"'s'"),
        (("a\nb", "\x1b[31m'"), "$'a\\x0ab' $'\\x1b[31m\\''"),
        (("\udcff",), "$'\\xff'"),
        (("\u202eevil",), "$'\\xe2\\x80\\xaeevil'"),
        (("~/x", "$HOME"), "'~/x' '$HOME'"),
    ],
)
def test_shown(argv: tuple[str, ...], text: str) -> None:
    """A shown command can be pasted into a shell, and disturbs no terminal."""
    assert shown(argv) == text


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))))
def test_shown_reads_back(words: list[str]) -> None:
    """Bash reads a shown command back as the same words."""
    line = shown(("printf", r"%s\0", *words, "end"))
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [encoded(word) for word in (*words, "end")]


@given(st.lists(st.binary(max_size=20)))
def test_lines_do_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    """However a stream is cut into pieces, the same lines come out."""
    lines: list[bytes] = []
    sink = Sink(0, lines.append)
    for piece in pieces:
        sink.feed(piece)
    sink.finish()
    whole = b"".join(pieces).split(b"\n")
    assert lines == (whole if whole[-1] else whole[:-1])


def test_paramiko_is_loaded_late() -> None:
    """Neither the inventory's words nor the door to the hosts load paramiko."""
    code = "import sys, drorch.hosts, drorch.core.host; sys.exit('paramiko' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
