"""`drorch unplanned RUN`."""

from drorch.cli.answering import answering

command = answering("unplanned", "RUN is a planned move that cannot go on: go on without the old primary's help.")
