"""What every declared value shares: frozen models, names, durations, references.

A declared value is what a user may write in YAML. All of them are frozen, refuse unknown keys, and survive
``model_validate(model_dump(mode="json"))`` unchanged, because plans are stored and replayed as JSON.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)


class Frozen(BaseModel):
    """A declared value."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        str_strip_whitespace=False,
        hide_input_in_errors=True,
        serialize_by_alias=True,  # what is dumped is what a user may write
    )


@dataclass(frozen=True, slots=True)
class Ref:
    """Marks a field whose value must be the name of something that the documents define.

    ``to`` says of what. The configuration loader follows the marks by itself, so a new step kind with a
    ``HostName`` field is checked against the inventory without a line of code of its own.
    """

    to: Literal["host", "service", "source", "repository", "store", "secret", "notify", "step", "runbook", "person"]


NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Lower-case letters, digits, ``-`` and ``_``; starts with a letter or digit; at most 63 characters."""

HostName = Annotated[Name, Ref("host")]
ServiceName = Annotated[Name, Ref("service")]
SourceName = Annotated[Name, Ref("source")]
RepositoryName = Annotated[Name, Ref("repository")]
StoreName = Annotated[Name, Ref("store")]
NotifyName = Annotated[Name, Ref("notify")]
StepName = Annotated[Name, Ref("step")]


Words = Annotated[tuple[Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")], ...], Field(min_length=1)]
"""A program and its arguments, one word each: no shell reads them."""
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


Regex = Annotated[str, AfterValidator(_compiles)]
"""A regular expression, as Python's `re` reads it."""


class SecretRef(Frozen):
    """The name of a secret; where its value comes from stands under ``secrets:`` in the inventory."""

    secret: Annotated[Name, Ref("secret")]


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_duration(text: object) -> timedelta:
    """Read ``90s``, ``10m``, ``24h``, ``7d``, ``2w`` or a sum such as ``1h30m``.

    Raises:
        ValueError: the text is none of these (a bare number has no unit and is refused).
    """
    if isinstance(text, timedelta):
        return text
    if isinstance(text, str):
        compact = text.strip()
        found = _DURATION.findall(compact)
        if found and "".join(number + unit for number, unit in found) == compact:
            return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in found))
    msg = "must be a duration such as 90s, 10m, 24h, 7d or 1h30m"
    raise ValueError(msg)


def format_duration(value: timedelta) -> str:
    """Write a duration as `parse_duration` reads it, exact to the millisecond."""
    rest = round(value.total_seconds() * 1000)
    if rest == 0:
        return "0s"
    words = []
    for unit in ("d", "h", "m", "s", "ms"):
        size = round(_UNITS[unit] * 1000)
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count}{unit}")
    return "".join(words)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d|w))+$", "examples": ["90s", "10m", "24h", "7d"]}
    ),
]
"""A length of time; written with a unit."""

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of these (pydantic checks it where it enters)."""
