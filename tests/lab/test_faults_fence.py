"""Fences that cannot be believed: the provider lies, hangs or fails, or another machine stands in a host's place."""

import contextlib
from pathlib import Path

import pytest

from lab import database, web
from lab.faults import Night, night
from lab.lab import Lab, PowerFault
from lab.waiting import LabFailed

pytestmark = pytest.mark.root


def stuck(here: Night, lab: Lab) -> str:
    """Nothing proves that the primary is fenced: the run waits, nothing is promoted; gives its id."""
    said = here.failover(expect=5)
    run = here.paused("fence-web1", said)
    said.says("web1 is not fenced: stop: ", "power_off: ", f"can no longer accept writes: drorch attest {run}")
    assert lab.database("web2").in_recovery
    return run


@pytest.mark.parametrize(
    ("fault", "told"), [("lie", "still reach web1"), ("hang", "not finished"), ("fail", "out of order")]
)
def test_a_provider_that_cannot_be_believed_proves_nothing(
    lab: Lab, tmp_path: Path, fault: PowerFault, told: str
) -> None:
    """It says off while others still reach the host, or nothing, or fails: the run waits; an abort changes nothing."""
    with night(lab, tmp_path) as here:
        lab.web1.isolate(from_="controller")
        lab.power_fault(fault)
        run = stuck(here, lab)
        assert told in str(here.shown()["timeline"][0]["why"])
        lab.power_fault(None)
        lab.network.heal()
        here.drorch("abort", run)
        here.run("cancelled")
        here.served_from("web1")
    assert not here.customer.failures


def test_what_a_rung_without_proof_did_is_taken_back_by_an_abort(lab: Lab, tmp_path: Path) -> None:
    """The database hangs, so only the application was stopped and masked, and the provider lies: all runs again."""
    with night(lab, tmp_path) as here:
        frozen = lab.web1.unit(database.UNIT)
        frozen.freeze()
        lab.power_fault("lie")
        run = stuck(here, lab)
        with contextlib.suppress(LabFailed):  # systemd may have killed it meanwhile
            frozen.thaw()
        lab.power_fault(None)
        here.drorch("abort", run)
        here.run("cancelled")
        assert not lab.web1.unit(web.UNIT).masked
        here.served_from("web1")


def test_a_persons_word_goes_on_and_is_kept_with_the_name(lab: Lab, tmp_path: Path) -> None:
    """Somebody went there and pulled the plug: their word is the proof, an exception, and no more than that."""
    with night(lab, tmp_path) as here:
        lab.power_fault("fail")
        lab.web1.power_off()
        run = stuck(here, lab)
        here.drorch("attest", run, "--note", "I pulled the plug", expect=4)
        shown = here.run("completed_with_exceptions")
        (word,) = [text for text in shown["exceptions"] if "web1 is fenced only by the word of" in text]
        assert shown["by"] in word
        proof = shown["timeline"][-1]
        assert "I pulled the plug" in str(shown["timeline"]), proof
        here.served_from("web2")


def test_another_machine_in_the_primarys_place_is_not_touched(lab: Lab, tmp_path: Path) -> None:
    """Its key is another: nothing is done there over SSH, and the provider, who knows it by name, powers it off."""
    with night(lab, tmp_path, local=False) as here:
        lab.exchange(lab.web1, machine_id=False)
        said = here.failover()
        said.says("web1", "key", "drorch host trust web1")
        fence = here.run("completed")["timeline"][0]
        assert fence["facts"]["proof"]["rung"] == "power_off"
        assert "key" in fence["facts"]["tried"][0]["why"]
        lab.web1.power_on()
        assert not lab.web1.unit(web.UNIT).masked
        assert not lab.web1.unit(database.UNIT).masked
        lab.web1.power_off()
        here.served_from("web2")


def test_another_machine_in_the_standbys_place_is_refused(lab: Lab, tmp_path: Path) -> None:
    """Same name, same address, same data, another identity: nothing is begun."""
    with night(lab, tmp_path) as here:
        lab.exchange(lab.web2, machine_id=False)
        said = here.failover(expect=6)
        said.says("nothing was done", "web2", "key", "drorch host trust web2")
        here.untouched()
        here.customer.await_orders(5)
        here.served_from("web1")
