"""The daemon: runs what is due, catches up, resumes, stops in order, says what failed."""

import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from drorch.app import App
from drorch.config.settings import read_settings
from drorch.core.step import RunState
from drorch.daemon import Daemon
from drorch.engine.journal import Journal, Run
from drorch.vault.signing import Signer
from support.hands import appending, eventually, runbook, running, touched
from support.site import Site


def scheduled(site: Site, name: str, steps: str, more: str = "") -> None:
    """A runbook that became due six times in the half hour for which this state folder has known it, the last time a
    minute ago; it is not due again for half an hour.
    """
    runbook(site, name, steps)
    path = site.folder / "runbooks" / f"{name}.yaml"
    minutes = sorted((datetime.now(UTC).minute - 1 - 5 * number) % 60 for number in range(6))
    schedule = f'schedule: {{cron: "{",".join(map(str, minutes))} * * * *", catch_up: 12h}}\n'
    path.write_text(path.read_text().replace("steps:", f"{schedule}{more}steps:"))
    journal = Journal(site.state / "journal.sqlite", lambda: Signer.open(site.state / "keys"))
    journal.put(f"seen:{name}", (datetime.now(UTC) - timedelta(minutes=31)).isoformat())


def runs_of(site: Site, name: str) -> list[Run]:
    """The runs of a runbook, newest first."""
    return [run for run in Journal(site.state / "journal.sqlite").runs() if run.runbook == name]


@pytest.fixture
def pager() -> Iterator[tuple[str, list[str]]]:
    """A real web server that people are told through: its URL, and what arrived."""
    arrived: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", arrived
        server.shutdown()
        thread.join()


def test_a_missed_slot_runs_once_and_the_older_ones_are_shown_as_missed(shop: Site) -> None:
    """After a time without a daemon the newest slot runs, once, and the others are noted."""
    scheduled(shop, "due", appending(shop, "work"))
    with running(shop, "daemon") as daemon:
        eventually(lambda: any(run.state is RunState.COMPLETED for run in runs_of(shop, "due")), "the slot ran", 60)
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)
    assert daemon.returncode == 0
    assert touched(shop, "work") == 1
    missed = [record for record in shop.records("schedule") if record.body["runbook"] == "due"]
    assert len(missed) >= 4
    assert all(record.body["slot"] < runs_of(shop, "due")[0].slot for record in missed)


def test_a_stopped_daemon_stops_its_runs_and_resumes_them(shop: Site) -> None:
    """SIGTERM ends the daemon and its run in order; a new daemon goes on with the run where it was."""
    gate = shop.folder / "gate"
    steps = appending(shop, "first") + appending(shop, "second", f"[ -e {gate} ] || exec sleep 60")
    scheduled(shop, "long", steps)
    with running(shop, "daemon") as daemon:
        eventually(lambda: touched(shop, "second") == 1, "the run is in its middle", 60)
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)
    assert daemon.returncode == 0
    (cut,) = runs_of(shop, "long")
    assert cut.state is RunState.RUNNING
    gate.touch()
    with running(shop, "daemon") as daemon:
        eventually(lambda: runs_of(shop, "long")[-1].state is RunState.COMPLETED, "the run was resumed", 60)
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)
    assert touched(shop, "first") == 1


def test_a_killed_daemon_leaves_a_run_that_the_next_one_finishes(shop: Site) -> None:
    """SIGKILL of the daemon loses no run, and no step with a record is done again."""
    gate = shop.folder / "gate"
    steps = appending(shop, "first") + appending(shop, "second", f"until [ -e {gate} ]; do sleep 0.1; done")
    scheduled(shop, "long", steps)
    with running(shop, "daemon") as daemon:
        eventually(lambda: touched(shop, "second") == 1, "the run is in its middle", 60)
        daemon.kill()
        daemon.communicate(timeout=30)
    gate.touch()
    with running(shop, "daemon") as daemon:
        eventually(lambda: runs_of(shop, "long")[-1].state is RunState.COMPLETED, "the run was finished", 90)
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)
    assert touched(shop, "first") == 1


def test_people_hear_what_failed(shop: Site, pager: tuple[str, list[str]]) -> None:
    """A scheduled run that fails tells the route of its runbook which step failed and why."""
    url, arrived = pager
    text = shop.inventory.read_text().replace("secrets:\n", "secrets:\n  pager: {env: PAGER_URL}\n", 1)
    route = "notify:\n  ops: {kind: webhook, url: {secret: pager}}\n"
    shop.inventory.write_text(f"{text}\n{route}")
    told = Site(shop.folder, {**shop.env, "PAGER_URL": url})
    scheduled(
        told, "bad", appending(told, "failing", "echo the disk is full >&2; exit 3"), "on_failure: {notify: ops}\n"
    )
    with running(told, "daemon") as daemon:
        eventually(lambda: bool(arrived), "somebody was told", 60)
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)
    said = json.dumps(json.loads(arrived[0]))
    assert "failing" in said
    assert "the disk is full" in said
    assert len(arrived) == 1


def test_wrong_documents_do_not_stop_a_daemon_that_runs(shop: Site) -> None:
    """A mistake made while the daemon runs is told, and the last good documents stay in force."""
    scheduled(shop, "due", appending(shop, "work"))
    with running(shop, "daemon") as daemon:
        eventually(lambda: touched(shop, "work") == 1, "the slot ran", 60)
        (shop.folder / "runbooks" / "wrong.yaml").write_text("runbook: wrong\nkindd: backup\n")
        assert daemon.stderr is not None
        said = iter(daemon.stderr.readline, "")
        assert any("wrong.yaml:2" in line for line in said)
        assert daemon.poll() is None


def test_what_is_due_runs_while_another_document_is_broken(shop: Site) -> None:
    """A runbook that is fine runs on schedule from the last good documents, whatever stands in a file beside it."""
    scheduled(shop, "due", appending(shop, "work"))
    site = shop.folder
    app = App(read_settings(config=site / "config", runbooks=site / "runbooks", state=site / "state"))
    daemon = Daemon(app)
    daemon._documents = app.documents
    (shop.folder / "runbooks" / "wrong.yaml").write_text("oops: [\n")
    daemon.tick()
    try:
        eventually(lambda: any(run.state is RunState.COMPLETED for run in runs_of(shop, "due")), "the slot ran", 60)
    finally:
        app.halt.request()
    assert touched(shop, "work") == 1


def test_a_second_daemon_is_refused(shop: Site) -> None:
    """One state folder has one daemon."""
    with running(shop, "daemon") as daemon:
        assert daemon.stderr is not None
        eventually((shop.state / "leases" / "daemon").exists, "the daemon serves", 30)
        refused = shop.drorch("daemon", expect=7)
    assert "daemon" in refused.stderr
