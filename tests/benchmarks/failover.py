"""How long customers wait for a failover in the lab, and what a planned switchover costs them, beside a bare script.

The script is what an operator would type at three in the morning who knows what to do: it promotes, starts, switches.
It fences nothing, proves nothing and keeps nothing. Both sides have the same lab, new for each run, in turns.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.measure import Costs, Figure, in_turns
from lab import database, haproxy, needs, web
from lab.customer import Customer
from lab.host import Host
from lab.lab import Lab
from lab.moving import moving_documents
from support.site import Site

ORDERS = 50.0
"""Per second, over connections that are kept."""
WATCHED = Path(__file__).with_name("watched.py")

_SCRIPT = f"""\
set -e
on() {{
    ssh -i "$KEY" -o UserKnownHostsFile="$KNOWN" -o BatchMode=yes -o ConnectTimeout=5 -o LogLevel=ERROR "root@$1" "$2"
}}
[ -z "$OLD" ] || on "$OLD" "systemctl stop {web.UNIT} {database.UNIT}"
on "$NEW" "runuser -u postgres -- psql -qAtc 'SELECT pg_promote(true, 60)'"
on "$NEW" "systemctl start {web.UNIT}"
on "$EDGE" "echo 'set server {haproxy.BACKEND}/web2 state ready; set server {haproxy.BACKEND}/web1 state maint' |
    socat - UNIX-CONNECT:{haproxy.SOCKET}"
"""
_COMPILED = "import drorch.cli.moving, drorch.engine.durable"
_SHOWN = {"http": "verify"}


@dataclass(frozen=True, slots=True)
class Course:
    """How one run of one side went, as its customers saw it."""

    outage: float
    """Seconds of the longest time, from the power-off on, in which no order was acknowledged."""
    slowest: float
    """Seconds that the slowest acknowledged order took."""
    failed: int
    orders: int
    lost: int
    parts: Mapping[str, float] = field(default_factory=dict)
    """Seconds of drorch's run by what was done."""


def figures(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """The figures; quickly, only those of the power-off. None where there can be no lab, which is said."""
    if reason := needs.missing():
        sys.stderr.write(f"failover is left out: {reason}\n")
        return
    with Lab.start() as lab:
        ours = partial(_drorch, lab, folder, quick=quick)
        yield from _after_a_power_off(*in_turns((partial(_bare, lab), ours), 1 if quick else 7))
        if not quick:
            yield from _planned(*in_turns((partial(_bare, lab, planned=True), partial(ours, planned=True)), 5))


def _after_a_power_off(bare: Sequence[Course], ours: Sequence[Course]) -> Iterator[Figure]:
    parts = {name: median(one.parts[name] for one in ours) for name in ours[0].parts}
    shown = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())
    yield Figure(
        subject="outage after a power-off, drorch failover --yes",
        baseline="a bare script that promotes, starts and switches, and proves nothing",
        value=Costs(tuple(one.outage for one in ours)),
        beside=Costs(tuple(one.outage for one in bare)),
        unit="s",
        aim="at most 1.5 times",
        remark=f"{_lost(ours)}; seconds of drorch: {shown}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
    )
    yield Figure(
        subject="drorch's own part of that: its run less the time in which it waited for hosts",
        baseline="the time in which it waited for hosts",
        value=Costs(tuple(one.parts["own"] for one in ours)),
        beside=Costs(tuple(one.parts["hosts"] for one in ours)),
        unit="s",
        aim="at most 0.5 s",
        remark=f"{parts['processor']:.2f} s of a processor, most of it to load modules",
    )


def _planned(bare: Sequence[Course], ours: Sequence[Course]) -> Iterator[Figure]:
    yield Figure(
        subject=f"requests that fail in a planned switchover at {ORDERS:.0f} orders/s, drorch failover --planned",
        baseline="a bare script that stops, promotes, starts and switches",
        value=Costs(tuple(one.failed for one in ours)),
        beside=Costs(tuple(one.failed for one in bare)),
        unit="requests",
        aim="0, and no acknowledged order lost",
        remark=f"{_lost(ours)}; the script: {_lost(bare)}",
    )
    yield Figure(
        subject="the longest that an order took in that",
        baseline="the script's outage",
        value=Costs(tuple(one.slowest for one in ours)),
        beside=Costs(tuple(one.outage for one in bare)),
        unit="s",
        aim="as little as the steps take",
    )


def _lost(courses: Sequence[Course]) -> str:
    return f"{sum(one.lost for one in courses)} of {sum(one.orders for one in courses)} acknowledged orders lost"


def _bare(lab: Lab, *, planned: bool = False) -> Course:
    """The script's turn."""
    lab.reset()
    lab.database("web1").synchronous()
    _plain(lab.edge)
    known = lab.folder / "known_hosts"
    known.write_text("".join(f"{host.address} {host.host_key}\n" for host in lab.hosts.values()))
    addresses = {"OLD": lab.web1.address if planned else "", "NEW": lab.web2.address, "EDGE": lab.edge.address}
    env = {**os.environ, **addresses, "KEY": str(lab.key), "KNOWN": str(known)}
    with _customer(lab, planned=planned).shopping() as customer:
        began = _begin(lab, customer, planned=planned)
        subprocess.run(["sh", "-c", _SCRIPT], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        customer.await_orders(5)
    return _course(lab, customer, began)


def _plain(edge: Host) -> None:
    """The edge without what drorch brings along, which lets requests wait while nobody serves them."""
    file = edge.inside / "etc/haproxy/haproxy.cfg"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "lua" not in line))
    edge.systemctl("restart", haproxy.UNIT)


def _drorch(lab: Lab, folder: Path, *, quick: bool, planned: bool = False) -> Course:
    """The turn of `drorch failover`; unless in haste, it has looked before, as it does on schedule, and is compiled."""
    lab.reset()
    lab.database("web1").synchronous()
    site, notes = _site(lab, folder), folder / "notes"
    if not quick:
        site.drorch("check", "--live")
        subprocess.run([sys.executable, "-c", _COMPILED], env=dict(site.env), check=True)
    with _customer(lab, planned=planned).shopping() as customer:
        began = _begin(lab, customer, planned=planned)
        words = ("failover", "shop", "--yes=shop", *(("--planned",) if planned else ()))
        with site.start(str(notes), *words, prefix=(str(WATCHED),)) as process:
            said = process.communicate(timeout=120)
        if process.returncode not in (0, 4):
            raise AssertionError(f"exit code {process.returncode}: {said}")
        customer.await_orders(5)
    return _course(lab, customer, began, _parts(site, began, json.loads(notes.read_text())))


def _site(lab: Lab, folder: Path) -> Site:
    """The operator's documents, and drorch as it is where it was installed, which may keep compiled modules."""
    documents = moving_documents(lab)
    for name in [name for name in documents.runbooks if name != "shop-failover"]:
        del documents.runbooks[name]
    place = folder / f"site-{time.monotonic_ns()}"
    place.mkdir()
    site = documents.write(place)
    env = {name: value for name, value in site.env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return Site(place, env)


def _customer(lab: Lab, *, planned: bool) -> Customer:
    return lab.customer(pace=ORDERS, patience=30.0 if planned else 2.0)


def _begin(lab: Lab, customer: Customer, *, planned: bool) -> float:
    """The moment from which on customers wait; there were orders before it."""
    customer.await_orders(20)
    if not planned:
        lab.web1.power_off()
    return time.monotonic()


def _course(lab: Lab, customer: Customer, began: float, parts: Mapping[str, float] | None = None) -> Course:
    answered = sorted(one.ended for one in customer.attempts if not one.failure)
    gaps = [later - max(former, began) for former, later in pairwise(answered) if later > began]
    return Course(
        outage=max(gaps),
        slowest=customer.slowest,
        failed=len(customer.failures),
        orders=len(customer.acknowledged),
        lost=len(customer.lost(lab.database("web2"))),
        parts=parts or {},
    )


def _parts(site: Site, began: float, notes: Mapping[str, object]) -> Mapping[str, float]:
    """What drorch's time went into; a step that follows another begins where that ended."""
    asked: list[tuple[str, str, float, float]] = [tuple(one) for one in notes["asked"]]  # type: ignore[attr-defined]
    ended = float(str(notes["ended"]))
    wall = time.time() - time.monotonic()
    steps = [one for one in site.json("show", "last")["timeline"] if one.get("ended")]
    at = datetime.fromisoformat(steps[0]["started"]).timestamp() - wall
    looking = [one for one in asked if one[2] < at]
    first, last = min(one[2] for one in looking), max(min(one[3], at) for one in looking)
    parts = {"process": first - began, "look": last - first, "begin": at - last}
    for step in steps:
        kind, end = step["step"].partition("-")[0], datetime.fromisoformat(step["ended"]).timestamp() - wall
        name = _SHOWN.get(kind, kind)
        parts[name], at = parts.get(name, 0.0) + end - at, end
    parts["end"] = ended - at
    hosts, reached = 0.0, began
    for _, _, begin, end in sorted(asked, key=lambda one: one[2]):
        hosts += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return {**parts, "hosts": hosts, "own": ended - began - hosts, "processor": float(str(notes["cpu"]))}
