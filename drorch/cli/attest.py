"""`drorch attest RUN`."""

from drorch.cli.answering import answering

command = answering("attest", "RUN could not prove a fence: I attest, by my name, that the host takes no more writes.")
