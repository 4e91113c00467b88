"""`make lab`: a lab for a person to break. It shows what customers see, and ends with ctrl-C."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lab import layer, paths
from lab.customer import Customer
from lab.database import UNIT
from lab.host import Host
from lab.lab import Lab
from lab.moving import moving_documents
from lab.needs import missing
from lab.network import CUSTOMER, EDGE, S3, WEB1, WEB2
from lab.waiting import LabFailed
from support.ceph_daemons import missing as no_ceph

_LOOK = 0.25
"""Seconds between two looks."""
_WELL, _ILL, _QUIET = "green", "bold red", "dim"


def play() -> int:
    """Start a lab, show it, take it down; gives the exit code."""
    console = Console(highlight=False)
    reason = missing()
    if reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what was started in the background ignores it
    try:
        return _play(console)
    except KeyboardInterrupt:
        return 0
    except LabFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _play(console: Console) -> int:
    began = time.monotonic()
    with Lab.start(lambda what: console.print(f"[dim]{time.monotonic() - began:4.1f} s[/]  {what}")) as lab:
        stores = not no_ceph()
        if stores:
            console.print(f"[dim]{time.monotonic() - began:4.1f} s[/]  an S3 with object locks")
        _lay(lab, stores=stores)
        console.print(f"[dim]{time.monotonic() - began:4.1f} s[/]  the shop takes orders\n")
        console.print(_picture(lab, stores=stores))
        console.print(_advice(lab))
        customer = lab.customer().start()
        try:
            _show(console, lab, customer)
        except KeyboardInterrupt:
            console.print("\ntaking all down")
        customer.stop()
        console.print(_summary(customer))
    return 0


def _lay(lab: Lab, *, stores: bool) -> None:
    """What a second terminal needs: documents, commands, keys; with an S3 it holds the off-site copy and the claim."""
    said = moving_documents(lab)
    if stores:
        lab.s3.store(said, "offsite")
        said.inventory["services"]["shop"]["lease"] = "offsite"
        said.runbooks["shop-nightly"]["steps"].append({"kind": "mirror", "store": "offsite"})
    site = said.write(lab.folder / "operator")
    site.drorch("repository", "create", "vault")
    hosts = "".join(
        f"Host {host.name}\n  HostName {host.address}\n  User root\n  IdentityFile {lab.key}\n"
        f"  UserKnownHostsFile {lab.folder}/known_hosts\n"
        for host in lab.hosts.values()
    )
    layer.write(lab.folder / "ssh_config", hosts)
    known = "".join(f"{host.address} {host.host_key}\n" for host in lab.hosts.values())
    layer.write(lab.folder / "known_hosts", known)
    words = f'PYTHONPATH={paths.HERE.parent} exec {sys.executable} -m lab --number {lab.number} "$@"'
    layer.write(lab.folder / "bin" / "lab", f"#!/bin/sh\n{words}\n", mode=0o755)
    binaries = f"{lab.folder}/bin:{paths.PROJECT}/.tools/bin:{layer.PYTHON.parent}"
    named = "".join(f"export {name}={value}\n" for name, value in site.env.items() if name.startswith("DRORCH_"))
    layer.write(lab.folder / "enter", f"export PATH={binaries}:$PATH\n{named}PS1='(lab {lab.number}) '\"$PS1\"\n")


def _picture(lab: Lab, *, stores: bool) -> str:
    customer, edge, web1, web2, s3 = (lab.network.address(last) for last in (CUSTOMER, EDGE, WEB1, WEB2, S3))
    elsewhere = f"  [bold]s3[/] [dim]{s3}: off-site copies, under locks; and who acts[/]\n" if stores else ""
    return (
        f"  customers [dim]{customer}[/] ──▶ [bold]edge[/] [dim]{edge}[/] ──▶ [bold]web1[/] [dim]{web1}[/]\n"
        f"                            [dim]HAProxy, knot[/]        [dim]shop, PostgreSQL primary[/]\n"
        f"                                                   [dim]│ replication, asynchronous[/]\n"
        f"                                                 [bold]web2[/] [dim]{web2}[/]\n"
        f"                                                 [dim]shop (stopped), PostgreSQL standby[/]\n"
        f"{elsewhere}"
    )


def _advice(lab: Lab) -> str:
    unit = UNIT.removesuffix(".service")
    return (
        f"Open a second terminal, and enter:  [bold]. {lab.folder}/enter[/]\n\n"
        "  drorch status                  what is known of the shop\n"
        "  drorch backup shop             the night before\n"
        "  drorch check --live            is it ready for the worst?\n"
        "  [bold]lab power-off web1[/]             the worst\n"
        "  [bold]drorch failover shop[/]           and its answer: look below what customers see\n"
        "  lab power-on web1              the old primary comes back …\n"
        "  drorch failback shop           … and the shop goes home\n\n"
        f"  lab cut web1 · hang web1 · freeze web1 {unit} · isolate web1 web2 · deafen web1 controller\n"
        "  lab lose edge 20 · slow web1 1mbit · fill web2 /var/lib/postgresql · provider lie\n"
        "  lab heal · mend web1 · unhang web1 · thaw … · free …      all of them: lab --help\n"
        "  lab ssh web1 · shell web1 · log web1 · status\n\n"
        "Here: what customers see. ctrl-C ends the lab, all of it.\n"
    )


@dataclass
class _Watch:
    """Looks at one web host from a thread of its own, since the look may hang as the host does."""

    lab: Lab
    host: Host
    state: str = ""
    primary: bool = False
    seen: float = field(default_factory=time.monotonic)

    def start(self) -> "_Watch":
        """Look, for as long as this process lives."""
        threading.Thread(target=self._watch, name=f"lab-watch-{self.host.name}", daemon=True).start()
        return self

    def shown(self) -> str:
        """Its state; a look that takes long is a state of its own."""
        return self.state if time.monotonic() - self.seen < 4 * _LOOK + 1 else "hangs"

    def _watch(self) -> None:
        while True:
            try:
                self.state = self._look()
            except (LabFailed, OSError):
                self.state, self.primary = "off", False
            self.seen = time.monotonic()
            time.sleep(_LOOK)

    def _look(self) -> str:
        if not self.host.running:
            self.primary = False
            return "off"
        cut = ", cut off" if self.lab.network.is_cut(self.host.name) else ""
        if self.host.hangs:
            return f"hangs{cut}"
        try:
            database = self.lab.database(self.host)
            self.primary = not database.in_recovery
            receives = self.primary or database.receives
        except psycopg.Error:
            self.primary = False
            return f"no database{cut}"
        return f"{'primary' if self.primary else 'standby'}{'' if receives else ', receives nothing'}{cut}"


def _show(console: Console, lab: Lab, customer: Customer) -> None:
    """Until interrupted: a line that lives, and above it what happened."""
    watches = [_Watch(lab, host).start() for host in (lab.web1, lab.web2)]
    outages, shown = 0, {watch.host.name: "" for watch in watches}
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def tell(text: str, style: str = "") -> None:
            live.console.print(Text.assemble((f"{datetime.now():%H:%M:%S}  ", _QUIET), (text, style)))  # noqa: DTZ005 - the person's clock

        while True:
            for watch in watches:
                state = watch.shown()
                if state and state != shown[watch.host.name]:
                    tell(f"{watch.host.name}: {state}")
                    shown[watch.host.name] = state
            outages = _tell_outages(customer, outages, _lost(lab, customer, watches), tell)
            live.update(_line(customer, watches), refresh=True)
            time.sleep(_LOOK)


def _tell_outages(customer: Customer, told: int, lost: Callable[[], str], tell: Callable[..., None]) -> int:
    """Tell beginnings and ends; ``told`` counts them, two per outage."""
    outages = customer.outages()
    while told < 2 * len(outages):
        outage = outages[told // 2]
        if told % 2 == 0:
            tell(f"orders fail: {customer.failures[-1].failure}", _ILL)
        elif outage.ended is None:
            break
        else:
            tell(f"orders are taken again: out for {outage.seconds:.2f} s, {outage.failed} failed, {lost()}", _WELL)
        told += 1
    return told


def _lost(lab: Lab, customer: Customer, watches: list[_Watch]) -> Callable[[], str]:
    def count() -> str:
        serving = [watch.host for watch in watches if watch.primary]
        if len(serving) != 1:
            return "two databases take writes: split brain" if serving else "no database takes writes"
        try:
            lost = len(customer.lost(lab.database(serving[0])))
        except (psycopg.Error, LabFailed):
            return "the database does not answer"
        return f"{lost} acknowledged orders are not on {serving[0].name}" if lost else "no acknowledged order lost"

    return count


def _line(customer: Customer, watches: list[_Watch]) -> Text:
    now = time.monotonic()
    recent = [attempt for attempt in customer.attempts[-200:] if attempt.ended > now - 1]
    well = sum(not attempt.failure for attempt in recent)
    bad = len(recent) - well
    failed = len(customer.failures)
    line = Text.assemble(
        (f"{well:3} orders/s", _WELL if well else _ILL),
        (f"  {bad:3} failing/s", _ILL if bad else _QUIET),
        (f"   {len(customer.attempts) - failed} acknowledged, {failed} failed", ""),
    )
    for watch in watches:
        line.append(f"   {watch.host.name} ", "bold")
        line.append(watch.shown(), _WELL if watch.primary else _QUIET)
    return line


def _summary(customer: Customer) -> str:
    outages = ", ".join(f"{outage.seconds:.2f} s" for outage in customer.outages()) or "none"
    return f"{len(customer.acknowledged)} orders acknowledged, {len(customer.failures)} failed; outages: {outages}"
