"""Where drorch finds and keeps things: the command line's words, else ``DRORCH_`` variables, else defaults."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from drorch.config.load import INVENTORY
from drorch.core.errors import SettingsError
from drorch.core.model import Frozen

PREFIX: Final = "DRORCH_"


def _absolute(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("must not hold a NUL character")
    return path.expanduser().absolute()


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _database(url: str) -> str:
    if not url.startswith(("sqlite:", "postgresql:", "postgresql+psycopg:", "postgres:")):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    return url


Folder = Annotated[Path, AfterValidator(_absolute)]
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(Frozen):
    """The settings, complete: every path absolute. Each has a ``DRORCH_`` variable of its name."""

    config: Folder
    """Folder of ``drorch.yaml``: ``./config`` if it is there, else ``~/.config/drorch``, else ``/etc/drorch``."""
    runbooks: Folder | None = None
    """Folder of the runbooks; ``runbooks`` in the config folder, else beside it, unless said."""
    state: Folder
    """What drorch remembers: ``$XDG_STATE_HOME/drorch`` or ``~/.local/state/drorch``; for root ``/var/lib/drorch``."""
    database_url: Annotated[str, AfterValidator(_database), Field(repr=False)]
    """The engine's database: a SQLite file in the state folder unless said. Not shown: it may hold a password."""
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = "warning"

    def as_environment(self) -> dict[str, str]:
        """The variables that give a child process the same settings."""
        said = {key: getattr(self, key) for key in type(self).model_fields}
        return {f"{PREFIX}{key.upper()}": str(value) for key, value in said.items() if value is not None}


def read_settings(
    *,
    config: Path | None = None,
    runbooks: Path | None = None,
    state: Path | None = None,
    database_url: str | None = None,
    log_level: str | None = None,
) -> Settings:
    """The settings of this process; arguments win over variables.

    Raises:
        SettingsError: a variable or argument is unusable.
    """
    given = {
        "config": config,
        "runbooks": runbooks,
        "state": state,
        "database_url": database_url,
        "log_level": log_level,
    }
    said = _variables(os.environ) | {key: value for key, value in given.items() if value is not None}
    try:
        home = Path.home()
        said.setdefault("config", _config_folder(home))
        said.setdefault("state", _state_folder(os.environ, home))
        # Made whole before the database's place is: that lies in the state folder, wherever this turns out to be.
        said.setdefault("database_url", f"sqlite:///{_absolute(Path(said['state']))}/engine.sqlite")
        return Settings.model_validate(said)
    except ValidationError as error:
        raise _translated(error, given) from None
    except (RuntimeError, ValueError) as error:  # no home, or `~nobody`
        raise SettingsError(f"a folder cannot be found: {error}", hint="give it as an absolute path") from None


def _variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says. A variable that is nearly one of ours is a typo, and silence would hide it."""
    ours = [name for name in environment if name.startswith(PREFIX)]
    if not ours:
        return {}
    known = [f"{PREFIX}{key.upper()}" for key in Settings.model_fields]
    for name in ours:
        if name not in known:
            from difflib import get_close_matches  # noqa: PLC0415 - for typos only

            near = get_close_matches(name, known, n=1, cutoff=0.8)
            if near:
                raise SettingsError(f"no setting {name}", hint=f"did you mean {near[0]}?")
    if not any(name in known for name in ours):
        return {}
    from drorch.config.variables import Variables  # noqa: PLC0415 - 50 ms that only those who set one pay

    try:
        return Variables().model_dump(exclude_none=True)
    except ValidationError as error:
        raise _translated(error, {}) from None


def _translated(error: ValidationError, given: Mapping[str, object]) -> SettingsError:
    detail = error.errors(include_url=False, include_input=False)[0]
    key = str(detail["loc"][0]) if detail["loc"] else ""
    name = f"--{key.replace('_', '-')}" if given.get(key) is not None else f"{PREFIX}{key.upper()}"
    if detail["type"] == "literal_error":
        return SettingsError(f"{name} must be one of debug, info, warning, error")
    said = (detail.get("ctx") or {}).get("error", detail["msg"])
    return SettingsError(f"{name}: {said}", hint="drorch --help tells what it is")


def _config_folder(home: Path) -> Path:
    here = Path("config")
    personal = home / ".config" / "drorch"
    shared = Path("/etc/drorch")
    for folder in (here, personal, shared):
        if (folder / INVENTORY).is_file():
            return folder
    return here  # where drorch init writes, so that the error about its absence leads there


def _state_folder(environment: Mapping[str, str], home: Path) -> Path:
    said = environment.get("XDG_STATE_HOME", "")
    if said.startswith("/"):  # the XDG rules: a relative one is to be ignored
        return Path(said) / "drorch"
    return Path("/var/lib/drorch") if os.geteuid() == 0 else home / ".local" / "state" / "drorch"
