"""The daemon: `schedule` ticks; each tick asks `due()` and starts what is due, each run in a process of its own.

A run that breaks or hangs takes nothing else with it, and a run is the same whether the daemon or a person started it.
Stopping the daemon stops its runs in order; started again, it resumes them.
"""

import logging
import os
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import schedule

from drorch.app import App
from drorch.config.load import Documents, load
from drorch.core.errors import ConfigError, DrorchError, Interrupted, NoSuchRun
from drorch.core.exits import Exit
from drorch.core.host import Command, Completed
from drorch.core.schedule import Schedule
from drorch.core.step import RunState
from drorch.engine.due import Due, due
from drorch.engine.journal import Run
from drorch.engine.plan import make_plan
from drorch.engine.runs import operator, run_id

log = logging.getLogger(__name__)

TICK_SECONDS = 15
"""How often the daemon looks; a slot starts at most so late."""

_AS_TOLD = (Exit.OK, Exit.EXCEPTIONS, Exit.WAITING, Exit.INTERRUPTED)
"""Exit codes after which the run itself has told what there is to tell."""


class Daemon:
    """Runs what is due until it is asked to stop."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._documents: Documents | None = None
        self._complaint = ""
        self._children: dict[str, threading.Thread] = {}
        self._noted: set[str] = set()
        self._cut: set[str] = set()

    def serve(self) -> None:
        """Work until the halt is requested; then stop what runs, and return when it has stopped.

        Raises:
            Busy: another daemon serves this state folder.
            ConfigError: the documents are wrong at the start; later mistakes are told, and the last good ones stay.
        """
        with self._app.leases.hold("daemon", purpose="serving as the daemon"):
            self._documents = self._app.documents
            self._find_cut()
            ticks = schedule.Scheduler()
            ticks.every(TICK_SECONDS).seconds.do(self.tick)
            self.tick()
            while not self._app.halt.wait(max(0.1, min(ticks.idle_seconds or 0.1, 1.0))):
                ticks.run_pending()
            for child in list(self._children.values()):
                child.join()

    def tick(self) -> None:
        """Start what is due now. Nothing that goes wrong here ends the daemon."""
        try:
            self._reload()
            self._resume_cut()
            now = self._app.clock.now()
            for found in self._due(now):
                self._take(found, now)
        except DrorchError as error:
            log.error("this tick did nothing: %s", error)  # noqa: TRY400 - errors of ours carry their remedy
        except Exception:
            log.exception("this tick broke")

    def _due(self, now: datetime) -> tuple[Due, ...]:
        documents = self._documents
        if documents is None:
            return ()
        schedules: dict[str, Schedule] = {
            name: runbook.schedule for name, runbook in documents.runbooks.items() if runbook.schedule
        }
        since = {name: self._first_seen(name, now) for name in schedules}
        past = dict(self._app.journal.newest_slots())
        return due(schedules, ZoneInfo(documents.inventory.timezone), past, since, now)

    def _first_seen(self, runbook: str, now: datetime) -> datetime:
        """When this state folder first saw the runbook: no slot before that was ever missed."""
        key = f"seen:{runbook}"
        known = self._app.journal.get(key)
        if known is None:
            self._app.journal.put(key, now.isoformat())
            return now
        return datetime.fromisoformat(str(known))

    def _take(self, found: Due, now: datetime) -> None:
        for slot in found.missed:
            name = run_id(found.runbook, slot, now)
            if name not in self._noted:
                body = {"what": "missed", "runbook": found.runbook, "slot": slot.astimezone(UTC).isoformat()}
                self._app.journal.append("schedule", f"missed {name}", now, body)
                self._noted.add(name)
        if found.slot is not None and found.start_at <= now:
            self._begin(found.runbook, found.slot)

    def _begin(self, name: str, slot: datetime) -> None:
        """Note a run of the documents in force, and let a process of its own carry it out.

        The run carries its plan, so it does not matter what the files on disk say by then.
        """
        documents = self._documents
        if documents is None:
            return
        try:
            plan = make_plan(documents.inventory, documents.runbooks[name])
            run = self._app.runs.begin(plan, slot=slot, by=f"daemon of {operator()}")
        except DrorchError as error:
            key = run_id(name, slot, slot)
            if key not in self._noted:
                self._noted.add(key)
                self._alarm(key, f"it could not be begun: {error}")
            return
        self._carry(run)

    def _find_cut(self) -> None:
        """Note the scheduled runs that an earlier daemon left; those that wait for a person are left waiting."""
        for run in self._app.journal.runs(unfinished=True):
            if run.slot and run.state in (RunState.PENDING, RunState.RUNNING):
                self._cut.add(run.id)

    def _resume_cut(self) -> None:
        """Go on with them, each as soon as nothing of the earlier daemon works on it any more."""
        for name in sorted(self._cut):
            run = self._app.journal.run(name)
            if run.state.final:
                self._cut.discard(name)
            elif not self._app.runs.alive(run):
                self._cut.discard(name)
                log.warning("resuming %s", name)
                self._carry(run)

    def _carry(self, run: Run) -> None:
        child = threading.Thread(target=self._child, args=(run.id,), name=run.id, daemon=True)
        self._children[run.id] = child
        child.start()

    def _child(self, run: str) -> None:
        settings = self._app.settings
        argv = (sys.executable, "-m", "drorch.cli.main", "resume", run)
        env: Mapping[str, str] = {**os.environ, **settings.as_environment()}
        log.info("starting %s", run)
        try:
            ended = self._app.controller.run(Command(argv, env=env, timeout=timedelta(days=30).total_seconds()))
        except Interrupted:
            return
        except DrorchError as error:
            self._alarm(run, f"it could not be started: {error}")
            return
        log.info("%s ended with exit code %s", run, ended.exit_code)
        if ended.exit_code not in _AS_TOLD and not self._told_by_itself(run):
            self._alarm(run, self._why(ended))

    def _told_by_itself(self, run: str) -> bool:
        """Whether the run came far enough to have told its people about its end."""
        try:
            return self._app.journal.run(run).state.final
        except NoSuchRun:
            return False

    @staticmethod
    def _why(ended: Completed) -> str:
        return f"it ended with exit code {ended.exit_code}: {(ended.errors or ended.text.strip())[-500:]}"

    def _alarm(self, run: str, why: str) -> None:
        """Tell people about a run that could not tell them itself, such as one that never started."""
        log.error("%s: %s", run, why)
        documents = self._documents
        runbook = documents.runbooks.get(run.partition("@")[0]) if documents else None
        if documents is None or runbook is None or runbook.on_failure is None:
            return
        try:
            box = self._app.everything()
            box.notifier(runbook.on_failure.notify).send(f"[{runbook.service}] {run} did not run", why)
        except DrorchError as error:
            log.error("nobody was told: %s", error)  # noqa: TRY400 - errors of ours carry their remedy

    def _reload(self) -> None:
        """Read the documents again; wrong ones are told once, and the last good ones stay in force."""
        try:
            self._documents = load(self._app.settings.config, self._app.settings.runbooks)
            self._complaint = ""
        except ConfigError as error:
            if error.message != self._complaint:
                self._complaint = error.message
                log.error("the documents are wrong, the last good ones stay in force:\n%s", error.message)  # noqa: TRY400
