"""`drorch daemon`."""

import logging
import signal
from types import FrameType

import click

from drorch.cli.main import app
from drorch.core.exits import Exit


@click.command("daemon")
def command() -> Exit:
    """Run what is due, on and on, in the foreground (systemd or a container keeps it there)."""
    from drorch.daemon import Daemon  # noqa: PLC0415 - only here

    drorch = app()
    logging.getLogger("drorch").setLevel(min(logging.INFO, logging.getLogger().level))

    def stop(_number: int, _frame: FrameType | None) -> None:
        drorch.halt.request()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    Daemon(drorch).serve()
    return Exit.OK
