"""When a runbook is due, as a user writes it. The arithmetic is `drorch.engine.due`."""

import re
from datetime import datetime, time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from drorch.core.model import Duration, Frozen, parse_duration

_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def _time_of_day(value: object) -> time:
    if isinstance(value, time):
        return value
    if isinstance(value, str) and (match := _TIME_OF_DAY.fullmatch(value)):
        return time(int(match[1]), int(match[2]))
    msg = 'must be a time of day such as "02:30", in quotes'
    raise ValueError(msg)


TimeOfDay = Annotated[
    time,
    BeforeValidator(_time_of_day),
    PlainSerializer(lambda value: value.strftime("%H:%M"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^([01]?\d|2[0-3]):[0-5]\d$", "examples": ["02:30"]}),
]


def _known_zone(name: str) -> str:
    try:
        known = not name.startswith(("posix/", "right/")) and ZoneInfo(name).key == name
    except (KeyError, ValueError, OSError):
        known = False
    if not known:
        msg = "must be a time zone's name such as Europe/Berlin or UTC"
        raise ValueError(msg)
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""A name of the IANA time zone database."""

_CRON_FIELDS = 5


def _cron(text: str) -> str:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only documents with a cron line pay for its parser

    fields = text.split()
    if len(fields) != _CRON_FIELDS:
        msg = (
            "must be a cron expression of five fields (minute, hour, day of month, month, day of week), such as "
            f'"30 2 * * 1-5"; has {len(fields)}'
        )
        raise ValueError(msg)
    try:
        sample = CronSim(text, datetime(2000, 1, 1))  # noqa: DTZ001 - wall-clock time without a place, on purpose
        next(sample)
    except (CronSimError, AssertionError) as error:  # it also asserts while it parses
        what = str(error).lower() or "something is wrong"
        msg = f'must be a cron expression such as "30 2 * * 1-5"; {what} in {text!r}'
        raise ValueError(msg) from None
    except StopIteration:
        msg = f"must be a cron expression that comes round; {text!r} never does"
        raise ValueError(msg) from None
    return text


Cron = Annotated[str, AfterValidator(_cron), Field(examples=["30 2 * * 1-5"], max_length=200)]
"""Five fields, as cron(5): lists, ranges, steps, names, ``L`` and ``#``; read by cronsim."""

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class Weekly(Frozen):
    """A day of the week."""

    day: Weekday
    at: TimeOfDay


class Monthly(Frozen):
    """A day of the month; in shorter months the last one."""

    day: Annotated[int, Field(ge=1, le=31)] = 1
    at: TimeOfDay


class Quarterly(Frozen):
    """A day in the first month of January's, April's, July's and October's quarter."""

    day: Annotated[int, Field(ge=1, le=31)] = 1
    month: Annotated[int, Field(ge=1, le=3)] = 1
    """Which month of the quarter."""
    at: TimeOfDay


class Schedule(Frozen):
    """Exactly one of daily, weekly, monthly, quarterly, cron."""

    daily: TimeOfDay | None = None
    weekly: Weekly | None = None
    monthly: Monthly | None = None
    quarterly: Quarterly | None = None
    cron: Cron | None = None
    """Five fields, as cron(5). With ``*`` for the hour it counts real hours; otherwise wall-clock times."""
    timezone: TimeZone | None = None
    """The inventory's unless said."""
    jitter: Duration = parse_duration("0s")
    """Start this much later at most: the same delay for a runbook on each day, so that many do not start at once."""
    catch_up: Duration = parse_duration("12h")
    """How late a missed slot may still run; older ones are shown as missed."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        said = [key for key in ("daily", "weekly", "monthly", "quarterly", "cron") if getattr(self, key) is not None]
        if len(said) != 1:
            msg = f"must have exactly one of daily, weekly, monthly, quarterly, cron; has {', '.join(said) or 'none'}"
            raise ValueError(msg)
        return self

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone said here."""
        return ZoneInfo(self.timezone) if self.timezone else None
