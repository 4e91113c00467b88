"""A run that is killed at any boundary between effect and record goes on as if nothing had happened."""

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from drorch.core.step import RunState
from support.site import PROJECT, MakeSite, Site

RUNBOOKS = sorted(path.stem for path in (PROJECT / "runbooks").glob("*.yaml"))
FICKLE = frozenset(
    ["bytes_added", "bytes_stored", "latency_ms", "pid", "port", "programs", "started_ticks", "token", "tries"]
)
"""Facts that differ from run to run."""

OF_A_MIRROR = frozenset(["bytes", "uploaded", "uploaded_bytes", "looked_at"])
"""What differs of a mirror: packs have random bytes, and what was sent before the kill is not sent again."""

APART = 1 if "DRORCH_TEST_STATES" in os.environ else 9
"""Boundaries between those at which one run each is killed: each, or some of each of an attempt's four."""

Undisturbed = Callable[[str], tuple[int, Any]]

MOMENTS = re.compile(r"\d{4}-\d\d-\d\dT[\d:.-]+(Z|\+00:00)?|[0-9a-f]{64}|(?<=drorch_)\w+")
"""Times, ids and names of the run's own within texts."""


def steady(value: Any, site: Site) -> Any:  # noqa: ANN401 - any JSON
    """The value without what differs from run to run: measured lengths, moments, ids, where the site lies."""
    match value:
        case dict():
            return sorted(
                ([MOMENTS.sub("…", key), steady(item, site)] for key, item in value.items() if key not in FICKLE),
                key=repr,
            )
        case list():
            return [steady(item, site) for item in value]
        case str():
            return MOMENTS.sub("…", value.replace(str(site.folder), "<site>"))
        case float():
            return "<measured>"
        case _:
            return value


def evidence(site: Site, run: str) -> list[tuple[str, str, Any]]:
    """What the run's attempts left, step by step."""
    attempts = [record for record in site.records(run) if record.body["what"] == "attempt"]
    found = []
    for record in sorted(attempts, key=lambda record: record.key):
        facts = record.body.get("evidence", {}).get("facts", {})
        fickle = OF_A_MIRROR if record.key.startswith("attempt mirror") else frozenset()
        kept = {name: fact for name, fact in facts.items() if name not in fickle}
        found.append((record.key, record.body["state"], steady(kept, site)))
    return found


def leftovers(site: Site) -> list[str]:
    """What of a drill still lies on the standby."""
    drills = site.folder / "standby" / ".drorch" / "drills"
    return [str(path) for path in drills.rglob("*")] if drills.exists() else []


@pytest.fixture(scope="module")
def undisturbed(shop_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Of a shipped runbook: how many boundaries it passes, and its evidence when nothing disturbs it."""

    @cache
    def found(runbook: str) -> tuple[int, Any]:
        site = shop_template.copy(tmp_path_factory.mktemp(runbook) / "site")
        code, boundaries = site.killed_at(0, "run", runbook)
        assert code == 0
        return boundaries, evidence(site, site.newest().id)

    return found


@pytest.mark.parametrize("runbook", RUNBOOKS)
@pytest.mark.timeout(600)
def test_a_run_killed_again_and_again_goes_on_as_if_nothing_had_happened(
    undisturbed: Undisturbed, make_shop: MakeSite, runbook: str
) -> None:
    """Killed in or beside every attempt until it is over, a run leaves the same evidence, once, and nothing else."""
    site = make_shop()
    words: tuple[str, ...] = ("run", runbook)
    done, further = 0, 0
    # The first two boundaries are the journal's note that it begins or goes on; an attempt has those from there on.
    while site.killed_at(3 + done % 3 + further, *words)[0] and not site.newest().state.final:
        words = ("resume", site.newest().id)
        before, done = done, attempted(site, words[1])
        further = 0 if done > before else further + 1
    ended(site, words[1], undisturbed(runbook)[1], "killed again and again")


def attempted(site: Site, run: str) -> int:
    """How many attempts of a run the journal was told of."""
    return sum(record.body["what"] == "attempt" for record in site.records(run))


def test_no_number_of_kills_is_too_many(make_shop: MakeSite) -> None:
    """The engine's own limit, 100 unless said, is none of drorch's: a person goes on as often as it takes."""
    site = make_shop()
    site.killed_at(8, "run", "shop-nightly")
    run = site.newest().id
    with contextlib.closing(sqlite3.connect(site.state / "engine.sqlite")) as engine, engine:
        changed = engine.execute("UPDATE workflow_status SET recovery_attempts = 1000 WHERE workflow_uuid = ?", (run,))
        assert changed.rowcount == 1
    site.drorch("resume", run)
    assert site.newest().state is RunState.COMPLETED


@pytest.mark.parametrize("share", range(2))
@pytest.mark.parametrize("runbook", RUNBOOKS)
@pytest.mark.timeout(1200)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    undisturbed: Undisturbed, make_shop: MakeSite, runbook: str, share: int
) -> None:
    """Killed at a boundary and resumed, a run leaves the same evidence, once, and nothing else."""
    boundaries, expected = undisturbed(runbook)
    for boundary in range(1 + share * APART, boundaries + 1, 2 * APART):
        site = make_shop()
        noted = site.newest().id
        code, _ = site.killed_at(boundary, "run", runbook)
        assert code == -9
        run = site.newest()
        if run.id == noted:
            continue  # killed before the run was noted: there is nothing to go on with
        if not run.state.final:  # else killed when all was told already
            site.drorch("resume", run.id)
        ended(site, run.id, expected, f"killed at boundary {boundary} of {boundaries}")


def ended(site: Site, run: str, expected: Any, how: str) -> None:  # noqa: ANN401 - any JSON
    """See that the newest run is this one, that it is as one that nobody disturbed, and that its record is believed."""
    newest = site.newest()
    assert (newest.id, newest.state) == (run, RunState.COMPLETED), how
    assert evidence(site, run) == expected, how
    assert leftovers(site) == [], how
    site.drorch("show", run, "--verify")


def test_a_point_is_taken_once(make_shop: MakeSite) -> None:
    """A backup killed after restic's success and before its record is found again, not taken again."""
    site = make_shop()
    for boundary in range(1, 30):
        before = snapshots(site)
        code, _ = site.killed_at(boundary, "run", "shop-nightly")
        if code == -9 and snapshots(site) > before:
            break
    run = site.newest()
    site.drorch("resume", run.id)
    taken = [record for record in site.records(run.id) if record.key.startswith("attempt backup")]
    assert len(taken) == 2
    assert snapshots(site) == snapshots_named(site)


def snapshots(site: Site) -> int:
    """How many snapshots the repository holds."""
    return len([path for path in (site.folder / "vault" / "snapshots").iterdir() if path.is_file()])


def snapshots_named(site: Site) -> int:
    """How many snapshots the evidence of all runs names."""
    names: set[str] = set()
    for record in site.records():
        if record.key.startswith("attempt backup"):
            names.update(record.body.get("evidence", {}).get("facts", {}).get("snapshots", {}).values())
    return len(names)
