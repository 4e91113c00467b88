"""restic's recorded answers, and what drorch makes of them."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drorch.core.errors import (
    DrorchError,
    RepositoryError,
    RepositoryLocked,
    RepositoryMissing,
    Unreachable,
    WrongPassword,
)
from drorch.core.host import Command, Completed, Ended
from drorch.repositories.restic import endings, parse
from drorch.repositories.restic.argv import Version
from support.recorded import DATA, recorded

ENDS = [
    # recorded command, kind of error, words in it, whether a retry can help
    ("no-repository", RepositoryMissing, "there is no repository at nas", False),
    ("locked", RepositoryLocked, "already locked by PID", True),
    ("wrong-password", WrongPassword, "the password opens no key of nas", False),
    ("init-again", RepositoryError, "config file already exists", False),
    ("backup-nothing", RepositoryError, "all source directories/files do not exist", False),
    ("restore-unknown", RepositoryError, "failed to find snapshot", False),
    ("usage", RepositoryError, "unknown flag", False),
    ("runtime", RepositoryError, "exit code 2", False),
    ("cancelled", RepositoryError, "exit code 130: Fatal: unable to save snapshot: context canceled", True),
]


@pytest.mark.parametrize(("name", "kind", "words", "retryable"), ENDS, ids=[end[0] for end in ENDS])
def test_each_exit_code_is_its_own_error(name: str, kind: type[DrorchError], words: str, retryable: bool) -> None:  # noqa: FBT001 - a column
    """An end other than success says what it was, in restic's own closing words, and whether a retry can help."""
    error = endings.failure(recorded(name), "listing", "nas")
    assert type(error) is kind
    assert words in error.message
    assert error.message.startswith("listing: ")
    assert error.retryable is retryable
    assert "\n" not in error.message


@pytest.mark.parametrize("code", [1, 2, 3, 4, 13, 77, 127, 137, 255])
def test_an_unknown_exit_code_is_a_failure(code: int) -> None:
    """A code that nobody knows is named, never taken for a success."""
    error = endings.failure(Completed(Command(("restic",)), Ended.EXITED, code), "x", "nas")
    assert f"exit code {code}" in error.message


def test_a_broken_connection_leaves_the_outcome_unknown() -> None:
    """Neither a broken connection nor a passed limit is read as restic's own answer."""
    lost = Completed(Command(("restic",)), Ended.UNKNOWN, None)
    assert isinstance(endings.failure(lost, "x", "nas"), Unreachable)
    late = endings.failure(replace(lost, ended=Ended.TIMED_OUT, seconds=9.0), "x", "nas")
    assert "not finished after 9 s" in late.message
    assert late.retryable


@pytest.mark.parametrize(
    ("text", "retryable"),
    [
        ("dial tcp 10.0.0.1:443: connect: connection refused", True),
        ("Get https://x/: net/http: TLS handshake timeout", True),
        ("server response unexpected: 503 Service Unavailable (503)", True),
        ("server response unexpected: 403 Forbidden (403)", False),
        ("no space left on device", False),
    ],
)
def test_a_storage_that_is_away_is_worth_a_retry(text: str, retryable: bool) -> None:  # noqa: FBT001 - a column
    """Only what passes by itself is tried again."""
    line = json.dumps({"message_type": "exit_error", "code": 1, "message": text}).encode()
    end = Completed(Command(("restic",)), Ended.EXITED, 1, stderr=line)
    assert endings.failure(end, "x", "nas").retryable is retryable


def test_every_recording_is_read_line_by_line() -> None:
    """No line that restic wrote is unknown but its plain text."""
    for path in DATA.glob("*.json"):
        end = recorded(path.stem)
        for line in (end.stdout + end.stderr).splitlines():
            said = parse.read_line(line)
            if isinstance(said, parse.Text):
                assert not line.startswith(b'{"message_type":"s'), line


def test_a_backup_names_its_snapshot_and_sizes() -> None:
    """The summary's numbers become the facts."""
    *statuses, last = map(parse.read_line, recorded("backup").stdout.splitlines())
    assert isinstance(last, parse.Summary)
    facts = parse.backed_up(last.fields)
    assert (facts.files, facts.bytes_processed, facts.bytes_added, facts.bytes_stored) == (
        4,
        3_001_007,
        3_003_512,
        3_001_795,
    )
    assert 0 < facts.seconds < 60
    assert all(isinstance(status, parse.Status) for status in statuses)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("backup", ()),
        ("backup-missing", ("/srv/nothing does not exist, skipping",)),
        ("backup-unreadable", ("open /srv/shop/secret: permission denied",)),
    ],
)
def test_an_incomplete_backup_lists_what_it_left_out(name: str, lines: tuple[str, ...]) -> None:
    """Each thing that could not be read is told once, restic's closing sentence left out."""
    assert endings.complaints(recorded(name).stderr) == lines


def test_complaints_are_bounded_and_printable() -> None:
    """However much restic complains, and in whatever bytes, 100 short printable lines are kept."""
    noise = b"".join(b"\x1b[31m%d \xff %s\n" % (n, b"x" * 3000) for n in range(5000))
    found = endings.complaints(noise)
    assert len(found) == 100
    assert all(len(line) <= 500 and line.isprintable() for line in found)


@pytest.mark.parametrize(
    ("name", "failed", "said"),
    [
        ("stream-failed", "exit status 3", "no such table"),
        ("stream-unknown", 'exec: "pg_dumpx": executable file not found in $PATH', ""),
        ("stream-empty", "", "warning"),
        ("wrong-password", "", ""),
    ],
)
def test_a_stream_failure_is_told_from_restics_own(name: str, failed: str, said: str) -> None:
    """How the dump's command ended and what it wrote are found between restic's own lines."""
    assert endings.stream_failure(recorded(name).stderr) == endings.StreamFailure(failed, said)


def test_snapshots_are_listed_oldest_first_without_empty_ones() -> None:
    """A snapshot that restic left of a stream that gave nothing is no recovery point."""
    found = parse.snapshot_facts(recorded("snapshots").stdout)
    assert [snapshot.paths for snapshot, _ in found] == [("/srv/shop",), ("/shop.dump",)]
    first, facts = found[0]
    assert facts is not None
    assert facts.snapshot == first.id
    assert first.time == datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    assert first.origin is not None
    assert first.origin.run == "shop-nightly@2026-03-01T02:30Z"
    assert parse.snapshots(recorded("snapshots-none").stdout) == ()


@pytest.mark.parametrize("answer", [b"", b"[", b"{}x", b'[{"id": "x"}]', b"[1]", b"a text", b'[{"time": 1}]'])
def test_a_listing_that_cannot_be_read_is_an_error(answer: bytes) -> None:
    """Half an answer is never an empty repository."""
    with pytest.raises(RepositoryError, match="cannot be read"):
        parse.snapshots(answer)


def test_ids_are_read() -> None:
    """A new repository and an opened one name the same id."""
    assert parse.created(recorded("init").stdout) == parse.config(recorded("identify").stdout).id
    for answer in (b"", b"null", b'{"id": "short"}', b"text\n"):
        with pytest.raises(RepositoryError):
            parse.config(answer)
        with pytest.raises(RepositoryError):
            parse.created(answer)


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (recorded("version").stdout, Version(0, 19, 1)),
        (b'{"version":"0.18.0-dev"}', Version(0, 18, 0)),
        (b"restic 0.14.0 compiled with go1.19", None),
        (b"", None),
        (b'{"version":"latest"}', None),
        (b'noise\n{"message_type":"version","version":"1.2.3"}\n', Version(1, 2, 3)),
    ],
)
def test_versions_are_read(answer: bytes, version: Version | None) -> None:
    """Only what names three numbers in JSON is a version."""
    assert parse.version(answer) == version


def test_check_is_believed_only_when_it_says_so() -> None:
    """An exit code of 0 is not enough: restic must have said that it found no errors."""
    now = Version(0, 19, 1)
    assert endings.sound(recorded("check").stdout, now)
    assert endings.sound(recorded("check-read").stdout, now)
    assert not endings.sound(b"", now)
    assert not endings.sound(recorded("check-missing").stdout, now)
    assert endings.sound(b"load indexes\nno errors were found\n", Version(0, 17, 1))
    assert not endings.sound(b"load indexes\n", Version(0, 17, 1))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("check-damaged", "pack aca4c523d6f5272e500ba910d96f40e0ad7ddb68e9479fb09d2d0fdec2c0d650 is damaged"),
        ("check-missing", "pack cec2524ff9b0c2afe87b483d9f60fb8c525a98dd23850dd7aa459220a9037a5f: does not exist"),
    ],
)
def test_damage_is_named(name: str, words: str) -> None:
    """The damaged pack comes first."""
    assert endings.damage(recorded(name))[0] == words


def test_what_is_no_damage_is_not_called_so() -> None:
    """A lock, a wrong password or a storage that went away during a check is told apart from damage."""
    assert endings.damage(recorded("locked")) == ()
    assert endings.damage(recorded("wrong-password")) == ()
    lines = (
        {"message_type": "error", "message": "Load(<data/00>) failed: dial tcp: connect: connection refused"},
        {"message_type": "exit_error", "code": 1, "message": "Fatal: repository contains errors"},
    )
    away = "\n".join(map(json.dumps, lines)).encode()
    assert endings.damage(replace(recorded("check-missing"), stderr=away)) == ()


def test_freed_bytes_are_read_from_the_text() -> None:
    """The one number that prune gives is read, whatever its unit; where there is none, none is made up."""
    assert parse.freed(recorded("forget").stdout) == 246
    assert parse.freed(b"total prune:           12 blobs / 1.500 GiB\n") == 3 << 29
    assert parse.freed(recorded("snapshots").stdout) is None


def test_huge_lines_and_mixed_text_are_read() -> None:
    """A line of megabytes, text between JSON and nonsense neither stop the reader nor are kept whole in errors."""
    big = json.dumps({"message_type": "status", "total_bytes": 7, "current_files": ["x" * 3_000_000]}).encode()
    assert parse.read_line(big) == parse.Status(0, 7, 0, 0, None)
    assert isinstance(parse.read_line(big[:-10]), parse.Text)
    deep = b'{"message_type":' * 200_000
    assert isinstance(parse.read_line(deep), parse.Text)
    end = Completed(Command(("restic",)), Ended.EXITED, 1, stderr=big[:-10])
    assert len(endings.failure(end, "x", "nas").message) < 2200


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b'{"message_type":"status"' + tail))
def test_no_line_is_too_strange(line: bytes) -> None:
    """Whatever bytes come, reading them raises nothing."""
    for piece in line.splitlines():
        parse.read_line(piece)
    endings.complaints(line)
    endings.reason(line)
    endings.stream_failure(line)


@given(
    st.dictionaries(
        st.sampled_from(["message_type", "error", "message", "item", "code", "percent_done", "seconds_elapsed"]),
        st.none()
        | st.text()
        | st.floats()
        | st.integers()
        | st.dictionaries(st.just("message"), st.none() | st.text())
        | st.sampled_from(["status", "summary", "error", "exit_error", "verbose_status"]),
    )
)
def test_no_message_is_too_strange(message: dict[str, object]) -> None:
    """Fields of any type raise nothing."""
    parse.read_line(json.dumps(message).encode())


def test_a_trace_is_no_reason() -> None:
    """Where restic ends with a list of its own functions, the reason is what stands before it."""
    stderr = (
        b"Save(<data/d38e>) failed: no space left on device\n"
        b"write /srv/data/d3: no space left on device\n"
        b"github.com/restic/restic/internal/backend/local.(*Local).Save\n"
        b"\tgithub.com/restic/restic/internal/backend/local/local.go:162\n"
        b"runtime.goexit\n"
        b"\truntime/asm_amd64.s:1771\n"
    )
    assert endings.reason(stderr) == (
        "Save(<data/d38e>) failed: no space left on device; write /srv/data/d3: no space left on device"
    )
