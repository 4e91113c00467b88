"""PostgreSQL's streaming replication: looked at, promoted, frozen, rehearsed; on real pairs of servers."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding, Standing
from drorch.core.replication import ReplicaState, loss
from drorch.sources._postgres_findings import how_to_start
from drorch.sources._postgres_leader import names_in
from drorch.sources._postgres_promote import needed
from drorch.sources._postgres_server import Endpoint
from support.replicas import Node, Pair, streams, until


@pytest.fixture(scope="module")
def calm(make_pairs: Callable[..., Pair]) -> Pair:
    """A pair that the tests leave as it is."""
    return make_pairs()


def orders(node: Node) -> int:
    """How many there are."""
    return int(node.sql("SELECT count(*) FROM orders"))


def caught_up(pair: Pair) -> None:
    """Wait until the standby has replayed all."""
    wanted = pair.look(pair.primary).position or 0
    until(lambda: (pair.look(pair.standby).applied or 0) >= wanted, "the standby has replayed all")


def promoted(pair: Pair, **more: float) -> Evidence:
    """Promote the standby; it must succeed."""
    done = pair.promoted(**more)
    assert isinstance(done, Evidence), done
    return done


def found(pair: Pair) -> dict[str, Finding]:
    """Everything that is not good, by its words."""
    replication = pair.replication(pair.standby)
    seen = replication.findings(pair.tools(), pair.host(pair.primary), pair.host(pair.standby))
    return {finding.what: finding for finding in seen if finding.standing is not Standing.GOOD}


def bad(pair: Pair) -> str:
    """What would make a failover fail."""
    return "; ".join(what for what, finding in found(pair).items() if finding.standing is Standing.BAD)


def test_both_say_how_they_stand(calm: Pair) -> None:
    """Role, database, timeline, positions; what the standby lacks is nothing, and that is known to the second."""
    calm.primary.sql("INSERT INTO orders VALUES (1000)")
    caught_up(calm)
    primary, standby = calm.look(calm.primary), calm.look(calm.standby)
    assert (primary.role, standby.role) == ("primary", "standby")
    assert primary.cluster == standby.cluster
    assert primary.cluster
    assert primary.history == standby.history == 1
    assert primary.position == standby.position == standby.applied
    assert primary.next_transaction == standby.next_transaction
    assert primary.followers == ("standby (async)",)
    assert (standby.receiving, primary.synchronous, standby.synchronous) == (True, False, None)
    assert standby.last_commit is not None
    assert standby.last_heard is not None
    lost = loss(standby, primary, calm.world.clock.now())
    assert lost.seconds is not None
    assert lost.seconds < 15
    assert (lost.bytes, lost.transactions, lost.mode) == (0, 0, "asynchronous")


def test_what_is_healthy_has_no_bad_finding(calm: Pair) -> None:
    """Doubts, such as asynchronous replication, have their remedy; the lag is measured."""
    assert bad(calm) == ""
    assert all(finding.remedy for finding in found(calm).values())
    replication = calm.replication(calm.standby)
    seen = list(replication.findings(calm.tools(), calm.host(calm.primary), calm.host(calm.standby)))
    assert any(finding.facts.get("lag_bytes") == 0 for finding in seen)


def test_a_server_that_hangs_is_unknown_never_stopped(calm: Pair) -> None:
    """Its sockets still take connections, and nobody answers."""
    calm.primary.pause()
    try:
        state = calm.replication(calm.primary).look(calm.tools(seconds=2), calm.host(calm.primary))
    finally:
        calm.primary.go_on()
    assert isinstance(state, Failure)
    assert state.unknown
    until(lambda: streams(calm), "the standby streams again")


def test_a_paused_replay_and_an_aim_are_found(calm: Pair) -> None:
    """The first is a doubt, since a promotion ends it; a standby that does not receive is bad."""
    calm.standby.sql("SELECT pg_wal_replay_pause()")
    try:
        assert "its replay is paused" in found(calm)
    finally:
        calm.standby.sql("SELECT pg_wal_replay_resume()")


def test_a_copy_of_the_standby_is_promoted_and_nothing_else(calm: Pair) -> None:
    """It takes writes on a port of its own; done again it is the same; the standby goes on; forgotten, it is gone."""
    calm.primary.sql("INSERT INTO orders VALUES (1001)")
    caught_up(calm)
    replication, tools, host = calm.replication(calm.standby), calm.tools(), calm.host(calm.standby)
    try:
        first = replication.rehearse(tools, host, "/nowhere", "drorch_database_1")
        again = replication.rehearse(tools, host, "/nowhere", "drorch_database_1")
        assert isinstance(first, Evidence), first
        assert isinstance(again, Evidence), again
        assert (first.facts["port"], first.facts["timeline"]) == (again.facts["port"], 2)
        copy = Node(Path(first.facts["directory"]).parent, "copy", first.facts["port"], calm.standby.bin)
        asked = [
            "psql",
            "-XAtqw",
            "-h",
            first.facts["socket"],
            "-p",
            str(copy.port),
            "-U",
            "postgres",
            "-d",
            "postgres",
        ]
        changed = "INSERT INTO orders VALUES (9999); SELECT count(*) FROM orders"
        done = subprocess.run([*asked, "-c", changed], capture_output=True, check=True, text=True)
        assert int(done.stdout) == orders(calm.standby) + 1
        assert calm.look(calm.standby).role == "standby"
        assert streams(calm)
    finally:
        assert replication.forget(tools, host, "/nowhere", "drorch_database_1") is None
    assert not Path(first.facts["directory"]).exists()
    assert replication.forget(tools, host, "/nowhere", "drorch_database_1") is None
    assert calm.look(calm.standby).receiving


def test_a_server_is_frozen_for_everybody_and_given_back(calm: Pair) -> None:
    """Not even a superuser writes, also after a restart; thawed it is the same primary on the same timeline."""
    replication, tools, host = calm.replication(calm.primary), calm.tools(), calm.host(calm.primary)
    assert replication.frozen(tools, host) is False
    for _ in range(2):
        assert replication.freeze(tools, host) is None
    assert replication.frozen(tools, host) is True
    for attempt in ("INSERT INTO orders VALUES (1002)", "SET transaction_read_only = off"):
        with pytest.raises(AssertionError, match=r"read-only transaction|during recovery"):
            calm.primary.sql(attempt)
    calm.primary.stop()
    assert replication.frozen(tools, host) is True
    calm.primary.start()
    assert replication.frozen(tools, host) is True
    for _ in range(2):
        assert replication.thaw(tools, host) is None
    calm.primary.sql("INSERT INTO orders VALUES (1002)")
    assert calm.look(calm.primary).history == 1
    until(lambda: streams(calm), "the standby streams again")


def test_a_standby_is_never_thawed(calm: Pair) -> None:
    """Else there would be two primaries on one timeline."""
    refused = calm.replication(calm.standby).thaw(calm.tools(), calm.host(calm.standby))
    assert isinstance(refused, Failure)
    assert calm.look(calm.standby).role == "standby"


def test_another_database_behind_the_address_is_not_promoted(calm: Pair) -> None:
    """What was looked at is compared once more in the very session that promotes; a pinned one always."""
    replication, tools, host = calm.replication(calm.standby), calm.tools(), calm.host(calm.standby)
    before = calm.look(calm.standby).model_copy(update={"cluster": "1234"})
    refused = replication.promote(tools, host, before, former="primary")
    assert isinstance(refused, Failure)
    assert "another database" in refused.why
    calm.more["cluster"] = "1234"
    try:
        pinned = calm.promoted()
        assert "another database" in bad(calm)
    finally:
        del calm.more["cluster"]
    assert isinstance(pinned, Failure)
    assert calm.look(calm.standby).role == "standby"


def test_a_standby_is_promoted_with_all_that_it_received(make_pair: Callable[..., Pair]) -> None:
    """Though its replay was paused and is an hour late: one timeline further, writable, a slot for the old primary.
    Done again it is only verified.
    """
    pair = make_pair(standby={"recovery_min_apply_delay": "1h"})
    pair.standby.sql("SELECT pg_wal_replay_pause()")
    pair.primary.sql("INSERT INTO orders VALUES (1000)")
    wanted = pair.look(pair.primary).position or 0
    until(lambda: (pair.look(pair.standby).position or 0) >= wanted, "the standby has received all")
    assert orders(pair.standby) == 100
    pair.primary.kill()
    done, again = promoted(pair), promoted(pair)
    assert orders(pair.standby) == 101
    pair.standby.sql("INSERT INTO orders VALUES (1001)")
    assert (done.facts["timeline_before"], done.facts["timeline"], done.facts["already"]) == (1, 2, False)
    assert done.facts["promoted_at"] == wanted
    assert pair.standby.sql("SELECT slot_name FROM pg_replication_slots") == "drorch_primary"
    assert again.facts["already"]
    assert (again.facts["timeline_before"], again.facts["promoted_at"]) == (1, wanted)
    killed = pair.look(pair.primary)
    assert (killed.role, killed.clean, killed.position) == ("stopped", False, None)


def test_no_write_waits_for_the_dead_half_of_a_synchronous_pair(make_pair: Callable[..., Pair]) -> None:
    """The setting is emptied and kept; that the standby has all that was acknowledged is known beforehand."""
    pair = make_pair(settings={"synchronous_standby_names": "FIRST 1 (standby, primary)"})
    until(lambda: pair.look(pair.primary).synchronous is True, "it is synchronous")
    pair.primary.sql("INSERT INTO orders VALUES (1000)")
    seen = pair.look(pair.primary)
    until(lambda: (pair.look(pair.standby).position or 0) >= (seen.position or 0), "the standby has it")
    pair.primary.kill()
    assert loss(pair.look(pair.standby), seen, pair.world.clock.now()).none
    done = promoted(pair)
    pair.standby.sql("INSERT INTO orders VALUES (1001)", timeout=5)
    assert orders(pair.standby) == 102
    assert done.facts["synchronous_standby_names"] == "FIRST 1 (standby, primary)"
    assert promoted(pair).facts["synchronous_standby_names"] == "FIRST 1 (standby, primary)"


def test_a_primary_stopped_in_order_leaves_its_last_word(pair: Pair) -> None:
    """To the byte: the standby has received exactly that, so nothing is lost. What does not run is not promoted."""
    pair.primary.sql("INSERT INTO orders VALUES (1000)")
    for number in range(240, 256):
        (pair.primary.data / f"pg_wal/0000000100000000000000{number:02X}").write_bytes(
            bytes(8192)
        )  # made ahead of need
    pair.primary.stop()
    last = pair.look(pair.primary)
    assert (last.role, last.clean) == ("stopped", True)
    assert last.position == pair.look(pair.standby).position
    assert loss(pair.look(pair.standby), last, pair.world.clock.now()).none
    until(lambda: "the standby does not receive from its primary" in found(pair), "it is seen that nobody sends")
    pair.standby.kill()
    state = pair.look(pair.standby)
    refused = pair.replication(pair.standby).promote(pair.tools(), pair.host(pair.standby), state, former="primary")
    assert isinstance(refused, Failure)
    assert "does not run" in refused.why
    assert "does not run" in bad(pair)
    (pair.standby.data / "standby.signal").unlink()
    assert how_to_start(state) == "start it on standby"
    assert how_to_start(pair.look(pair.standby)).startswith("do not start it: it would be a second primary")


def test_another_timeline_and_a_lost_slot_are_bad(make_pair: Callable[..., Pair]) -> None:
    """A promoted standby no longer gets what its old primary writes; a slot whose log is gone cannot be followed."""
    pair = make_pair(settings={"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0"})
    pair.standby.stop()
    for _ in range(2):
        pair.primary.sql("SELECT pg_switch_wal(); CHECKPOINT; INSERT INTO orders SELECT max(id) + 1 FROM orders")
    pair.primary.sql("SELECT pg_switch_wal(); CHECKPOINT; CHECKPOINT")
    assert "slot first has lost log" in bad(pair)
    pair.standby.start()
    promoted(pair)
    assert "PostgreSQL is a primary, not a standby" in bad(pair)


@pytest.mark.parametrize(
    ("setting", "count", "names"),
    [
        ("", 0, ()),
        ("*", 1, ("*",)),
        ("web2, web3", 1, ("web2", "web3")),
        ("2 (a, b, c)", 2, ("a", "b", "c")),
        ('ANY 3 ("My ""x""", b, *)', 3, ('My "x"', "b", "*")),
        ("first 1 (s1)", 1, ("s1",)),
    ],
)
def test_synchronous_standby_names_is_read_as_postgresql_does(setting: str, count: int, names: tuple[str, ...]) -> None:
    """How many a commit waits for, and which."""
    assert (needed(setting), names_in(setting)) == (count, names)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("10.0.0.1", "10.0.0.1", 5432),
        ("db:5433", "db", 5433),
        ("[fd00::1]:5433", "fd00::1", 5433),
        ("::1", "::1", 5432),
    ],
)
def test_addresses_may_have_a_port(text: str, address: str, port: int) -> None:
    """IPv6 in brackets then."""
    assert Endpoint.read(text, 5432) == Endpoint(address=address, port=port)


def test_a_state_survives_json(calm: Pair) -> None:
    """Preflight keeps it beyond the run, and it holds no password."""
    state = calm.look(calm.standby)
    assert ReplicaState.model_validate(state.model_dump(mode="json")) == state
    assert "replicator" not in state.model_dump_json()
