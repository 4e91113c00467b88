"""Fences around real hosts: systemd, PostgreSQL, sshd, nftables, HAProxy, a provider that switches the power."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psycopg
import pytest
from pydantic import TypeAdapter

from drorch.core.clock import FakeClock, SystemClock
from drorch.core.errors import WrongHost
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.finding import Standing
from drorch.core.host import SshHostSpec
from drorch.core.model import Json, parse_duration
from drorch.core.step import Step
from drorch.hosts.ssh import SshHost
from drorch.sources.postgres import Postgres
from drorch.steps import AnyStep
from drorch.steps._safe import unsafe
from lab.database import UNIT as CLUSTER
from lab.host import Host
from lab.lab import Lab
from lab.waiting import until
from support.tools import Cut, World, WorldTools

pytestmark = pytest.mark.root

STEP: TypeAdapter[Step] = TypeAdapter(AnyStep)
EVERYTHING = {"stop": ["shop", "postgresql"]}


@dataclass
class Site:
    """The lab's shop, which a failover leads from web1 to web2."""

    lab: Lab
    world: World

    def reach(self, name: str, **more: Json) -> None:
        """Reach a host by SSH, with more said about it."""
        host = self.lab.hosts[name]
        spec = SshHostSpec(
            address=host.address,
            key=str(self.lab.key),
            host_key=host.host_key,
            connect_timeout=parse_duration("2s"),
            **more,
        )
        self.world.hosts[name] = SshHost(name, spec, secrets=self.world.secrets, halt=self.world.halt, grace=1.0)

    def fence(self, *ladder: Json, again: bool = False) -> Outcome:
        """Climb a ladder around web1."""
        return self.world.perform(_fence(*ladder), again=again)

    def fenced(self, *ladder: Json, again: bool = False) -> Evidence:
        """Climb it; it must succeed."""
        outcome = self.fence(*ladder, again=again)
        assert isinstance(outcome, Evidence), outcome
        return outcome

    def lift(self, evidence: Evidence, *ladder: Json) -> None:
        """Take it back, and see customers served."""
        outcome = self.world.undo(_fence(*ladder), evidence)
        assert isinstance(outcome, Evidence), outcome
        self.lab.await_serving()

    def unsafe(self, evidence: Evidence) -> Failure | None:
        """Whether a promotion is refused now."""
        return unsafe(WorldTools(self.world, "promote", Cut()), {"fence": evidence})

    def power(self, **more: Json) -> Json:
        """The rung of the lab's provider."""
        words = {verb: [str(self.lab.power), verb, "web1"] for verb in ("off", "status", "on")}
        said = {"command": words["off"], "status": words["status"], "on": words["on"], "off": "^off$", "poll": "50ms"}
        return {"power_off": {**said, **more}}


def _fence(*ladder: Json) -> Step:
    return STEP.validate_python({"kind": "fence", "host": "web1", "ladder": list(ladder)})


@pytest.fixture
def site(shared_lab: Lab, tmp_path: Path) -> Iterator[Site]:
    """The shop as it was at first, reached anew."""
    if not (shared_lab.web1.running and _serves(shared_lab.web1)):
        shared_lab.reset()  # an earlier test failed
    world = World(tmp_path, {}, kind="failover", run="shop-failover@1")
    world.clock = cast("FakeClock", SystemClock(world.halt))  # what is real answers in real time
    made = Site(shared_lab, world)
    for name in shared_lab.hosts:
        made.reach(name)
    world.scene = world.scene_with(
        primary="web1",
        target="web2",
        hosts=frozenset(shared_lab.hosts),
        work=dict.fromkeys(shared_lab.hosts, "~/.drorch"),
        addresses={name: host.address for name, host in shared_lab.hosts.items()},
    )
    yield made
    for host in world.hosts.values():
        host.close()


def _serves(host: Host) -> bool:
    return host.unit("shop").active and host.unit(CLUSTER).active


def test_stopped_and_masked_units_stay_down_over_a_reboot(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster behind Debian's umbrella unit is stopped, too; nothing starts again; the undo brings all back."""
    web1 = site.lab.web1
    evidence = site.fenced(EVERYTHING)
    assert CLUSTER in evidence.facts["proof"]["facts"]["units"]
    assert not web1.unit(CLUSTER).processes.pids
    assert {web1.unit(name).masked for name in ("shop", "postgresql", CLUSTER)} == {True}
    web1.power_off()
    monkeypatch.setattr("drorch.fences.stop.MOMENT", 0.3)
    assert site.unsafe(evidence) is None, "what was proven stays proven"
    monkeypatch.undo()
    web1.power_on()
    site.world.hosts["web1"].close()
    assert not _serves(web1)
    web1.systemctl("start", "shop", CLUSTER, check=False)
    assert not _serves(web1)
    assert site.unsafe(evidence) is None
    site.lift(evidence, EVERYTHING)
    assert _serves(web1)
    failure = site.unsafe(evidence)
    assert failure is not None
    assert "runs on web1" in failure.why


def test_a_database_that_hangs_is_no_proof_and_the_next_rung_is(site: Site) -> None:
    """A stop that does not end in time proves nothing; the power is taken, and given back by the undo."""
    web1 = site.lab.web1
    web1.unit(CLUSTER).freeze()
    site.world.scene = site.world.scene_with(mode="planned")
    ladder = ({"stop": {"units": "postgresql", "timeout": "1s"}}, site.power(), "attest")
    began = time.monotonic()
    planned = site.fence(*ladder)
    assert isinstance(planned, Failure)
    assert "deactivating" in planned.why
    assert "drorch unplanned" in planned.hint
    assert not planned.facts["attest"]
    assert web1.running
    site.world.scene = site.world.scene_with(mode="unplanned")
    evidence = site.fenced(*ladder, again=True)
    assert time.monotonic() - began < 20
    assert evidence.facts["proof"]["rung"] == "power_off"
    assert [one["rung"] for one in evidence.facts["tried"]] == ["stop"]
    assert not web1.running
    assert site.unsafe(evidence) is None
    assert site.fenced(*ladder).facts["proof"] == evidence.facts["proof"], "fenced already"
    site.lift(evidence, *ladder)
    assert _serves(web1)


def test_power_that_comes_back_breaks_the_proof(site: Site) -> None:
    """A slow provider is waited for until it says off; somebody who presses the button then is noticed."""
    site.lab.power_fault("slow")
    try:
        evidence = site.fenced(site.power())
    finally:
        site.lab.power_fault(None)
    assert not site.lab.web1.running
    site.lab.web1.power_on()
    failure = site.unsafe(evidence)
    assert failure is not None
    assert "no longer off" in failure.why
    site.lab.await_serving()


@pytest.mark.parametrize(
    ("fault", "told"),
    [("lie", "still answers"), ("fail", "out of order"), ("hang", "not finished")],
)
def test_a_provider_that_misbehaves_proves_nothing(
    site: Site, fault: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that the power is off while it is on, it fails, it never answers: none of it is a proof."""
    if fault == "hang":
        monkeypatch.setattr("drorch.fences.power_off.PATIENCE", 0.5)
    site.lab.power_fault(fault)  # type: ignore[arg-type]  # one of them
    try:
        failure = site.fence(site.power(timeout="1s" if fault == "hang" else "10s"), "attest")
    finally:
        site.lab.power_fault(None)
    assert isinstance(failure, Failure)
    assert told in failure.why
    assert failure.facts["attest"]
    assert site.lab.web1.running


def test_a_host_behind_a_cut_cable_is_not_fenced(site: Site) -> None:
    """It is given up within seconds, and found before; a person's word is all that is left."""
    site.lab.web1.cut()
    try:
        began = time.monotonic()
        failure = site.fence(EVERYTHING, "attest")
        findings = list(_fence(EVERYTHING, "attest").preflight(WorldTools(site.world, "fence", Cut())))
        took = time.monotonic() - began
    finally:
        site.lab.web1.mend()
    assert isinstance(failure, Failure)
    assert "unreachable is not fenced" in failure.why
    assert "drorch attest" in failure.hint
    assert took < 15
    assert findings[-1].what == "nothing can fence web1 but a person's word"
    assert {finding.standing for finding in findings} == {Standing.UNKNOWN, Standing.DOUBTFUL}
    assert _serves(site.lab.web1)


def test_a_host_that_hangs_is_given_up(site: Site) -> None:
    """The kernel takes connections, and nobody serves them."""
    site.lab.web1.hang()
    try:
        began = time.monotonic()
        failure = site.fence(EVERYTHING)
    finally:
        site.lab.web1.unhang()
    assert isinstance(failure, Failure)
    assert time.monotonic() - began < 15
    assert _serves(site.lab.web1)


def test_another_machine_behind_the_address_is_left_alone(site: Site) -> None:
    """It is not the one that the inventory pins: nothing is stopped there."""
    site.reach("web1", machine_id="0" * 32)
    with pytest.raises(WrongHost):
        site.world.hosts["web1"].identity()
    failure = site.fence(EVERYTHING)
    assert isinstance(failure, Failure)
    assert "machine" in failure.why
    assert _serves(site.lab.web1)


def test_a_database_set_read_only_refuses_its_superuser(site: Site) -> None:
    """It goes on answering, refuses writes to everybody over a restart, and takes them again after the undo."""
    replica = {"user": "replicator", "unit": CLUSTER}
    shop = Postgres.model_validate({"kind": "postgres", "database": "shop", "user": "postgres", "replica": replica})
    site.world.scene = site.world.scene_with(sources={"database": shop})
    ladder = ({"read_only": "database"},)
    assert _fence(*ladder).problems(site.world.scene) == ()
    evidence = site.fenced(*ladder)
    site.lab.web1.systemctl("restart", CLUSTER)
    until(lambda: _refuses(site.lab), "the database refuses writes")
    assert site.unsafe(evidence) is None
    site.lift(evidence, *ladder)
    failure = site.unsafe(evidence)
    assert failure is not None
    assert "accepts writes again" in failure.why


def _refuses(lab: Lab) -> bool:
    try:
        lab.database("web1").sql("CREATE TABLE refused ()")
    except psycopg.errors.ReadOnlySqlTransaction:
        return True
    except psycopg.OperationalError:
        return False  # it is starting
    raise AssertionError("it takes writes")


def test_a_hosts_own_firewall_lets_drorch_alone_through(site: Site) -> None:
    """The database is silent as seen from the standby, SSH goes on, and the undo opens all again."""
    cut = {"host": "web1", "allow": [site.lab.network.controller], "ports": [5432, 8080], "from": "web2"}
    ladder = ({"edge": {"firewall": cut}},)
    assert [finding.standing for finding in _looks(site, *ladder)] == [Standing.GOOD]
    evidence = site.fenced(*ladder)
    assert site.unsafe(evidence) is None
    site.lab.web1.run("nft", "add", "rule", "inet", "drorch_fence_web1", "input", "accept")
    failure = site.unsafe(evidence)
    assert failure is not None
    assert "not drorch's" in failure.why
    site.lift(evidence, *ladder)
    until(lambda: site.lab.database("web1").streams_to("web2"), "web2 receives again")


def test_a_balancer_that_everything_passes_is_a_fence_when_a_person_says_so(site: Site) -> None:
    """Nobody reaches web1 any more; a balancer that lets customers in again breaks the proof."""
    cut = {"host": "edge", "backend": "shop", "server": "web1"}
    assert _fence({"edge": {"haproxy": cut}}).problems(site.world.scene)
    assert isinstance(site.fence({"edge": {"haproxy": cut}}), Failure)
    ladder = ({"edge": {"haproxy": cut, "complete": True}},)
    evidence = site.fenced(*ladder)
    assert site.unsafe(evidence) is None
    site.lift(evidence, *ladder)
    failure = site.unsafe(evidence)
    assert failure is not None
    assert "HAProxy on edge has shop/web1 in UP" in failure.why


def _looks(site: Site, *ladder: Json) -> list[Json]:
    return list(_fence(*ladder).preflight(WorldTools(site.world, "fence", Cut())))
