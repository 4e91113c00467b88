"""YAML is read with lines, and what is dangerous or sloppy in it is refused."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drorch.config.yaml import MAX_BYTES, MAX_PROBLEMS, Place, read
from drorch.core.model import Json

REFUSED = [
    ("a: 1\nb: 2\na: 3\n", 3, "a", "said twice, first in line 1"),
    ("a:\n  b: 1\n  b: 2\n", 3, "a.b", "said twice, first in line 2"),
    ("a: &x 1\n", 1, "a", "anchors"),
    ("a: 1\nb: *x\n", 2, "b", "aliases"),
    ("a: {b: 1}\nc:\n  <<: {d: 1}\n", 3, "c", "merge keys"),
    ("a: !!python/object:os.system x\n", 1, "a", "tags"),
    ("a:\n  - !mine {b: 1}\n", 2, "a.0", "tags"),
    ("a: 1\n---\nb: 2\n", 2, "", "a second document"),
    ("a: 1\n\tb: 2\n", 2, "", "tab"),
    ("a:\n\t- 1\n", 2, "", "tab"),
    ("1: a\n", 1, "", "a key must be text"),
    ("a:\n  null: b\n", 2, "a", "a key must be text"),
    ("a: {true: b}\n", 1, "a", "a key must be text"),
    ("a: {{ b }}\n", 1, "a", "a key must be text"),
    ("? [a, b]\n: c\n", 1, "", "a key must be text"),
    ("a: [1, 2\nb: 3\n", 2, "", "bracket"),
    ("a: 'open\n", 1, "", "quote"),
    ("a: b: c\n", 1, "", "`:` too many"),
    ("a: %b\n", 1, "", "`%` cannot stand here"),
    ("a: @b\n", 1, "", "`@` cannot stand here"),
    ("a: 1\nb\nc: 2\n", 2, "", "`:` is missing"),
    ("a:\n  - 1\n b: 2\n", 3, "", "does not fit"),
    ("a: ]\n", 1, "", "value is missing"),
    ('a: "\\q"\n', 1, "", "escape"),
    ('a: "\\ud800"\n', 1, "a", "no text"),
    ('"\\0": 1\n', 1, "", "no text"),
    ("a: 1\nb: \x07\n", 2, "", "control character"),
    ("", 0, "", "empty"),
    ("# nothing\n", 0, "", "empty"),
]


@pytest.mark.parametrize(("text", "line", "key", "message"), REFUSED)
def test_refused_with_its_line(text: str, line: int, key: str, message: str) -> None:
    """Whatever is refused is named with its line, its key and something to do."""
    found = read(text.encode(), "f.yaml").problems
    assert [(one.line, one.key) for one in found if message in one.message] == [(line, key)], found
    assert all(one.hint for one in found)


def test_bytes_that_are_no_text() -> None:
    """A byte that is no UTF-8 is named with its line."""
    (problem,) = read(b"a: 1\nb: \xff\n", "f.yaml").problems
    assert (problem.line, "0xff" in problem.message) == (2, True)


PLAIN: list[tuple[str, Json]] = [
    ("on", "on"),
    ("no", "no"),
    ("y", "y"),
    ("2026-10-01", "2026-10-01"),
    ("10:00", "10:00"),
    ("1_000", "1_000"),
    ("0o17", 15),
    ("0x1F", 31),
    ("017", 17),
    ("-3", -3),
    ("1.5", 1.5),
    ("1e3", 1000.0),
    (".nan", ".nan"),
    (".inf", ".inf"),
    ("true", True),
    ("FALSE", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("'1'", "1"),
    ('"true"', "true"),
    ("|\n  1\n", "1\n"),
    ("1" * 5000, "1" * 5000),
    ("~/x", "~/x"),
    ("nas", "nas"),
]


@pytest.mark.parametrize(("text", "value"), PLAIN)
def test_words_are_read_as_yaml_1_2(text: str, value: Json) -> None:
    """Only what YAML 1.2 calls a number, boolean or null is one; everything else is text."""
    document = read(f"a: {text}\n".encode(), "f.yaml")
    assert document.problems == ()
    assert (document.data["a"], type(document.data["a"])) == (value, type(value))


def test_every_key_and_value_has_its_line() -> None:
    """Lines of keys and of values are kept, for lists too."""
    document = read(b"a:\n  b:\n    - x\n    - {c: 1}\nd: |\n  text\n", "f.yaml")
    assert document.places["a", "b"] == Place(2, 3)
    assert document.places["a", "b", 1, "c"] == Place(4, 4)
    assert document.line(("d",)) == 5
    assert document.line(("a", "b", 7, "none")) == 2


def test_a_byte_order_mark_is_no_mistake() -> None:
    """Editors that write a byte order mark do no harm."""
    assert read(b"\xef\xbb\xbfa: 1\n", "f.yaml").data == {"a": 1}


BOMBS = {
    "ten megabytes": b"x" * 10_000_000,
    "laughs": b"a: &a [x, x, x]\n" + b"".join(b"k%d: &k%d [*a, *a, *a]\n" % (n, n) for n in range(30)),
    "brackets": b"[" * 1_000_000,
    "braces": b"{a: " * 200_000,
    "indentation": b"".join(b" " * n + b"a:\n" for n in range(1000)),
    "dashes": b"- " * 500_000,
    "questions": b"? " * 500_000,
    "colons": b":" * 1_000_000,
    "keys": b"".join(b"k%d: v\n" % n for n in range(80_000)),
    "one key": b"{" + b"a," * 400_000 + b"}",
    "values": b"[" + b"1," * 400_000 + b"]",
    "tags": b"!a " * 300_000,
    "anchors": b"&a " * 300_000,
    "directives": b"%a\n" * 300_000,
    "open quote": b'a: "' + b"x\n " * 300_000,
    "empty lines": b"\n" * 1_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_soon(name: str) -> None:
    """A hostile document is refused in seconds, with few words."""
    began = time.process_time()
    document = read(BOMBS[name], "f.yaml")
    assert 0 < len(document.problems) <= MAX_PROBLEMS
    assert sum(len(str(problem)) for problem in document.problems) < 50_000
    assert time.process_time() - began < 20


def test_the_largest_document_that_is_read() -> None:
    """A document of the full size is no mistake in itself; one byte more is."""
    text = b"a: " + b"x" * (MAX_BYTES - 3)
    assert read(text, "f.yaml").problems == ()
    assert read(text + b"x", "f.yaml").problems != ()


@given(st.text() | st.text(alphabet="ab:-[]{}&*!|>'\"%@`#?,\n\t \\0<~"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands in a file, reading it never fails in any other way than by problems."""
    document = read(text.encode("utf-8", "surrogatepass"), "f.yaml")
    assert document.problems or document.data is not None or text.strip()


@given(st.binary())
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """The same for bytes."""
    read(content, "f.yaml")
