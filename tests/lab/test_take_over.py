"""A failover that another machine takes over: its state folder is its own, the claim is in a bucket between the two."""

import shutil
import socket
from pathlib import Path

import pytest

from drorch.core.step import RunState
from lab.control import EVERY, FAILOVER, Steered, steered
from lab.lab import Lab
from support.ceph_daemons import missing as no_ceph
from support.site import Site, lay_env

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

REASON = "--take-over=the other machine lost its power"


def laid(lab: Lab, folder: Path) -> Steered:
    """The first controller: it claims in a bucket that both reach."""
    if reason := no_ceph():
        pytest.skip(reason)
    return steered(lab, folder / "first", lease=True).lay()


def laptop(first: Steered, folder: Path) -> Steered:
    """Another machine, which has the documents and has never seen a run."""
    shutil.copytree(first.site.folder, folder, ignore=shutil.ignore_patterns("state"))
    return Steered(first.lab, lay_env(folder), first.counted)


MOMENTS = ("fence-web1:done", "promote-database:done", "fence-web1:begun", "service-web2:begun", "switch-haproxy:done")


@pytest.mark.parametrize("moment", MOMENTS[: None if EVERY else 2])
def test_another_machine_goes_through_with_it(lab: Lab, tmp_path: Path, moment: str) -> None:
    """The first controller dies; another finds what is done, does the rest, and does nothing twice. When the first one
    comes back it learns that it was superseded, and neither goes on nor takes anything back.
    """
    lab.database("web1").synchronous()
    first = laid(lab, tmp_path)
    lab.web1.cut()
    with lab.witness().watching():
        first.begin(dying=moment)
        second = laptop(first, tmp_path / "second")
        refused = second.site.drorch(*FAILOVER, "--anyway=there is no time", expect=5)
        assert "is being moved by" in refused.stderr
        second.site.drorch("abort", second.run.id)  # it did nothing, so it does not count as a failover
        second.site.drorch(*FAILOVER, REASON, expect=4)
        second.confirm_moved()
        assert first.powered() == ["off web1", "did off web1"]
        late = first.site.drorch("resume", first.run.id, expect=5)
        assert "this run's claim on shop is over" in late.stderr
        assert f"shop lives on web2 since root@{socket.gethostname()} in run {second.run.id}" in late.stderr
        first.site.drorch("abort", first.run.id, "--undo", expect=4)
    assert first.run.state is RunState.CANCELLED
    assert first.powered() == ["off web1", "did off web1"]
    second.confirm_moved()
    assert "web2" in second.site.drorch("home", "shop").stdout


def test_a_laptop_with_the_kit_is_enough(lab: Lab, tmp_path: Path) -> None:
    """The daemon's machine and its database are gone with the primary: the opened kit fails the shop over."""
    home = steered(lab, tmp_path / "home").lay()
    phrase = tmp_path / "phrase"
    phrase.touch(mode=0o600)
    phrase.write_text("correct horse battery staple\n")
    home.site.drorch("kit", "make", str(tmp_path / "kit.age"), "--passphrase-file", str(phrase))
    for folder in ("state", "config", "runbooks"):
        if (home.site.folder / folder).exists():
            shutil.rmtree(home.site.folder / folder)
    lab.web1.power_off()
    opened = tmp_path / "opened"
    home.site.drorch("kit", "open", str(tmp_path / "kit.age"), "--to", str(opened), "--passphrase-file", str(phrase))
    away = Steered(lab, _opened(opened), home.counted)
    away.site.drorch(*FAILOVER)
    away.confirm_moved()
    assert "web2" in away.site.drorch("home", "shop").stdout


def _opened(folder: Path) -> Site:
    site = lay_env(folder)
    env = {key: value for key, value in site.env.items() if key != "DRORCH_RUNBOOKS"}
    return Site(folder, env)
