"""A failover under a person's hands: paused, answered, ended, confirmed, approved."""

import signal
from pathlib import Path

import pytest

from drorch.core.step import RunState
from lab import database, web
from lab.control import FAILOVER, Steered, Steering, steered
from lab.documents import PASSWORD
from lab.lab import Lab
from support.hands import running
from support.quickkey import quicken
from support.signers import signer

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def test_a_paused_failover_waits_blocks_others_and_goes_on(lab: Lab, tmp_path: Path) -> None:
    """Paused from another terminal in the middle of a step, it is the only failover of its service until it is over."""
    site = steered(lab, tmp_path / "a").hold("holding", "promote").lay()
    with running(site.site, *FAILOVER, "--planned") as process, lab.witness().watching():
        site.await_step("holding", process)
        run = site.run.id
        site.site.drorch("pause", run, "--note", "let me look")
        assert process.wait(90) == 130
        assert site.run.state is RunState.PAUSED_OPERATOR
        refused = site.site.drorch(*FAILOVER, expect=6)
        assert f"drorch resume {run}" in refused.stderr
        site.go_on("holding")
        site.site.drorch("resume", run)
    site.confirm_moved()


@pytest.mark.parametrize("killed", [False, True])
def test_a_planned_failover_ended_before_the_point_of_no_return_leaves_all_as_it_was(
    lab: Lab, tmp_path: Path, *, killed: bool
) -> None:
    """Its fence and its hold are taken back: the service runs where it was, whether the controller lived or died."""
    site = steered(lab, tmp_path / "a").hold("holding", "fence").lay()
    with lab.customer().shopping() as customer, lab.witness().watching():
        if killed:
            site.begin(planned=True, dying="fence-web1:done")
            site.site.drorch("abort", site.run.id)
        else:
            with running(site.site, *FAILOVER, "--planned") as process:
                site.await_step("holding", process)
                site.site.drorch("abort", site.run.id)
                assert process.wait(90) == 130
        customer.await_orders(5)
    site.confirm_home()
    assert site.run.state is RunState.CANCELLED
    assert not customer.lost(lab.database("web1"))


def test_a_failover_ended_behind_the_point_of_no_return_stays_as_it_is(lab: Lab, tmp_path: Path) -> None:
    """The standby was promoted: the old primary stays fenced, whatever a person wants."""
    site = steered(lab, tmp_path / "a").hold("holding", "promote").lay()
    with running(site.site, *FAILOVER, "--planned") as process, lab.witness().watching():
        site.await_step("holding", process)
        ended = site.site.drorch("abort", site.run.id, "--undo", expect=4)
        process.wait(90)
    assert "promote-database cannot be undone" in ended.stderr
    assert not lab.database("web2").in_recovery
    assert lab.web1.systemctl("is-active", database.UNIT, check=False) == "inactive"
    assert "web2" in site.site.drorch("home", "shop").stdout


def test_a_skipped_fence_is_no_fence(lab: Lab, tmp_path: Path) -> None:
    """Nothing that a person answers replaces the proof; the failover can be retried for ever, and given up."""
    wanted = steered(lab, tmp_path / "a")
    fence = next(step for step in wanted.failover["steps"] if step["kind"] == "fence")
    fence["ladder"] = fence["ladder"][1:2]
    site = wanted.lay()
    lab.power_fault("fail")
    with lab.witness().watching():
        site.site.drorch(*FAILOVER, expect=5)
        run = site.run.id
        site.site.drorch("retry", run, expect=5)
        skipped = site.site.drorch("skip", run, expect=5)
        assert "no proof that web1 is fenced" in skipped.stderr
        assert lab.database("web2").in_recovery
        lab.power_fault(None)
        site.site.drorch("retry", run, expect=5)
        site.site.drorch("abort", run)
    site.confirm_home()


def test_a_planned_failover_whose_primary_dies_goes_on_unplanned(lab: Lab, tmp_path: Path) -> None:
    """In its middle the old primary's help is gone: one word goes on without it, and the evidence says so."""
    site = steered(lab, tmp_path / "a").hold("holding", "hold").lay()
    with running(site.site, *FAILOVER, "--planned") as process, lab.witness().watching():
        site.await_step("holding", process)
        lab.web1.power_off()
        site.go_on("holding")
        _, err = process.communicate(timeout=90)
        assert process.returncode == 5
        assert f"drorch unplanned {site.run.id}" in err
        site.site.drorch("unplanned", site.run.id, expect=4)
    site.confirm_moved()
    assert any("it was unplanned" in text for text in site.run.detail["exceptions"])


def without_return(lab: Lab, folder: Path) -> Steering:
    """The application alone moves: both hosts work on the database of web1, so there is no point of no return."""
    environment = "/etc/shop/environment"
    lab.web2.disk.write(environment, lab.web2.disk.read(environment).replace("host=127.0.0.1", "host=web1"))
    wanted = steered(lab, folder)
    del wanted.documents.inventory["services"]["shop"]["sources"]["database"]["replica"]
    wanted.documents.runbooks.pop("shop-rehearsal")
    steps = [step for step in wanted.failover["steps"] if step["kind"] not in ("caught_up", "hold", "promote")]
    steps[0]["ladder"] = [{"stop": web.UNIT}, steps[0]["ladder"][1]]
    wanted.failover.update(steps=steps, commit="2s")
    return wanted


def test_what_nobody_confirms_is_taken_back(lab: Lab, tmp_path: Path) -> None:
    """After the time that the runbook gives, customers are served at the old host again."""
    site = without_return(lab, tmp_path / "a").lay()
    with lab.customer().shopping() as customer:
        ended = site.site.drorch(*FAILOVER, "--planned", expect=6)
        customer.await_orders(5)
    assert "nobody confirmed it in time, so it was taken back" in ended.stderr
    site.confirm_home()
    assert lab.web2.systemctl("is-active", web.UNIT, check=False) == "inactive"
    assert "web1" in site.site.drorch("home", "shop").stdout


def test_what_is_confirmed_stays(lab: Lab, tmp_path: Path) -> None:
    """From another terminal, while the first one waits."""
    wanted = without_return(lab, tmp_path / "a")
    wanted.failover["commit"] = "2m"
    site = wanted.lay()
    with running(site.site, *FAILOVER, "--planned") as process:
        run = site.await_state(RunState.WAITING_APPROVAL, process).id
        site.site.drorch("confirm", run)
        assert process.wait(90) == 0
    assert lab.front.states() == {"web1": "MAINT", "web2": "UP"}
    assert "web2" in site.site.drorch("home", "shop").stdout


def guarded(lab: Lab, folder: Path) -> Steered:
    """A failover that another person must agree to."""
    wanted = steered(lab, folder)
    wanted.failover["approval"] = {"required": 1}
    wanted.documents.inventory["people"] = {"anna": {"key": signer("anna").public, "logins": ["anna@laptop"]}}
    return wanted.lay()


def test_a_second_person_approves_and_a_second_failover_is_too_soon(lab: Lab, tmp_path: Path) -> None:
    """It begins with another person's signature, from another process. Within the hour another one needs a reason: the
    attempt is recorded, and whoever has one goes on; what is done already is not done again.
    """
    site = guarded(lab, tmp_path / "a")
    lab.web1.power_off()
    anna = ("--as", "anna", "--key", str(signer("anna").path), "--yes=shop")
    site.site.drorch(*FAILOVER, expect=5)
    assert lab.database("web2").in_recovery
    first = site.run.id
    site.site.drorch("approve", first, *anna)
    site.confirm_moved()
    site.site.drorch("home", "shop", "web1", "--reason=to try it again")
    refused = site.site.drorch(*FAILOVER, expect=6)
    assert f"failed over 0 min ago ({first})" in refused.stderr
    assert site.run.state is RunState.CANCELLED
    assert site.run.id in refused.stderr
    assert "cancelled" in site.site.drorch("runs").stdout
    site.site.drorch(*FAILOVER, "--again=I know", "--anyway=I know", expect=5)
    site.site.drorch("approve", site.run.id, *anna)
    site.confirm_moved()


def test_the_glass_can_be_broken_while_a_drill_and_the_daemon_run(lab: Lab, tmp_path: Path) -> None:
    """Nothing that drorch does besides holds a failover up, and nobody who is asleep: the evidence is loud."""
    wanted = steered(lab, tmp_path / "a")
    wanted.failover["approval"] = {"required": 1}
    wanted.documents.inventory["people"] = {"anna": {"key": signer("anna").public}}
    steps = [{"kind": "restore", "source": "media"}, wanted.holding("drilling"), {"kind": "verify", "source": "media"}]
    drill = {"kind": "drill", "service": "shop", "standby": "web2", "steps": steps}
    wanted.documents.add({"runbook": "shop-drill", **drill})
    wanted.documents.runbooks["shop-nightly"]["steps"] = [{"kind": "backup", "source": "media"}]
    site = wanted.lay()
    site.site.drorch("repository", "create", "vault")
    quicken(site.site.folder / "vault", PASSWORD)
    site.site.drorch("backup", "shop")
    with running(site.site, "daemon") as daemon, running(site.site, "drill", "shop") as drilling:
        site.await_step("drilling", drilling)
        lab.web1.power_off()
        site.site.drorch(*FAILOVER, "--break-glass=it burns", expect=4)
        site.confirm_moved()
        assert any("BREAK-GLASS" in text for text in site.run.detail["exceptions"])
        assert drilling.poll() is None
        assert daemon.poll() is None
        site.go_on("drilling")
        assert drilling.wait(90) == 0
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(90)


def test_after_a_failover_all_else_follows(lab: Lab, tmp_path: Path) -> None:
    """Backups are taken where the service lives now, and a drill there is refused."""
    site = steered(lab, tmp_path / "a").lay()
    site.site.drorch("repository", "create", "vault")
    quicken(site.site.folder / "vault", PASSWORD)
    lab.web1.power_off()
    site.site.drorch(*FAILOVER)
    site.confirm_moved()
    assert site.site.json("home", "shop")["host"] == "web2"
    site.site.drorch("backup", "shop")
    hosts = {
        record.body["evidence"]["facts"].get("host")
        for record in site.site.records(site.run.id)
        if record.body["what"] == "attempt"
    }
    assert hosts == {"web2"}
    refused = site.site.drorch("drill", "shop", "--standby", "web2", expect=6)
    assert "web2 is where shop lives" in refused.stderr
