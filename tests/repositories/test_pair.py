"""Two storages in one process of restic's, decided from their variables alone."""

import pytest

from drorch.core.secret import Secret
from drorch.repositories.restic import pair, parse
from drorch.repositories.restic.pair import Environment


def _s3(bucket: str, **words: str) -> Environment:
    secrets = {name: Secret(f"{bucket}-{name}", value) for name, value in words.items()}
    return {"RESTIC_REPOSITORY": f"s3:https://s3.example.com/{bucket}", **secrets}


LOCAL: Environment = {"RESTIC_REPOSITORY": "local:/srv/nas"}
ONE = {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "x"}
OTHER = {"AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "y"}
REST: Environment = {"RESTIC_REPOSITORY": "rest:https://h:8000/r/"}
USER = {"RESTIC_REST_USERNAME": Secret("u", "shop"), "RESTIC_REST_PASSWORD": Secret("p", "a/b@c %")}
WITH_USER = "rest:https://shop:a%2Fb%40c%20%25@h:8000/r/"


@pytest.mark.parametrize(
    ("own", "source", "clash"),
    [
        (_s3("a", **ONE), _s3("b", **OTHER), "AWS_ACCESS_KEY_ID"),
        (_s3("a", **ONE), _s3("b", **{**ONE, "AWS_SECRET_ACCESS_KEY": "y"}), "AWS_SECRET_ACCESS_KEY"),
        (_s3("a", **ONE), _s3("b", **ONE, AWS_SESSION_TOKEN="t"), "AWS_SESSION_TOKEN"),
        (_s3("a"), _s3("b", **ONE), "AWS_ACCESS_KEY_ID"),
        ({**LOCAL, "GOMAXPROCS": "1"}, _s3("b", GOMAXPROCS="2"), "GOMAXPROCS"),
        ({**REST, "SSL_CERT_DIR": "/a"}, REST, "SSL_CERT_DIR"),
    ],
)
def test_what_they_do_not_agree_about_is_named(own: Environment, source: Environment, clash: str) -> None:
    """Neither is ever used with, or sent, a credential of the other."""
    assert pair.environment(own, source) == clash
    assert pair.environment(source, own) == clash


@pytest.mark.parametrize(
    ("own", "source"),
    [
        (LOCAL, _s3("b", **ONE)),
        (_s3("a", **ONE), LOCAL),
        (_s3("a", **ONE), _s3("b", **ONE)),
        (_s3("a", **ONE), {"RESTIC_REPOSITORY": "sftp:u@h:/r"}),
        (LOCAL, {"RESTIC_REPOSITORY": "local:/srv/s3:"}),
    ],
)
def test_each_is_reached_with_what_it_needs(own: Environment, source: Environment) -> None:
    """Both places and every credential stand in the environment."""
    both = pair.environment(own, source)
    assert isinstance(both, dict)
    assert (both["RESTIC_REPOSITORY"], both["RESTIC_FROM_REPOSITORY"]) == (
        own["RESTIC_REPOSITORY"],
        source["RESTIC_REPOSITORY"],
    )
    assert both.keys() == own.keys() | source.keys() | {"RESTIC_FROM_REPOSITORY"}


def _place(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


@pytest.mark.parametrize(
    ("own", "source", "places"),
    [
        ({**REST, **USER}, REST, (WITH_USER, "rest:https://h:8000/r/")),
        (REST, {**REST, **USER}, ("rest:https://h:8000/r/", WITH_USER)),
        ({**REST, **USER, "RESTIC_REST_PASSWORD": "z"}, {**REST, **USER}, ("rest:https://shop:z@h:8000/r/", WITH_USER)),
        ({"RESTIC_REPOSITORY": "rest:https://me@h/", **USER}, LOCAL, ("rest:https://me@h/", "local:/srv/nas")),
    ],
)
def test_two_users_of_rest_servers_stay_apart(own: Environment, source: Environment, places: tuple[str, str]) -> None:
    """Each server is sent its own user and password, shown nowhere, and no variable is left that both would use."""
    both = pair.environment(own, source)
    assert isinstance(both, dict)
    assert (_place(both["RESTIC_REPOSITORY"]), _place(both["RESTIC_FROM_REPOSITORY"])) == places
    assert not any(name.startswith("RESTIC_REST_") for name in both)
    assert "shop" not in str(both)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[0:01] 55.56%  10 / 18 packs copied", parse.Copying(packs=(10, 18))),
        (b"[1:00:01] 100.00%  2 / 2 packs copied", parse.Copying(packs=(2, 2))),
        (b"  copy 5 blobs with disk size 4.5 MiB in 2 packfiles", parse.Copying(begins=True, size=4718592)),
        (b"  copy 3 blobs with disk size 90 B in 2 packfiles", parse.Copying(begins=True, size=90)),
        (b"snapshot 00b60710 saved, copied from source snapshot e6d81a15", None),
        (b"  copy started, this may take a while...", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_the_lines_of_a_copy_are_read(line: bytes, said: parse.Copying | None) -> None:
    """How far it is and how much it writes is understood; every other line is no news."""
    assert parse.copying(line) == said
