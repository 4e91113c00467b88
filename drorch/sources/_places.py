"""Places on hosts that users write, and names that are certainly a run's own."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from drorch.core.evidence import Failure
from drorch.core.host import Host
from drorch.core.source import Destination

_TOKEN = re.compile(r"drorch_[a-z0-9_]{1,33}")


def _host_path(path: str) -> str:
    if "\0" in path:
        msg = "must not hold a NUL character"
        raise ValueError(msg)
    if not path.startswith(("/", "~/")):
        msg = f"{path!r} must be absolute, such as /srv/shop, or below the user's home, such as ~/shop"
        raise ValueError(msg)
    words = path.split("/")
    if ".." in words:
        msg = f"{path!r} must not hold `..`: write the place that is meant"
        raise ValueError(msg)
    kept = [word for word in words[1:] if word not in {"", "."}]
    if not kept and words[0] == "~":
        msg = "the whole home is not a good place: name a folder or file in it, such as ~/shop"
        raise ValueError(msg)
    return f"{words[0]}/{'/'.join(kept)}"


HostPath = Annotated[str, AfterValidator(_host_path)]
"""A file or folder of a host: absolute, or ``~/…`` for the home of the host's user; no ``..``, no slash at its end."""

Word = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]*$")]
"""One word of a command or pattern: not empty, no NUL character."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Listed = BeforeValidator(_as_list, json_schema_input_type=str | list[str])
"""Lets a user write a single text where a list is meant."""


def absolute(host: Host, path: str) -> str:
    """The path with ``~/`` replaced by the home of the host's user.

    Raises:
        HostError: the host cannot be asked for it.
    """
    return f"{host.identity().home.rstrip('/')}/{path[2:]}" if path.startswith("~/") else path


def basename(path: str) -> str:
    """The last piece of a path."""
    return path.rsplit("/", 1)[-1]


def foreign(into: Destination) -> Failure | None:
    """A failure unless the destination's token is one that only drorch gives."""
    if _TOKEN.fullmatch(into.token):
        return None
    return Failure(
        why=f"{into.token!r} is no name of a restore: nothing was touched",
        hint="only names that begin with drorch_ are ever removed or moved; this is a defect, please report it",
    )


def suffix(into: Destination) -> str:
    """A short text that no other run has, for names beside the live thing."""
    return into.token[-12:].lstrip("_")
