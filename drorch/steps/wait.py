"""``wait``: let time pass, or wait until a port answers."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drorch.core.errors import HostError
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.model import Duration, Frozen, HostName, format_duration
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools

PAUSE = 0.5
"""Seconds between two tries."""


class Port(Frozen):
    """A TCP port."""

    host: HostName | None = None
    """From which host it is tried; the controller unless said."""
    address: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:][A-Za-z0-9_.:-]*$")] = "127.0.0.1"
    """Name or IP address, as seen from there."""
    port: Annotated[int, Field(ge=1, le=65535)]


class Wait(Step):
    """Wait: exactly one of `for` and `tcp`."""

    kind: Literal["wait"]
    for_: Annotated[Duration | None, Field(alias="for")] = None
    """So long, such as ``30s``."""
    tcp: Port | None = None
    """Until this port takes connections, or the timeout (10 minutes unless said) is over."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.for_ is None) == (self.tcp is None):
            raise ValueError("must have exactly one of for, tcp")
        return self

    @property
    def default_timeout(self) -> timedelta:
        """The wait itself, and a minute."""
        return (self.for_ or timedelta(minutes=9)) + timedelta(minutes=1)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        if self.tcp is not None:
            return f"wait until {self.tcp.address}:{self.tcp.port} answers, seen from {self.tcp.host or 'here'}"
        return f"wait {format_duration(self.for_ or timedelta())}"

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Wait."""
        if self.tcp is None:
            length = (self.for_ or timedelta()).total_seconds()
            tools.clock.sleep(length)
            return Evidence(facts={"seconds": length})
        return _answers(tools, self.tcp)


def _answers(tools: Tools, port: Port) -> Outcome:
    host = tools.host(port.host) if port.host else tools.controller()
    began = tools.clock.monotonic()
    tries = 0
    while True:
        tries += 1
        try:
            with host.dial(port.address, port.port, timeout=5.0):
                waited = round(tools.clock.monotonic() - began, 3)
                return Evidence(
                    facts={
                        "address": port.address,
                        "port": port.port,
                        "from": host.name,
                        "seconds": waited,
                        "tries": tries,
                    }
                )
        except HostError as error:
            if tools.deadline.remaining() <= PAUSE:
                return Failure(
                    why=f"{port.address}:{port.port} does not answer, seen from {host.name}: {error.message}",
                    hint="is the program running, and does it listen on that address?",
                    retryable=True,
                    timed_out=True,
                    facts={"tries": tries},
                )
            tools.clock.sleep(PAUSE)
