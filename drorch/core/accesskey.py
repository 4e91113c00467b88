"""An access key as AWS and all S3 stores have it: its id, its secret, perhaps a session's token."""

import re
from dataclasses import dataclass

from drorch.core.errors import SecretError
from drorch.core.secret import Secret

_SETTINGS = {
    "aws_access_key_id": "id",
    "aws_secret_access_key": "secret",
    "aws_session_token": "token",
}
_SECTION = re.compile(r"^\[[^\]]+\]$")
_WORD = re.compile(r"^[!-~]+$")


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """A credential, taken apart; it has no representation that shows it."""

    id: str
    secret: str
    token: str = ""
    """Of a session; empty for a lasting key."""


def parse(secret: Secret) -> Keys:
    """A credential from ``ID:SECRET``, from lines (id, secret, perhaps a session's token), or from one section of an
    AWS credentials file.

    Raises:
        SecretError: it is none of these; the value is not shown.
    """
    lines = [line.strip() for line in secret.reveal().splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", ";"))]
    keys = _from_file(lines) if any(_setting(line) for line in lines) else _from_words(lines)
    if keys is None or not all(_WORD.match(word) for word in (keys.id, keys.secret, keys.token or "-")):
        raise SecretError(
            f"secret {secret.name} is no access key",
            hint="write ID:SECRET, or the id and the secret on two lines, or one section of an AWS credentials file",
        )
    return keys


def _from_words(lines: list[str]) -> Keys | None:
    match lines:
        case [line] if ":" in line:
            name, _, word = line.partition(":")
            return Keys(name.strip(), word.strip())
        case [name, word]:
            return Keys(name, word)
        case [name, word, token]:
            return Keys(name, word, token)
    return None


def _from_file(lines: list[str]) -> Keys | None:
    if sum(1 for line in lines if _SECTION.match(line)) > 1:
        return None
    found = {setting[0]: setting[1] for line in lines if (setting := _setting(line))}
    if not found.get("id") or not found.get("secret"):
        return None
    return Keys(found["id"], found["secret"], found.get("token", ""))


def _setting(line: str) -> tuple[str, str] | None:
    name, equals, value = line.partition("=")
    field = _SETTINGS.get(name.strip().lower())
    return (field, value.strip()) if equals and field else None
