"""A night at the operator's desk: the shop, its customers, a witness, and drorch, for tests in which things break.

Whatever a test breaks, two things are proven at its end: that the two databases never both took writes, and that no
order that was acknowledged is missing where customers are served. The replication is synchronous, unless said.
"""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.customer import Customer
from lab.documents import Document, Documents
from lab.lab import Lab
from lab.moving import moving_documents
from lab.waiting import until
from lab.witness import Witness
from support.site import Site

Change = Callable[[Documents], None]
"""What another operator would have written differently."""
POWER_ON = '"$1" on "$2"; until [ "$("$1" status "$2")" = running ]; do :; done'
"""The provider gives the power back to the machine ``$2`` by its command ``$1``."""


@dataclass(frozen=True)
class Said:
    """How a drorch process ended."""

    code: int
    out: str
    text: str
    """All that a person reads: both outputs, each run of white space one blank."""

    def says(self, *words: str) -> None:
        """See that a person reads these words."""
        missing = [word for word in words if word not in self.text]
        assert not missing, f"missing: {missing}\nexit code {self.code}: {self.text}"


@dataclass
class Night:
    """The desk."""

    lab: Lab
    site: Site
    customer: Customer
    witness: Witness
    home: str = "web1"
    """Where customers must be served at the end, with all orders that were acknowledged."""
    said: list[Said] = field(default_factory=list)

    def drorch(self, *words: str, expect: int | None = 0) -> Said:
        """Type it, and see that it ends with that exit code; None: any."""
        with self.site.start(*words) as process:
            try:
                out, err = process.communicate(timeout=90)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        said = Said(process.returncode, out, " ".join(f"{out} {err}".split()))
        self.said.append(said)
        assert expect in (said.code, None), (
            f"drorch {' '.join(words)}: exit code {said.code}, not {expect}\n{out}\n{err}"
        )
        return said

    def failover(self, *words: str, expect: int = 0) -> Said:
        """Fail the shop over, confirmed."""
        return self.drorch("failover", "shop", "--yes=shop", *words, expect=expect)

    def shown(self) -> Document:
        """The evidence of the newest run."""
        found: Document = self.site.json("show", "last")
        return found

    def run(self, state: str) -> Document:
        """The same, which must be in that state."""
        shown = self.shown()
        assert shown["state"] == state, shown
        return shown

    def paused(self, step: str, said: Said) -> str:
        """See that the newest run waits at a step for a person, who was told which commands go on; gives its id."""
        shown = self.run("paused_failed")
        assert shown["attention"]["step"] == step, shown
        run = str(shown["run"])
        said.says(f"drorch retry {run}", f"drorch abort {run}")
        return run

    def untouched(self) -> None:
        """See that no run was begun, so that nothing was done."""
        assert self.site.json("runs")["runs"] == []

    def served_from(self, host: str) -> None:
        """See that customers' orders arrive in that host's database, and only there as the edge sees it."""
        self.home = host
        self.customer.await_orders(5)
        other = {"web1": "web2", "web2": "web1"}[host]
        states = self.lab.front.states()
        assert states[host].startswith("UP"), states
        assert states[other].startswith(("MAINT", "DOWN")), states
        until(lambda: not self.customer.lost(self.lab.database(host)), f"orders arrive at {host}")

    def reigned(self) -> set[str]:
        """Whose database took writes until now."""
        return {reign.host for reign in self.witness.reigns()}


@contextlib.contextmanager
def night(lab: Lab, folder: Path, *changes: Change, local: bool = True, synchronous: bool = True) -> Iterator[Night]:
    """A night in which customers buy and a witness writes; sees at its end that nothing is lost and nothing was split.

    ``local``: the witness also counts commits that only one side has; else those that a customer would be told of.
    """
    said = impatient(moving_documents(lab))
    for change in changes:
        change(said)
    if synchronous:
        lab.database("web1").synchronous()
    site = said.write(folder)
    customer, witness = lab.customer(patience=5), lab.witness(local=local)
    with witness.watching(), customer.shopping():
        here = Night(lab, site, customer, witness)
        yield here
    assert not customer.lost(lab.database(here.home)), "acknowledged orders are lost"


def impatient(said: Documents) -> Documents:
    """Whoever writes these documents does not wait long; the rest is as in the README."""
    for name, host in said.inventory["hosts"].items():
        host["connect_timeout"] = "2s" if name != "edge" else "5s"
    said.inventory["hosts"]["here"] = {"home": "."}
    said.runbooks.pop("shop-nightly")
    for rung in rungs(said):
        for settings in rung.values():
            settings["timeout"] = "2s"
    return said


def rungs(said: Documents) -> list[dict[str, Any]]:
    """The rungs of all ladders that have something to say."""
    steps = [step for book in said.runbooks.values() for step in book.get("steps", ())]
    return [rung for step in steps for rung in step.get("ladder", ()) if isinstance(rung, dict)]


def without(word: str) -> Change:
    """No ladder has that rung."""

    def change(said: Documents) -> None:
        for book in said.runbooks.values():
            for step in book.get("steps", ()):
                if "ladder" in step:
                    step["ladder"] = [rung for rung in step["ladder"] if rung != word and word not in rung]

    return change


def after(kind: str, script: str, *values: str) -> Change:
    """In the middle of the failover, after its step of that kind, something happens: a shell script runs here."""

    def change(said: Documents) -> None:
        steps = said.runbooks["shop-failover"]["steps"]
        place = next(number for number, step in enumerate(steps) if step["kind"] == kind)
        steps.insert(
            place + 1, {"kind": "command", "id": "fate", "host": "here", "run": ["sh", "-c", script, "fate", *values]}
        )

    return change
