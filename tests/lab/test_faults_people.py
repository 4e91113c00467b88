"""What people do: nobody agrees, two act at once, somebody mistypes. In each, nothing is done that was not meant."""

from pathlib import Path

import pytest

from lab.documents import Documents
from lab.faults import Night, impatient, night
from lab.keys import write_key
from lab.lab import Lab
from lab.moving import moving_documents
from lab.waiting import until
from support.site import Site

pytestmark = pytest.mark.root


def unmoved(here: Night, lab: Lab) -> None:
    """See that nobody noticed anything."""
    assert lab.database("web2").in_recovery
    here.served_from("web1")
    assert not here.customer.failures


def test_an_approval_that_nobody_gives_is_a_no(lab: Lab, tmp_path: Path) -> None:
    """The time is over, the run with it, and nothing was done."""

    def change(said: Documents) -> None:
        said.inventory["people"] = {"anna": {"key": write_key(tmp_path / "anna")}}
        said.runbooks["shop-failover"]["approval"] = {"timeout": "1s"}

    with night(lab, tmp_path, change) as here:
        said = here.failover(expect=5)
        said.says("another person", "drorch approve")
        run = here.run("waiting_approval")["run"]
        until(lambda: here.drorch("resume", run, expect=None).code == 1, "the time is over")
        here.said[-1].says("nobody answered in time, which is a no")
        shown = here.run("timed_out")
        assert "fence-web1" in shown["never_begun"]
        unmoved(here, lab)


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--yes=wrong"], "--yes=wrong does not name the service shop; nothing was done"), ([], "nobody is here")],
)
def test_without_the_services_name_nothing_is_done(lab: Lab, tmp_path: Path, words: list[str], told: str) -> None:
    """A wrong name, or no terminal and no name: refused, with the words that would do."""
    with night(lab, tmp_path) as here:
        here.drorch("failover", "shop", *words, expect=6).says(told, "nothing was done", "--yes=shop")
        here.untouched()
        unmoved(here, lab)


def test_of_two_operators_at_one_desk_one_acts(lab: Lab, tmp_path: Path) -> None:
    """Two processes at the same moment with one state folder: the other is told who is at it."""
    with night(lab, tmp_path) as here:
        lab.web1.power_off()
        codes, texts = _both(here.site, here.site)
        assert sorted(codes) == [0, 7], texts
        assert "is held by process" in texts[codes.index(7)]
        here.run("completed")
        assert len(here.site.json("runs")["runs"]) == 1
        here.served_from("web2")


def test_of_two_operators_at_two_desks_one_acts(lab: Lab, tmp_path: Path) -> None:
    """Each has a state folder of their own, and the claims are kept in a store that both reach."""

    def change(said: Documents) -> None:
        said.inventory["stores"] = {"claims": {"kind": "directory", "path": str(tmp_path / "claims")}}
        said.inventory["services"]["shop"]["lease"] = "claims"

    (tmp_path / "claims").mkdir()
    with night(lab, tmp_path / "one", change) as here:
        here.drorch("store", "create", "claims", "--yes=claims")
        other = impatient(moving_documents(lab))
        change(other)
        lab.web1.power_off()
        codes, texts = _both(here.site, other.write(tmp_path / "two"))
        assert sorted(code in (0, 4) for code in codes) == [False, True], texts
        loser = next(text for code, text in zip(codes, texts, strict=True) if code not in (0, 4))
        assert "claim" in loser
        here.served_from("web2")


def _both(*sites: Site) -> tuple[list[int], list[str]]:
    """The same failover from several desks at the same moment: exit codes, and all that was said."""
    processes = [site.start("failover", "shop", "--yes=shop") for site in sites]
    said = [process.communicate(timeout=60) for process in processes]
    return [process.returncode for process in processes], [" ".join(f"{out} {err}".split()) for out, err in said]
