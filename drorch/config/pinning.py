"""Writes pinned identities into an inventory's text and leaves every other byte as it was. Pure.

An edit is tried in the few forms that people write, and only taken when the text, read again, says exactly what it said
before plus the pins. Whatever is written in another way is left to the user.
"""

import json
import re
from collections.abc import Iterator, Mapping

from drorch.config.yaml import Document, Path, read
from drorch.core.errors import DrorchError
from drorch.core.model import Json

_PLAIN = re.compile(r"ssh-[a-z0-9-]+ [A-Za-z0-9+/=]+|ecdsa-[a-z0-9-]+ [A-Za-z0-9+/=]+")
"""Values that need no quotes anywhere in YAML."""
_BESIDE = ("host_key", "key", "user", "port", "address", "connector")
"""New keys stand below the first of these that there is."""


def pinned(content: bytes, file: str, host: str, pins: Mapping[str, str]) -> bytes:
    """The inventory's text with the host's keys set to these values.

    Raises:
        DrorchError: the text is written in a way that cannot be edited safely; says what to write by hand.
    """
    for key, value in pins.items():
        content = _set(content, file, host, key, value)
    return content


def _set(content: bytes, file: str, host: str, key: str, value: str) -> bytes:
    before = read(content, file)
    wanted = _with(before.data, host, key, value)
    if wanted == before.data:
        return content
    text = content.decode("utf-8")
    for candidate in _candidates(text, before, host, key, value):
        new = candidate.encode("utf-8")
        after = read(new, file)
        if not after.problems and after.data == wanted:
            return new
    raise DrorchError(
        f"{file}: hosts.{host} is written in a way that drorch does not edit; nothing was changed",
        hint=f"write it yourself: {key}: {_word(value)}",
    )


def _with(data: Json, host: str, key: str, value: str) -> Json:
    if not isinstance(data, dict) or not isinstance(data.get("hosts", {}).get(host), dict):
        raise DrorchError(f"no host {host} in the inventory's text")
    hosts = data["hosts"]
    return {**data, "hosts": {**hosts, host: {**hosts[host], key: value}}}


def _candidates(text: str, document: Document, host: str, key: str, value: str) -> Iterator[str]:
    lines = text.splitlines(keepends=True)
    path: Path = ("hosts", host)
    place = document.places.get((*path, key))
    if place is not None:
        old = document.data["hosts"][host][key]
        yield from _replaced(lines, place.value - 1, str(old), value)
        return
    own = document.places[path]
    if own.value > own.key:
        yield from _below(lines, document, path, key, value)
    yield from _inside(lines, own.key - 1, key, value)


def _replaced(lines: list[str], at: int, old: str, value: str) -> Iterator[str]:
    """The old value, in each way of quoting it, replaced on its line."""
    for form in (json.dumps(old), f"'{old}'", old):
        if form in lines[at]:
            yield _spliced(lines, at, lines[at].replace(form, _word(value), 1))


def _below(lines: list[str], document: Document, path: Path, key: str, value: str) -> Iterator[str]:
    """A line of its own in a block, beside the keys that it belongs to."""
    known = [child for child in _BESIDE if (*path, child) in document.places]
    for child in known:
        at = document.places[(*path, child)].key - 1
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip(" "))]
        body = lines[at].rstrip("\r\n")
        end = lines[at][len(body) :] or "\n"
        yield _spliced(lines, at, f"{body}{end}{indent}{key}: {_word(value)}{end}")


def _inside(lines: list[str], at: int, key: str, value: str) -> Iterator[str]:
    """Inside braces: before one that closes, else behind one that opens."""
    row = lines[at]
    for index in (index for index, char in enumerate(row) if char == "}"):
        yield _spliced(lines, at, f"{row[:index].rstrip(' ')}, {key}: {_word(value)}{row[index:]}")
    for index in (index for index, char in enumerate(row) if char == "{"):
        yield _spliced(lines, at, f"{row[: index + 1]}{key}: {_word(value)}, {row[index + 1 :].lstrip(' ')}")


def _spliced(lines: list[str], at: int, new: str) -> str:
    return "".join([*lines[:at], new, *lines[at + 1 :]])


def _word(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)
