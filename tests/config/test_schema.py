"""Editors learn from the schemas what the loader accepts and refuses."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from drorch.config.schema import Which, json_schema
from drorch.config.template import init
from drorch.config.yaml import read
from drorch.steps import KINDS

SHIPPED = Path(__file__).parents[2] / "runbooks"


def valid(which: Which, data: object) -> bool:
    """Whether an editor would underline nothing."""
    return Draft202012Validator(json_schema(which)).is_valid(data)


@pytest.mark.parametrize("which", ["inventory", "runbook"])
def test_a_schema_is_one(which: Which) -> None:
    """What is printed is a JSON Schema of its dialect."""
    Draft202012Validator.check_schema(json_schema(which))


def test_the_starting_point_fits(tmp_path: Path) -> None:
    """What drorch init writes, an editor finds right."""
    for path in init(tmp_path):
        if path.suffix == ".yaml":
            which: Which = "inventory" if path.name == "drorch.yaml" else "runbook"
            assert valid(which, read(path.read_bytes(), path.name).data), path


def test_the_shipped_runbooks_fit() -> None:
    """Every runbook in the project's own folder, an editor finds right."""
    for path in SHIPPED.glob("*.yaml"):
        assert valid("runbook", read(path.read_bytes(), path.name).data), path


def _fields(schema: dict[str, Any]) -> list[tuple[str, str]]:
    named = {**schema["$defs"], "": schema}
    return [(model, key) for model, one in named.items() for key in one.get("properties", {})]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_explains_itself(kind: str) -> None:
    """A step kind and each of its fields carry their author's words."""
    made = json_schema("runbook")["$defs"][KINDS[kind].__name__]
    assert made["description"]
    assert [key for key, field in made["properties"].items() if "description" not in field and key not in _PLAIN] == []


_PLAIN = {"kind", "retries"}
"""Fields whose own type or constant explains them."""

_BACKUP = "steps: [{kind: backup, source: x}]"
_SHOP = "{primary: a, standbys: a, repository: r, sources: {f: {kind: files, paths: /srv}}}"
_REPOSITORY = "repositories: {r: {url: /r, password: {secret: p}}}, secrets: {p: {env: P}}"

GOOD: list[tuple[Which, str]] = [
    ("runbook", f"{{runbook: a, kind: backup, service: s, {_BACKUP}}}"),
    ("runbook", f"{{runbook: a, kind: drill, service: s, snapshot: {{before: 2026-10-01}}, {_BACKUP}}}"),
    ("runbook", "{runbook: a, kind: backup, service: s, steps: [{parallel: [{kind: wait, for: 3s}]}]}"),
    ("runbook", f"{{runbook: a, kind: backup, service: s, schedule: {{monthly: {{at: '10:00'}}}}, {_BACKUP}}}"),
    ("inventory", "{site: x, hosts: {a: {}, b: {address: 10.0.0.1}}}"),
    ("inventory", f"{{site: x, hosts: {{a: {{}}}}, services: {{s: {_SHOP}}}, {_REPOSITORY}}}"),
]

TYPOS: list[tuple[Which, str]] = [
    ("runbook", "{runbok: a, kind: backup, service: s, steps: [{kind: backup, source: x}]}"),
    ("runbook", "{runbook: a, kind: bakup, service: s, steps: [{kind: backup, source: x}]}"),
    ("runbook", "{runbook: a, kind: backup, service: s, steps: [{kind: bakup, source: x}]}"),
    ("runbook", "{runbook: a, kind: backup, service: s, steps: [{kind: backup, sorce: x}]}"),
    ("runbook", "{runbook: a, kind: backup, service: s, steps: []}"),
    ("runbook", "{runbook: a, kind: backup, service: s, steps: [{paralel: [{kind: backup, source: x}]}]}"),
    (
        "runbook",
        "{runbook: a, kind: backup, service: s, schedule: {dayly: '1:00'}, steps: [{kind: backup, source: x}]}",
    ),
    ("inventory", "{site: x, hosts: {a: {adress: 10.0.0.1}}}"),
    ("inventory", "{site: x, hosts: {A: {}}}"),
    ("inventory", "{site: x, hosts: {a: {}}, repositories: {r: {url: /r, password: hunter2}}}"),
    ("inventory", "{site: x, hosts: {a: {connector: shh}}}"),
]


@pytest.mark.parametrize(("which", "text"), GOOD)
def test_what_is_right_is_not_underlined(which: Which, text: str) -> None:
    """Every way to write something that the loader takes, the schema takes."""
    assert valid(which, read(text.encode(), "f").data)


@pytest.mark.parametrize(("which", "text"), TYPOS)
def test_typos_are_underlined(which: Which, text: str) -> None:
    """An ordinary typo is seen while typing."""
    assert not valid(which, read(text.encode(), "f").data)
