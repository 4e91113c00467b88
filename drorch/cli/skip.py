"""`drorch skip RUN`."""

from drorch.cli.answering import answering

command = answering("skip", "RUN waits after a failure: leave the step out and go on.")
