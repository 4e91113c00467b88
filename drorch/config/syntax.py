"""The YAML library's complaints in plain words: what is meant, and what to do."""

import re
from typing import Final

from drorch.core.errors import Problem
from drorch.core.host import printable

_PLAIN_WORDS: Final = (
    (r"cannot start any token.*", "{char} cannot stand here", "put the value in quotes"),
    (
        r"could not find expected ':'",
        "a `:` is missing after a key",
        "write `key: value`, with a space after the colon",
    ),
    (
        r"mapping values are not allowed",
        "a `:` too many",
        "put a value that holds `: ` in quotes; check the indentation",
    ),
    (
        r"expected <block end>",
        "does not fit what is around it",
        "check the indentation, and that lists begin with `- `",
    ),
    (
        r"expected ',' or",
        "a bracket is not closed, or a comma is missing",
        "close it, or write the entry before with `,`",
    ),
    (r"expected the node content", "a value is missing", "is there a bracket or comma too many?"),
    (r"unexpected end of stream", "a quote is not closed", "close it"),
    (r"unexpected document (separator|indicator)", "`---` or `...` inside a quoted text", "close the quote before it"),
    (
        r"(sequence|block sequence|block mapping|mapping) .*not allowed",
        "a list or mapping cannot begin here",
        "start a new line",
    ),
    (
        r"unknown escape character|expected escape sequence",
        "no such escape after `\\`",
        "use single quotes for text with `\\`",
    ),
    (
        r"undefined alias",
        "aliases (*name) are not read",
        "write the value out here; put text that begins with * in quotes",
    ),
    (r"anchor|alias", "anchors and aliases are not read", "put text that begins with & or * in quotes"),
    (r"tag", "tags (!name) are not read", "put text that begins with ! in quotes"),
    (r"special characters are not allowed", "a control character", "remove it; a quoted text can hold it as an escape"),
    (
        r"directive|version|%YAML",
        "`%` directives are not read",
        "remove the line; put text that begins with % in quotes",
    ),
    (r"block scalar", "no such sign after `|` or `>`", "write `|` or `>` alone and begin the text on the next line"),
    (r"<document start>", "does not fit what is before it", "check the indentation of this line and the one before"),
)
"""What the library says → what it means, what to do."""


def syntax_problem(error: Exception, file: str, text: str) -> Problem:
    """The library's complaint in plain words. It never quotes the document: that may hold a secret by mistake."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = f"{getattr(error, 'problem', None) or ''} {getattr(error, 'context', None) or ''} {error}".strip()
    complaint = str(getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__)
    at = getattr(mark, "index", None)
    begun = getattr(error, "context_mark", None)
    if begun is not None and re.search("could not find expected ':'|unexpected end of stream", complaint):
        mark = begun  # where the key or the quote begins tells more than where its end was missed
    line = int(mark.line) + 1 if mark is not None else 0
    if mark is None and isinstance(getattr(error, "position", None), int):  # the reader's errors know a position only
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
    # A file that ends inside something is shown at its last line with content.
    line = min(line, len(text.rstrip().splitlines()) or 1) if line else 0
    lines = text.splitlines()
    before = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in before[: len(before) - len(before.lstrip())] or "'\\t'" in complaint:
        return Problem(file, line, "", "a tab stands where only spaces may", "indent with spaces")
    for pattern, message, hint in _PLAIN_WORDS:
        if re.search(pattern, complaint) or (pattern == r"<document start>" and pattern in said):
            char = text[at] if isinstance(at, int) and at < len(text) else "a character"
            return Problem(file, line, "", message.format(char=f"`{printable(char)}`"), hint)
    return Problem(file, line, "", "is no YAML that can be read", "check brackets, quotes and indentation")
