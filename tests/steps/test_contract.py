"""The contract that every step kind keeps, over all kinds there are. A new kind needs an example here."""

import ast
import inspect
import json
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from drorch.core.approval import Agreement, BreakGlass
from drorch.core.clock import FakeClock
from drorch.core.errors import Interrupted
from drorch.core.evidence import Evidence, Failure
from drorch.core.model import Json
from drorch.core.scene import RunKind
from drorch.core.step import Earlier, Step
from drorch.core.store import Lock
from drorch.hosts.fake import FakeHost
from drorch.mirror import reclaim
from drorch.mirror.ledger import Ledger
from drorch.mirror.transfer import Known, transfer
from drorch.repositories.memory import MemoryRepository
from drorch.sources.command import Custom
from drorch.sources.files import Files
from drorch.steps import KINDS, AnyStep
from drorch.steps import _processes as processes
from drorch.steps.approval import ApprovalStep
from drorch.stores.memory import MemoryStore
from support.mirrors import Home, offsite
from support.signers import signer
from support.tools import CANARY, START, Cut, World, WorldTools, step_name, words_of
from support.turns import FENCED
from support.twins import twinned
from support.units import FakeUnit, machine
from support.web import Web

ADAPTER: TypeAdapter[Step] = TypeAdapter(AnyStep)
VOLATILE = frozenset(
    {"seconds", "latency_ms", "tries", "pid", "started_ticks", "bytes_freed", "bytes_written", "check_seconds"}
    | {
        "uploaded",
        "uploaded_bytes",
        "looked_at",
        "extended",
        "versions",
        "before",
        "tried",
    }  # what this attempt had to do
)
"""Facts that differ from one performance to the next by their nature."""


@dataclass(frozen=True)
class Example:
    """A step as a user writes it, in a kind of run, and what happened in that run before."""

    said: Callable[[World, Web], Json]
    kind: RunKind = "drill"
    before: Callable[[World], Earlier] = lambda _: {}


def _backed_up(world: World) -> None:
    for number, source in enumerate(("media", "orders")):
        nightly = world.as_run("backup", "shop-nightly@2026-03-01T01:30Z", START - timedelta(hours=1, minutes=number))
        nightly.evidence(_step({"kind": "backup", "source": source}))


def _four_nights(world: World) -> Earlier:
    for days in (4, 3, 2, 1):
        nightly = world.as_run("backup", f"shop-nightly@{days}", START - timedelta(days=days))
        nightly.evidence(_step({"kind": "backup", "source": "media"}))
    return {}


def _there(world: World) -> Earlier:
    _backed_up(world)
    return {}


def _only_mirrored(world: World) -> Earlier:
    _backed_up(world)
    world.repositories["nas@offsite"] = world.repositories.pop("nas")
    return {}


def _restored(world: World) -> Earlier:
    _backed_up(world)
    steps = [_step({"kind": "restore", "source": source}) for source in ("media", "orders")]
    return {step_name(step): world.evidence(step) for step in steps}


def _everything(world: World) -> Earlier:
    earlier = _restored(world)
    program = _step({"kind": "command", "id": "serve", "run": ["sleep", "600"], "background": True})
    return {**earlier, "serve": world.evidence(program, earlier)}


def _confirmed(_world: World) -> Earlier:
    return {"manual": Evidence(facts={"confirmed_by": "eve@desk", "note": "cable is in"})}


def _approval(**more: Json) -> Json:
    return {"kind": "approval", "people": {"anna": signer("anna").public}, "logins": {"anna": ["anna"]}, **more}


def _signed(world: World) -> Earlier:
    """The answer of a person who agreed to this run, which somebody else began."""
    world.run = replace(world.run, by="eve@desk")
    step = _step(_approval())
    assert isinstance(step, ApprovalStep)
    text = step.request(world.run, world.scene, world.clock.now()).text
    note = Agreement(person="anna", request=text, signature=signer("anna").sign(text)).model_dump_json()
    return {"approval": Evidence(facts={"confirmed_by": "eve@desk", "note": note})}


def _broken_glass(_world: World) -> Earlier:
    note = BreakGlass(break_glass="nobody answers the telephone").model_dump_json()
    return {"approval": Evidence(facts={"confirmed_by": "eve@desk", "note": note})}


def _offsite(world: World) -> Home:
    """Files for a repository, and a store for their copy."""
    home = Home(world.clock)
    for _ in range(2):
        home.back_up()
    world.shelves["nas"] = home.shelf
    world.stores["offsite"] = offsite(world.clock, lock=Lock(days=30))
    return home


def _to_mirror(world: World) -> Earlier:
    _backed_up(world)
    _offsite(world)
    return {}


def _mirrored(world: World) -> Home:
    _backed_up(world)
    home = _offsite(world)
    world.as_run("backup", "shop-nightly@1").evidence(_step({"kind": "mirror", "store": "offsite"}))
    return home


def _to_audit(world: World) -> Earlier:
    _mirrored(world)
    return {}


def _to_recover(world: World) -> Earlier:
    _mirrored(world)
    rebuilt = MemoryRepository("rebuilt")
    rebuilt.create(world.at)
    world.repositories[f"nas@{world.root}/rebuilt"] = rebuilt
    return {}


def _to_reclaim(world: World) -> Earlier:
    """A snapshot that is gone from the repository since before the last locks ran out."""
    home = _mirrored(world)
    home.forget(next(iter(home.shelf.entries("snapshots/"))).key.rpartition("/")[2])
    gone = reclaim.look(home.shelf, world.stores["offsite"], "nas/")
    known = Ledger(config=gone.config, began=START, index=gone.index)
    reclaim.note(WorldTools(world, "", Cut()).memory, "offsite", "nas", gone, known, now=START - timedelta(days=50))
    world.clock.at = START + timedelta(days=31)
    world.as_run("backup", "shop-nightly@2").evidence(_step({"kind": "mirror", "store": "offsite"}))
    world.clock.at = START + timedelta(days=31)
    return {}


def _agreed(world: World) -> str:
    """The digest of what `_to_reclaim` lets go: names depend on content only."""
    home = Home(FakeClock())
    store = offsite(home.clock)
    for _ in range(2):
        home.back_up()
    transfer(home.shelf, store, "nas/", Known())
    home.forget(next(iter(home.shelf.entries("snapshots/"))).key.rpartition("/")[2])
    del world
    return reclaim.look(home.shelf, store, "nas/").token


def _claimable(world: World) -> Earlier:
    world.stores["offsite"] = offsite(world.clock)
    return {}


def _claimable_once_probed(world: World) -> Earlier:
    world.stores["offsite"] = MemoryStore("offsite", clock=world.clock, versioned=False)
    return {}


def _claimed(world: World) -> Earlier:
    _claimable(world)
    return {
        "claim": world.evidence(_step({"kind": "claim", "store": "offsite"})),
        "switch": Evidence(facts={"to": "standby"}),
    }


def _silent(world: World) -> Earlier:
    world.hosts["primary"] = FakeHost("primary", reachable=False)
    return {}


def _cold(world: World) -> Earlier:
    """The standby's services: one is masked, one runs."""
    stopped = FakeUnit(active="inactive", pid=0, processes=())
    masked = FakeUnit(active="inactive", pid=0, processes=(), masked="masked")
    world.hosts["standby"], _ = machine("standby", queue=stopped, shop=masked, mail=FakeUnit())
    return FENCED


def _led(world: World) -> Earlier:
    (world.root / "standby" / "leads").write_text("primary\n")
    return FENCED


def _with_twin(world: World, said: Json) -> Json:
    twinned(world)
    return said


_LEADING = {
    "host": "standby",
    "run": ["sh", "-c", 'test -n "$TOKEN" && echo "$1" >leads', "sh", "{{ to }}"],
    "check": ["cat", "leads"],
    "hold": ["touch", "held"],
    "release": ["rm", "-f", "held"],
    "env": {"TOKEN": {"secret": "canary"}},
}

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "promote": (
        Example(
            lambda world, _: _with_twin(world, {"kind": "promote", "source": "database"}), "failover", lambda _: FENCED
        ),
    ),
    "caught_up": (
        Example(lambda world, _: _with_twin(world, {"kind": "caught_up", "source": "database"}), "failover"),
    ),
    "rejoin": (
        Example(
            lambda world, _: _with_twin(
                world, {"kind": "rejoin", "source": "database", "host": "primary", "leader": "standby"}
            ),
            "failover",
        ),
    ),
    "backup": (
        Example(lambda *_: {"kind": "backup", "source": "media"}, "backup"),
        Example(lambda *_: {"kind": "backup", "source": "orders"}, "backup"),
    ),
    "retain": (Example(lambda *_: {"kind": "retain", "keep": {"last": 2}}, "backup", _four_nights),),
    "check": (
        Example(lambda *_: {"kind": "check"}, "backup", _there),
        Example(lambda *_: {"kind": "check", "subset": "1/3", "every": "7d"}, "backup", _there),
    ),
    "copy": (
        Example(lambda *_: {"kind": "copy", "to": "vault2"}, "backup", _there),
        Example(lambda *_: {"kind": "copy", "to": "vault2", "only": "latest", "subset": "1/3"}, "backup", _there),
    ),
    "mirror": (Example(lambda *_: {"kind": "mirror", "store": "offsite"}, "backup", _to_mirror),),
    "audit": (
        Example(lambda *_: {"kind": "audit", "store": "offsite"}, "maintenance", _to_audit),
        Example(lambda *_: {"kind": "audit", "store": "offsite", "everything": True}, "maintenance", _to_audit),
    ),
    "recover": (
        Example(
            lambda world, _: {"kind": "recover", "store": "offsite", "to": f"{world.root}/rebuilt"},
            "maintenance",
            _to_recover,
        ),
    ),
    "reclaim": (
        Example(
            lambda world, _: {"kind": "reclaim", "store": "offsite", "agreed": _agreed(world)},
            "maintenance",
            _to_reclaim,
        ),
    ),
    "restore": (
        Example(lambda *_: {"kind": "restore", "source": "media"}, before=_there),
        Example(lambda *_: {"kind": "restore", "source": "orders", "snapshot": "random"}, before=_there),
        Example(lambda *_: {"kind": "restore", "source": "media", "swap": True}, "maintenance", _there),
        Example(lambda *_: {"kind": "restore", "source": "media", "store": "offsite"}, before=_only_mirrored),
    ),
    "verify": (
        Example(lambda *_: {"kind": "verify", "source": "media", "expect": {"files": 2}}, before=_restored),
        Example(lambda *_: {"kind": "verify", "source": "orders"}, before=_restored),
    ),
    "command": (
        Example(
            lambda *_: {
                "kind": "command",
                "run": ["sh", "-c", 'printf "%s\\n" "$0" > "$HOME/seen"', "{{ restore.media.path }}"],
                "probe": ["test", "-e", "seen"],
                "undo": ["rm", "-f", "seen"],
            },
            before=_restored,
        ),
        Example(
            lambda *_: {
                "kind": "command",
                "run": ["printenv", "TOKEN"],
                "env": {"TOKEN": {"secret": "canary"}},
                "expect": {"stdout": CANARY[:6]},
            }
        ),
        Example(
            lambda *_: {
                "kind": "command",
                "run": ["sh", "-c", 'echo "$TOKEN"; exec sleep 600'],
                "env": {"TOKEN": {"secret": "canary"}},
                "background": True,
            }
        ),
    ),
    "http": (
        Example(
            lambda _, web: {
                "kind": "http",
                "url": web.url("/health"),
                "host": "standby",
                "headers": {"Authorization": {"secret": "canary"}},
                "expect": {"body": "ok", "regex": "^status: "},
            },
            before=_restored,
        ),
    ),
    "fence": (
        Example(
            lambda *_: {
                "kind": "fence",
                "host": "primary",
                "ladder": [
                    {"stop": ["shop", "postgresql"]},
                    {
                        "power_off": {
                            "command": ["sh", "-c", 'printf "$TOKEN" >secret; touch off'],
                            "status": ["ls"],
                            "off": "^off$",
                            "on": ["rm", "-f", "off"],
                            "host": "standby",
                            "env": {"TOKEN": {"secret": "canary"}},
                        }
                    },
                    "attest",
                ],
            },
            "failover",
            _silent,
        ),
    ),
    "service": (
        Example(
            lambda *_: {"kind": "service", "host": "standby", "start": ["queue", "shop"], "for": "5s"},
            "failover",
            _cold,
        ),
        Example(lambda *_: {"kind": "service", "host": "standby", "stop": "mail", "sudo": True}, "failover", _cold),
    ),
    "wait": (
        Example(lambda *_: {"kind": "wait", "for": "30s"}),
        Example(lambda _, web: {"kind": "wait", "tcp": {"host": "standby", "port": web.port}}),
    ),
    "manual": (
        Example(lambda *_: {"kind": "manual", "instructions": "Put the cable in.\nThen confirm."}, before=_confirmed),
    ),
    "approval": (
        Example(lambda *_: _approval(), "failover", _signed),
        Example(lambda *_: _approval(tell=["ops"]), "failover", _broken_glass),
    ),
    "notify": (
        Example(
            lambda *_: {"kind": "notify", "to": "ops", "message": "{{ service }} is back at {{ x.y }}"}, "failover"
        ),
    ),
    "claim": (
        Example(lambda *_: {"kind": "claim", "store": "offsite"}, "failover", _claimable),
        Example(lambda *_: {"kind": "claim", "store": "offsite"}, "failover", _claimable_once_probed),
    ),
    "release": (Example(lambda *_: {"kind": "release", "store": "offsite"}, "failover", _claimed),),
    "switch": (Example(lambda *_: {"kind": "switch", "via": {"command": _LEADING}}, "failover", _led),),
    "hold": (Example(lambda *_: {"kind": "hold", "via": {"command": _LEADING}}, "failover", _led),),
    "cleanup": (Example(lambda *_: {"kind": "cleanup"}, before=_everything),),
}
CASES = [
    pytest.param(example, id=f"{kind}-{number}")
    for kind, examples in EXAMPLES.items()
    for number, example in enumerate(examples, 1)
]


def _step(said: Json) -> Step:
    return ADAPTER.validate_python(said)


@contextmanager
def _world(root: Path, kind: RunKind) -> Iterator[World]:
    """A shop with two files and a list of orders; what it starts is ended."""
    shop = root / "primary" / "shop"
    shop.mkdir(parents=True)
    (shop / "a.jpg").write_bytes(b"\xff\xd8 a picture")
    (shop / "-rf \n\x1b[31m.txt").write_bytes(b"a hostile name")
    for file in shop.iterdir():
        os.utime(file, (START.timestamp(), START.timestamp()))
    orders = root / "primary" / "orders.csv"
    orders.write_text("1;shoes\n2;socks\n")
    sources = {
        "media": Files(kind="files", paths=(str(shop),)),
        "orders": Custom(kind="command", backup=("cat", str(orders)), filename="orders.csv"),
    }
    world = World(root, sources, kind=kind)
    try:
        yield world
    finally:
        for state in root.glob("*/.drorch/*/*/processes/*"):
            failure = processes.stop(world.hosts["standby"], str(state))
            assert failure is None


def _comparable(evidence: Evidence, root: Path) -> Json:
    """Evidence without what differs between two worlds, or two performances, by its nature."""

    def plain(value: Json) -> Json:
        if isinstance(value, dict):
            return {plain(key): plain(item) for key, item in value.items() if key not in VOLATILE}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return (
            re.sub(r"\b[0-9a-f]{64}\b", "<id>", value.replace(str(root), "<root>")) if isinstance(value, str) else value
        )

    return plain(evidence.model_dump(mode="json"))


def test_every_kind_has_an_example() -> None:
    """No kind escapes this contract."""
    assert set(EXAMPLES) == set(KINDS)
    for kind, examples in EXAMPLES.items():
        assert examples, kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_documented(kind: str) -> None:
    """Each field that a kind adds carries the text that users read."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(KINDS[kind]))).body
    assert isinstance(body, ast.ClassDef)
    assert KINDS[kind].__doc__
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id != "kind":
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert documented, f"{kind}.{node.target.id} says nothing about itself"


@pytest.mark.parametrize("example", CASES)
def test_it_describes_itself(example: Example, tmp_path: Path, web: Web) -> None:
    """The plan's line is one line of text without a full stop."""
    with _world(tmp_path, example.kind) as world:
        line = _step(example.said(world, web)).describe(world.scene)
        assert line
        assert line == line.strip()
        assert "\n" not in line
        assert not line.endswith(".")


@pytest.mark.parametrize("example", CASES)
def test_it_survives_json(example: Example, tmp_path: Path, web: Web) -> None:
    """What a plan stores reads back as the same step, with and without its defaults."""
    with _world(tmp_path, example.kind) as world:
        step = _step(example.said(world, web))
        for left_out in (False, True):
            text = json.dumps(step.model_dump(mode="json", exclude_defaults=left_out))
            assert _step(json.loads(text)) == step


@pytest.mark.parametrize("example", CASES)
def test_nothing_is_wrong_with_it(example: Example, tmp_path: Path, web: Web) -> None:
    """A step that can be performed has no problems in its scene."""
    with _world(tmp_path, example.kind) as world:
        assert _step(example.said(world, web)).problems(world.scene) == ()


@pytest.mark.parametrize("example", CASES)
def test_its_preview_is_pure_and_holds_no_secret(example: Example, tmp_path: Path, web: Web) -> None:
    """Printing the plan executes nothing and shows no secret's value."""
    with _world(tmp_path, example.kind) as world:
        step = _step(example.said(world, web))
        planned = step.preview(world.scene, "shop-drill@<slot>")
        assert planned == step.preview(world.scene, "shop-drill@<slot>")
        assert world.commands == []
        assert CANARY not in str(planned)
        assert all(each.host in {*world.scene.hosts, "controller"} for each in planned)


@pytest.mark.parametrize("example", CASES)
def test_it_is_safe_to_perform_twice(example: Example, tmp_path: Path, web: Web) -> None:
    """A second performance finds what the first brought about and measures the same."""
    with _world(tmp_path, example.kind) as world:
        step, earlier = _step(example.said(world, web)), example.before(world)
        first = world.evidence(step, earlier)
        second = world.evidence(step, earlier, again=True)
        assert _comparable(second, tmp_path) == _comparable(first, tmp_path)


@pytest.mark.parametrize("example", CASES)
def test_it_survives_a_cut_between_each_effect_and_the_record(example: Example, tmp_path: Path, web: Web) -> None:
    """Cut after any of its effects and performed again, it ends with the evidence of an undisturbed run."""
    with _world(tmp_path / "0", example.kind) as world:
        step = _step(example.said(world, web))
        undisturbed = _comparable(world.evidence(step, example.before(world)), tmp_path / "0")
    at = 0
    cut = True
    while cut:
        at += 1
        root = tmp_path / str(at)
        with _world(root, example.kind) as world:
            step, earlier = _step(example.said(world, web)), example.before(world)
            try:
                world.perform(step, earlier, cut=Cut(at))
            except Interrupted:
                world.clock.at = max(world.clock.at, START)
                resumed = world.evidence(step, earlier, again=True)
                assert _comparable(resumed, root) == undisturbed, f"cut after effect {at}"
            else:
                cut = False


@pytest.mark.parametrize("example", CASES)
def test_it_leaks_no_secret(example: Example, tmp_path: Path, web: Web) -> None:
    """A secret stands in no evidence, no argument list and no stored step."""
    with _world(tmp_path, example.kind) as world:
        step = _step(example.said(world, web))
        evidence = world.evidence(step, example.before(world))
        assert CANARY not in evidence.model_dump_json()
        assert CANARY not in words_of(world.commands)
        assert CANARY not in step.model_dump_json() + step.describe(world.scene)


@pytest.mark.parametrize("example", CASES)
def test_an_undo_is_safe_to_repeat(example: Example, tmp_path: Path, web: Web) -> None:
    """Taking it back works, works again, and a step that cannot be undone says so."""
    with _world(tmp_path, example.kind) as world:
        step = _step(example.said(world, web))
        evidence = world.evidence(step, example.before(world))
        wanted = Evidence if step.can_undo else Failure
        for _ in range(2):
            assert isinstance(world.undo(step, evidence), wanted)
