"""Documents are loaded whole, or every mistake of every file is named with its line and what to do."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drorch.config.load import check, load
from drorch.config.runbook import Parallel
from drorch.core.errors import ConfigError, Problem
from drorch.core.host import LocalHostSpec, SshHostSpec

INVENTORY = """\
site: acme
timezone: Europe/Berlin
hosts:
  web1: {address: 203.0.113.10}
  web2: {address: 198.51.100.20}
  data: {address: 198.51.100.30}
  twin: {address: 203.0.113.10}
repositories:
  nas: {url: /srv/nas, password: {secret: nas-password}}
services:
  shop:
    primary: web1
    standbys: [web2]
    repository: nas
    sources:
      database: {kind: sqlite, path: /srv/shop.db, host: data}
      media: {kind: files, paths: [/srv/shop]}
  lone:
    primary: web1
    repository: nas
    sources:
      media: {kind: files, paths: [/srv/lone]}
notify:
  ops: {kind: apprise, url: {secret: ops-chat}}
secrets:
  nas-password: {file: secrets/nas}
  ops-chat: {env: OPS_CHAT_URL}
"""

DRILL = "runbook: book\nkind: drill\nservice: shop\n"
MAINTENANCE = "runbook: book\nkind: maintenance\nservice: shop\n"

Expected = tuple[int, str, str, str]
"""Line, key, a piece of the message, a piece of the hint."""


def write(folder: Path, *, inventory: str = INVENTORY, **runbooks: str) -> Path:
    """A config folder with these documents; gives its path."""
    config = folder / "config"
    (config / "runbooks").mkdir(parents=True, exist_ok=True)
    (config / "drorch.yaml").write_text(inventory)
    for name, text in runbooks.items():
        (config / "runbooks" / f"{name}.yaml").write_text(text)
    return config


def assert_found(problems: tuple[Problem, ...], expected: list[Expected]) -> None:
    """Exactly these problems, in the order of their lines."""
    assert [(one.line, one.key) for one in problems] == [(line, key) for line, key, _, _ in expected], problems
    for problem, (_, _, message, hint) in zip(problems, expected, strict=True):
        assert message in problem.message, problem
        assert hint in problem.hint, problem


RUNBOOKS: dict[str, tuple[str, list[Expected]]] = {
    "three mistakes": (
        MAINTENANCE
        + "steps:\n  - {kind: backup, source: databse}\n  - {kind: wait, fro: 3s}\n"
        + "  - {kind: notify, to: opps, message: x}\n",
        [
            (5, "steps.0.source", "no source databse", "did you mean database?"),
            (6, "steps.1.fro", "unknown key", "did you mean for?"),
            (7, "steps.2.to", "no route opps", "did you mean ops?"),
        ],
    ),
    "a kind of runbook": (
        "runbook: book\nkind: dril\nservice: shop\nsteps:\n  - {kind: backup, source: medai}\n",
        [(2, "kind", "must be one of", "did you mean drill?"), (5, "steps.0.source", "medai", "did you mean media?")],
    ),
    "a kind of step": (
        MAINTENANCE + "steps:\n  - {kind: bakup, source: media}\n",
        [(5, "steps.0.kind", "unknown kind bakup", "did you mean backup?")],
    ),
    "a far kind": (
        MAINTENANCE + "steps:\n  - {kind: juggle}\n",
        [(5, "steps.0.kind", "unknown kind juggle", "one of approval, audit, backup")],
    ),
    "no kind": (MAINTENANCE + "steps:\n  - source: media\n", [(5, "steps.0.kind", "is missing", "add kind")]),
    "parallel": (
        MAINTENANCE + "steps:\n  - paralel: []\n",
        [(5, "steps.0.paralel", "unknown key", "did you mean parallel?")],
    ),
    "an empty block": (
        MAINTENANCE + "steps:\n  - parallel: []\n",
        [(5, "steps.0.parallel", "must not be empty", "")],
    ),
    "a key inside a block": (
        MAINTENANCE + "steps:\n  - parallel:\n      - kind: backup\n        sauce: media\n",
        [
            (6, "steps.0.parallel.0.source", "is missing", "What to back up"),
            (7, "steps.0.parallel.0.sauce", "unknown key", "did you mean source?"),
        ],
    ),
    "no steps": (MAINTENANCE, [(1, "", "has no steps", "")]),
    "no value": (MAINTENANCE + "steps:\n", [(4, "steps", "has no value", "What is done")]),
    "a service": (
        "runbook: book\nkind: backup\nservice: shopp\nsteps:\n  - {kind: backup, source: anything}\n",
        [(3, "service", "no service shopp", "did you mean shop?")],
    ),
    "a host": (
        MAINTENANCE + "steps:\n  - {kind: command, host: web3, run: [x]}\n",
        [(5, "steps.0.host", "no host web3", "did you mean web")],
    ),
    "a repository": (
        MAINTENANCE + "steps:\n  - {kind: check, repository: nass}\n",
        [(5, "steps.0.repository", "no repository nass", "did you mean nas?")],
    ),
    "a secret": (
        MAINTENANCE + "steps:\n  - {kind: command, run: [x], env: {A: {secret: nas-pasword}}}\n",
        [(5, "steps.0.env.A.secret", "no secret of this name", "did you mean nas-password?")],
    ),
    "a route for failures": (
        MAINTENANCE + "steps: [{kind: backup, source: media}]\non_failure: {notify: oops}\n",
        [(5, "on_failure.notify", "no route oops", "did you mean ops?")],
    ),
    "a schedule": (
        MAINTENANCE + "schedule: {daily: 25:00}\nsteps: [{kind: backup, source: media}]\n",
        [(4, "schedule.daily", "must be a time of day", "")],
    ),
    "a weekday": (
        MAINTENANCE + 'schedule: {weekly: {day: sonday, at: "1:00"}}\nsteps: [{kind: backup, source: media}]\n',
        [(4, "schedule.weekly.day", "must be one of", "did you mean sunday?")],
    ),
    "two ids": (
        MAINTENANCE + "steps:\n  - {kind: wait, id: a, for: 1s}\n  - {kind: wait, id: a, for: 1s}\n",
        [(6, "steps.1.id", "two steps have the id a, the first in line 5", "another id")],
    ),
    "an id that another has by itself": (
        MAINTENANCE + "steps:\n  - {kind: backup, source: media}\n  - {kind: wait, id: backup-media, for: 1s}\n",
        [(6, "steps.1.id", "another step is called backup-media", "another id")],
    ),
    "always beside steps that may not run": (
        MAINTENANCE
        + "steps:\n  - parallel:\n      - {kind: wait, for: 1s, always: true}\n      - {kind: wait, for: 2s}\n",
        [(6, "steps.0.parallel.0.always", "neither would it", "all steps of the block")],
    ),
    "a person in parallel": (
        MAINTENANCE + "steps:\n  - parallel:\n      - {kind: manual, instructions: x}\n      - {kind: wait, for: 1s}\n",
        [(6, "steps.0.parallel.0", "manual step cannot wait", "before or after")],
    ),
    "a standby without a drill": (
        MAINTENANCE + "standby: web2\nsteps: [{kind: backup, source: media}]\n",
        [(4, "standby", "has no standby", "only drills")],
    ),
    "a drill without a check": (
        DRILL + "steps:\n  - {kind: restore, source: media}\n",
        [(4, "steps", "a drill without a check proves nothing", "kind: verify")],
    ),
    "a drill that starts something only": (
        DRILL + "steps:\n  - {kind: restore, source: media}\n  - {kind: command, run: [x], background: true}\n",
        [(4, "steps", "a drill without a check proves nothing", "kind: verify")],
    ),
    "a drill that restores nothing": (
        DRILL + 'steps:\n  - {kind: http, url: "http://127.0.0.1/"}\n',
        [(4, "steps", "a drill without a restore", "kind: restore")],
    ),
    "a drill on the primary": (
        DRILL + "standby: web1\nsteps: [{kind: restore, source: media}, {kind: verify, source: media}]\n",
        [(4, "standby", "web1 is the primary", "name a standby")],
    ),
    "a drill on a source's host": (
        DRILL + "standby: data\nsteps: [{kind: restore, source: media}, {kind: verify, source: media}]\n",
        [(4, "standby", "data is where source database lives", "name a standby")],
    ),
    "a drill on the primary's address": (
        DRILL + "standby: twin\nsteps: [{kind: restore, source: media}, {kind: verify, source: media}]\n",
        [(4, "standby", "one machine: they have the same address", "another machine")],
    ),
    "a drill without a standby": (
        DRILL.replace("shop", "lone") + "steps: [{kind: restore, source: media}, {kind: verify, source: media}]\n",
        [(3, "service", "lone has no standby", "standbys:")],
    ),
    "a drill that swaps": (
        DRILL + "steps:\n  - {kind: restore, source: media, swap: true}\n  - {kind: verify, source: media}\n",
        [(5, "steps.0.swap", "never replaces what is live", "leave swap out")],
    ),
    "a verify without a restore": (
        DRILL + "steps:\n  - {kind: restore, source: media}\n  - {kind: verify, source: database}\n",
        [(6, "steps.1.source", "nothing restores database", "add a restore")],
    ),
    "a verify beside its restore": (
        DRILL + "steps:\n  - parallel: [{kind: restore, source: media}, {kind: verify, source: media}]\n",
        [(5, "steps.0.parallel.1.source", "nothing restores media before", "move it")],
    ),
    "a hole that nothing fills": (
        DRILL
        + "steps:\n  - {kind: restore, source: media}\n  - kind: command\n    run:\n"
        + '      - "{{ restore.medai.path }}"\n      - "{{ restore.media.pth }}"\n      - "{{ sevice }}"\n',
        [
            (8, "steps.1.run.0", "nothing gives {{ restore.medai.path }}", "did you mean restore.media?"),
            (9, "steps.1.run.1", "restore.media has no pth", "did you mean path?"),
            (10, "steps.1.run.2", "nothing gives {{ sevice }}", "did you mean service?"),
        ],
    ),
    "a hole before its step": (
        DRILL + 'steps:\n  - {kind: command, run: ["{{ restore.media.path }}"]}\n  - {kind: restore, source: media}\n',
        [(5, "steps.0.run.0", "is not known yet", "move it after")],
    ),
    "a hole with an expression": (
        MAINTENANCE + 'steps:\n  - {kind: command, run: ["{{ run | upper }}"]}\n',
        [(5, "steps.0.run.0", "a hole is", "take the rest out")],
    ),
    "a time without a zone": (
        DRILL + "snapshot: {before: 2026-10-01 10:00}\n"
        "steps: [{kind: restore, source: media}, {kind: verify, source: media}]\n",
        [(4, "snapshot", "needs a zone", "")],
    ),
    "no snapshot": (
        DRILL + "snapshot: {after: now}\nsteps: [{kind: restore, source: media}, {kind: verify, source: media}]\n",
        [(4, "snapshot", "must be latest, random", "")],
    ),
    "a broken file": ("runbook: [a\n", [(1, "", "bracket", "close it")]),
    "a list": ("- a\n", [(1, "", "must be a mapping", "")]),
    "text": ("hello\n", [(1, "", "must be a mapping", "")]),
}


@pytest.mark.parametrize("name", RUNBOOKS)
def test_mistakes_in_runbooks(tmp_path: Path, name: str) -> None:
    """Each mistake is named once, with its line, its key and a remedy."""
    text, expected = RUNBOOKS[name]
    assert_found(check(write(tmp_path, book=text)).problems, expected)


INVENTORIES: dict[str, tuple[tuple[str, str], list[Expected]]] = {
    "an address": (("web2: {address:", "web2: {adress:"), [(5, "hosts.web2.adress", "unknown key", "mean address?")]),
    "a connector": (
        ("web2: {address: 198.51.100.20}", "web2: {connector: shh}"),
        [(5, "hosts.web2.connector", "unknown connector shh", "did you mean ssh?")],
    ),
    "an option as address": (
        ("address: 198.51.100.20", "address: -oProxyCommand=x"),
        [(5, "hosts.web2.address", "not of the form", "never starts with")],
    ),
    "a name": (("  twin:", "  Twin:"), [(7, "hosts.Twin", "is no name", "lower-case")]),
    "a number": (("site: acme", "site: 12"), [(1, "site", "must be text", "quotes")]),
    "a zone": (("Europe/Berlin", "Europe/Berln"), [(2, "timezone", "time zone's name", "")]),
    "a primary": (
        ("primary: web1\n    standbys", "primary: wbe1\n    standbys"),
        [(12, "services.shop.primary", "no host wbe1", "did you mean web1?")],
    ),
    "a standby": (("[web2]", "[web2, web9]"), [(13, "services.shop.standbys.1", "no host web9", "did you mean web")]),
    "the primary as standby": (
        ("[web2]", "[web2, web1]"),
        [(13, "services.shop.standbys.1", "web1 is the primary", "another machine")],
    ),
    "a kind of source": (
        ("kind: sqlite", "kind: sqllite"),
        [(16, "services.shop.sources.database.kind", "unknown kind sqllite", "did you mean sqlite?")],
    ),
    "a kind of route": (
        ("kind: apprise", "kind: aprise"),
        [(24, "notify.ops.kind", "unknown kind aprise", "did you mean apprise?")],
    ),
    "a table": (("notify:", "notfy:"), [(23, "notfy", "unknown key", "did you mean notify?")]),
    "a backend": (("url: /srv/nas", "url: b2:bucket"), [(9, "repositories.nas.url", "no backend", "sftp")]),
    "a secret's origin": (
        ("{env: OPS_CHAT_URL}", "{evn: OPS_CHAT_URL}"),
        [(27, "secrets.ops-chat", "unknown key", "did you mean env?")],
    ),
    "no inventory at all": ((INVENTORY, ""), [(0, "", "is empty", "drorch init")]),
}


@pytest.mark.parametrize("name", INVENTORIES)
def test_mistakes_in_the_inventory(tmp_path: Path, name: str) -> None:
    """Each mistake is named once, with its line, its key and a remedy."""
    (old, new), expected = INVENTORIES[name]
    assert old in INVENTORY
    assert_found(check(write(tmp_path, inventory=INVENTORY.replace(old, new, 1))).problems, expected)


def test_all_mistakes_of_all_files_at_once(tmp_path: Path) -> None:
    """Mistakes in one file hide none in another."""
    config = write(
        tmp_path,
        inventory=INVENTORY.replace("[web2]", "[wbe2]").replace("timezone", "timezon"),
        one=DRILL.replace(": book", ": one")
        + "steps:\n  - {kind: restore, source: media}\n  - {kind: verify, source: meda}\n",
        two="runbook: two\nkind: backup\nservice: shop\nservice: shop\nsteps:\n  - {kind: backup, source: mdia}\n",
        three="a: [\n",
    )
    with pytest.raises(ConfigError) as error:
        load(config)
    found = [(Path(one.file).name, one.line, one.key) for one in error.value.problems]
    assert found == [
        ("drorch.yaml", 2, "timezon"),
        ("drorch.yaml", 13, "services.shop.standbys.0"),
        ("one.yaml", 6, "steps.1.source"),
        ("three.yaml", 1, ""),
        ("two.yaml", 4, "service"),
        ("two.yaml", 6, "steps.0.source"),
    ]


SECRETS = [
    ("password: {secret: nas-password}", "password: hunter2"),
    ("password: {secret: nas-password}", "password: {hunter2}"),
    ("password: {secret: nas-password}", "password: {secret: hunter2}"),
    ("password: {secret: nas-password}", "password: {secret: Hunter2-hunter2}"),
    ("password: {secret: nas-password}", "password: {secret: nas-password, value: hunter2}"),
    ("password: {secret: nas-password}", "password: [hunter2]"),
    ("password: {secret: nas-password}", "password: *hunter2"),
    ("password: {secret: nas-password}", "password: {secret: [hunter2]}"),
    ("password: {secret: nas-password}", "password: !hunter2x hunter2"),
    ("password: {secret: nas-password}", 'password: "hunter2'),
    ("password: {secret: nas-password}", "password: %hunter2"),
    ("password: {secret: nas-password}", "password: {secret: nas-password}, credentials: {A: hunter2}"),
    ("url: /srv/nas", "url: 'rest:https://u:hunter2@example.com/'"),
    ("nas-password: {file: secrets/nas}", "nas-password: hunter2"),
    ("nas-password: {file: secrets/nas}", "nas-password: {hunter2}"),
    ("nas-password: {file: secrets/nas}", "nas-password: {env: '-hunter2'}"),
    ("nas-password: {file: secrets/nas}", "nas-password: {credential: '/hunter2'}"),
    ("{kind: apprise, url: {secret: ops-chat}}", "{kind: apprise, url: 'slack://hunter2'}"),
    ("{kind: apprise, url: {secret: ops-chat}}", "{kind: webhook, url: 'http://x:hunter2@example.com/'}"),
    ("{kind: apprise, url: {secret: ops-chat}}", "{kind: webhook, url: 'hunter2://example.com/'}"),
    ("{kind: apprise, url: {secret: ops-chat}}", "{kind: webhook, url: 'https://x/', token: hunter2}"),
]


@pytest.mark.parametrize(("old", "new"), SECRETS)
def test_a_secret_in_the_wrong_place_is_refused_and_never_shown(tmp_path: Path, old: str, new: str) -> None:
    """Wherever somebody writes a secret itself, that is a mistake whose text does not repeat it."""
    assert old in INVENTORY
    checked = check(write(tmp_path, inventory=INVENTORY.replace(old, new, 1)))
    assert checked.problems
    said = "".join(map(str, (*checked.problems, *checked.warnings))).lower()
    assert "hunter2" not in said.replace("tags (!hunter2x)", "")


def test_good_documents_load(tmp_path: Path) -> None:
    """Without mistakes there are an inventory and runbooks by name, and where each came from."""
    config = write(
        tmp_path,
        nightly="runbook: nightly\nkind: backup\nservice: shop\nsteps:\n"
        "  - parallel: [{kind: backup, source: media}, {kind: backup, source: database}]\n",
        drill=DRILL.replace("book: book", "book: drill") + "snapshot: {before: 2026-10-01}\n"
        "steps:\n  - {kind: restore, source: media}\n  - {kind: verify, source: media}\n"
        '  - {kind: command, id: go, run: [x, "{{ restore.media.path }}", "{{.State.Running}}"]}\n'
        '  - {kind: notify, to: ops, message: "{{ go.exit_code }} of {{ run }}", always: true}\n',
    )
    documents = load(config)
    assert list(documents.runbooks) == ["drill", "nightly"]
    assert documents.origins["drill"] == config / "runbooks" / "drill.yaml"
    assert documents.runbooks["drill"].snapshot == "before:2026-10-01T00:00:00Z"
    assert isinstance(documents.runbooks["nightly"].steps[0], Parallel)
    assert documents.inventory.timezone == "Europe/Berlin"


def test_loaded_models_survive_json(tmp_path: Path) -> None:
    """What was loaded is the same after it went through JSON, as plans do."""
    config = write(tmp_path, book=DRILL + "steps: [{kind: restore, source: media}, {kind: verify, source: media}]\n")
    documents = load(config)
    for model in (documents.inventory, *documents.runbooks.values()):
        assert type(model).model_validate(model.model_dump(mode="json")) == model


def test_paths_of_the_controller_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths count from the inventory's folder, ``~`` is the home; paths of remote hosts are left alone."""
    monkeypatch.setenv("HOME", "/home/me")
    config = write(
        tmp_path,
        inventory="""\
site: x
hosts:
  a: {home: ../primary, work: scratch}
  b: {address: b, key: ~/.ssh/key, work: rel}
  c: {}
repositories:
  r: {url: ../repo, password: {secret: p}}
  s: {url: "sftp:u@h:repo", password: {secret: p}}
secrets:
  p: {file: secrets/p}
""",
    )
    monkeypatch.chdir(tmp_path)
    inventory = load(Path("config")).inventory
    a, b, c = (inventory.hosts[name] for name in "abc")
    assert isinstance(a, LocalHostSpec)
    assert (a.home, a.work) == (f"{tmp_path}/primary", f"{config}/scratch")
    assert isinstance(b, SshHostSpec)
    assert (b.key, b.work) == ("/home/me/.ssh/key", "rel")
    assert c.work == "~/.drorch"
    assert (inventory.repositories["r"].url, inventory.repositories["s"].url) == (f"{tmp_path}/repo", "sftp:u@h:repo")
    assert inventory.secrets["p"].file == f"{config}/secrets/p"


def test_two_runbooks_of_one_name(tmp_path: Path) -> None:
    """A name is given once; the second file that gives it is told of the first."""
    text = MAINTENANCE + "steps: [{kind: backup, source: media}]\n"
    (problem,) = check(write(tmp_path, book=text, other=text)).problems
    assert (Path(problem.file).name, problem.line, "book.yaml" in problem.message) == ("other.yaml", 1, True)


def test_what_is_only_doubtful_is_a_warning(tmp_path: Path) -> None:
    """A file of another name, a missing pin and a file that is not read are told, and nothing is refused."""
    config = write(tmp_path, other=MAINTENANCE + "steps: [{kind: backup, source: media}]\n")
    (config / "runbooks" / "late.yml").write_text("x")
    checked = check(config)
    assert checked.documents is not None
    said = {(Path(one.file).name, one.message.split(":")[0]) for one in checked.warnings}
    assert {("drorch.yaml", "no key is pinned"), ("late.yml", "is not read")} <= said
    assert any(one.key == "runbook" for one in checked.warnings)


WAY_HOME = """\
runbook: book
kind: failback
service: shop
steps:
  - {kind: fence, host: web2, ladder: [{stop: shop}, {power_off: {command: [p], status: [s], off: "^off$"}}]}
  - {kind: switch, via: {haproxy: {host: data, backend: shop}}}
"""


def test_a_way_home_is_written_while_the_service_is_at_home(tmp_path: Path) -> None:
    """It is judged as it will be used: from the host that it fences, to the one that is the primary in the file."""
    assert check(write(tmp_path, book=WAY_HOME)).problems == ()


def test_a_rung_that_there_is_not_is_named(tmp_path: Path) -> None:
    """A typo in a ladder is told as it was written."""
    for typed, said in (("atest", "unknown word atest"), ("{powr_off: x}", "unknown word powr_off")):
        checked = check(write(tmp_path / said, book=WAY_HOME.replace("{stop: shop}", typed)))
        assert any(said in problem.message for problem in checked.problems)


def test_a_lock_that_nobody_can_lift_is_a_warning(tmp_path: Path) -> None:
    """Who declares a compliance lock is told in plain words what it means; governance is taken in silence."""
    for mode, warned in (("compliance", True), ("governance", False)):
        config = write(tmp_path / mode)
        text = (config / "drorch.yaml").read_text()
        store = (
            f"stores:\n  away: {{kind: s3, endpoint: 'https://s3.example.com', bucket: away-bucket, "
            f"credentials: {{secret: p}}, lock: {{mode: {mode}, days: 30}}}}\n"
        )
        (config / "drorch.yaml").write_text(text + store)
        said = [one.message for one in check(config).warnings if one.key.startswith("stores.away")]
        assert any("nobody can delete" in message for message in said) is warned


def test_runbooks_beside_the_config_folder(tmp_path: Path) -> None:
    """Without ``runbooks`` in the config folder the one beside it is read, or the one that is said."""
    config = write(tmp_path)
    (config / "runbooks").rmdir()
    for folder in ("runbooks", "elsewhere"):
        (tmp_path / folder).mkdir()
        name = f"in-{folder}"
        text = MAINTENANCE.replace("book: book", f"book: {name}") + "steps: [{kind: backup, source: media}]\n"
        (tmp_path / folder / f"{name}.yaml").write_text(text)
    assert list(load(config).runbooks) == ["in-runbooks"]
    assert list(load(config, tmp_path / "elsewhere").runbooks) == ["in-elsewhere"]
    with pytest.raises(ConfigError, match="no such folder"):
        load(config, tmp_path / "nowhere")


def test_no_inventory(tmp_path: Path) -> None:
    """Where there is no inventory, the error says how to get one."""
    with pytest.raises(ConfigError, match=r"no such file.*drorch init"):
        load(tmp_path / "nowhere")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """A folder or device in a runbook's place is a mistake and never read."""
    config = write(tmp_path)
    (config / "runbooks" / "folder.yaml").mkdir()
    (config / "runbooks" / "zero.yaml").symlink_to("/dev/zero")
    assert [(Path(one.file).name, one.message) for one in check(config).problems] == [
        ("folder.yaml", "is no file"),
        ("zero.yaml", "is no file"),
    ]


def test_a_hostile_file_name_is_shown_safely(tmp_path: Path) -> None:
    """A name with newlines, escapes and bytes that are no text is shown on one line."""
    config = write(tmp_path)
    path = bytes(config / "runbooks") + b"/a\n\x1b[2J\xff.yaml"
    Path(path.decode("utf-8", "surrogateescape")).write_text("")
    (problem,) = check(config).problems
    assert str(problem).isprintable()
    str(problem).encode()


# The folder is written anew for each example.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(inventory=st.text(), runbook=st.text())
def test_any_text_is_refused_in_one_way(tmp_path: Path, inventory: str, runbook: str) -> None:
    """Whatever stands in the files, loading fails with a ConfigError or not at all."""
    config = write(tmp_path)
    (config / "drorch.yaml").write_bytes(inventory.encode("utf-8", "surrogatepass"))
    (config / "runbooks" / "x.yaml").write_bytes(runbook.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError):
        load(config)


_LINES = (
    INVENTORY + DRILL + "steps:\n  - {kind: restore, source: media}\n  - {kind: verify, source: media}\n"
).splitlines()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(_LINES), max_size=30), st.lists(st.sampled_from(_LINES), max_size=12))
def test_any_mix_of_lines_is_loaded_or_refused(tmp_path: Path, inventory: list[str], runbook: list[str]) -> None:
    """Documents of nearly right shape are loaded, or refused with lines that exist."""
    config = write(tmp_path, inventory="\n".join(inventory), x="\n".join(runbook))
    checked = check(config)
    assert (checked.documents is None) == bool(checked.problems)
    longest = max(len(inventory), len(runbook)) + 1
    assert all(0 <= problem.line <= longest for problem in checked.problems)
