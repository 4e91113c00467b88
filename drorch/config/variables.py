"""``DRORCH_`` variables, read by pydantic-settings. Imported only when one is set, since it takes 50 ms."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Variables(BaseSettings):
    """What the environment says; what it does not say is None. An empty variable says nothing."""

    model_config = SettingsConfigDict(
        env_prefix="DRORCH_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    config: Path | None = None
    runbooks: Path | None = None
    state: Path | None = None
    database_url: str | None = None
    log_level: str | None = None
