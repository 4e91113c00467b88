"""A site that moves the lab's shop, under a person's hands: what was done to the world is counted."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drorch.core.step import RunState
from drorch.engine.journal import Journal, Run
from lab.documents import Document, Documents
from lab.lab import Lab
from lab.layer import write
from lab.moving import moving_documents
from support.hands import eventually
from support.site import PROJECT, Site

DYING = PROJECT / "tests" / "support" / "dying.py"
EVERY = "DRORCH_TEST_STATES" in os.environ
"""Whether to visit every moment, which takes minutes."""
FAILOVER = ("failover", "shop", "--yes=shop")
PATIENCE = 90.0
"""Seconds: how quick this machine is must not decide a test."""
STEPS = ("fence-web1", "promote-database", "service-web2", "http", "switch-haproxy", "http-2")
"""Of the failover, in their order."""
PLANNED = ("caught_up-database", "hold-haproxy", *STEPS)
"""Of a planned one."""

_FICKLE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)?|[0-9A-F]+/[0-9A-F]+|[0-9a-f]{32,}|\d+\.\d+ s")
_MEASURED = frozenset(
    {"seconds", "latency_ms", "pid", "tries", "before", "in_flight", "residual", "processes", "last_commit"}
)


@dataclass(frozen=True)
class Steered:
    """drorch on one machine, and the lab that it works on."""

    lab: Lab
    site: Site
    counted: Path
    """Where it is noted what was said to the provider."""

    def begin(self, *more: str, dying: str = "", expect: int = 0, planned: bool = False) -> str:
        """Begin a failover, perhaps to be killed at a moment (see `support.dying`); gives its run."""
        words = (*FAILOVER, *(("--planned",) if planned else ()), *more)
        if dying:
            self.die(dying, *words)
        else:
            self.site.drorch(*words, expect=expect)
        return self.run.id

    def die(self, moment: str, *words: str) -> None:
        """A process that is killed at that moment."""
        killed, said = self.may_die(moment, *words)
        assert killed, f"it did not come by {moment}: {said}"

    def may_die(self, moment: str, *words: str) -> tuple[bool, str]:
        """Whether it was, and what it said."""
        with self.site.start(moment, *words, prefix=(str(DYING),)) as process:
            out, err = process.communicate(timeout=100)
        assert process.returncode in (0, -9), f"exit code {process.returncode}\n{out}\n{err}"
        return process.returncode == -9, f"{out}\n{err}"

    @property
    def run(self) -> Run:
        """The newest run."""
        return self.site.newest()

    def await_state(self, state: RunState, process: subprocess.Popen[str]) -> Run:
        """Wait until the newest run is in a state, in which a process holds it."""

        def there() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"it ended before it was {state}: {process.communicate()}")
            return (self.site.state / "journal.sqlite").exists() and any(
                run.state is state for run in Journal(self.site.state / "journal.sqlite").runs(limit=1)
            )

        eventually(there, f"the run is {state}", PATIENCE)
        return self.run

    def await_step(self, step: str, process: subprocess.Popen[str]) -> None:
        """Wait until a step that holds (see `Steering.hold`) is in its middle."""

        def begun() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"it ended before {step}: {process.communicate()}")
            return (self.site.folder / f"{step}.begun").exists()

        eventually(begun, f"{step} has begun", PATIENCE)

    def go_on(self, step: str) -> None:
        """Let a step that holds end."""
        (self.site.folder / f"{step}.go").touch()

    def powered(self) -> list[str]:
        """What was said to the provider, but for questions: ``off web1``, and ``did off web1`` when it was done."""
        said = self.counted.read_text().splitlines() if self.counted.exists() else []
        return [line for line in said if "status" not in line]

    def confirm_moved(self, *, timeline: int = 2) -> None:
        """See that customers are served at web2, and that each thing was done once."""
        self.lab.await_serving()
        assert self.lab.front.states()["web1"] == "MAINT"
        assert self.lab.front.states()["web2"] == "UP"
        standby = self.lab.database("web2")
        assert not standby.in_recovery
        assert str(standby.value("SELECT pg_walfile_name(pg_current_wal_lsn())")).startswith(f"{timeline:08X}")

    def confirm_home(self) -> None:
        """See that customers are served at web1 as before, and that web2 follows it."""
        self.lab.await_serving()
        assert self.lab.front.states()["web1"] == "UP"
        assert not self.lab.database("web1").in_recovery
        assert self.lab.database("web2").in_recovery
        eventually(lambda: self.lab.database("web1").streams_to("web2"), "web2 follows web1")
        self.lab.web1.power_off()  # what was fenced starts at boot, too
        self.lab.web1.power_on()
        self.lab.await_serving()

    def evidence(self, run: str) -> dict[str, tuple[str, Any]]:
        """What the last attempt at each step showed, but for times and what is measured."""
        records = [record.body for record in self.site.records(run) if record.body["what"] == "attempt"]
        return {
            body["step"]: (body["state"], _steady(body.get("evidence", {}).get("facts", {}), self.lab.number))
            for body in records
        }


def passed(site: Site, step: str) -> bool:
    """Whether a step of the newest run has succeeded."""
    records = [one.body for one in site.records(site.newest().id) if one.body["what"] == "attempt"]
    return any(body["step"] == step and body["state"] == "succeeded" for body in records)


def steered(lab: Lab, folder: Path, *, lease: bool = False) -> "Steering":
    """The documents of a person who fails the shop over; ``lease``: they claim it in the lab's S3."""
    said = moving_documents(lab)
    for host in said.inventory["hosts"].values():
        host["connect_timeout"] = "2s"
    del said.inventory["services"]["shop"]["probe"]
    said.runbooks.pop("shop-failback")
    if lease:
        lab.s3.store(said, "claims")
        said.inventory["services"]["shop"]["lease"] = "claims"
    return Steering(lab, folder, said)


@dataclass
class Steering:
    """Documents that are not written yet."""

    lab: Lab
    folder: Path
    documents: Documents

    @property
    def failover(self) -> Document:
        """The failover's runbook."""
        return self.documents.runbooks["shop-failover"]

    def hold(self, name: str, after: str, **more: object) -> "Steering":
        """A step that waits in its middle until the test says `Steered.go_on`, behind the last one of a kind."""
        steps = self.failover["steps"]
        place = max(index for index, step in enumerate(steps) if step["kind"] == after) + 1
        steps.insert(place, self.holding(name, **more))
        return self

    def holding(self, name: str, **more: object) -> Document:
        """Such a step."""
        script = 'touch "$1.begun"; until [ -e "$1.go" ]; do sleep 0.02; done'
        run = ["sh", "-c", script, "sh", str(self.folder / name)]
        return {"kind": "command", "id": name, "host": "here", "run": run, **more}

    def lay(self) -> Steered:
        """Write them."""
        self.documents.inventory["hosts"]["here"] = {"work": str(self.folder / "here")}
        self.folder.mkdir(exist_ok=True)
        counting = self.folder / "power"
        log = self.folder / "power.log"
        write(counting, f'#!/bin/sh\necho "$@" >>{log}\n{self.lab.power} "$@" && echo did "$@" >>{log}\n', mode=0o755)
        for step in self.failover["steps"]:
            for rung in step.get("ladder", ()):
                if isinstance(rung, dict) and "power_off" in rung:
                    for key in ("command", "status", "on"):
                        rung["power_off"][key][0] = str(counting)
        return Steered(self.lab, self.documents.write(self.folder), log)


def _steady(value: Any, number: int) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case dict():
            return {key: _steady(item, number) for key, item in value.items() if key not in _MEASURED}
        case list():
            return [_steady(item, number) for item in value]
        case str():
            return _FICKLE.sub("…", value)
        case int() | float() if not isinstance(value, bool):
            return "<number>"
        case _:
            return value
