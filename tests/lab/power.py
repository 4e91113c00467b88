"""The command by which the hosts' provider switches machines; drorch knows no more of a provider than this.

    lab-power off|on|status HOST

``status`` says ``running`` or ``off``. A test may let it misbehave: `Lab.power_fault`.
"""

import subprocess
import sys
import time

from lab.find import found

_SLOW = 1.0
"""Seconds after which a slow provider does what it was told."""


def main(number: int, verb: str, name: str) -> int:
    """Do it; gives the exit code."""
    try:
        lab = next(lab for lab in found() if lab.number == number)
        host = lab.hosts[name]
    except (StopIteration, KeyError):
        sys.stderr.write(f"no machine {name}\n")
        return 1
    fault = lab.power_fault
    while lab.power_fault == "hang":
        time.sleep(0.1)
    if fault == "fail":
        sys.stderr.write("the provider's interface is out of order\n")
        return 1
    if verb == "status":
        sys.stdout.write("off\n" if fault == "lie" or not host.running else "running\n")
    elif verb not in ("on", "off"):
        sys.stderr.write(f"no such word: {verb}\n")
        return 2
    elif fault == "slow":
        what = (number, verb, name, host.made)
        later = f"import time; time.sleep({_SLOW}); from lab.power import switch; switch(*{what!r})"
        nothing = subprocess.DEVNULL
        words = [sys.executable, "-c", later]
        subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    elif fault not in ("lie", "hang"):
        switch(number, verb, name, host.made)
    return 0


def switch(number: int, verb: str, name: str, made: int) -> None:
    """Switch a machine on or off, unless another one stands there since."""
    for lab in found():
        host = lab.hosts.get(name)
        if lab.number == number and host is not None and host.made == made:
            host.power_off() if verb == "off" else host.power_on(wait=False)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:4]))
