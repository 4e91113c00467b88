"""`drorch confirm RUN`."""

from drorch.cli.answering import answering

command = answering("confirm", "RUN waits for a person: yes, it is done.")
