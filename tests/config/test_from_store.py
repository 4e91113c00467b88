"""Runbooks that restore from an off-site copy: what they say, and which mistakes are named."""

from pathlib import Path

import pytest

from drorch.config.adhoc import restore_runbook, runbook_for
from drorch.config.load import Checked, Documents, check
from drorch.core.errors import Refused, UnknownName
from drorch.core.scene import Scene
from drorch.engine.plan import Plan, make_plan

INVENTORY = """\
site: acme
hosts:
  web1: {address: 203.0.113.10}
  web2: {address: 198.51.100.20}
repositories:
  nas: {url: /srv/nas, password: {secret: nas-password}}
stores:
  offsite: {kind: s3, endpoint: https://s3.example.com, bucket: acme-offsite, credentials: {secret: writer}}
  attic: {kind: directory, path: /mnt/attic}
  shed: {kind: sftp, host: web2, path: /srv/shed}
services:
  shop:
    primary: web1
    standbys: [web2]
    repository: nas
    sources:
      media: {kind: files, paths: [/srv/shop]}
secrets:
  nas-password: {env: NAS}
  writer: {env: WRITER}
"""
HEAD = "runbook: book\nkind: drill\nservice: shop\n"
STEPS = "steps: [{kind: restore, source: media}, {kind: verify, source: media}]\n"


def documents(folder: Path, book: str) -> Documents:
    """The documents with this runbook, which must be right."""
    checked = checked_in(folder, book)
    assert checked.documents is not None, checked.problems
    return checked.documents


def checked_in(folder: Path, book: str) -> Checked:
    """What a check of this runbook finds."""
    (folder / "config" / "runbooks").mkdir(parents=True)
    (folder / "config" / "drorch.yaml").write_text(INVENTORY)
    (folder / "config" / "runbooks" / "book.yaml").write_text(book)
    return check(folder / "config")


def planned(folder: Path, book: str) -> Plan:
    """Its plan, as read back from its stored text."""
    found = documents(folder, book)
    plan = make_plan(found.inventory, found.runbooks["book"])
    assert Plan.read(plan.text).digest == plan.digest
    return Plan.read(plan.text)


def origins(scene: Scene, plan: Plan) -> list[str]:
    """What the plan's lines tell of each restore."""
    return [step.step.describe(scene) for step in plan.steps() if step.step.kind == "restore"]


@pytest.mark.parametrize(
    ("said", "point"),
    [
        ("{store: offsite}", "latest"),
        ("{store: offsite, before: 2026-10-01}", "before:2026-10-01T00:00:00Z"),
        ("{store: offsite, before: '2026-10-01 14:30:00+02:00'}", "before:2026-10-01T12:30:00Z"),
        ("{store: offsite, take: random}", "random"),
        ("{store: offsite, take: 4f2a91c0}", "4f2a91c0"),
    ],
)
def test_a_runbook_says_where_from_and_which(tmp_path: Path, said: str, point: str) -> None:
    """The store and the point of a runbook are its plan's, with the store and its secret in the plan."""
    plan = planned(tmp_path, f"{HEAD}snapshot: {said}\n{STEPS}")
    assert (plan.scene.store, plan.scene.snapshot) == ("offsite", point)
    assert list(plan.stores) == ["offsite"]
    assert set(plan.secrets) == {"nas-password", "writer"}
    assert origins(plan.scene, plan) == [
        f"restore files /srv/shop ({point}) from the mirror of nas in offsite on web2, beside whatever is there"
    ]
    assert all("--no-lock" in command.argv for _, _, commands in plan.preview() for command in commands if
               command.argv[0] == "restic")  # fmt: skip


def test_a_step_may_say_its_own_store(tmp_path: Path) -> None:
    """A step's store goes before the runbook's, and both are in the plan."""
    steps = "steps: [{kind: restore, source: media, store: attic}, {kind: verify, source: media}]\n"
    plan = planned(tmp_path, f"{HEAD}snapshot: {{store: offsite}}\n{steps}")
    assert list(plan.stores) == ["attic", "offsite"]
    assert "in attic" in origins(plan.scene, plan)[0]


def test_plans_without_a_store_are_as_they_were(tmp_path: Path) -> None:
    """A plan that restores from the repository does not mention stores, so its digest is that of before."""
    plan = planned(tmp_path, HEAD + STEPS)
    assert '"store' not in plan.text
    assert plan.scene.store is None


def test_the_command_line_says_a_store(tmp_path: Path) -> None:
    """A named store overrides the runbook's, for drills and restores; one that is not there is refused."""
    found = documents(tmp_path, f"{HEAD}snapshot: {{store: offsite, take: random}}\n{STEPS}")
    drill = runbook_for(found.runbooks, found.inventory, "drill", "shop")
    plan = make_plan(found.inventory, drill, store="attic")
    assert (plan.store, plan.snapshot, list(plan.stores)) == ("attic", "random", ["attic"])
    restore = restore_runbook(found.inventory, "shop", (), host=None, snapshot="latest", swap=False, store="attic")
    assert "in attic" in origins(make_plan(found.inventory, restore).scene, make_plan(found.inventory, restore))[0]
    with pytest.raises(UnknownName, match="no store atic"):
        make_plan(found.inventory, drill, store="atic")
    with pytest.raises(Refused, match="restic cannot read shed") as caught:
        make_plan(found.inventory, drill, store="shed")
    assert "drorch recover shed" in caught.value.hint
    with pytest.raises(UnknownName, match="no store atic"):
        restore_runbook(found.inventory, "shop", (), host=None, snapshot="latest", swap=False, store="atic")


@pytest.mark.parametrize(
    ("snapshot", "step", "expected"),
    [
        ("{store: ofsite}", "", (4, "snapshot.store", "no store ofsite", "did you mean offsite?")),
        ("{store: offsite, befor: 2026-10-01}", "", (4, "snapshot.befor", "unknown key", "did you mean before?")),
        ("{store: offsite, before: soon}", "", (4, "snapshot.before", "is no time", "")),
        ("{store: offsite, take: newest}", "", (4, "snapshot.take", "form", "latest")),
        ("{store: offsite, before: 2026-10-01, take: random}", "", (4, "snapshot", "each say which point", "")),
        ("{store: 7}", "", (4, "snapshot.store", "must be text", "quotes")),
        ("{store: shed}", "", (5, "steps.0", "restic cannot read shed", "drorch recover shed")),
        ("latest", ", store: shed", (5, "steps.0.store", "restic cannot read shed", "drorch recover shed")),
        ("latest", ", store: atic", (5, "steps.0.store", "no store atic", "did you mean attic?")),
    ],
)
def test_mistakes_have_their_line(
    tmp_path: Path, snapshot: str, step: str, expected: tuple[int, str, str, str]
) -> None:
    """A wrong store, point or combination is told with its place and what to do."""
    steps = f"steps: [{{kind: restore, source: media{step}}}, {{kind: verify, source: media}}]\n"
    (problem,) = checked_in(tmp_path, f"{HEAD}snapshot: {snapshot}\n{steps}").problems
    line, key, message, hint = expected
    assert (problem.line, problem.key) == (line, key), problem
    assert message in problem.message
    assert hint in problem.hint
