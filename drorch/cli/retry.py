"""`drorch retry RUN`."""

from drorch.cli.answering import answering

command = answering("retry", "RUN waits after a failure: try the failed step again.")
