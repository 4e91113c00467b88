"""3-2-1-1-0: each digit stands on facts, and falls with any of them."""

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.model import Json
from drorch.core.step import RunState
from drorch.engine.journal import Record, Run
from drorch.reports.posture import Posture, posture
from drorch.reports.posture_text import posture_lines
from drorch.reports.text import to_json
from drorch.reports.witness import witnesses

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GONE = object()
"""In a change: take the key away."""

Path = tuple[str, ...]


def ago(length: timedelta) -> str:
    """A point in time as records write it."""
    return (NOW - length).isoformat()


def attempt(step: Mapping[str, Json], length: timedelta, facts: Mapping[str, Json], **more: Json) -> dict[str, Any]:
    """A success of a step that ended so long ago and took a minute."""
    return {
        "step": dict(step),
        "started": ago(length + HOUR / 60),
        "ended": ago(length),
        "state": "succeeded",
        "evidence": {"facts": dict(facts), **more},
    }


def domain(*words: str) -> dict[str, Json]:
    """The six words of a domain."""
    return dict(zip(("provider", "region", "account", "payer", "key_holder", "dns"), words, strict=True))


HOME = domain("own", "office", "acme", "acme", "ada", "")
OWN = domain("own", "office", "acme", "acme", "cy", "")
"""Of the primary and of the repository: one building, one account."""


def world() -> dict[str, Any]:
    """A service of which everything is as it should be, as plain data that a case may damage anywhere."""
    points = {"snapshot": "c" * 64, "time": ago(12 * HOUR)}
    both = {"database": "copied", "media": "copied"}
    backup = {"snapshot": "c" * 64, "time": ago(12 * HOUR), "repository": "nas"}
    return {
        "inventory": {
            "site": "acme",
            "hosts": {
                "web1": {"address": "192.0.2.1", "domain": HOME},
                "web2": {"address": "192.0.2.2", "domain": domain("ovh", "gra", "dr", "acme-dr", "bob", "")},
            },
            "repositories": {
                "nas": {
                    "url": "/srv/nas",
                    "password": {"secret": "nas"},
                    "domain": OWN,
                }
            },
            "stores": {
                "b2": {
                    "kind": "s3",
                    "endpoint": "https://s3.example.com",
                    "bucket": "acme-offsite",
                    "credentials": {"secret": "writer"},
                    "deleter": {"secret": "deleter"},
                    "lock": {"days": 30},
                    "domain": domain("backblaze", "us-west", "offsite", "holding", "dan", "example.com"),
                }
            },
            "services": {
                "shop": {
                    "objectives": {"rpo": "24h", "rto": "1h"},
                    "primary": "web1",
                    "standbys": ["web2"],
                    "repository": "nas",
                    "sources": {
                        "database": {"kind": "sqlite", "path": "/srv/shop.db"},
                        "media": {"kind": "files", "paths": ["/srv/media"]},
                    },
                }
            },
            "secrets": {name: {"env": name.upper()} for name in ("nas", "writer", "deleter", "other")},
        },
        "attempts": {
            "database": attempt(
                {"kind": "backup", "source": "database"}, 12 * HOUR, backup, source="database", level="taken"
            ),
            "media": attempt({"kind": "backup", "source": "media"}, 12 * HOUR, backup, source="media", level="taken"),
            "mirror": attempt(
                {"kind": "mirror", "store": "b2"},
                11 * HOUR,
                {
                    "store": "b2",
                    "repository": "nas",
                    "complete": True,
                    "grade": "refuses and locks",
                    "locked_until": ago(-25 * DAY),
                    "points": {"database": points, "media": points},
                },
                levels=both,
            ),
            "audit": attempt(
                {"kind": "audit", "store": "b2"},
                10 * HOUR,
                {
                    "store": "b2",
                    "repository": "nas",
                    "at": ago(10 * HOUR),
                    "problems": 0,
                    "missing": 0,
                    "altered": 0,
                    "unlocked": 0,
                    "listed": 7,
                },
                levels=both,
            ),
            "check": attempt(
                {"kind": "check", "subset": "1/30"},
                9 * HOUR,
                {"repository": "nas", "subset": "4/30", "coverage_percent": 13.3, "due": True},
            ),
        },
        "drill": {
            "state": "completed",
            "ago": 8,
            "detail": {"points": {name: {**points, "level": "restored"} for name in ("database", "media")}},
        },
        "probes": {"b2": {"grade": "refuses and locks", "best": "refuses and locks", "at": ago(11 * HOUR)}},
    }


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    """The world with what lies at each dotted path replaced, or taken away."""
    data = copy.deepcopy(world())
    for path, value in changes:
        *above, last = path.split(".")
        place = data
        for key in above:
            place = place[key]
        if value is GONE:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)
    return data


def judge(data: Mapping[str, Any], runbooks: Mapping[str, Runbook] | None = None) -> Posture:
    """The shop's posture in such a world; what lies there is what the journal would hold."""
    inventory = Inventory.model_validate(data["inventory"])
    attempts: Mapping[str, Any] = data["attempts"]
    planned = [{"id": name, "step": one["step"]} for name, one in attempts.items()]
    then = data.get("then") or data["inventory"]
    places = {"repositories": then["repositories"], "stores": then["stores"]}
    plan = json.dumps({"service": {"repository": "nas"}, "blocks": [{"steps": planned}], **places})
    run = Run("nightly@1", "nightly", "backup", "shop", "", "p", RunState.COMPLETED, NOW - 13 * HOUR, NOW - HOUR, {})
    runs = [run]
    if drilled := data.get("drill"):
        at = NOW - drilled["ago"] * HOUR
        state = RunState(drilled["state"])
        runs.insert(0, Run("drill@1", "drill", "drill", "shop", "", "p", state, at, at, drilled["detail"]))
    records = [
        Record(number, run.id, f"attempt {name}#1", NOW, {**one, "what": "attempt", "step": name}, "", "")
        for number, (name, one) in enumerate(attempts.items())
    ]
    return posture(
        "shop",
        inventory.services["shop"],
        inventory,
        seen=witnesses(runs, records, {"p": plan}.__getitem__, inventory, NOW),
        runs=runs,
        probes=data["probes"],
        now=NOW,
        runbooks=runbooks or {},
    )


def failing(stands: Posture) -> set[str]:
    """The digits that fail."""
    return {digit.name for digit in stands.digits if not digit.good}


def test_everything_as_it_should_be() -> None:
    """With every fact in place every digit holds; a mirror has its repository's password, and that stays said."""
    stands = judge(world())
    assert (stands.shown, stands.good) == ("3-2-1-1-0", True)
    assert [one.what for one in stands.weaknesses] == ["one password opens nas and b2: secret nas"]


FAILED: dict[str, Json] = {"state": "failed", "failure": {"why": "damage"}}


@pytest.mark.parametrize(
    ("digits", "path", "value"),
    [
        ("copies", "attempts.media", GONE),
        ("copies", "attempts.database.evidence.facts.snapshot", GONE),
        ("copies", "attempts.database.evidence.facts.snapshot", 5),
        ("copies", "attempts.database.evidence.facts.time", ago(49 * HOUR)),
        ("copies", "attempts.database.evidence.facts.time", ago(-HOUR)),
        ("copies", "attempts.database.evidence.facts.repository", "elsewhere"),
        ("copies", "attempts.database.evidence.source", GONE),
        ("copies", "attempts.database.state", "skipped"),
        ("copies", "attempts.database.state", "failed"),
        ("copies", "attempts.database.started", "yesterday"),
        ("copies", "attempts.database.ended", ago(-HOUR)),
        ("copies", "attempts.database.step", {}),
        # a mirror that does not count takes with it what only it gave
        ("copies media off-site immutable", "attempts.mirror", GONE),
        ("copies media off-site immutable", "attempts.mirror.evidence.facts.complete", GONE),
        ("copies media off-site immutable", "attempts.mirror.evidence.facts.complete", "yes"),
        ("copies media off-site immutable", "attempts.mirror.ended", ago(49 * HOUR)),
        ("copies media off-site immutable", "attempts.mirror.evidence.facts.points.media.time", ago(49 * HOUR)),
        ("copies media off-site immutable", "inventory.stores", {}),
        ("off-site", "inventory.stores.b2.domain.provider", "own"),
        ("off-site", "inventory.stores.b2.domain.provider", " OWN "),
        ("off-site", "inventory.stores.b2.domain.provider", ""),
        ("off-site", "inventory.stores.b2.domain.region", "office"),
        ("off-site", "inventory.stores.b2.domain.region", GONE),
        ("immutable", "attempts.mirror.evidence.facts.locked_until", None),
        ("immutable", "attempts.mirror.evidence.facts.locked_until", ago(HOUR)),
        ("immutable", "attempts.mirror.evidence.facts.locked_until", "2030"),
        ("immutable", "probes", {}),
        ("immutable", "probes.b2", "refuses and locks"),
        ("immutable", "probes.b2.grade", "refuses"),
        ("immutable", "probes.b2.at", ago(49 * HOUR)),
        ("immutable", "probes.b2.at", ago(-HOUR)),
        ("immutable", "probes.b2.at", GONE),
        ("errors", "attempts.audit", GONE),
        ("errors", "attempts.audit.ended", ago(-HOUR)),
        ("errors", "attempts.audit.evidence.facts.at", ago(36 * DAY)),
        ("errors", "attempts.audit.evidence.facts.problems", GONE),
        ("errors", "attempts.audit.evidence.facts.problems", 1),
        ("copies media off-site immutable errors", "attempts.audit.evidence.facts.missing", 1),
        ("copies media off-site immutable errors", "attempts.audit.evidence.facts.altered", 2),
        ("errors", "attempts.audit.evidence.exceptions", ["nas cannot be read, so what is missing is not known"]),
        ("errors immutable", "attempts.audit", attempt(
            {"kind": "audit", "store": "b2"}, HOUR, {}) | {
            "state": "failed", "failure": {"why": "bad", "facts": {"store": "b2", "problems": 2, "unlocked": 2}}}),
        ("errors", "attempts.check", GONE),
        ("errors", "attempts.check", attempt({"kind": "check"}, HOUR, {}) | FAILED),
        ("errors", "attempts.check.started", ago(36 * DAY)),
        ("errors", "attempts.check.evidence.facts", {"repository": "nas", "due": False, "last": ago(36 * DAY)}),
        ("errors", "attempts.check.evidence.facts", {"repository": "nas", "due": False}),
        ("errors", "attempts.check.evidence.facts.repository", "elsewhere"),
        ("errors", "attempts.media.evidence.exceptions", ["tree: /srv/media/a: permission denied"]),
        ("errors", "drill", GONE),
        ("errors", "drill.state", "failed"),
        ("errors", "drill.state", "cancelled"),
        ("errors", "drill.state", "completed_with_exceptions"),
        ("errors", "drill.ago", 101 * 24),
        ("errors", "drill.detail", {}),
        ("errors", "drill.detail.points.media.level", "intact"),
    ],
)  # fmt: skip
def test_each_digit_falls_with_any_of_its_facts(digits: str, path: str, value: object) -> None:
    """Of a whole posture one fact is removed, altered or too old: its digit fails, and no other."""
    stands = judge(changed((path, value)))
    assert failing(stands) == set(digits.split()), stands.shown


@pytest.mark.parametrize(
    "changes",
    [
        [("inventory.repositories.nas.url", "sftp:backup@192.0.2.1:/srv"), ("inventory.stores.b2.domain", OWN)],
        [("inventory.stores.b2.domain", {**HOME, "region": "hel1"})],
        [
            ("inventory.hosts.web1", {"domain": HOME}),
            ("inventory.stores.b2", {"kind": "directory", "path": "/mnt/usb", "domain": OWN}),
        ],
        [
            ("inventory.hosts.web1", {"address": "127.0.0.1", "domain": HOME}),
            ("inventory.stores.b2", {"kind": "sftp", "host": "web1", "path": "/mnt/usb"}),
        ],
        [
            ("inventory.hosts.web2.host_key", "ssh-ed25519 AAAA"),
            ("inventory.hosts.web1.host_key", "ssh-ed25519 AAAA x"),
            ("inventory.repositories.nas.url", "sftp:web2:/srv"),
            ("inventory.stores.b2", {"kind": "sftp", "host": "web1", "path": "/mnt/usb"}),
        ],
    ],
)
def test_one_machine_or_account_is_one_medium(changes: Sequence[tuple[str, object]]) -> None:
    """Copies on one machine, whatever disk, and copies in one account are one medium."""
    stands = judge(changed(*changes))
    assert "media" in failing(stands)
    assert "copies" not in failing(stands)


def test_an_account_is_one_only_with_its_provider() -> None:
    """The same word names two accounts where the providers differ."""
    stands = judge(changed(*((f"inventory.{place}.domain.account", "acme") for place in ("stores.b2", "hosts.web2"))))
    assert stands.good


def test_without_an_rpo_a_copy_counts_for_a_week() -> None:
    """Where nobody said how much may be lost, a week is the limit."""
    old = [(f"attempts.{source}.evidence.facts.time", ago(6 * DAY)) for source in ("database", "media")]
    old += [(f"attempts.mirror.evidence.facts.points.{source}.time", ago(6 * DAY)) for source in ("database", "media")]
    free: tuple[str, object] = ("inventory.services.shop.objectives", {})
    assert judge(changed(free, *old)).good
    assert "copies" in failing(judge(changed(*old)))


def test_a_mirror_is_as_old_as_what_it_was_made_from() -> None:
    """A fresh pass over a repository that got no new backups is no fresh copy."""
    old = [(f"attempts.{source}.evidence.facts.time", ago(60 * HOUR)) for source in ("database", "media")]
    stands = judge(changed(*old, ("attempts.mirror.evidence.facts.points", {})))
    assert failing(stands) == {"copies", "media", "off-site", "immutable"}


@pytest.mark.parametrize(("grade", "counts"), [("refuses", True), ("neither", False), ("", False)])
def test_a_mirror_without_levels_counts_where_the_store_refuses(grade: str, counts: bool) -> None:  # noqa: FBT001 - a case
    """A pass in a run without points holds the backups before it, unless the store takes anything."""
    bare = [("attempts.mirror.evidence.levels", {}), ("attempts.mirror.evidence.facts.grade", grade)]
    bare += [("attempts.audit.evidence.levels", {})]
    (mirror,) = (one for one in judge(changed(*bare)).copies if one.role == "mirror")
    assert mirror.counts is counts


@pytest.mark.parametrize(
    ("path", "value", "digits"),
    [
        ("repositories.nas.url", "/srv/other", "copies errors"),
        ("stores.b2.bucket", "another", "copies media off-site immutable"),
        ("stores.b2.prefix", "below", "copies media off-site immutable"),
        ("stores.b2", {"kind": "directory", "path": "/mnt/usb"}, "copies media off-site immutable"),
    ],
)
def test_a_name_that_leads_elsewhere_now_is_another_place(path: str, value: object, digits: str) -> None:
    """What was shown of a place is no evidence for the one that the inventory names today."""
    stands = judge({**changed((f"inventory.{path}", value)), "then": world()["inventory"]})
    assert failing(stands) >= set(digits.split())


def test_a_copy_in_another_repository_is_a_copy() -> None:
    """What `restic copy` was shown to have brought counts, with a check of its own."""
    data = changed(
        ("attempts.mirror", GONE),
        ("attempts.audit", GONE),
        (
            "inventory.repositories.far",
            {
                "url": "rest:https://far.example.com/",
                "password": {"secret": "other"},
                "domain": domain("ovh", "gra", "x", "y", "z", "example.org"),
            },
        ),
        (
            "attempts.copy",
            attempt(
                {"kind": "copy", "to": "far"},
                10 * HOUR,
                {
                    "to": "far",
                    "repository": "nas",
                    "check": {"repository": "far", "subset": "structure", "at": ago(DAY)},
                },
                levels={"database": "copied", "media": "copied"},
            ),
        ),
    )
    assert failing(judge(data)) == {"immutable"}
    assert judge(data).weaknesses == ()
    del data["attempts"]["copy"]["evidence"]["facts"]["check"]
    assert failing(judge(data)) == {"immutable", "errors"}
    data["attempts"]["copy"]["evidence"]["levels"] = {"database": "copied"}
    assert "copies" in failing(judge(data))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            [(f"inventory.{place}.domain.payer", "acme") for place in ("hosts.web1", "repositories.nas", "stores.b2")],
            "all 3 copies are paid by one account: acme",
        ),
        (
            [(f"inventory.{place}.domain.key_holder", "Eve") for place in ("repositories.nas", "stores.b2")],
            "one person holds the keys of both backups: Eve",
        ),
        (
            [
                ("attempts.mirror", GONE),
                ("inventory.repositories.nas.domain.payer", "acme"),
            ],
            "both copies are paid by one account: acme",
        ),
        (
            [("inventory.hosts.web2.domain.region", "office")],
            "web1 and its standby web2 stand in one region: office",
        ),
        ([("inventory.repositories.nas.domain.payer", "")], "nobody wrote down who pays for nas"),
        (
            [("inventory.repositories.nas.domain", {})],
            "nobody wrote down for nas: provider, region, account, payer and key holder",
        ),
        (
            [("inventory.stores.b2.deleter.secret", "writer")],
            "one credential writes to b2 and deletes there: secret writer",
        ),
        (
            [("inventory.secrets.deleter", {"env": "WRITER"})],
            "one credential writes to b2 and deletes there: secret writer",
        ),
        (
            [
                ("inventory.repositories.nas.credentials", {"AWS_SECRET_ACCESS_KEY": {"secret": "writer"}}),
            ],
            "one credential reaches nas and b2: secret writer",
        ),
        ([("inventory.stores.b2.lock", None)], "nothing locks what is in b2: who can write there can destroy it"),
    ],
)
def test_what_too_much_depends_on_is_named(changes: Sequence[tuple[str, object]], words: str) -> None:
    """A value that all share, and one that nobody wrote down, is said in plain words, once, with what to do."""
    found = [one for one in judge(changed(*changes)).weaknesses if one.what == words]
    assert [bool(one.do) for one in found] == [True], judge(changed(*changes)).weaknesses


def test_every_failing_digit_says_what_to_do() -> None:
    """Of nothing but an inventory every digit fails, each with a remedy."""
    stands = judge(changed(("attempts", {}), ("drill", GONE), ("probes", {})))
    assert (stands.shown, stands.good) == ("1-1-0-0-?", False)
    for digit in stands.digits:
        assert any(fact.do for fact in digit.facts if not fact.good), digit


def test_the_screen_shows_each_fact_with_its_record() -> None:
    """What a digit stands on is said with the run or probe that showed it, and its date."""
    text = "\n".join(line.plain for line in posture_lines([judge(world())], ZoneInfo("Europe/Berlin")))
    assert "shop  3-2-1-1-0  ✓ holds" in text
    assert "b2 was probed 11 h ago: refuses and locks (probe:b2, 2026-11-20 04:00)" in text
    assert "repository nas, 12 h old (nightly@1, 2026-11-20 03:00)" in text
    assert json.dumps(to_json(judge(world())))


@pytest.mark.parametrize("plan", ["", "[]", '{"blocks": [null, {"steps": {}}]}', '{"blocks": 5, "afterwards": [3]}'])
def test_what_cannot_be_read_is_no_evidence(plan: str) -> None:
    """Of a run whose plan is lost or odd nothing is believed, and nothing breaks."""
    run = Run("nightly@1", "nightly", "backup", "shop", "", "p", RunState.COMPLETED, NOW, NOW, {})
    body = {**attempt({}, HOUR, {}), "what": "attempt", "step": "database"}
    record = Record(1, run.id, "attempt database#1", NOW, body, "", "")
    inventory = Inventory.model_validate(world()["inventory"])
    assert witnesses([run], [record], lambda _: plan, inventory, NOW) == ()


def test_a_runbook_that_would_do_it_is_named() -> None:
    """What no record shows is to be done by the runbook that has the step, where there is one."""
    data = changed(("attempts.audit", GONE), ("attempts.check", GONE))
    steps = [{"kind": "check", "subset": "1/4"}, {"kind": "audit", "store": "b2"}]
    weekly = Runbook.model_validate({"runbook": "weekly", "kind": "maintenance", "service": "shop", "steps": steps})
    (errors,) = (digit for digit in judge(data, {"weekly": weekly}).digits if digit.name == "errors")
    assert {fact.do for fact in errors.facts if not fact.good} == {"drorch run weekly"}
