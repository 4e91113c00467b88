"""A command's words and environment, the same on every connector; and how a command is shown to people."""

import re
import shlex
from collections.abc import Mapping

from drorch.core.errors import HostError
from drorch.core.host import Command
from drorch.core.secret import Secret

LANG = "C.UTF-8"
"""Programs answer in English and take UTF-8, whatever the machine's own language."""

NOT_FOUND = 127
"""Exit code of a program that is not there, on every connector, as shells give it."""
NOT_EXECUTABLE = 126
"""Exit code of a program that cannot be executed, or whose folder cannot be entered."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNALS_FROM = 128


def encoded(word: str) -> bytes:
    """The bytes of a word; surrogate escapes become the bytes they stand for."""
    return word.encode("utf-8", "surrogateescape")


def exit_code(status: int) -> int:
    """A process's exit code, 128 + n for signal n, from the way Python counts signals: below zero."""
    return status if status >= 0 else _SIGNALS_FROM - status


def check(command: Command) -> None:
    """Refuse what no machine could execute.

    Raises:
        HostError: no words, a NUL byte, or a name that is no environment variable's.
    """
    if not command.argv or not command.argv[0]:
        raise HostError("a command without words cannot be executed", hint="give it a program")
    if any("\0" in word for word in (*command.argv, command.cwd or "")):
        raise HostError(f"{shown(command.argv)}: a word with a NUL byte cannot be given to a program")
    for name, value in command.env.items():
        if not _VARIABLE.fullmatch(name):
            raise HostError(f"{name!r} cannot be the name of an environment variable", hint="letters, digits and _")
        if "\0" in _revealed(value):
            raise HostError(f"the environment variable {name} would hold a NUL byte")


def environment(base: Mapping[str, str], own: Mapping[str, str], command: Command) -> dict[str, str]:
    """What a command finds in its environment, complete: the base, the host's own words, the command's.

    The result holds secrets in clear: it goes to the process and nowhere else.
    """
    return {**base, **own, **{name: _revealed(value) for name, value in command.env.items()}}


def _revealed(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def shown(argv: tuple[str, ...]) -> str:
    """The words as one line that bash would read back as the same words; no byte of it disturbs a terminal."""
    return " ".join(_word(word) for word in argv)


def _word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(_escaped(char) for char in word) + "'"


def _escaped(char: str) -> str:
    if char in "'\\":
        return f"\\{char}"
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in encoded(char))
