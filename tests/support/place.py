"""A folder with documents, and drorch as a user starts it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drorch.config.load import load
from drorch.core.clock import SystemClock
from drorch.core.exits import Exit
from drorch.core.model import Json
from drorch.core.step import RunState
from drorch.engine.journal import Journal, Run
from drorch.engine.lease import Leases
from drorch.engine.plan import make_plan
from drorch.vault.signing import Signer

INVENTORY = """\
site: acme
timezone: Europe/Berlin
hosts:
  web1: {}
  web2: {home: ../web2}   # the standby
repositories:
  nas: {url: ../nas, password: {secret: nas}}
services:
  shop:
    objectives: {rpo: 24h, rto: 1h}
    primary: web1
    standbys: [web2]
    repository: nas
    sources:
      media: {kind: files, paths: [/srv/media]}
secrets:
  nas: {env: NAS_PASSWORD}
"""
NIGHTLY = """\
runbook: nightly
kind: backup
service: shop
schedule: {daily: "02:30"}
steps:
  - {kind: backup, source: media, retries: {max: 2}}
"""
DRILL = """\
runbook: rehearsal
kind: drill
service: shop
steps:
  - parallel:
      - {kind: restore, source: media}
      - {kind: wait, id: pause, for: 1s}
  - {kind: verify, source: media}
"""


@dataclass(frozen=True)
class Place:
    """A config folder and a state folder."""

    folder: Path

    @property
    def inventory(self) -> Path:
        """The inventory document."""
        return self.folder / "config" / "drorch.yaml"

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    @property
    def journal(self) -> Journal:
        """Its journal, for writing."""
        return Journal(self.state / "journal.sqlite", lambda: Signer.open(self.state / "keys"))

    @property
    def leases(self) -> Leases:
        """Its leases."""
        return Leases(self.state / "leases", SystemClock())

    def drorch(
        self, *words: str, expect: Exit = Exit.OK, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What drorch says, run with these words; the exit code must be the expected one."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DRORCH_", "RESTIC_"))}
        own = {
            "DRORCH_CONFIG": str(self.folder / "config"),
            "DRORCH_STATE": str(self.state),
            "NAS_PASSWORD": "planted",
        }
        done = subprocess.run(
            [sys.executable, "-m", "drorch.cli.main", *words],
            env={**inherited, **own, **(env or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, expect: Exit = Exit.OK) -> Any:  # noqa: ANN401 - any JSON
        """What it says with ``--json``."""
        return json.loads(self.drorch(*words, "--json", expect=expect).stdout)

    def ran(self, runbook: str, ago: timedelta, state: RunState = RunState.COMPLETED, **detail: Json) -> Run:
        """Put a run of today's plan into the journal; one that is not over stays as the kill left it."""
        documents = load(self.folder / "config")
        plan = make_plan(documents.inventory, documents.runbooks[runbook])
        started = datetime.now(UTC) - ago
        name = f"{runbook}@{started:%Y-%m-%dT%H:%M:%SZ}"
        run = Run(name, runbook, plan.kind, "shop", "", plan.digest, RunState.PENDING, started, None, {})
        body: dict[str, Json] = {"what": "started", "runbook": runbook, "kind": plan.kind, "service": "shop"}
        self.journal.begin(run, plan.text, {**body, "plan": plan.digest, "by": "ada@ctl"})
        if state.final:
            ended = {"what": "ended", "state": state.value, "why": "", "hint": "", "exceptions": [], **detail}
            self.journal.append(name, "ended", started + timedelta(minutes=9), ended, state=state, detail=ended)
        else:
            self.journal.stand(name, state, started, detail)
        return self.journal.run(name)

    def proven(self) -> tuple[Run, Run]:
        """A backup four hours ago, and a drill of it an hour later."""
        took = datetime.now(UTC) - timedelta(hours=4)
        point = {"snapshot": "c" * 64, "time": took.isoformat()}
        backup = self.ran("nightly", timedelta(hours=4), points={"media": {**point, "level": "taken"}})
        drill = self.ran(
            "rehearsal",
            timedelta(hours=3),
            points={"media": {**point, "level": "restored"}},
            measured={"rto_seconds": 500.0, "rpo_seconds": 3600.0},
        )
        return backup, drill


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A valid inventory with two runbooks; nothing has run."""
    runbooks = tmp_path / "config" / "runbooks"
    runbooks.mkdir(parents=True)
    (tmp_path / "config" / "drorch.yaml").write_text(INVENTORY)
    (runbooks / "nightly.yaml").write_text(NIGHTLY)
    (runbooks / "rehearsal.yaml").write_text(DRILL)
    return Place(tmp_path)
