"""Streams of the user's own commands."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.model import SecretRef
from drorch.core.source import Destination, Expectation, Restored, Stream
from drorch.sources.command import Custom
from support.dumping import Known, carry, destination, dump, machine

CANARY = "canary-9f4b"


def custom(**more: object) -> Custom:
    """A source as a user writes it."""
    return Custom.model_validate({"kind": "command", "backup": ["printf", "%s", "a;b $(touch pwned)"], **more})


def test_it_survives_json() -> None:
    """The words of the documents are the words of the stored plan."""
    source = custom(load=["cp", "{file}", "/x"], verify=["test", "-s", "{file}"], env={"KEY": {"secret": "key"}})
    dumped = source.model_dump(mode="json")
    assert dumped["load"] == ["cp", "{file}", "/x"]
    assert Custom.model_validate(dumped) == source


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"backup": []}, "at least 1"),
        ({"backup": ["cat", "{file}"]}, "no placeholders"),
        ({"backup": "cat x"}, "tuple"),
        ({"load": ["createdb", "{token}"]}, "how a drill removes it"),
        ({"filename": "../x"}, "pattern"),
        ({"filename": "-x"}, "pattern"),
        ({"loud": ["x"]}, "Extra inputs"),
    ],
)
def test_commands_that_cannot_be_meant_are_refused(more: dict[str, object], message: str) -> None:
    """What would fail at night is refused when it is written."""
    with pytest.raises(ValidationError, match=message):
        custom(**more)


def test_values_are_filled_in_and_never_interpreted(tmp_path: Path) -> None:
    """Placeholders become words as they are: a folder called like a command or a placeholder runs nothing."""
    host, into = machine("web1", tmp_path / "home"), destination(tmp_path / "in $(touch pwned) {token};'\n")
    source = custom(
        load=["cp", "--", "{file}", "{directory}/{token}.copy"],
        verify=["grep", "-q", "--", "a;b", "{directory}/{token}.copy"],
        discard=["rm", "-f", "--", "{directory}/{token}.copy"],
        swap=["cp", "--", "{file}", str(tmp_path / "live")],
    )
    carry(source, host, into)
    found = source.load(host, into, Known())
    assert isinstance(found, Restored), found
    assert Path(into.directory, f"{into.token}.copy").read_text() == "a;b $(touch pwned)"
    evidence = source.verify(host, found, Expectation(), Known())
    assert isinstance(evidence, Evidence), evidence
    assert evidence.level is ProofLevel.RESTORED
    assert isinstance(source.swap(host, found, into, Known()), Evidence)
    assert (tmp_path / "live").exists()
    for _ in range(2):
        assert source.discard(host, into, Known()) is None
    assert not Path(into.directory, f"{into.token}.copy").exists()
    assert not list(tmp_path.rglob("pwned"))


def test_without_a_check_only_the_size_counts_and_no_level_is_claimed(tmp_path: Path) -> None:
    """No `verify` command: the evidence says so and proves no level; an empty stream fails."""
    host, into, source = machine("web1", tmp_path / "home"), destination(tmp_path / "into"), custom()
    carry(source, host, into)
    found = source.load(host, into, Known())
    assert isinstance(found, Restored)
    evidence = source.verify(host, found, Expectation(), Known())
    assert isinstance(evidence, Evidence)
    assert evidence.level is None
    assert "only the size" in evidence.facts["skipped"][0]
    Path(found.path).write_bytes(b"")
    assert isinstance(source.verify(host, found, Expectation(), Known()), Failure)
    assert isinstance(source.verify(host, found, Expectation(tables={"x": 1}), Known()), Failure)
    assert isinstance(source.swap(host, found, into, Known()), Failure)


@pytest.mark.parametrize("verb", ["load", "verify", "discard", "swap"])
def test_a_command_that_fails_is_a_failure(tmp_path: Path, verb: str) -> None:
    """Any exit code but 0 is a failure that names the command and its last words."""
    host, into = machine("web1", tmp_path / "home"), destination(tmp_path / "into")
    source = custom(**{verb: ["sh", "-c", "echo broken >&2; exit 3"]})
    carry(source, host, into)
    found = Restored(host="web1", path=f"{into.directory}/stream/stream", name=into.token)
    verbs: dict[str, Callable[[], object]] = {
        "load": lambda: source.load(host, into, Known()),
        "verify": lambda: source.verify(host, found, Expectation(), Known()),
        "discard": lambda: source.discard(host, into, Known()),
        "swap": lambda: source.swap(host, found, into, Known()),
    }
    outcome = verbs[verb]()
    assert isinstance(outcome, Failure)
    assert "exit code 3: broken" in outcome.why


def test_a_secret_reaches_the_command_and_nothing_else(tmp_path: Path) -> None:
    """Its value is in the command's environment, never among its words or in the evidence."""
    host, into = machine("web1", tmp_path / "home"), destination(tmp_path / "into")
    source = custom(
        backup=["sh", "-c", 'test "$KEY" = canary-9f4b && echo fine'],
        verify=["sh", "-c", 'echo "my $KEY"'],
        env={"KEY": {"secret": "key"}},
    ).model_copy(update={"backup": ("sh", "-c", 'test -n "$KEY" && echo fine')})
    secrets = Known({"key": CANARY})
    (part,) = source.parts()
    assert isinstance(part, Stream)
    assert part.env == {"KEY": SecretRef(secret="key")}
    assert dump(host, part, secrets).text == "fine\n"
    carry(source, host, into, secrets)
    found = source.load(host, into, secrets)
    assert isinstance(found, Restored)
    evidence = source.verify(host, found, Expectation(), secrets)
    assert isinstance(evidence, Evidence)
    assert evidence.facts["output"] == "my [secret key]"


def test_a_foreign_token_is_never_worked_on(tmp_path: Path) -> None:
    """No command of the user's runs for a destination that no run of drorch made."""
    host, into = machine("web1", tmp_path), Destination(token="shop", directory=str(tmp_path), drill=True)
    source = custom(load=["touch", str(tmp_path / "x")], discard=["touch", str(tmp_path / "x")])
    assert isinstance(source.load(host, into, Known()), Failure)
    assert isinstance(source.discard(host, into, Known()), Failure)
    assert not (tmp_path / "x").exists()
