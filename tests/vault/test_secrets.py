"""Secret values: every way in which one is had or refused, and texts cleaned of them."""

import base64
import html
import json
import os
import shlex
import traceback
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drorch.core.clock import Halt
from drorch.core.errors import SecretError
from drorch.core.host import Command, Completed, Ended, Host, LineSink, LocalHostSpec
from drorch.core.model import SecretRef
from drorch.core.secret import SecretSpec
from drorch.hosts import open_host
from drorch.vault import secrets as vault
from drorch.vault.secrets import LIMIT, SecretStore

CANARY = "canary-4711"


class _NoSecrets:
    """A host that is given none."""

    get = redact = None


@pytest.fixture
def controller(tmp_path: Path) -> Host:
    """The machine on which the test runs."""
    return open_host("controller", LocalHostSpec(work=str(tmp_path / "work")), secrets=_NoSecrets(), halt=Halt())  # type: ignore[arg-type]  # never asked


def store(controller: Host, env: dict[str, str] | None = None, /, **spec: object) -> SecretStore:
    """A store with one secret, named ``it``."""
    return SecretStore({"it": SecretSpec.model_validate(spec)}, controller, env or {})


IT = SecretRef(secret="it")


def refusal(secrets: SecretStore) -> str:
    """What is said when the secret is refused; that nothing of the value is in it is checked by the way."""
    with pytest.raises(SecretError) as refused:
        secrets.get(IT)
    error = refused.value
    assert "secret it" in error.message
    assert error.hint
    everything = repr(error) + str(error) + repr(vars(error)) + "".join(traceback.format_exception(error))
    assert error.__context__ is None
    assert CANARY not in everything
    assert CANARY not in repr(secrets)
    return error.message


def written(folder: Path, content: bytes, mode: int = 0o600) -> str:
    """A file with that content."""
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"canary-4711", CANARY),
        (b"canary-4711\n", CANARY),
        (b"canary-4711\r\n", CANARY),
        (b" canary \n\n", " canary \n"),
        ("größe".encode(), "größe"),
        (b"x" * LIMIT + b"\n", "x" * LIMIT),
    ],
)
@pytest.mark.parametrize("way", ["file", "command", "credential"])
def test_a_value_is_the_text_without_its_last_newline(
    way: str, content: bytes, value: str, tmp_path: Path, controller: Host
) -> None:
    """File, command and credential give their text, one newline at its end dropped, nothing else."""
    path = written(tmp_path, content)
    spec: dict[str, dict[str, object]] = {
        "file": {"file": path},
        "command": {"command": ["cat", path]},
        "credential": {"credential": "secret"},
    }
    got = store(controller, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, **spec[way]).get(IT)
    assert (got.name, got.reveal()) == ("it", value)
    assert repr(got) == "Secret(it)"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"x" * (LIMIT + 1), "more than"),
        (b"canary-4711\0", "NUL"),
        (b"canary-4711\xff", "UTF-8"),
    ],
)
@pytest.mark.parametrize("way", ["file", "command", "credential"])
def test_a_value_that_cannot_be_one_is_refused(
    way: str, content: bytes, word: str, tmp_path: Path, controller: Host
) -> None:
    """Empty, huge, binary and undecodable values are refused wherever they come from."""
    path = written(tmp_path, content)
    spec: dict[str, dict[str, object]] = {
        "file": {"file": path},
        "command": {"command": ["cat", path]},
        "credential": {"credential": "secret"},
    }
    assert word in refusal(store(controller, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, **spec[way]))


def test_the_environment_gives_values(controller: Host) -> None:
    """A variable's value is taken as it is; a missing and an empty one are refused."""
    assert store(controller, {"IT": f"{CANARY}\n"}, env="IT").get(IT).reveal() == f"{CANARY}\n"
    assert "IT is not set" in refusal(store(controller, {}, env="IT"))
    assert "is empty" in refusal(store(controller, {"IT": ""}, env="IT"))


def test_home_is_the_environments(tmp_path: Path, controller: Host) -> None:
    """A path below ``~/`` lies in the home that the environment names."""
    written(tmp_path, CANARY.encode())
    assert store(controller, {"HOME": str(tmp_path)}, file="~/secret").get(IT).reveal() == CANARY


@pytest.mark.parametrize(
    ("mode", "word"),
    [(0o640, "read by others"), (0o604, "read by others"), (0o620, "changed by others"), (0o602, "changed")],
)
def test_a_file_open_to_others_is_refused(mode: int, word: str, tmp_path: Path, controller: Host) -> None:
    """What others can read is no secret, and what they can change is not ours; links do not hide it."""
    path = written(tmp_path, CANARY.encode(), mode)
    link = tmp_path / "link"
    link.symlink_to(path)
    for way in (path, str(link)):
        assert word in refusal(store(controller, file=way))
    Path(path).chmod(0o400)
    assert store(controller, file=str(link)).get(IT).reveal() == CANARY


def test_a_credential_may_show_the_groups_right(tmp_path: Path, controller: Host) -> None:
    """Systemd's access control list shows as the group's right to read; more than that is refused."""
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    path = Path(written(tmp_path, CANARY.encode(), 0o440))
    assert store(controller, env, credential="secret").get(IT).reveal() == CANARY
    path.chmod(0o444)
    assert "by others" in refusal(store(controller, env, credential="secret"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(tmp_path: Path, controller: Host) -> None:
    """A file whose owner is neither this user nor root could change under us."""
    path = written(tmp_path, CANARY.encode())
    os.chown(path, 12345, -1)
    assert "belongs to user 12345" in refusal(store(controller, file=path))


def test_what_is_no_file_is_refused(tmp_path: Path, controller: Host) -> None:
    """A folder, a pipe without a writer, a dangling link and nothing at all are refused at once."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "link").symlink_to("nowhere")
    assert "no regular file" in refusal(store(controller, file=str(tmp_path)))
    assert "no regular file" in refusal(store(controller, file=str(tmp_path / "pipe")))
    assert "No such file" in refusal(store(controller, file=str(tmp_path / "link")))
    assert "No such file" in refusal(store(controller, file=str(tmp_path / "nothing")))
    assert "no absolute path" in refusal(store(controller, file="secrets/nas"))


def test_without_systemd_there_are_no_credentials(controller: Host) -> None:
    """A credential outside a service is refused with what to do."""
    assert "no credentials" in refusal(store(controller, {}, credential="nas"))


def test_an_unknown_secret_is_refused(controller: Host) -> None:
    """A name that nothing defines is an error."""
    assert "no secret it" in refusal(SecretStore({}, controller, {}))


def test_a_failing_command_shows_nothing_it_wrote(controller: Host) -> None:
    """A command's output and complaints can hold the value: the refusal has the exit code only."""
    script = f"echo {CANARY}; echo {CANARY} >&2; exit 3"
    # The script itself is the user's own text and is not shown either.
    assert "sh ended with exit code 3" in refusal(store(controller, command=["sh", "-c", script]))


def test_a_missing_command_is_refused(controller: Host) -> None:
    """A program that does not exist gives no value."""
    assert "no-such-program" in refusal(store(controller, command=["no-such-program", CANARY]))


def test_a_hanging_command_is_ended(controller: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that waits for a terminal does not hold the run, and trying again may help."""
    monkeypatch.setattr(vault, "COMMAND_SECONDS", 0.3)
    secrets = store(controller, command=["sleep", "60"])
    with pytest.raises(SecretError) as refused:
        secrets.get(IT)
    assert refused.value.retryable


class _Vanishing:
    """A host whose connection broke, which no local host can show."""

    def run(self, command: Command, *, on_line: LineSink | None = None) -> Completed:
        return Completed(command, Ended.UNKNOWN, None, stdout=CANARY.encode())


def test_an_unknown_outcome_is_no_value() -> None:
    """Output of a command whose end nobody knows is not taken."""
    assert "could not be run" in refusal(store(_Vanishing(), command=["pass"]))  # type: ignore[arg-type]  # run is all


def test_a_value_is_read_once(tmp_path: Path, controller: Host) -> None:
    """A store gives the same value all its life, to all threads, and asks its command once; a failure is not kept."""
    asked = tmp_path / "asked"
    script = f'echo asked >> "{asked}"; cat "{tmp_path}/secret"'
    secrets = store(controller, command=["sh", "-c", script])
    refusal(secrets)
    written(tmp_path, CANARY.encode())
    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(lambda _: secrets.get(IT).reveal(), range(16)))
    assert got == {CANARY}
    assert asked.read_text() == "asked\n" * 2


def test_a_value_that_ended_is_read_again(controller: Host) -> None:
    """A renewed secret gives its new value from then on, and the old one is still replaced in texts."""
    env = {"IT": CANARY}
    secrets = store(controller, env, env="IT")
    secrets.get(IT)
    env["IT"] = "another-value"
    assert secrets.get(IT).reveal() == CANARY
    assert secrets.renew(IT).reveal() == secrets.get(IT).reveal() == "another-value"
    assert secrets.redact(f"{CANARY} another-value") == "[secret it] [secret it]"


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"env": "A", "file": "/b"},
        {"env": "A B"},
        {"file": ""},
        {"command": []},
        {"credential": "../x"},
        {"credential": ".."},
    ],
)
def test_a_wrong_definition_is_refused(spec: dict[str, object]) -> None:
    """A secret has exactly one origin, and a credential is a name, not a path."""
    with pytest.raises(ValidationError):
        SecretSpec.model_validate(spec)


def holding(value: str, controller: Host) -> SecretStore:
    """A store that has handed out this value."""
    secrets = store(controller, {"IT": value}, env="IT")
    secrets.get(IT)
    return secrets


WRITERS: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "JSON": json.dumps,
    "JSON with letters": lambda value: json.dumps(value, ensure_ascii=False),
    "URL": lambda value: urllib.parse.quote(value, safe=""),
    "URL path": urllib.parse.quote,
    "URL in small letters": lambda value: _small(urllib.parse.quote(value, safe="")),
    "form": urllib.parse.quote_plus,
    "HTML": html.escape,
    "shell": shlex.quote,
    "shell line": lambda value: shlex.join(["restic", "-p", value]),
    "Python": repr,
    "Python bytes": lambda value: repr(value.encode()),
    "hexadecimal": lambda value: value.encode().hex(),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
}


def _small(quoted: str) -> str:
    return "".join(
        char.lower() if quoted[max(0, at - 2) : at + 1].find("%") >= 0 else char for at, char in enumerate(quoted)
    )


@pytest.mark.parametrize("value", ["plain-4711", 'it\'s "q" & <b> \\ $x/y+z=', "größe-42 ☃ %20", "two\nlines\t"])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_way_of_writing_a_value_survives(writer: str, value: str, controller: Host) -> None:
    """A value written by any of the usual encoders is replaced, and what stands around it is not."""
    text = f"before {WRITERS[writer](value)} after"
    clean = holding(value, controller).redact(text)
    assert "[secret it]" in clean
    assert WRITERS[writer](value) not in clean
    assert value not in clean
    assert (clean[:7], clean[-6:]) == ("before ", " after")


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "backup"])
def test_a_basic_authorization_is_found(user: str, controller: Host) -> None:
    """Base64 of a user and password hides the password at any offset."""
    value = "correct horse battery"
    token = base64.b64encode(f"{user}:{value}".encode()).decode()
    clean = holding(value, controller).redact(f"Authorization: Basic {token}")
    assert "[secret it]" in clean
    assert token[len(user) * 8 // 6 + 4 : -6] not in clean


def test_lines_of_a_key_are_found_one_by_one(controller: Host) -> None:
    """A value of several lines is replaced also when each line stands alone; its public first line stays."""
    key = "-----BEGIN KEY-----\nc2VjcmV0LWxpbmUtb25l\nc2VjcmV0LWxpbmUtdHdv\n-----END KEY-----\n"
    clean = holding(key, controller).redact("\n".join(f"stderr: {line}" for line in key.splitlines()))
    assert clean.count("[secret it]") == 2
    assert "-----BEGIN KEY-----" in clean


@pytest.mark.parametrize("whole", ["AKIDEXAMPLE:c2VjcmV0LWxpbmUtb25l", "user = me\nsecret = c2VjcmV0LWxpbmUtb25l"])
def test_the_secret_half_of_a_credential_is_found(whole: str, controller: Host) -> None:
    """A credential of two parts is replaced also where a program shows its second part alone."""
    assert holding(whole, controller).redact("refused: c2VjcmV0LWxpbmUtb25l") == "refused: [secret it]"


def test_values_that_overlap_leave_nothing(controller: Host) -> None:
    """The longest value wins, and where two overlap nothing of either sticks out."""
    values = {"short": "abcdef", "long": "abcdefghij", "late": "hijklm"}
    specs = {name: SecretSpec(env=name.upper()) for name in values}
    secrets = SecretStore(specs, controller, {name.upper(): value for name, value in values.items()})
    for name in values:
        secrets.get(SecretRef(secret=name))
    assert secrets.redact("<abcdef> <abcdefghij> <abcdefghijklm>") == "<[secret short]> <[secret long]> <[secret long]>"


def test_only_values_handed_out_are_replaced(controller: Host) -> None:
    """A secret that nobody asked for is not read to clean a text."""
    secrets = store(controller, {"IT": CANARY}, env="IT")
    assert secrets.redact(CANARY) == CANARY
    secrets.get(IT)
    assert secrets.redact(CANARY) == "[secret it]"


def test_short_values_are_told_not_replaced(controller: Host) -> None:
    """A value of three letters would tear every text apart: it is named, so that people can be warned."""
    short = holding("abc", controller)
    assert (short.redact("abcdef"), short.too_short) == ("abcdef", frozenset({"it"}))
    assert holding("abcd", controller).too_short == frozenset()


def test_json_stays_json_whatever_the_value(controller: Host) -> None:
    """Cleaning a JSON value leaves its shape, numbers and other texts alone."""
    secrets = holding("null", controller)
    value = {"null": [None, 1, "a null b", {"x": True}], "n": "ok"}
    assert secrets.redact_json(value) == {"[secret it]": [None, 1, "a [secret it] b", {"x": True}], "n": "ok"}


@given(
    st.text(min_size=4, max_size=30).filter(lambda value: "\0" not in value), st.text(max_size=30), st.text(max_size=30)
)
def test_no_value_is_left_in_any_text(value: str, before: str, after: str) -> None:
    """Whatever stands around a value, the cleaned text holds it no more (but where the mark itself spells it)."""
    secrets = SecretStore({"it": SecretSpec(env="IT")}, _Vanishing(), {"IT": value})  # type: ignore[arg-type]  # never run
    secrets.get(IT)
    for text in (before + value + after, json.dumps(before + value + after)):
        assert value not in "\0".join(secrets.redact(text).split("[secret it]"))
