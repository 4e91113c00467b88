"""Every way, each with the real thing behind it."""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from drorch.core.secret import SecretSpec
from drorch.hosts import relay
from drorch.hosts.fake import Answer, FakeHost, Fault, Reply
from drorch.hosts.local import LocalHost
from drorch.vault.secrets import SecretStore
from support.haproxy import Edge
from support.knot import SECRET, Knot
from support.networks import Network
from support.route53 import KEY as AWS_KEY
from support.route53 import SECRET as AWS_SECRET
from support.route53 import ZONE as AWS_ZONE
from support.route53 import HostedZone
from support.turns import Rig, failover

MAKERS: dict[str, Callable[[pytest.FixtureRequest, Path], Rig]] = {}
"""By the way's word."""


def _haproxy(request: pytest.FixtureRequest, root: Path) -> Rig:
    edge: Edge = request.getfixturevalue("edge")
    said = {"host": "edge", "socket": edge.socket, "backend": "shop", "hold": True}

    def astray() -> None:
        edge.say("set server shop/primary state maint; set server shop/third state ready")

    return Rig(failover(root), {"haproxy": said}, edge.customer, astray)


MAKERS["haproxy"] = _haproxy


def _command(_: pytest.FixtureRequest, root: Path) -> Rig:
    world = failover(root)
    file = root / "edge" / "leads"
    file.write_text("to primary\n")
    said = {
        "host": "edge",
        "run": ["sh", "-c", 'test -n "$TOKEN" && echo "to $1" >leads', "sh", "{{ to }}"],
        "check": ["cat", "leads"],
        "leads": {"new": "^to standby$", "old": "^to primary$"},
        "hold": ["touch", "held"],
        "release": ["rm", "-f", "held"],
        "env": {"TOKEN": {"secret": "canary"}},
    }
    return Rig(
        world,
        {"command": said},
        lambda: file.read_text().removeprefix("to ").strip(),
        lambda: file.write_text("to third\n"),
    )


MAKERS["command"] = _command


ADDRESSES = {"primary": "198.51.100.10", "standby": "203.0.113.20"}
HOSTS = {address: host for host, address in ADDRESSES.items()}


def _dns(request: pytest.FixtureRequest, root: Path) -> Rig:
    knot: Knot = request.getfixturevalue("knot")
    world = failover(root, **ADDRESSES)
    (root / "tsig").touch(mode=0o600)
    (root / "tsig").write_text(f"{SECRET}\n")
    world.secrets = SecretStore({"tsig": SecretSpec(file=str(root / "tsig"))}, world.at, {})
    said = {
        "server": "127.0.0.1",
        "port": knot.port,
        "zone": "shop.test",
        "name": "www",
        "key": {"name": "drorch", "secret": {"secret": "tsig"}},
    }

    def customers() -> str:
        address = knot.says("www")
        return HOSTS.get(address, address)

    def spoil(answer: Answer) -> None:
        said = answer.stdout if isinstance(answer, Reply) else b"y" * 70_000 if answer is Fault.FLOOD else b""

        def service(visitor: socket.socket) -> None:
            with suppress(OSError):
                visitor.sendall(said)
            relay.end(visitor)

        at: dict[tuple[str, int], Callable[[socket.socket], None]] = {}
        if answer is not Fault.GONE:
            at["127.0.0.1", knot.port] = service
        world.at = cast("LocalHost", FakeHost("controller", services=at, is_controller=True))

    return Rig(world, {"dns": said}, customers, lambda: knot.put("www", "192.0.2.99"), spoil)


MAKERS["dns"] = _dns


def _floating_ip(request: pytest.FixtureRequest, root: Path) -> Rig:
    network: Network = request.getfixturevalue("network")
    world = failover(root)
    world.hosts.update(network.hosts)
    said = {"address": "10.77.0.200/24", "interface": "eth0", "announce": 1, "seen_from": "edge"}

    def astray() -> None:
        for host, verb in (("primary", "del"), ("stranger", "add")):
            network.within(host, "ip", "addr", verb, "10.77.0.200/24", "dev", "eth0")
        network.within("edge", "ip", "neigh", "flush", "dev", "eth0")

    def spoil(answer: Answer) -> None:
        world.hosts["standby"] = FakeHost("standby", answers={(): answer})

    # Cut after it was taken away, after it was given, and after it was announced.
    return Rig(world, {"floating_ip": said}, network.at, astray, spoil, cuts=(4, 5, 6))


MAKERS["floating_ip"] = _floating_ip


def _route53(request: pytest.FixtureRequest, root: Path) -> Rig:
    zone: HostedZone = request.getfixturevalue("hosted_zone")
    zone.pending = 0
    world = failover(root, **ADDRESSES)
    world.secrets = SecretStore({"aws": SecretSpec(env="AWS")}, world.at, {"AWS": f"{AWS_KEY}:{AWS_SECRET}"})
    said = {"zone": AWS_ZONE, "name": "www.shop.example", "credentials": {"secret": "aws"}, "endpoint": zone.endpoint}
    www = ("www.shop.example.", "A")

    def customers() -> str:
        address = zone.records[www][1][0]
        return HOSTS.get(address, address)

    def spoil(answer: Answer) -> None:
        if isinstance(answer, Reply) and answer.exit_code:
            zone.refuse = "Surprise"
        elif answer is Fault.GONE:
            zone.down = True
        else:
            zone.garbage = answer.stdout if isinstance(answer, Reply) else b"y" * (answer is Fault.FLOOD) * 70_000

    return Rig(world, {"route53": said}, customers, lambda: zone.records.update({www: (60, ("192.0.2.99",))}), spoil)


MAKERS["route53"] = _route53
ROOT = {"floating_ip"}


@pytest.fixture(params=[pytest.param(word, marks=[pytest.mark.root] if word in ROOT else []) for word in MAKERS])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Each way in turn; it leads to the primary."""
    return MAKERS[request.param](request, tmp_path)
