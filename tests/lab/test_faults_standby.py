"""The standby is not what it should be: behind, broken, apart, full. Nothing is fenced before that is known."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lab import database
from lab.documents import Documents
from lab.faults import Night, night
from lab.lab import Lab
from lab.waiting import until

pytestmark = pytest.mark.root


def calm(here: Night, lab: Lab) -> None:
    """See that the primary was left alone."""
    assert lab.database("web2").in_recovery
    assert lab.web1.unit(database.UNIT).active
    here.served_from("web1")


def stopped(lab: Lab) -> None:
    """Its server was stopped."""
    lab.web2.unit(database.UNIT).stop()


def crashed(lab: Lab) -> None:
    """Its server was killed."""
    lab.web2.unit(database.UNIT).kill()
    until(lambda: not lab.web2.unit(database.UNIT).processes.pids, "it is gone")


def full(lab: Lab) -> None:
    """Its disk has no byte left."""
    lab.web2.disk.fill(database.VOLUME)


def mute(lab: Lab) -> None:
    """So full that it takes no new connection, since what each begins with cannot be written; it may end over that."""
    ask = ("psql", "--host=/run/postgresql", "--username=lab", "--command=SELECT 1")

    def silent() -> bool:
        lab.web2.run("find", database.DATA, "-name", "pg_internal.init", "-delete")
        full(lab)
        return all(lab.web2.run(*ask, f"--dbname={name}", check=False).returncode for name in ("shop", "postgres"))

    until(silent, "its database takes no connection")  # another connection may have been quicker


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (stopped, ["web2: PostgreSQL does not run", "start it on web2"]),
        (crashed, ["web2: PostgreSQL does not run", "start it on web2"]),
        (full, ["0 MiB are free on the disk of /var/lib/postgresql", "make room"]),
        (mute, ["0 MiB are free on the disk of /var/lib/postgresql", "make room"]),
    ],
)
def test_a_broken_standby_is_refused_before_anything_is_fenced(
    lab: Lab, tmp_path: Path, broken: Callable[[Lab], None], told: list[str]
) -> None:
    """Each with its remedy; the primary, which may still serve, is left alone."""
    with night(lab, tmp_path) as here:
        lab.database("web1").synchronous(None)
        broken(lab)
        said = here.failover(expect=6)
        said.says("nothing was done, because it would stop half-way", *told, '--anyway "REASON"')
        here.untouched()
        assert lab.web1.unit(database.UNIT).active
        here.served_from("web1")
    assert here.reigned() == {"web1"}


def test_said_anyway_a_stopped_standby_pauses_the_run_until_it_runs(lab: Lab, tmp_path: Path) -> None:
    """The primary is fenced by then; nothing that was acknowledged is lost when the standby is started."""
    with night(lab, tmp_path) as here:
        lab.web1.power_off()
        lab.web2.unit(database.UNIT).stop()
        said = here.failover("--anyway", "it starts in a minute", expect=5)
        run = here.paused("promote-database", said)
        said.says("PostgreSQL on web2 does not run", "start it")
        lab.web2.unit(database.UNIT).start()
        here.drorch("retry", run)
        here.run("completed")
        here.served_from("web2")


def test_a_standby_with_a_history_of_its_own_is_refused(lab: Lab, tmp_path: Path) -> None:
    """Somebody promoted it by hand before: it lacks what was ordered since, and is promoted by nobody who says so."""
    lab.database("web2").sql("SELECT pg_promote()")
    lab.web2.unit(database.UNIT).stop()
    lab.web2.disk.write(f"{database.DATA}/standby.signal", "", owner="postgres")
    lab.web2.unit(database.UNIT).start()
    with night(lab, tmp_path, synchronous=False) as here:
        said = here.failover(expect=6)
        said.says("nothing was done", "timeline", "rejoin")
        here.untouched()
        said = here.failover("--anyway", "somebody said so", expect=5)
        run = here.paused("promote-database", said)
        said.says("web2 is on timeline 2, web1 on 1", "drorch abort")
        assert lab.database("web2").in_recovery
        here.drorch("abort", run)


def test_a_paused_replay_loses_nothing(lab: Lab, tmp_path: Path) -> None:
    """What was received is replayed by the promotion itself; the screen says that it was paused."""
    with night(lab, tmp_path) as here:
        lab.database("web2").sql("SELECT pg_wal_replay_pause()")
        here.customer.await_orders(20)
        looked = here.drorch("failover", "shop", "--look")
        looked.says("web2: its replay is paused", "pg_wal_replay_resume")
        lab.web1.power_off()
        here.failover()
        here.run("completed")
        here.served_from("web2")


def test_a_broken_replication_is_told_and_a_planned_move_takes_all_back(lab: Lab, tmp_path: Path) -> None:
    """Both live and do not reach each other: the loss is on the screen; the planned way waits, then leaves all."""

    def change(said: Documents) -> None:
        steps = said.runbooks["shop-failover"]["steps"]
        caught_up = next(step for step in steps if step["kind"] == "caught_up")
        hold = next(step for step in steps if step["kind"] == "hold")
        steps.remove(hold)
        steps.insert(0, hold)
        caught_up |= {"timeout": "3s", "on_failure": "undo"}

    with night(lab, tmp_path, change, synchronous=False) as here:
        here.customer.patience = 30  # requests wait while the move does
        lab.web1.isolate(from_="web2")
        until(lambda: not lab.database("web2").receives, "the standby notices")
        here.customer.await_orders(20)
        looked = here.drorch("failover", "shop", "--look", "--planned", expect=9)
        looked.says("the standby does not receive from its primary", "promoting now loses at most")
        here.failover("--planned", expect=6).says("nothing was done", "the standby does not receive")
        here.untouched()
        said = here.failover("--planned", "--anyway", "it may catch up", expect=1)
        said.says("web2 still lacks", "it is not connected to web1")
        shown = here.run("timed_out")
        assert "fence-web1" in shown["never_begun"]
        calm(here, lab)
    assert not here.customer.failures
