"""Faults at the command line: for people in a second terminal while `make lab` runs in the first."""

import argparse
import os
import sys
from collections.abc import Callable

from lab import paths
from lab.find import Found, found
from lab.host import Host
from lab.waiting import LabFailed


def _power_off(host: Host) -> str:
    host.power_off()
    return f"{host.name} is off; nobody heard a farewell"


def _power_on(host: Host) -> str:
    host.power_on()
    return f"{host.name} is on, and what starts at boot has been started"


def _cut(host: Host) -> str:
    host.cut()
    return f"the cable of {host.name} is pulled; it runs on, alone"


def _mend(host: Host) -> str:
    host.mend()
    host.slow(None)
    return f"the cable of {host.name} is plugged in"


def _hang(host: Host) -> str:
    host.hang()
    return f"{host.name} hangs: it takes connections, nobody serves them"


def _unhang(host: Host) -> str:
    host.unhang()
    return f"{host.name} goes on as if no time had passed"


def _freeze(host: Host, unit: str) -> str:
    host.unit(_full(unit)).freeze()
    return f"{unit} on {host.name} hangs"


def _thaw(host: Host, unit: str) -> str:
    host.unit(_full(unit)).thaw()
    return f"{unit} on {host.name} goes on"


def _isolate(host: Host, other: str) -> str:
    host.isolate(from_=other)
    return f"{host.name} and {other} do not reach each other; others reach both"


def _deafen(host: Host, other: str) -> str:
    host.isolate(from_=other, ways="in")
    return f"{host.name} hears nothing of {other}, which hears it"


def _lose(host: Host, percent: str) -> str:
    host.lose(float(percent))
    return f"{percent} % of what {host.name} sends and is sent gets lost"


def _slow(host: Host, rate: str) -> str:
    host.slow(rate)
    return f"the cable of {host.name} carries {rate}"


def _fill(host: Host, where: str) -> str:
    host.disk.fill(where)
    return f"{where} on {host.name} is full"


def _free(host: Host, where: str) -> str:
    host.disk.free(where)
    return f"{where} on {host.name} has room again"


def _heal(lab: Found) -> str:
    lab.network.heal()
    return "all cables are plugged in, nothing is lost on the way"


def _provider(lab: Found, fault: str) -> str:
    lab.set_power_fault("" if fault == "well" else fault)
    return f"the provider's power command: {fault}"


def _log(host: Host) -> str:
    return host.log()


def _shell(host: Host) -> str:
    sys.stdout.flush()
    words = host.entering("bash", "-l")
    os.execvp(words[0], words)  # noqa: S606 - the person's own shell, in the host


def _ssh(host: Host) -> str:
    sys.stdout.flush()
    os.execvp("ssh", ["ssh", "-F", str(paths.folder(host.network.number) / "ssh_config"), host.name])  # noqa: S606 - the person's own


def _status(lab: Found) -> str:
    lines = []
    for host in lab.hosts.values():
        state = "on" if host.running else "off"
        state += ", hangs" if host.hangs else ""
        state += ", cable pulled" if lab.network.is_cut(host.name) else ""
        lines.append(f"{host.name:6} {host.address:12} {state}")
    return "\n".join(lines)


VERBS: dict[str, tuple[Callable[..., str], tuple[str, ...], str]] = {
    "status": (_status, (), "which machines there are"),
    "power-off": (_power_off, ("HOST",), "take the power away"),
    "power-on": (_power_on, ("HOST",), "and give it back"),
    "cut": (_cut, ("HOST",), "pull the cable"),
    "mend": (_mend, ("HOST",), "plug it in again"),
    "hang": (_hang, ("HOST",), "let the whole machine hang"),
    "unhang": (_unhang, ("HOST",), "let it go on"),
    "freeze": (_freeze, ("HOST", "UNIT"), "let one unit hang: shop, haproxy, postgresql@15-main"),
    "thaw": (_thaw, ("HOST", "UNIT"), "let it go on"),
    "isolate": (_isolate, ("HOST", "OTHER"), "let two not reach each other; OTHER may be controller or customer"),
    "deafen": (_deafen, ("HOST", "OTHER"), "let HOST hear nothing of OTHER, which hears it"),
    "lose": (_lose, ("HOST", "PERCENT"), "lose packets"),
    "slow": (_slow, ("HOST", "RATE"), "a thin cable: 1mbit"),
    "heal": (_heal, (), "end all faults of the network"),
    "fill": (_fill, ("HOST", "FOLDER"), "fill a disk: / or /var/lib/postgresql"),
    "free": (_free, ("HOST", "FOLDER"), "and empty it again"),
    "provider": (_provider, ("FAULT",), "let the provider's power command lie, hang, fail, be slow, or be well"),
    "log": (_log, ("HOST",), "what it said since it was switched on"),
    "ssh": (_ssh, ("HOST",), "log in, through the network"),
    "shell": (_shell, ("HOST",), "be there, whatever the network does"),
}
"""What is done, with which arguments, in words. What begins with a host is given that host, all else the lab."""


def run(words: list[str]) -> int:
    """Do what a person typed; gives the exit code."""
    parser = argparse.ArgumentParser(prog="lab", description="The disaster lab: `make lab` starts it, this breaks it.")
    parser.add_argument("--number", type=int, help="which lab, if there are several")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verbs.add_parser("start", help="start a lab, and show it until ctrl-C")
    for name, (_, arguments, summary) in VERBS.items():
        one = verbs.add_parser(name, help=summary)
        for argument in arguments:
            one.add_argument(argument.lower(), metavar=argument)
    said = parser.parse_args(words)
    if said.verb == "start":
        from lab.play import play  # noqa: PLC0415 - the others are to be quick

        return play()
    labs = [lab for lab in found() if said.number in (None, lab.number)]
    if len(labs) != 1:
        numbers = ", ".join(str(lab.number) for lab in labs)
        parser.error(f"say --number: there are labs {numbers}" if labs else "no lab runs here: make lab starts one")
    (lab,) = labs
    act, arguments, _ = VERBS[said.verb]
    values: list[object] = [getattr(said, argument.lower()) for argument in arguments]
    if arguments[:1] != ("HOST",):
        values.insert(0, lab)
    elif said.host in lab.hosts:
        values[0] = lab.hosts[said.host]
    else:
        parser.error(f"no host {said.host}; there is {', '.join(lab.hosts)}")
    try:
        sys.stdout.write(f"{act(*values)}\n")
    except (LabFailed, ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _full(unit: str) -> str:
    return unit if unit.endswith(".service") else f"{unit}.service"
