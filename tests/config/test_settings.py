"""Settings come from the command line, else from variables, else from defaults."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drorch.config.settings import Settings, read_settings
from drorch.core.errors import SettingsError


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("DRORCH_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each setting has its variable, and paths become absolute."""
    monkeypatch.setenv("DRORCH_CONFIG", "there")
    monkeypatch.setenv("DRORCH_RUNBOOKS", "~/books")
    monkeypatch.setenv("DRORCH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("DRORCH_LOG_LEVEL", "DEBUG")
    settings = read_settings()
    assert settings == Settings(
        config=tmp_path / "there",
        runbooks=tmp_path / "home" / "books",
        state=tmp_path / "state",
        database_url=f"sqlite:///{tmp_path}/state/engine.sqlite",
        log_level="debug",
    )


def test_arguments_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the command line says beats a variable, and the database follows the state folder."""
    monkeypatch.setenv("DRORCH_STATE", "/elsewhere")
    settings = read_settings(state=tmp_path / "mine")
    assert (settings.state, settings.database_url) == (tmp_path / "mine", f"sqlite:///{tmp_path}/mine/engine.sqlite")


def test_a_child_gets_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables for a child process give the very same settings."""
    settings = read_settings(config=tmp_path / "c", runbooks=tmp_path / "r", state=tmp_path / "s", log_level="error")
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert read_settings() == settings


@pytest.mark.parametrize("place", ["config", "home/.config/drorch"])
def test_the_config_folder_is_found(tmp_path: Path, place: str) -> None:
    """Unless said, the folder that holds an inventory is taken."""
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "drorch.yaml").touch()
    assert read_settings().config == tmp_path / place


@pytest.mark.parametrize(("said", "expected"), [("/x/state", "/x/state/drorch"), ("relative", None), ("", None)])
def test_the_state_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, said: str, expected: str | None) -> None:
    """XDG_STATE_HOME is honoured when it is absolute and ignored otherwise."""
    monkeypatch.setenv("XDG_STATE_HOME", said)
    default = "/var/lib/drorch" if os.geteuid() == 0 else f"{os.environ['HOME']}/.local/state/drorch"
    assert str(read_settings().state) == (expected or default)


WRONG = [
    ("DRORCH_LOG_LEVEL", "loud", "DRORCH_LOG_LEVEL"),
    ("DRORCH_DATABASE_URL", "mysql://u:hunter2@x/y", "DRORCH_DATABASE_URL"),
    ("DRORCH_STAET", "/x", "did you mean DRORCH_STATE?"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    """An unusable variable, or one that is nearly ours, is an error with its name and without its value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        read_settings()
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_wrong_argument_is_named() -> None:
    """An unusable argument is named as the command line writes it."""
    with pytest.raises(SettingsError, match="--log-level"):
        read_settings(log_level="loud")


def test_the_database_address_is_not_shown(tmp_path: Path) -> None:
    """An address with a password does not show in the settings' text."""
    settings = read_settings(state=tmp_path, database_url="postgresql://u:hunter2@h/d")
    assert "hunter2" not in repr(settings) + str(settings)


def test_a_start_without_variables_is_light(tmp_path: Path) -> None:
    """Neither the settings library nor the YAML library is imported before something needs it."""
    code = (
        "import sys\n"
        "import drorch.config.settings as s\n"
        "s.read_settings()\n"
        "print([m for m in ('pydantic_settings', 'asyncio', 'ruamel.yaml', 'paramiko') if m in sys.modules])"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
