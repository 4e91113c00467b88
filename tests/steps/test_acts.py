"""What single kinds promise beyond the contract, performed in a small world."""

import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import LocalHostSpec
from drorch.core.model import Json
from drorch.core.scene import RunKind
from drorch.core.step import Step
from drorch.hosts.local import LocalHost
from drorch.sources.files import Files
from drorch.steps import AnyStep
from drorch.steps import _processes as processes
from drorch.steps._folder import run_folder
from drorch.steps.cleanup import Cleanup
from support.processes import alive, eventually, kill
from support.tools import START, World
from support.web import Web

ADAPTER: TypeAdapter[Step] = TypeAdapter(AnyStep)
CLEANUP = Cleanup(kind="cleanup")


def _step(said: Json) -> Step:
    return ADAPTER.validate_python(said)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A shop with one picture; what it starts is ended."""
    shop = tmp_path / "primary" / "shop"
    shop.mkdir(parents=True)
    (shop / "a.jpg").write_bytes(b"a picture")
    made = World(tmp_path, {"media": Files(kind="files", paths=(str(shop),))})
    yield made
    for state in tmp_path.glob("*/.drorch/*/*/processes/*"):
        assert processes.stop(made.hosts["standby"], str(state)) is None


def _failed(world: World, said: Json, **how: Json) -> Failure:
    outcome = world.perform(_step(said), **how)
    assert isinstance(outcome, Failure), outcome
    return outcome


def _back_up(world: World, *, days: int = 1, run: str = "") -> Evidence:
    nightly = world.as_run("backup", run or f"shop-nightly@{days}", START - timedelta(days=days))
    return nightly.evidence(_step({"kind": "backup", "source": "media"}))


def _folder(world: World) -> Path:
    return Path(run_folder(world.scene, world.run.id, "standby", world.hosts["standby"].identity()))


def _everything_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


# --- drills and what is live ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "restore", "source": "media", "host": "primary"},
        {"kind": "restore", "source": "media", "swap": True},
        {"kind": "command", "run": ["touch", "here"], "host": "primary"},
        {"kind": "command", "run": ["sleep", "60"], "host": "primary", "background": True},
    ],
    ids=str,
)
def test_a_drill_never_works_on_the_primary(world: World, said: Json) -> None:
    """Neither the plan nor the performance lets a drill touch a live host."""
    _back_up(world)
    before = _everything_below(world.root / "primary")
    assert _step(said).problems(world.scene)
    assert "drill never" in _failed(world, said).why
    assert _everything_below(world.root / "primary") == before


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "restore", "source": "media"},
        {"kind": "command", "run": ["touch", "here"]},
        {"kind": "cleanup"},
    ],
    ids=str,
)
def test_a_standby_that_is_the_primary_under_another_name_is_refused(world: World, said: Json) -> None:
    """Two inventory entries that reach one machine do not let a drill loose on it."""
    _back_up(world)
    before = _everything_below(world.root / "primary")
    world.hosts["standby"] = LocalHost("standby", LocalHostSpec(home=str(world.root / "primary")), halt=world.halt)
    assert "one machine" in _failed(world, said).why
    assert _everything_below(world.root / "primary") == before


def test_a_restored_tree_is_private(world: World) -> None:
    """Every folder from the working folder down to the restored parts may be entered by its owner only."""
    _back_up(world)
    directory = Path(world.evidence(_step({"kind": "restore", "source": "media"})).facts["directory"])
    for folder in (directory, *list(directory.parents)[:3]):
        assert folder.stat().st_mode & 0o777 == 0o700, folder


def test_a_second_attempt_restores_what_the_first_chose(world: World) -> None:
    """A backup that appears between two attempts does not change which point a run restores."""
    first = _back_up(world, days=2).facts["snapshot"]
    step = _step({"kind": "restore", "source": "media"})
    assert world.evidence(step).facts["snapshot"] == first
    _back_up(world, days=1)
    assert world.evidence(step, again=True).facts["snapshot"] == first


def test_the_age_of_the_point_is_measured_at_the_runs_start(world: World) -> None:
    """What would have been lost is counted from the point to the start of the run, however long it took."""
    _back_up(world, days=2)
    world.clock.at += timedelta(hours=5)
    facts = world.evidence(_step({"kind": "restore", "source": "media"})).facts
    assert facts["age_seconds"] == timedelta(days=2).total_seconds()


def test_an_altered_byte_fails_the_verification(world: World) -> None:
    """A restored file that differs from its snapshot is named, and nothing is remembered as proven."""
    _back_up(world)
    restore = world.evidence(_step({"kind": "restore", "source": "media"}))
    next(_folder(world).rglob("a.jpg")).write_bytes(b"b picture")
    failure = _failed(world, {"kind": "verify", "source": "media"}, earlier={"restore-media": restore})
    assert "a.jpg" in failure.why
    assert not [key for key in world.values if key.startswith("proven:")]


def test_verifying_without_a_restore_says_what_is_missing(world: World) -> None:
    """There is nothing to verify in a run that restored nothing."""
    assert "was not restored in this run" in _failed(world, {"kind": "verify", "source": "media"}).why


# --- retention ------------------------------------------------------------------------------------------------------


def test_the_proven_point_outlives_the_policy(world: World) -> None:
    """The point that a drill proved last stays, although no rule keeps it."""
    proven = _back_up(world, days=9).facts["snapshot"]
    restore = world.evidence(_step({"kind": "restore", "source": "media"}))
    world.evidence(_step({"kind": "verify", "source": "media"}), {"restore-media": restore})
    for days in (3, 2, 1):
        _back_up(world, days=days)
    facts = world.as_run("backup", "shop-nightly@0").evidence(_step({"kind": "retain", "keep": {"last": 1}})).facts
    assert facts["kept"]["media"][proven] == ["protected"]
    assert (facts["kept_points"], facts["removed_snapshots"]) == (2, 2)


def test_an_older_proof_does_not_replace_a_newer_one(world: World) -> None:
    """Proving an old point again leaves the newer proven one protected."""
    for days in (5, 1):
        _back_up(world, days=days)
    for number, selection in enumerate(("latest", f"before:{(START - timedelta(days=3)).isoformat()}")):
        drill = world.as_run("drill", f"shop-drill@{number}")
        restore = drill.evidence(_step({"kind": "restore", "source": "media", "snapshot": selection}))
        drill.evidence(_step({"kind": "verify", "source": "media"}), {"restore-media": restore})
    assert world.values["proven:shop:media"]["time"] == (START - timedelta(days=1)).isoformat()


# --- checks ---------------------------------------------------------------------------------------------------------


def test_a_rotation_reads_every_share_once_and_begins_again(world: World) -> None:
    """Each run reads the next share; only a whole rotation says until when everything is intact."""
    told = []
    for day in range(5):
        run = world.as_run("backup", f"nightly@{day}", START + timedelta(days=day))
        world.clock.at = run.run.started
        facts = run.evidence(_step({"kind": "check", "subset": "1/3"})).facts
        told.append((facts["subset"], facts["coverage_percent"], facts["intact_until"]))
    days = [(START + timedelta(days=day)).isoformat() for day in range(5)]
    assert told == [
        ("1/3", 33.3, None),
        ("2/3", 66.7, None),
        ("3/3", 100.0, days[0]),
        ("1/3", 100.0, days[1]),
        ("2/3", 100.0, days[2]),
    ]


def test_a_failed_check_does_not_advance(world: World) -> None:
    """A share that could not be read is read again by the next run."""
    step = _step({"kind": "check", "subset": "1/3"})
    world.held.add("repository:nas")
    assert isinstance(world.perform(step), Failure)
    world.held.clear()
    assert world.evidence(step).facts["subset"] == "1/3"


@pytest.mark.parametrize(
    ("later", "due"),
    [(timedelta(days=1), False), (timedelta(days=6, hours=23, minutes=5), True), (timedelta(days=7), True)],
    ids=str,
)
def test_a_check_is_not_done_more_often_than_asked(world: World, later: timedelta, due: bool) -> None:  # noqa: FBT001 - a case
    """`every` counts from run to run, with an hour's slack, and a run that is too early says so."""
    step = _step({"kind": "check", "every": "7d"})
    world.as_run("backup", "nightly@0", START).evidence(step)
    facts = world.as_run("backup", "nightly@1", START + later).evidence(step).facts
    assert facts["due"] is due
    assert due or facts["not_due_until"] == (START + timedelta(days=7)).isoformat()


def test_only_a_full_reading_claims_that_all_is_intact(world: World) -> None:
    """A share of the bytes proves nothing about the rest."""
    assert world.evidence(_step({"kind": "check", "subset": "100%"})).level is ProofLevel.INTACT
    assert world.evidence(_step({"kind": "check", "subset": "50%"})).level is None
    assert world.evidence(_step({"kind": "check"})).level is None


# --- commands -------------------------------------------------------------------------------------------------------


def test_a_value_is_never_read_by_a_shell(world: World) -> None:
    """Words with shell characters arrive as they were written, and so do filled ones."""
    earlier = {"restore-media": Evidence(facts={"path": "$(touch pwned); `x` -rf"}, source="media")}
    said = {"kind": "command", "run": ["printf", "%s|", "{{ restore.media.path }}", "a b", "; touch pwned"]}
    evidence = world.evidence(_step(said), earlier)
    assert evidence.facts["stdout"] == "$(touch pwned); `x` -rf|a b|; touch pwned|"
    assert not list(world.root.rglob("pwned"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"run": ["false"]}, "exit code 1"),
        ({"run": ["true"], "expect": {"exit": 3}}, "expected 3"),
        ({"run": ["echo", "hello"], "expect": {"stdout": "bye"}}, "did not print 'bye'"),
        ({"run": ["no-such-program"]}, "exit code 127"),
        ({"run": ["true"], "probe": ["false"]}, "its probe says that it is not done"),
        ({"run": ["true"], "probe": ["no-such-program"]}, "probing with no-such-program"),
        ({"run": ["echo", "{{ restore.media.path }}"]}, "nothing in this run gives"),
        ({"run": ["sh", "-c", "echo no database; exit 1"], "background": True}, "no database"),
    ],
    ids=str,
)
def test_what_did_not_work_is_a_failure(world: World, said: Json, told: str) -> None:
    """Every way for a command not to reach its purpose is told."""
    step = _step({"kind": "command", **said})
    outcome = world.perform(step)
    # A program that ends at once may still be there at the first look: the fake clock does not wait for it.
    if said.get("background") and isinstance(outcome, Evidence):
        assert eventually(lambda: not alive(outcome.facts["pid"]))
        assert told in str(processes.look(world.hosts["standby"], str(_folder(world) / "processes" / "command")))
        return
    assert isinstance(outcome, Failure)
    assert told in outcome.why


def test_a_command_that_was_done_before_the_run_is_not_undone(world: World) -> None:
    """An undo takes back only what this run did."""
    said = {"kind": "command", "run": ["touch", "made"], "probe": ["test", "-e", "made"], "undo": ["rm", "made"]}
    made = world.root / "standby" / "made"
    made.touch()
    before = world.evidence(_step(said))
    world.undo(_step(said), before)
    assert made.exists()
    made.unlink()
    world.undo(_step(said), world.evidence(_step(said)))
    assert not made.exists()


def test_the_programs_children_end_with_it(world: World) -> None:
    """A program that forks, detaches and clears its environment is ended whole, and nothing else is."""
    script = "sleep 611 & setsid sleep 612 & env -i sleep 613 & exec sleep 614"
    step = _step({"kind": "command", "id": "serve", "run": ["sh", "-c", script], "background": True})
    bystander = _step({"kind": "command", "id": "other", "run": ["sleep", "615"], "background": True})
    other = world.evidence(bystander, name="other").facts["pid"]
    evidence = world.evidence(step, name="serve")
    running = [
        int(path.parent.name)
        for number in range(611, 615)
        for path in _cmdlines()
        if _cmdline(path) == f"sleep\0{number}\0"
    ]
    assert isinstance(world.undo(step, evidence, name="serve"), Evidence)
    assert not [pid for pid in running if alive(pid)]
    assert alive(other)


def _cmdlines() -> list[Path]:
    return list(Path("/proc").glob("[0-9]*/cmdline"))


def _cmdline(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def test_another_process_with_the_same_pid_is_left_alone(world: World) -> None:
    """A recorded pid that now belongs to another process is no reason to end that one."""
    step = _step({"kind": "command", "id": "serve", "run": ["sleep", "600"], "background": True})
    evidence = world.evidence(step, name="serve")
    kill(evidence.facts["pid"])
    bystander = world.evidence(
        _step({"kind": "command", "id": "other", "run": ["sleep", "600"], "background": True}), name="other"
    )
    record = _folder(world) / "processes" / "serve" / "pid"
    record.write_text(f"{bystander.facts['pid']} {evidence.facts['started_ticks'] - 1}\n")
    assert isinstance(world.undo(step, evidence, name="serve"), Evidence)
    assert alive(bystander.facts["pid"])


def test_a_flood_of_output_is_bounded(world: World) -> None:
    """A program that never stops talking fills no disk and is not held up."""
    said = {
        "kind": "command",
        "run": ["sh", "-c", "head -c 9000000 /dev/zero; touch done; sleep 60"],
        "background": True,
    }
    evidence = world.evidence(_step(said))
    assert eventually((world.root / "standby" / "done").exists)
    assert Path(evidence.facts["log"]).stat().st_size <= processes.LOG_LIMIT


# --- the clean-up ---------------------------------------------------------------------------------------------------


def test_nothing_of_a_drill_is_left(world: World) -> None:
    """After the clean-up the standby is as it was, and what was removed is reported with the programs' last words."""
    _back_up(world)
    restore = world.evidence(_step({"kind": "restore", "source": "media"}))
    said = {"kind": "command", "id": "serve", "run": ["sh", "-c", "echo ready; exec sleep 600"], "background": True}
    pid = world.evidence(_step(said), {"restore-media": restore}, name="serve").facts["pid"]
    facts = world.evidence(CLEANUP).facts
    assert facts["hosts"]["standby"]["programs"] == {"serve": "ready"}
    assert facts["hosts"]["standby"]["sources"] == ["media"]
    assert _everything_below(world.root / "standby") == [".drorch", ".drorch/drills"]
    assert not alive(pid)


def test_another_runs_drill_is_left_alone(world: World) -> None:
    """A clean-up removes its own run's things only."""
    _back_up(world)
    other = world.as_run("drill", "shop-drill@another")
    directory = other.evidence(_step({"kind": "restore", "source": "media"})).facts["directory"]
    world.evidence(_step({"kind": "restore", "source": "media"}))
    world.evidence(CLEANUP)
    assert Path(directory).is_dir()


def test_a_folder_that_is_closed_to_its_owner_is_removed(world: World) -> None:
    """Restored folders without any permission do not survive the clean-up."""
    _back_up(world)
    world.evidence(_step({"kind": "restore", "source": "media"}))
    closed = _folder(world) / "media" / "closed" / "deeper"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    closed.chmod(0)
    closed.parent.chmod(0)
    world.evidence(CLEANUP)
    assert not _folder(world).exists()


def test_links_out_of_the_folder_are_not_followed(world: World) -> None:
    """What a restored link points to stays."""
    precious = world.root / "standby" / "precious"
    precious.mkdir()
    (precious / "file").touch()
    _back_up(world)
    world.evidence(_step({"kind": "restore", "source": "media"}))
    (_folder(world) / "media" / "link").symlink_to(precious)
    world.evidence(CLEANUP)
    assert (precious / "file").exists()


@pytest.mark.parametrize("work", ["/", "~/../..", "relative", ""])
def test_a_working_folder_that_is_none_is_refused(world: World, work: str) -> None:
    """Nothing is made or removed where the working folder cannot be one."""
    world.scene = world.scene_with(work={"primary": "~/.drorch", "standby": work})
    assert "no folder of this run" in _failed(world, {"kind": "cleanup"}).why
    _back_up(world)
    assert "no folder of this run" in _failed(world, {"kind": "restore", "source": "media"}).why


@pytest.mark.parametrize("kind", ["backup", "maintenance", "failover"])
def test_only_drills_are_cleaned_up(world: World, kind: RunKind) -> None:
    """A clean-up in any other kind of run is refused before anything is looked at."""
    run = world.as_run(kind, "shop-something@1")
    assert CLEANUP.problems(run.scene)
    assert "nothing to clean up" in _failed(run, {"kind": "cleanup"}).why


# --- http, wait, manual, notify -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "said", "told"),
    [
        ("/nowhere", {}, "status 404 instead of 200: no such page"),
        ("/health", {"expect": {"body": "fine"}}, "'fine' is not in its answer: status: ok"),
        ("/health", {"expect": {"regex": "^ok"}}, "matches '^ok'"),
        ("/garbage", {}, "no usable answer"),
    ],
    ids=str,
)
def test_a_wrong_answer_is_told(world: World, web: Web, path: str, said: Json, told: str) -> None:
    """The failure quotes what was wrong, safe to print, and asking again may help."""
    failure = _failed(world, {"kind": "http", "url": web.url(path), "host": "standby", **said})
    assert told in failure.why
    assert failure.retryable
    assert failure.timed_out
    assert "\x1b" not in failure.why


def test_no_answer_at_all_is_told(world: World) -> None:
    """A port on which nobody listens fails when the time is over, not before."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for said in ({"kind": "http", "url": f"http://127.0.0.1:{port}/"}, {"kind": "wait", "tcp": {"port": port}}):
        failure = _failed(world, said)
        assert failure.facts["tries"] > 100


def test_https_to_what_speaks_none_is_told(world: World, web: Web) -> None:
    """A certificate is asked for, and its absence is a failure."""
    url = web.url("/health").replace("http:", "https:")
    assert "no usable answer" in _failed(world, {"kind": "http", "url": url, "timeout": "3s"}).why


def test_a_large_answer_is_read_in_part(world: World, web: Web) -> None:
    """A body without end does not fill the memory."""
    facts = world.evidence(_step({"kind": "http", "url": web.url("/big")})).facts
    assert (facts["body_bytes"], facts["truncated"]) == (1 << 20, True)


@pytest.mark.parametrize(
    ("host", "level"),
    [("standby", ProofLevel.SERVING), (None, None)],
    ids=str,
)
def test_only_the_standby_shows_that_it_serves(
    world: World, web: Web, host: str | None, level: ProofLevel | None
) -> None:
    """An answer counts as serving only where it was asked on the host that was restored to."""
    _back_up(world)
    earlier = {"restore-media": world.evidence(_step({"kind": "restore", "source": "media"}))}
    said = {"kind": "http", "url": web.url("/health"), "host": host}
    assert world.evidence(_step(said), earlier).level is level


def test_a_manual_step_shows_what_is_known(world: World) -> None:
    """Instructions are filled from the run, and a gap does not keep them from being shown."""
    step = _step({"kind": "manual", "instructions": "Look at {{ restore.media.path }} and {{ x.y }}", "timeout": "5m"})
    earlier = {"restore-media": Evidence(facts={"path": "/drill/media"})}
    question = step.question(world.scene, earlier)
    assert question is not None
    assert question.text == "Look at /drill/media and unknown"
    assert question.timeout == timedelta(minutes=5)


def test_a_manual_step_without_an_answer_fails(world: World) -> None:
    """Nothing confirms itself."""
    assert "nobody confirmed" in _failed(world, {"kind": "manual", "instructions": "x"}).why


def test_a_message_that_was_not_delivered_is_a_failure(world: World) -> None:
    """Not reaching people is told, and a retry may help."""
    world.told.fails = True
    failure = _failed(world, {"kind": "notify", "to": "ops", "message": "x"})
    assert (failure.why, failure.retryable) == ("the chat is down", True)


def test_a_message_names_its_run(world: World) -> None:
    """People see which service and run speaks."""
    world.evidence(_step({"kind": "notify", "to": "ops", "message": "{{ service }} on {{ to }}"}))
    assert world.told.messages == [("[shop] shop-drill@2026-03-01T02:30Z", "shop on standby")]


def test_a_drill_ends_what_its_programs_left_running(world: World) -> None:
    """A program that goes on in the background by itself is ended by the clean-up, and before it is run again."""
    said = {"kind": "command", "id": "prepare", "run": ["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!"]}
    first, second = (int(world.evidence(_step(said), again=again).facts["stdout"]) for again in (False, True))
    try:
        assert not alive(first)
        assert alive(second)
        world.evidence(CLEANUP)
        assert not alive(second)
    finally:
        kill(first)
        kill(second)


def test_a_real_runs_programs_may_leave_a_service_running(world: World) -> None:
    """Outside of drills a program that starts a service has done its work: nobody ends that."""
    said = {"kind": "command", "id": "promote", "run": ["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!"]}
    failover = world.as_run("failover", "shop-failover@1")
    pids = [int(failover.evidence(_step(said), again=again).facts["stdout"]) for again in (False, True)]
    try:
        assert all(map(alive, pids))
    finally:
        for pid in pids:
            kill(pid)
