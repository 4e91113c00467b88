"""Two repositories in one process of restic's: which environment reaches both. Pure.

Restic has a second set of variables for the place and the password of the repository that it copies from, but only one
set for the credentials of a storage. So two accounts of S3 exclude each other; of a REST server they do not, since its
user and password may stand in the address, which travels in the environment too.
"""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from drorch.core.secret import Secret

Environment = dict[str, str | Secret]

_PLACE = "RESTIC_REPOSITORY"
_REST = ("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD")


def environment(own: Mapping[str, str | Secret], source: Mapping[str, str | Secret]) -> Environment | str:
    """The variables for both, or the name of the first variable that they do not agree about.

    Each side holds ``RESTIC_REPOSITORY`` and what its storage needs. Two storages of one kind must agree about every
    variable: one that has none of its own would be sent the other's.
    """
    own, source = _addressed(own), _addressed(source)
    alike = _kind(own) == _kind(source) != "local"
    for name in sorted((own.keys() | source.keys()) - {_PLACE}):
        if (alike or (name in own and name in source)) and _plain(own.get(name)) != _plain(source.get(name)):
            return name
    return {**source, **own, "RESTIC_FROM_REPOSITORY": source[_PLACE]}


def _addressed(side: Mapping[str, str | Secret]) -> Environment:
    """A REST server's user and password, moved into its address; where that names a user, restic minds no variable."""
    if _kind(side) != "rest" or not any(name in side for name in _REST):
        return dict(side)
    left = {name: value for name, value in side.items() if name not in _REST}
    parts = urlsplit(_plain(side[_PLACE]).removeprefix("rest:"))
    if parts.username:
        return left
    user, password = (quote(_plain(side.get(name)), safe="") for name in _REST)
    whole = parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}")
    return {**left, _PLACE: Secret("repository address with its user", f"rest:{urlunsplit(whole)}")}


def _kind(side: Mapping[str, str | Secret]) -> str:
    kind = _plain(side[_PLACE]).split(":", 1)[0]
    return kind if kind in {"s3", "rest", "sftp"} else "local"


def _plain(value: str | Secret | None) -> str:
    return value.reveal() if isinstance(value, Secret) else value or ""
