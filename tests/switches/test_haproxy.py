"""HAProxy, real, on loopback."""

import shutil
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self

import pytest

from drorch.core.clock import Halt
from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding, Standing
from drorch.core.host import LocalHostSpec
from drorch.core.model import Json
from drorch.core.switch import Turn
from drorch.hosts.local import LocalHost
from drorch.switches import _runtime as runtime
from support.haproxy import Edge
from support.processes import eventually
from support.turns import Rig, failover, succeeded


def rig_of(edge: Edge, root: Path, **more: Json) -> Rig:
    """A failover at an edge."""
    said = {"host": "edge", "socket": edge.socket, "backend": "shop", "hold": True, **more}
    return Rig(failover(root), {"haproxy": said}, edge.customer, lambda: None)


@pytest.fixture
def shop(edge: Edge, tmp_path: Path) -> Rig:
    """HAProxy, leading to the primary."""
    return rig_of(edge, tmp_path)


@dataclass
class Customers:
    """Several who ask all the time, each time anew; a context."""

    edge: Edge
    count: int = 4
    answers: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def _ask(self) -> None:
        while not self._over.is_set():
            self.answers.append(self.edge.customer())

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(self.count)]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join(10)


def finding(shop: Rig, words: str) -> Finding:
    """The finding that says so."""
    return next(each for each in shop.findings() if words in each.what)


@pytest.mark.parametrize("talker", ["perl", "python3", "socat"])
def test_any_of_three_programs_speaks_to_the_socket(shop: Rig, tmp_path: Path, talker: str) -> None:
    """An edge needs Perl, Python or socat, and no more."""
    _only(shop, tmp_path, talker)
    shop.lead()
    assert shop.customers() == "standby"


def test_an_edge_without_any_says_what_to_install(shop: Rig, tmp_path: Path) -> None:
    """It is a failure with a remedy, not a riddle."""
    _only(shop, tmp_path)
    outcome = shop.way.lead(shop.tools(), shop.turn)
    assert isinstance(outcome, Failure)
    assert outcome.hint == "install socat on edge"


def _only(shop: Rig, tmp_path: Path, *programs: str) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in programs:
        found = sys.executable if name == "python3" else shutil.which(name)
        if found is None:
            pytest.skip(f"needs {name}: apt-get install {name}")
        (tools / name).symlink_to(found)
    spec = LocalHostSpec(home=str(tmp_path), env={"PATH": str(tools)})
    shop.world.hosts["edge"] = LocalHost("edge", spec, halt=Halt())


def test_a_socket_that_may_only_look_is_found_before(edge: Edge, tmp_path: Path) -> None:
    """The permission is seen without changing anything, and a refusal names the remedy."""
    shop = rig_of(edge, tmp_path, socket=f"{edge.folder}/looker.sock")
    found = finding(shop, "Permission denied")
    assert (found.standing, "level admin" in found.remedy) == (Standing.BAD, True)
    outcome = shop.way.lead(shop.tools(), shop.turn)
    assert isinstance(outcome, Failure)
    assert "Permission denied" in outcome.why
    assert "level admin" in outcome.hint
    assert shop.customers() == "primary"


@pytest.mark.parametrize(
    ("more", "why", "hint"),
    [
        ({"backend": "shopp"}, "HAProxy on edge has no backend shopp", "it has shop"),
        ({"to": "web2"}, "backend shop of HAProxy on edge has no server web2", "primary, standby, third"),
        ({"socket": "/nowhere/admin.sock"}, "No such file", "stats socket"),
    ],
)
def test_what_is_not_there_is_named(edge: Edge, tmp_path: Path, more: Json, why: str, hint: str) -> None:
    """A wrong name is told with those that there are."""
    shop = rig_of(edge, tmp_path, **more)
    outcome = shop.way.lead(shop.tools(), shop.turn)
    assert isinstance(outcome, Failure)
    assert why in outcome.why
    assert hint in outcome.hint
    assert finding(shop, why).standing is Standing.BAD


def test_an_haproxy_that_is_gone_is_said(edge: Edge, shop: Rig) -> None:
    """A socket without a program behind it is a failure that a retry can mend."""
    edge.stop()
    outcome = shop.way.look(shop.tools(), shop.turn)
    assert isinstance(outcome, Failure)
    assert outcome.retryable
    assert "does not run on edge" in outcome.hint


def test_servers_may_be_named_otherwise(edge: Edge, tmp_path: Path) -> None:
    """``to`` and ``from`` name the servers of the new and the old host, for the way back as well."""
    shop = rig_of(edge, tmp_path, to="standby", **{"from": "primary"})
    turn = Turn("web1", "web2", {})
    succeeded(shop.way.lead(shop.tools(), turn))
    assert shop.customers() == "standby"
    succeeded(shop.way.back(shop.tools(), turn))
    assert shop.customers() == "primary"


def test_two_hosts_are_not_one_server(edge: Edge, tmp_path: Path) -> None:
    """A runbook that says so is wrong before anything runs."""
    shop = rig_of(edge, tmp_path, to="primary")
    assert shop.way.problems(shop.turn)


def test_half_a_switch_is_seen_and_completed(edge: Edge, shop: Rig) -> None:
    """With both servers ready, customers go to either; the step ends that."""
    edge.say("set server shop/standby state ready")
    assert shop.look() == "both"
    shop.lead()
    assert {edge.customer() for _ in range(4)} == {"standby"}


def test_sessions_on_the_old_server_end(edge: Edge, shop: Rig) -> None:
    """A request that hangs on the old host does not keep it in use; what was sent there is counted."""
    with edge.slow_customer() as customer:
        assert shop.way.residual(shop.tools(), shop.turn)["sessions"] == 1
        requests = shop.lead().facts["old_requests"]
        with suppress(OSError, HTTPException):
            assert customer.getresponse().status != 200
        assert eventually(lambda: shop.way.residual(shop.tools(), shop.turn)["sessions"] == 0)
        assert shop.way.residual(shop.tools(), shop.turn)["requests"] == requests


def test_a_dead_application_is_no_success(edge: Edge, tmp_path: Path) -> None:
    """HAProxy takes a server for up that just came out of maintenance: its first health check is waited for."""
    shop = rig_of(edge, tmp_path, within="1s")
    edge.say("shutdown frontend standby")
    outcome = shop.way.lead(shop.tools(), shop.turn)
    assert isinstance(outcome, Failure)
    assert "holds it for down (DOWN)" in outcome.why


def test_an_application_that_is_known_to_be_dead_is_no_success(edge: Edge, tmp_path: Path) -> None:
    """When HAProxy's own health check holds the new server for down, customers are not served there."""
    shop = rig_of(edge, tmp_path, within="100ms")
    edge.say("shutdown frontend standby; set server shop/standby state ready")
    assert eventually(lambda: ",standby,0,0,0,0,,0,0,0,,0,,0,0,0,0,DOWN" in edge.say("show stat -1 4 -1"))
    outcome = shop.way.lead(shop.tools(), shop.turn)
    assert isinstance(outcome, Failure)
    assert outcome.retryable
    assert "holds it for down (DOWN)" in outcome.why


def test_no_request_fails_in_a_planned_switchover(edge: Edge, shop: Rig) -> None:
    """New requests wait while it is held, and are then served by the new host."""
    with Customers(edge) as customers:
        assert eventually(lambda: len(customers.answers) > customers.count)
        held = succeeded(shop.way.hold(shop.tools(), shop.turn))
        assert held.facts["in_flight"] == 0
        said = len(customers.answers)
        assert not eventually(lambda: len(customers.answers) > said + customers.count, within=0.1)
        shop.lead()
        succeeded(shop.way.release(shop.tools(), shop.turn))
        assert eventually(lambda: len(customers.answers) > said + 2 * customers.count)
    assert set(customers.answers) == {"primary", "standby"}
    assert customers.answers[-1] == "standby"


def test_requests_on_open_connections_wait_as_well(edge: Edge, shop: Rig) -> None:
    """A customer who keeps the connection is held like any other."""
    connection = HTTPConnection("127.0.0.1", edge.port, timeout=5)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"primary"
    succeeded(shop.way.hold(shop.tools(), shop.turn))
    connection.request("GET", "/")
    shop.lead()
    succeeded(shop.way.release(shop.tools(), shop.turn))
    assert connection.getresponse().read() == b"standby"
    connection.close()


def test_a_hold_waits_for_what_is_being_answered(edge: Edge, tmp_path: Path) -> None:
    """It ends as soon as nothing is, and says so when something still was."""
    shop = rig_of(edge, tmp_path, drain="200ms")
    with edge.slow_customer() as customer:
        held = succeeded(shop.way.hold(shop.tools(), shop.turn))
        assert held.facts["in_flight"] == 1
        assert "1 requests were still being answered" in held.exceptions[0]
        customer.send(b"end")
        assert customer.getresponse().read() == b"primary"
    held = succeeded(shop.way.hold(shop.tools(), shop.turn))
    assert (held.facts["in_flight"], held.exceptions) == (0, ())


def test_the_edge_lets_go_when_nobody_else_does(edge: Edge, tmp_path: Path) -> None:
    """A controller that dies while customers wait keeps them waiting for a bounded time only."""
    shop = rig_of(edge, tmp_path, at_most="1s")
    succeeded(shop.way.hold(shop.tools(), shop.turn))
    assert finding(shop, "requests wait there already").standing is Standing.DOUBTFUL
    assert edge.customer() == "primary"
    assert finding(shop, "it can let requests wait").standing is Standing.GOOD


def test_an_edge_that_was_not_taught_to_hold_says_how(edge: Edge, tmp_path: Path) -> None:
    """Found before, and nobody is held by half."""
    edge.stop()
    edge.taught = False
    edge.start()
    shop = rig_of(edge, tmp_path)
    assert finding(shop, "cannot let requests wait").standing is Standing.BAD
    outcome = shop.way.hold(shop.tools(), shop.turn)
    assert isinstance(outcome, Failure)
    assert "drorch-hold.lua" in outcome.hint


def test_customers_wait_while_no_server_is_up(edge: Edge, shop: Rig) -> None:
    """In an outage, too, requests wait for the new server instead of failing."""
    edge.say("set server shop/primary state maint; disable server shop/sorry")
    with Customers(edge) as customers:
        said = len(customers.answers)
        shop.lead()
        assert eventually(lambda: len(customers.answers) > said + customers.count)
    assert set(customers.answers) == {"standby"}


def test_a_restart_forgets_the_switch_and_that_is_found_before(edge: Edge, shop: Rig) -> None:
    """What is said to the socket alone is gone with HAProxy, and a finding says so."""
    assert finding(shop, "would lead customers back to primary").standing is Standing.DOUBTFUL
    shop.lead()
    edge.stop()
    edge.start()
    assert shop.customers() == "primary"


def test_a_saved_state_survives_a_restart(edge: Edge, tmp_path: Path) -> None:
    """With ``save``, and an HAProxy that loads it, customers stay with the new host."""
    shop = rig_of(edge, tmp_path, save=str(edge.state), config=str(edge.config))
    assert "load-server-state-from-file global" in finding(shop, "lacks").remedy
    edge.stop()
    edge.keeping = True
    edge.start()
    assert finding(shop, "a reload keeps what was switched").standing is Standing.GOOD
    shop.lead()
    edge.stop()
    edge.start()
    assert (shop.customers(), shop.look()) == ("standby", "new")


def test_a_state_that_cannot_be_saved_does_not_stop_the_switch(edge: Edge, tmp_path: Path) -> None:
    """Customers are led; that a restart would undo it is an exception of the step."""
    evidence = rig_of(edge, tmp_path, save="/nowhere/at/all").lead()
    assert isinstance(evidence, Evidence)
    assert "would undo the switch" in evidence.exceptions[0]
    assert edge.customer() == "standby"


ROW = "shop,primary,0,0,3,3,,9,{},1,0"
HEAD = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,act,bck\n"


@pytest.mark.parametrize("status", ["UP", "UP 1/3", "no check"])
def test_a_server_that_serves(status: str) -> None:
    """Among what HAProxy says are these."""
    ((_, line),) = runtime.stat(HEAD + ROW.format(status))
    assert (line.told_to_serve, line.serves, line.sessions, line.requests) == (True, True, 3, 9)


@pytest.mark.parametrize("status", ["MAINT", "MAINT (via a/b)", "MAINT (resolution)", "DRAIN", "DRAIN (agent)", "NOLB"])
def test_a_server_that_is_out(status: str) -> None:
    """And these are out by somebody's order."""
    ((_, line),) = runtime.stat(HEAD + ROW.format(status))
    assert (line.told_to_serve, line.serves) == (False, False)


@pytest.mark.parametrize(
    "text", ["", "Permission denied\n", HEAD + ROW.format("SURPRISE"), HEAD + ROW.format(""), HEAD + "x"]
)
def test_what_is_not_known_is_no_status(text: str) -> None:
    """A word that drorch does not know is never taken for good."""
    with pytest.raises(ValueError, match=r"no table|does not know|a row without"):
        runtime.stat(text)
