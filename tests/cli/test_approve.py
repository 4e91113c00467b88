"""Approval as people give it: on this machine, on another one, not at all."""

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from drorch.app import App
from drorch.cli.main import drorch as verbs
from drorch.config.settings import read_settings
from drorch.core.errors import DrorchError, Refused, RunError
from drorch.core.model import Json
from drorch.core.step import RunState
from drorch.engine.plan import make_plan
from drorch.engine.runs import operator
from support.hands import appending, eventually, runbook, touched
from support.signers import agent, signer
from support.site import Site, lay_out

EXCEPTIONS = 4


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A shop that was never backed up."""
    return lay_out(tmp_path_factory.mktemp("approve") / "site")


@pytest.fixture
def here(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The command line in this process, for what ends before a run goes on."""
    for name in ("config", "runbooks", "state"):
        monkeypatch.setenv(f"DRORCH_{name.upper()}", str(site.folder / name))

    def run(*words: str) -> None:
        verbs.main(args=list(words), prog_name="drorch", standalone_mode=False)

    return run


def _guarded(site: Site, *, approvals: int = 1, logins: str = "", more: str = "") -> None:
    """Write a runbook whose only act needs approval."""
    people = f"people: {{anna: {signer('anna').public}, ben: {signer('ben').public}}}, logins: {{{logins}}}"
    agreeing = "".join(
        f"  - {{kind: approval, id: agree-{number}, number: {number}, required: {approvals}, {people}{more}}}\n"
        for number in range(1, approvals + 1)
    )
    runbook(site, "guarded", agreeing + appending(site, "after"))


def _waiting(site: Site, *, by: str = "eve@desk", said: dict[str, Json] | None = None) -> str:
    """A run of that runbook which has come to its question; no process works on it."""
    app = App(read_settings(config=site.folder / "config", runbooks=site.folder / "runbooks", state=site.state))
    plan = make_plan(app.documents.inventory, app.documents.runbooks["guarded"])
    run = app.runs.begin(plan, by=by, said=said)
    detail = {"step": "agree-1", "question": "?", "topic": "agree-1?", "verbs": ["approve", "refuse"]}
    app.journal.stand(run.id, RunState.WAITING_APPROVAL, app.clock.now(), detail)
    return run.id


def _done(site: Site) -> int:
    """How often what is guarded was done, since this was asked last."""
    count = touched(site, "after")
    (site.folder / "after").unlink(missing_ok=True)
    return count


def test_it_shows_what_is_approved(site: Site, here: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """Who began it, what, where, what is lost at most, the whole hash, every step; nothing is done without a yes."""
    _guarded(site)
    dirty = {"finding": {"about": "standby", "what": "its disk is nearly full", "standing": "bad"}}
    seen = {"losses": {"orders": {"words": "at most 4 min 12 s"}}, "findings": [dirty]}
    run = _waiting(site, said={"preflight": seen, "anyway": "we must"})
    with pytest.raises(Refused, match="nobody is here to agree"):
        here("approve", run, "--as", "anna", "--key", str(signer("anna").path))
    shown = capsys.readouterr()
    plan = site.newest().plan
    for words in (
        *("begun by eve@desk", "maintenance of shop on primary", plan, "echo performed"),
        *("loss of orders, seen before it began: at most 4 min 12 s", "disk is nearly full", "--anyway: we must"),
    ):
        assert words in shown.err
    assert shown.out == ""


def test_a_mistake_is_told_at_once_and_changes_nothing(site: Site, here: Callable[..., None], tmp_path: Path) -> None:
    """The run waits on, whatever was wrong with what was typed."""
    _guarded(site, logins=f"anna: [{operator()}]")
    run = _waiting(site)
    own = _waiting(site, by=operator())
    (tmp_path / "note").write_text("I agree")
    key = {name: ("--key", str(signer(name).path), "--yes=shop") for name in ("anna", "ben")}
    wrong: list[tuple[tuple[str, ...], type[Exception], str]] = [
        ((run, *key["ben"]), Refused, "signed with the key SHA256:.*, and anna's is"),
        ((run, "--as", "eve", *key["anna"]), Refused, "eve may not approve"),
        ((run, "--as", "ben", "--key", str(signer("ben").path), "--yes=blog"), Refused, "'blog' is not shop"),
        ((run, "--as", "ben", "--key", str(tmp_path / "none"), "--yes=shop"), Refused, "signing with ssh-keygen"),
        ((run, "--as", "ben", "--signature", str(tmp_path / "note")), Refused, "no SSH signature"),
        ((run, "--as", "ben", "--signature", str(tmp_path / "none")), DrorchError, "cannot be read"),
        ((own, *key["anna"]), Refused, "anna began this run"),
        ((run, "--break-glass", " ", "--yes=shop"), click.UsageError, "wants a reason"),
        ((run, "--break-glass", "all asleep"), Refused, "nobody is here"),
        ((run, "--request", "--break-glass", "all asleep"), click.UsageError, "only one of"),
    ]
    for words, error, told in wrong:
        with pytest.raises(error, match=told):
            here("approve", *words)
    with pytest.raises(RunError, match="cannot be answered with confirm"):
        here("confirm", run)
    assert site.newest().state is RunState.WAITING_APPROVAL
    assert not [record for record in site.records(run) if record.body["what"] == "answer"]
    assert _done(site) == 0


def test_two_people_approve_from_another_machine_and_by_an_agent(
    site: Site, here: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What --request prints is the same text each time; signed as it says there, with ssh-keygen alone, it counts."""
    _guarded(site, approvals=2)
    run = _waiting(site)
    here("approve", run, "--request", "--json")
    asked = json.loads(capsys.readouterr().out)
    here("approve", run, "--request")
    said = capsys.readouterr()
    assert said.out == asked["request"]
    (tmp_path / "request.txt").write_text(said.out)
    words = next(line.split() for line in said.err.splitlines() if "ssh-keygen" in line)
    argv = [str(signer("anna").path) if word.endswith("id_ed25519") else word for word in words]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    signature = ("--signature", str(tmp_path / "request.txt.sig"))
    site.drorch("approve", run, "--as", "anna", *signature, expect=5)
    with pytest.raises(Refused, match="counts twice"):
        here("approve", run, "--as", "anna", *signature)
    with pytest.raises(Refused, match="not over this request"):
        here("approve", run, "--as", "ben", *signature)
    with agent(signer("ben")) as socket:
        Site(site.folder, {**site.env, "SSH_AUTH_SOCK": socket}).drorch("approve", run, "--as", "ben", "--yes=shop")
    assert site.newest().state is RunState.COMPLETED
    assert _done(site) == 1
    shown = site.drorch("show", run).stdout
    for words_shown in ("signed by anna", "approved by anna", "approved by ben"):
        assert words_shown in shown
    assert "SSH SIGNATURE" not in shown


def test_whoever_began_it_sees_it_go_on(site: Site) -> None:
    """At a terminal the run waits without a prompt, and goes on there when the other person has signed here."""
    _guarded(site)
    terminal, side = pty.openpty()
    argv = [sys.executable, "-m", "drorch.cli.main", "run", "guarded"]
    process = subprocess.Popen(argv, env=dict(site.env), stdin=side, stdout=side, stderr=side)
    said = bytearray()

    def heard() -> bool:
        if select.select([terminal], [], [], 0)[0]:
            said.extend(os.read(terminal, 4096))
        return b"waiting for them" in said

    try:
        eventually(heard, "it asks", 60)
        run = site.newest().id
        words = ("approve", run, "--as", "anna", "--key", str(signer("anna").path), "--yes=shop")
        answered = site.json(*words)
        assert answered == {"run": run, "step": "agree-1", "answered": "approve"}
        eventually(lambda: process.poll() is not None, "it went on and ended")
    finally:
        process.kill()
        process.wait()
        os.close(side)
        os.close(terminal)
    assert process.returncode == 0
    assert f"drorch approve {run}".encode() in said
    assert _done(site) == 1


def test_no_answer_in_time_is_a_no(site: Site) -> None:
    """It says so, and nothing was done."""
    _guarded(site, more=", timeout: 100ms")
    late = site.drorch("run", "guarded", expect=1)
    assert "nobody answered in time, which is a no" in late.stderr
    assert site.newest().state is RunState.TIMED_OUT
    assert _done(site) == 0


def test_break_glass_goes_on_with_an_exception(site: Site) -> None:
    """The run tells of it for ever."""
    _guarded(site)
    run = _waiting(site)
    said = site.drorch("approve", run, "--break-glass", "all asleep", "--yes=shop", expect=EXCEPTIONS)
    assert "Nobody will be told" in said.stderr
    assert f"BREAK-GLASS by {operator()} without the approval: all asleep" in said.stderr
    assert site.newest().state is RunState.COMPLETED_WITH_EXCEPTIONS
    assert _done(site) == 1
