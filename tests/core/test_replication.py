"""What promoting a standby would lose: reckoned from what both said, never less than it may be."""

from datetime import UTC, datetime, timedelta

import pytest

from drorch.core.replication import Loss, ReplicaState, loss

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def primary(position: int | None = 1000, *, ago: float = 0, **more: object) -> ReplicaState:
    """As it was seen so many seconds ago."""
    said = {"host": "web1", "role": "primary", "at": NOW - timedelta(seconds=ago), "position": position, **more}
    return ReplicaState.model_validate(said)


def standby(position: int | None = 1000, **ages: float) -> ReplicaState:
    """As it is now; ``commit`` and ``heard``: seconds since its newest commit, and since its primary's last word."""
    moments = {name: NOW - timedelta(seconds=age) for name, age in ages.items()}
    return ReplicaState(
        host="web2",
        role="standby",
        at=NOW,
        position=position,
        last_commit=moments.get("commit"),
        last_heard=moments.get("heard"),
        next_transaction=50,
    )


@pytest.mark.parametrize(
    ("follower", "leader", "words"),
    [
        (standby(), primary(role="stopped", clean=True), "nothing"),
        (standby(), primary(synchronous=True), "nothing"),
        (standby(1500), primary(ago=3600, synchronous=True), "nothing"),
        (standby(1500, commit=90), primary(ago=90_000, synchronous=True), "at most 1 min 30 s"),
        (
            standby(900, commit=252),
            primary(next_transaction=67),
            "at most 4 min 12 s / 17 transactions seen but not received",
        ),
        (
            standby(900, commit=2),
            primary(role="stopped", clean=True),
            "at most 2 s / 100 bytes of log seen but not received",
        ),
        (standby(commit=7200), primary(), "at most 0 s"),
        (standby(commit=7200), primary(ago=600), "at most 10 min"),
        (standby(commit=7200, heard=3), primary(ago=600), "at most 3 s"),
        (standby(commit=7200), None, "at most 2 h"),
        (standby(900, commit=7200), primary(ago=600), "at most 2 h / 100 bytes of log seen but not received"),
        (standby(), primary(None, role="stopped", clean=False), "an unknown amount"),
        (None, primary(), "an unknown amount"),
    ],
)
def test_what_would_be_lost(follower: ReplicaState | None, leader: ReplicaState | None, words: str) -> None:
    """The newest moment up to which the standby certainly has everything counts; what was merely seen long ago does not
    promise that nothing is lost.
    """
    assert loss(follower, leader, NOW).words == words


def test_the_mode_is_known_from_the_primary_alone() -> None:
    """A standby does not know whether commits wait for it."""
    assert loss(standby(), primary(synchronous=False), NOW).mode == "asynchronous"
    assert loss(standby(), primary(synchronous=None), NOW).mode == "unknown"
    assert loss(standby(), None, NOW).mode == "unknown"
    assert Loss.model_validate(loss(standby(), primary(), NOW).model_dump(mode="json")).basis == "web1 answers"
