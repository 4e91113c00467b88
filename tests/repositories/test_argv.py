"""restic's command lines and storages, as the plan prints them."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from drorch.core.errors import RepositoryError
from drorch.core.secret import Secret
from drorch.core.source import Stream, Tree
from drorch.repositories.restic import argv, serve
from drorch.repositories.restic.argv import MINIMUM, Common, Version
from drorch.repositories.restic.reach import expand

NIGHT = datetime(2026, 3, 1, 4, 30, 7, 999, tzinfo=timezone(timedelta(hours=2)))
SNAPSHOT = "ab" * 32


def test_a_tree_is_backed_up_with_its_own_name_and_time() -> None:
    """Host, group, time in UTC and each tag are said; paths come after the end of the options."""
    part = Tree(paths=("/srv/shop", "/srv/-x"), excludes=("*.tmp", "-x"), one_file_system=True)
    assert argv.backup(Common(), part, host="web1", tags=("run=a@b", "part=tree"), time=NIGHT) == (
        *("restic", "backup", "--json", "--retry-lock=10s", "--host=web1", "--group-by=host,paths"),
        *("--time=2026-03-01 02:30:07", "--tag=run=a@b", "--tag=part=tree"),
        *("--exclude=*.tmp", "--exclude=-x", "--one-file-system", "--", "/srv/shop", "/srv/-x"),
    )


def test_a_stream_is_run_by_restic_itself() -> None:
    """The dump's words follow the end of the options, so that a failing dump leaves no snapshot."""
    part = Stream(name="dump", filename="shop.dump", argv=("pg_dump", "--format=custom"))
    words = argv.backup(Common(), part, host="db", tags=(), time="<start>")
    start = words.index("--stdin-from-command")
    assert words[start:] == (
        *("--stdin-from-command", "--stdin-filename=shop.dump", "--"),
        *(*argv.LINGER, "pg_dump", "--format=custom"),
    )
    assert "--time=<start>" in words


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (argv.restore(Common(), SNAPSHOT, "/x"), ("--target=/x", "--overwrite=always", "--verify", "--", SNAPSHOT)),
        (
            argv.compare(Common(), SNAPSHOT, "/x"),
            ("--target=/x", "--dry-run", "--overwrite=always", "--verbose=2", "--", SNAPSHOT),
        ),
        (argv.check(Common(), (3, 7)), ("check", "--json", "--retry-lock=10s", "--read-data-subset=3/7")),
        (argv.check(Common(), None), ("restic", "check", "--json", "--retry-lock=10s")),
        (argv.forget(Common(), (SNAPSHOT,), prune=True), ("forget", "--retry-lock=10s", "--prune", "--", SNAPSHOT)),
        (argv.forget(Common(), (SNAPSHOT,), prune=False), ("forget", "--retry-lock=10s", "--", SNAPSHOT)),
        (argv.snapshots(Common(), ("a=b", "c=d")), ("--tag=a=b,c=d",)),
        (argv.unlock(Common()), ("restic", "unlock")),
        (argv.create(Common()), ("restic", "init", "--json")),
        (argv.create(Common(), like=True), ("restic", "init", "--json", "--copy-chunker-params")),
        (argv.copy(Common(), (SNAPSHOT,)), ("restic", "copy", "--retry-lock=10s", "--verbose", "--", SNAPSHOT)),
        (argv.copy(Common(reading=True), (SNAPSHOT,)), ("copy", "--no-lock", "--verbose", "--", SNAPSHOT)),
    ],
)
def test_each_command_ends_as_it_should(words: tuple[str, ...], end: tuple[str, ...]) -> None:
    """Identifiers stand behind the end of options; nothing removes all locks."""
    assert words[-len(end) :] == end
    assert "--remove-all" not in words


def test_a_tag_with_a_comma_is_refused() -> None:
    """A comma would make two tags of one, and a filter of any instead of all."""
    with pytest.raises(ValueError, match="comma"):
        argv.snapshots(Common(), ("a,b",))


def test_sftp_can_ask_nobody_and_ends_a_cut_link() -> None:
    """Over SFTP restic's ssh has timeouts and no terminal; other storages need no option."""
    (option,) = argv.extended("sftp:u@h:/r")
    assert "ServerAliveInterval=10" in option
    assert "BatchMode=yes" in option
    assert argv.extended("s3:https://h/b") == argv.extended("/srv/r") == ()
    assert argv.snapshots(Common(options=(option,)))[-2:] == ("-o", option)


@pytest.mark.parametrize(
    ("text", "usable"),
    [("0.14.0", False), ("0.17.0", False), ("0.17.1", True), ("0.18.1", True), ("0.19.1", True), ("1.0.0", True)],
)
def test_the_version_gate(text: str, usable: bool) -> None:  # noqa: FBT001 - a column
    """0.17.1 is the first restic that drorch uses."""
    version = Version(*map(int, text.split(".")))
    assert (version >= MINIMUM) is usable
    assert str(version) == text


@pytest.mark.parametrize(
    ("path", "whole"), [("~", "/home/u"), ("~/a b", "/home/u/a b"), ("/x", "/x"), ("x", None), ("~bob/x", None)]
)
def test_a_path_is_absolute_or_of_the_home(path: str, whole: str | None) -> None:
    """Whatever is neither is refused, never taken as relative to some folder."""
    if whole is None:
        with pytest.raises(RepositoryError, match="not an absolute path"):
            expand(path, "/home/u/")
    else:
        assert expand(path, "/home/u/") == whole


STORAGES = [
    ("/srv/a:b", "/srv/a:b", {}),
    ("local:/srv/r", "/srv/r", {}),
    ("s3:https://s3.example.com/bucket/deep/er", ":s3:bucket/deep/er", {"ENDPOINT": "https://s3.example.com"}),
    ("s3:http://127.0.0.1:9000/b", ":s3:b", {"ENDPOINT": "http://127.0.0.1:9000", "PROVIDER": "Other"}),
    ("s3:s3.eu-central-1.amazonaws.com/b", ":s3:b", {"PROVIDER": "AWS"}),
    ("s3:amazonaws.com.example.org/b", ":s3:b", {"PROVIDER": "Other"}),
]


@pytest.mark.parametrize(("url", "remote", "env"), STORAGES, ids=[storage[0] for storage in STORAGES])
def test_a_storage_is_told_to_rclone(url: str, remote: str, env: dict[str, str]) -> None:
    """The place stands in rclone's words, everything else in its environment."""
    store = serve.storage(url, {})
    assert store.remote == remote
    assert {name: store.env[f"RCLONE_S3_{name}"] for name in env} == env


def test_credentials_travel_in_the_environment() -> None:
    """A storage credential keeps its wrapping and gets rclone's name; an unknown one is refused by name."""
    key = Secret("key", "planted-1")
    store = serve.storage("s3:https://h/b", {"AWS_SECRET_ACCESS_KEY": key})
    assert store.env["RCLONE_S3_SECRET_ACCESS_KEY"] is key
    assert "planted-1" not in f"{store} {serve.command('rclone', store.remote, Path('/x'))}"
    with pytest.raises(RepositoryError, match="AWS_PROFILE"):
        serve.storage("s3:https://h/b", {"AWS_PROFILE": key})


@pytest.mark.parametrize(
    ("url", "target", "path"),
    [
        ("sftp:u@h:/srv/r", ["u@h"], ":sftp:/srv/r"),
        ("sftp:u@h:r", ["u@h"], ":sftp:r"),
        ("sftp://u@h:2022//srv/r", ["-p2022", "u@h"], ":sftp:/srv/r"),
        ("sftp://u@h/r", ["u@h"], ":sftp:r"),
    ],
)
def test_sftp_is_served_through_the_controllers_ssh(url: str, target: list[str], path: str) -> None:
    """Both of restic's spellings name user, server, port and path."""
    store = serve.storage(url, {})
    assert store.remote == path
    assert str(store.env["RCLONE_SFTP_SSH"]).split()[-len(target) :] == target


@pytest.mark.parametrize(
    "url", ["rest:https://h/", "s3:", "s3:https://h", "sftp:", "sftp:-oProxyCommand=x:/r", "sftp:h"]
)
def test_what_cannot_be_served_is_refused(url: str) -> None:
    """A storage that rclone would misread is an error before anything starts."""
    with pytest.raises(RepositoryError):
        serve.storage(url, {})


def test_times_are_written_in_utc() -> None:
    """Every command runs with TZ=UTC, so the time is written so."""
    assert argv.moment(NIGHT) == argv.moment(NIGHT.astimezone(UTC)) == "2026-03-01 02:30:07"
