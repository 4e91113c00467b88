"""An old PostgreSQL primary becomes a standby of the new one, and nothing that only it had is lost unseen."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drorch.core.errors import Interrupted
from drorch.core.evidence import Evidence, Failure
from drorch.sources._postgres_fork import LISTED, Fork, OnlyHere, branches, fork
from drorch.sources._postgres_shop import Standing, Workshop
from support.replicas import Node, Pair, until


def orders(node: Node) -> set[str]:
    """The ids of all that a test added."""
    return set(node.sql("SELECT id FROM orders WHERE id >= 1000").split())


def parted(pair: Pair) -> None:
    """The primary has two orders that its standby never received; both are primaries, the old one is dead."""
    pair.standby.stop()
    pair.primary.sql("INSERT INTO orders VALUES (1000)")
    pair.primary.sql("BEGIN; INSERT INTO orders VALUES (1001); INSERT INTO orders VALUES (1002); COMMIT")
    pair.primary.kill()
    pair.standby.start()
    assert isinstance(pair.promoted(), Evidence)
    pair.standby.sql("INSERT INTO orders VALUES (2000)")


def joined(pair: Pair, *nodes: Node, **more: object) -> Evidence:
    """Rejoin; it must succeed, and the two be one again."""
    done = pair.rejoined(*nodes, **more)  # type: ignore[arg-type]  # the test's own words
    assert isinstance(done, Evidence), done
    follower, leader = nodes or (pair.primary, pair.standby)
    leader.sql("INSERT INTO orders SELECT greatest(max(id), 5000) + 1 FROM orders")
    until(lambda: orders(follower) == orders(leader), "it follows")
    assert follower.sql("SELECT pg_is_in_recovery()") == "t"
    return done


def test_what_only_the_old_primary_had_is_reported_and_kept(pair: Pair) -> None:
    """It is rewound; its own settings stay; each transaction that is lost is listed, and its old data lie beside it."""
    parted(pair)
    done = joined(pair)
    assert done.facts["how"] == "rewound"
    assert done.facts["only_here"]["count"] == 2
    assert done.facts["only_here"]["known"]
    assert len(Path(done.facts["only_here"]["file"]).read_text().splitlines()) == 3
    assert "2 transactions" in done.exceptions[0]
    assert "2000" in orders(pair.primary)
    assert f"port = {pair.primary.port}" in (pair.primary.data / "postgresql.conf").read_text()
    kept = Node(Path(done.facts["kept"]).parent, ".", pair.primary.port, pair.primary.bin)
    assert (kept.data / "PG_VERSION").exists()
    again = joined(pair)
    assert (again.facts["how"], again.facts["kept"]) == ("as it is", None)
    pair.primary.stop()
    shutil.rmtree(pair.primary.data)
    shutil.move(kept.data, pair.primary.data)
    pair.primary.start()
    assert orders(pair.primary) == {"1000", "1001", "1002"}
    refused = pair.rejoined(pair.standby, pair.primary)
    assert isinstance(refused, Failure)
    assert "are both primaries" in refused.why
    joined(pair, keep="run-2")


def test_a_switchover_there_and_back_copies_nothing(pair: Pair) -> None:
    """What was stopped in order goes on where it is; slots follow whoever follows, and none is left to fill a disk."""
    pair.primary.sql("INSERT INTO orders VALUES (1000)")
    pair.primary.stop()
    assert isinstance(pair.promoted(), Evidence)
    there = joined(pair)
    assert (there.facts["how"], there.facts["kept"], there.facts["only_here"]["count"]) == ("as it is", None, 0)
    assert pair.primary.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    pair.standby.stop()
    pair.primary, pair.standby = pair.standby, pair.primary
    assert isinstance(pair.promoted(), Evidence)
    back = joined(pair)
    assert (back.facts["how"], back.facts["timeline"]) == ("as it is", 3)
    assert pair.primary.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    assert pair.standby.sql("SELECT slot_name, active FROM pg_replication_slots") == "drorch_standby|t"


def test_cut_after_each_command_it_ends_the_same(pair: Pair) -> None:
    """Each attempt changes one thing more than the one before; the follower never runs as a primary."""
    parted(pair)
    for cut in range(1, 20):
        try:
            done = pair.rejoined(cut=cut)
        except Interrupted:
            if pair.primary.pid is not None:
                assert pair.primary.sql("SELECT pg_is_in_recovery()") == "t"
            continue
        break
    assert isinstance(done, Evidence), done
    assert (done.facts["how"], done.facts["only_here"]["count"]) == ("rewound", 2)
    assert "2 transactions" in done.exceptions[0]
    joined(pair)
    kept = pair.primary.data.with_name("data.drorch-run-1")
    assert len((kept / "only-here.tsv").read_text().splitlines()) == 3
    assert (kept / "data" / "PG_VERSION").exists()
    assert sorted(each.name for each in kept.parent.iterdir() if "drorch" in each.name) == [kept.name]


def test_log_files_made_ahead_hide_no_transaction(pair: Pair) -> None:
    """They are all zeros, and none of them may be taken for the log."""
    parted(pair)
    for number in range(0xF0, 0x100):
        (pair.primary.data / "pg_wal" / f"0000000100000000000000{number:02X}").write_bytes(bytes(16 << 20))
    pair.own()
    done = joined(pair)
    assert (done.facts["only_here"]["count"], done.facts["only_here"]["known"]) == (2, True)


def test_what_a_cut_rewind_left_half_done_is_taken_back_first(pair: Pair) -> None:
    """By another run, too: what was kept before is the only whole copy, and is kept."""
    parted(pair)
    shutil.copytree(pair.primary.data, kept := pair.primary.data.with_name("data.drorch-run-1") / "data")
    (kept.parent / "rewinding").touch()
    pair.primary.data.with_name("data.drorch-rejoin").write_text("run-1\n{}\n")
    for each in pair.primary.data.glob("base/*/2*"):
        each.write_bytes(b"half")
    pair.own()
    done = joined(pair, keep="run-2")
    assert (done.facts["how"], done.facts["only_here"]["count"]) == ("rewound", 2)
    assert done.facts["kept"] == str(kept)


def test_what_cannot_be_rewound_is_copied_afresh(pair: Pair) -> None:
    """Its log is gone, so what only it had is not known: that is said, and its data are kept."""
    parted(pair)
    for each in (pair.primary.data / "pg_wal").glob("0*"):
        each.unlink()
    done = joined(pair)
    assert done.facts["how"] == "copied"
    assert done.facts["only_here"]["known"] is False
    assert (Path(done.facts["kept"]) / "base").exists()
    pair.primary.stop()
    shutil.rmtree(pair.primary.data)
    pair.own()
    assert joined(pair).facts["reason"] == "there is no database"


def test_a_standby_that_was_left_behind_is_copied_afresh(make_pair: Callable[..., Pair]) -> None:
    """The log that it needs is gone on its primary."""
    pair = make_pair(settings={"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0"})
    pair.standby.stop()
    for _ in range(3):
        pair.primary.sql("SELECT pg_switch_wal(); INSERT INTO orders SELECT max(id) + 1000 FROM orders; CHECKPOINT")
    done = joined(pair, pair.standby, pair.primary)
    assert done.facts["how"] == "copied"
    assert "no longer has the log" in done.facts["reason"]


def test_commits_wait_for_the_standby_again_once_it_is_there(make_pair: Callable[..., Pair]) -> None:
    """What the promotion emptied is set again, and the returned server takes the name that is waited for."""
    pair = make_pair(settings={"synchronous_standby_names": "FIRST 1 (standby)"})
    pair.primary.kill()
    assert isinstance(pair.promoted(), Evidence)
    assert pair.look(pair.standby).synchronous is False
    done = joined(pair)
    assert done.facts["synchronous_standby_names"] == "FIRST 1 (standby)"
    assert pair.look(pair.standby).synchronous is True
    note = "ALTER SYSTEM SET drorch.synchronous_standby_names = '2 (standby, elsewhere)'; SELECT pg_reload_conf()"
    pair.standby.sql(f"SET drorch.synchronous_standby_names = ''; {note}")
    alone = joined(pair)
    assert alone.facts["synchronous_standby_names"] is None
    assert "wait for no standby" in alone.exceptions[0]


def test_what_was_never_acknowledged_is_listed_without_alarm(make_pair: Callable[..., Pair]) -> None:
    """Commits that waited for the standby when the primary died were promised to nobody."""
    pair = make_pair(settings={"synchronous_standby_names": "standby"})
    pair.standby.stop()
    pair.primary.sql("SET synchronous_commit = local; INSERT INTO orders VALUES (1000)")
    pair.primary.kill()
    pair.standby.start()
    assert isinstance(pair.promoted(), Evidence)
    done = joined(pair)
    assert (done.facts["only_here"]["count"], done.facts["only_here"]["waited_for"]) == (1, "standby")
    assert done.exceptions == ()


def test_another_database_is_never_replaced_unasked(make_pair: Callable[..., Pair]) -> None:
    """Neither where it runs, nor where the leader's address leads to it. Asked to, its data are kept."""
    pair, other = make_pair(), make_pair()
    stranger = other.standby
    stranger.stop()
    (stranger.data / "standby.signal").unlink()
    stranger.become_another()
    stranger.start()
    pair.more["addresses"] = {"primary": f"127.0.0.1:{stranger.port}"}
    misled = pair.rejoined(pair.standby, pair.primary)
    assert isinstance(misled, Failure)
    assert "finds another server" in misled.why
    pair.more["addresses"] = {"primary": f"127.0.0.1:{pair.primary.port}"}
    pair.standby.kill()
    pair.standby, pair.world.hosts["standby"] = stranger, other.world.hosts["standby"]
    refused = pair.rejoined(pair.standby, pair.primary)
    assert isinstance(refused, Failure)
    assert "another database" in refused.why
    assert stranger.sql("SELECT pg_is_in_recovery()") == "f"
    done = joined(pair, pair.standby, pair.primary, fresh=True)
    assert done.facts["how"] == "copied"
    assert (Path(done.facts["kept"]) / "PG_VERSION").exists()


def test_nothing_is_overwritten_where_there_is_no_room(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not kept is not rewound."""
    parted(pair)
    real = Workshop.stand

    def full(shop: Workshop, host: object) -> Standing | Failure:
        found = real(shop, host)  # type: ignore[arg-type]  # passed through
        return found if isinstance(found, Failure) else found.model_copy(update={"free": 1})

    monkeypatch.setattr(Workshop, "stand", full)
    refused = pair.rejoined()
    assert isinstance(refused, Failure)
    assert "no room" in refused.why
    assert pair.primary.pid is None
    monkeypatch.undo()
    assert joined(pair).facts["how"] == "rewound"


@pytest.mark.parametrize(
    ("leader", "follower", "expected"),
    [
        (("1\t0/3000000\tx\n", 2), ("", 1), Fork(1, 0x3000000)),
        (("1\t0/3000000\tx\n2\t0/5000000\ty\n", 3), ("1\t0/3000000\tx\n", 2), Fork(2, 0x5000000)),
        (("1\t0/3000000\tx\n", 2), ("1\t0/2000000\tx\n", 3), Fork(1, 0x2000000)),
        (("1\t0/3000000\tx\n2\t0/5000000\ty\n", 3), ("", 1), Fork(1, 0x3000000)),
        (("", 7), ("", 8), None),
    ],
)
def test_where_two_servers_parted(leader: tuple[str, int], follower: tuple[str, int], expected: Fork | None) -> None:
    """On the newest timeline that both were on, where the first of them left it."""
    assert fork(branches(*leader), branches(*follower)) == expected


def test_at_most_a_thousand_lost_transactions_are_listed() -> None:
    """All are counted."""
    found = OnlyHere()
    head = b"rmgr: Transaction len (rec/tot): 34/34, tx: %d, lsn: 0/0176B158, prev 0/0, desc: "
    for number in range(LISTED + 5):
        found.line(head % number + b"COMMIT 2026-03-01 02:30:00.5 UTC")
    found.line(head % 9 + b"ABORT 2026-03-01 02:30:00.6 UTC")
    assert found.count == LISTED + 5
    assert found.text.endswith("and 5 more\n")
    assert (found.first, found.last) == ("2026-03-01 02:30:00.5 UTC", "2026-03-01 02:30:00.5 UTC")
