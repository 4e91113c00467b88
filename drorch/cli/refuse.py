"""`drorch refuse RUN`."""

from drorch.cli.answering import answering

command = answering("refuse", "RUN waits for a person: no; it ends, and its clean-up happens.")
