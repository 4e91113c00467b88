"""What the S3 store decides without any store: credentials, patience, gate, bandwidth, verdicts, pages."""

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drorch.core.accesskey import parse as credential
from drorch.core.clock import FakeClock
from drorch.core.errors import (
    AlreadyThere,
    ContentRefused,
    Interrupted,
    ObjectMissing,
    SecretError,
    StoreDenied,
    StoreError,
    StoreUnreachable,
)
from drorch.core.model import SecretRef
from drorch.core.secret import Secret
from drorch.core.store import Entry
from drorch.stores._s3 import parse
from drorch.stores._s3.bandwidth import Allowance, rate_of
from drorch.stores._s3.gate import FIRST, RETRY_ROUNDS, Gate, Pace
from drorch.stores._s3.retry import Failed, Patience, persist
from drorch.stores._s3.trouble import Refusal, Scene, Verdict, broken, judged
from drorch.stores.s3 import S3Store

CANARY = "canary-of-a-secret-key"
SCENE = Scene("offsite (bucket b at https://s3)", "offsite", "put nas/config", "writer-key", "writer", "eu-1")


@pytest.mark.parametrize(
    "text",
    [
        f"AKID:{CANARY}",
        f"AKID\n{CANARY}",
        f"  AKID \r\n\n {CANARY} \n",
        f"[default]\naws_access_key_id = AKID\naws_secret_access_key={CANARY}\nregion = x\n",
        f"AWS_ACCESS_KEY_ID=AKID\nAWS_SECRET_ACCESS_KEY={CANARY}",
    ],
)
def test_ways_to_write_a_credential(text: str) -> None:
    """One line, two lines and a section of a credentials file are the same credential."""
    keys = credential(Secret("k", text))
    assert (keys.id, keys.secret, keys.token) == ("AKID", CANARY, "")


def test_a_secret_may_hold_colons_and_a_session_has_a_token() -> None:
    """Only the first colon parts id and secret; a third line, or its setting, is a session's token."""
    assert credential(Secret("k", "AKID:a:b=/+")).secret == "a:b=/+"
    assert credential(Secret("k", "AKID\nsecret\ntoken==")).token == "token=="
    section = "[x]\naws_access_key_id=a\naws_secret_access_key=b\naws_session_token=c=="
    assert credential(Secret("k", section)).token == "c=="


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f":{CANARY}",
        "AKID:",
        f"a\nb\nc\n{CANARY}",
        f"A KID:{CANARY}",
        f"AKID:{CANARY}é",
        f"aws_access_key_id={CANARY}",
        f"[a]\naws_access_key_id=1\naws_secret_access_key={CANARY}\n[b]\naws_access_key_id=2\naws_secret_access_key=3",
    ],
)
def test_what_is_no_credential_is_refused_unseen(text: str) -> None:
    """Anything else is refused with the ways to write it, and nothing of the value is shown."""
    with pytest.raises(SecretError, match="secret k is no access key") as refused:
        credential(Secret("k", text))
    assert CANARY not in str(refused.value)
    assert "ID:SECRET" in refused.value.hint
    assert CANARY not in repr(credential(Secret("k", f"AKID:{CANARY}")))


def test_how_restic_reads_a_mirror_in_place() -> None:
    """Restic gets the folder of the repository, the credential by environment and the certificate as an option."""

    class Known:
        def get(self, ref: SecretRef) -> Secret:
            return Secret(ref.secret, f"AKID\n{CANARY}\ntoken")

        def redact(self, text: str) -> str:
            return text

        def redact_json(self, value: object) -> object:
            return value

    spec = S3Store(
        kind="s3",
        endpoint="https://s3.example.com/",
        bucket="acme",
        prefix="a/b",
        region="eu-1",
        credentials=SecretRef(secret="w"),
        certificate="/etc/ca.pem",
    )
    reading = spec.reading("nas", Known())
    assert reading is not None
    assert reading.url == "s3:https://s3.example.com/acme/a/b/nas"
    shown = {name: value.reveal() if isinstance(value, Secret) else value for name, value in reading.env.items()}
    assert shown == {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_SESSION_TOKEN": "token",
        "AWS_DEFAULT_REGION": "eu-1",
    }
    assert reading.options == ("-o", "s3.bucket-lookup=path", "--cacert=/etc/ca.pem")
    assert CANARY not in repr(reading)


def failing(times: int, **verdict: object) -> Callable[[int], int]:
    """An attempt that succeeds after so many failures."""

    def attempt(tried: int) -> int:
        if tried < times:
            raise Failed(Verdict(StoreUnreachable("no"), **{"again": True, **verdict}))  # type: ignore[arg-type]  # fields of it
        return tried

    return attempt


def test_waits_grow_with_full_jitter() -> None:
    """Each wait is a random share of a bound that doubles up to the cap."""
    clock = FakeClock()
    chances = iter([1.0, 0.5, 0.0, 1.0, 1.0])
    patience = Patience(tries=10, base=1.0, cap=8.0, span=1000)
    assert persist(failing(5), patience, clock, lambda: next(chances)) == 5
    assert clock.slept == [1.0, 1.0, 0.0, 8.0, 8.0]


def test_the_store_may_ask_to_wait_longer() -> None:
    """A wait is never shorter than the store asked for."""
    clock = FakeClock()
    persist(failing(1, after=7.0), Patience(), clock, lambda: 1.0)
    assert clock.slept == [7.0]


@pytest.mark.parametrize(
    ("patience", "verdict", "sleeps"),
    [
        (Patience(tries=3), {}, 2),
        (Patience(span=10.0, base=4.0), {}, 1),
        (Patience(), {"again": False}, 0),
        (Patience(), {"after": 4000.0}, 0),
    ],
)
def test_patience_ends(patience: Patience, verdict: dict[str, object], sleeps: int) -> None:
    """It ends with the tries, with the time, or at once where there is no hope; the last error is told."""
    clock = FakeClock()
    with pytest.raises(StoreUnreachable):
        persist(failing(99, **verdict), patience, clock, lambda: 1.0)
    assert len(clock.slept) == sleeps


def test_a_pace_rises_while_it_pays_and_never_above_the_most() -> None:
    """It doubles at first, then holds where more calls bring no more, and tries one more now and then."""
    pace = Pace(limit=4, most=30)
    for throughput, limit in [(10.0, 8), (20.0, 16), (40.0, 30), (80.0, 30)]:
        pace = pace.after_round(throughput)
        assert pace.limit == limit
    pace = Pace(limit=4, most=30).after_round(10.0)
    for _ in range(RETRY_ROUNDS - 1):
        pace = pace.after_round(10.0)
        assert pace.limit == 8
    assert pace.after_round(10.0).limit == 9


def test_a_pace_halves_and_climbs_again_one_by_one() -> None:
    """Told to slow down it halves, down to one call, and then rises by one for each round that brings more."""
    pace = Pace(limit=16, most=32).slower()
    assert (pace.limit, pace.after_round(10.0).limit, pace.after_round(10.0).after_round(20.0).limit) == (8, 9, 10)
    assert Pace(limit=1, most=32).slower().limit == 1


@given(st.lists(st.one_of(st.none(), st.floats(1, 1e9)), max_size=200), st.integers(1, 64))
def test_a_pace_keeps_its_bounds(rounds: list[float | None], most: int) -> None:
    """Whatever happens, at least one call and never more than the most are made at once."""
    pace = Pace(limit=min(FIRST, most), most=most)
    for throughput in rounds:
        pace = pace.slower() if throughput is None else pace.after_round(throughput)
        assert 1 <= pace.limit <= most


def test_a_burst_of_slow_downs_halves_once() -> None:
    """Calls that were under way together say it together: that is one reason to slow down, not one each."""
    gate = Gate(4, FakeClock())
    entered = [gate.call() for _ in range(4)]
    calls = [call.__enter__() for call in entered]
    for context, call in zip(entered, calls, strict=True):
        call.slow = True
        context.__exit__(None, None, None)
    assert gate.limit == 2


def test_no_more_calls_than_the_gate_lets_through() -> None:
    """Threads never make more calls at once than the limit, and all of them come through."""
    gate = Gate(3, FakeClock())
    running, most, done = [0], [0], []
    counting = threading.Lock()

    def work(number: int) -> None:
        with gate.call() as call:
            with counting:
                running[0] += 1
                most[0] = max(most[0], running[0])
            call.good = True
            with counting:
                running[0] -= 1
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(done) == list(range(50))
    assert most[0] <= 3


def test_who_waits_at_the_gate_hears_a_stop() -> None:
    """A call that waits for its turn ends when a stop is asked for."""

    class Stopped(FakeClock):
        def sleep(self, seconds: float) -> None:
            raise Interrupted

    gate = Gate(1, Stopped())
    with gate.call(), pytest.raises(Interrupted), gate.call():
        pass


@pytest.mark.parametrize(("text", "rate"), [("20 MB/s", 20e6), ("1.5GB/s", 1.5e9), ("500 kB/s", 500e3)])
def test_bandwidths(text: str, rate: float) -> None:
    """Bandwidths are decimal."""
    assert rate_of(text) == rate


def test_all_lanes_share_the_bandwidth() -> None:
    """What all threads send together takes as long as the limit says."""
    clock = FakeClock()
    allowance = Allowance(1e6, clock)
    began = clock.monotonic()
    for _ in range(100):
        allowance.take(50_000)
    assert 4.9 <= clock.monotonic() - began <= 5.0
    assert not Allowance(None, clock).take(10**9)
    assert Allowance(5000.0, clock).piece == 1024
    assert Allowance(1e9, clock).piece == 256 * 1024


@pytest.mark.parametrize(
    ("status", "code", "kind", "word"),
    [
        (403, "InvalidAccessKeyId", StoreDenied, "secret writer-key"),
        (403, "SignatureDoesNotMatch", StoreDenied, "secret writer-key"),
        (403, "AccessDenied", StoreDenied, "drorch store policy offsite"),
        (400, "ExpiredToken", StoreDenied, "renew secret writer-key"),
        (403, "RequestTimeTooSkewed", StoreError, "timedatectl"),
        (404, "NoSuchBucket", StoreError, "drorch store create offsite"),
        (404, "NoSuchKey", ObjectMissing, ""),
        (301, "PermanentRedirect", StoreError, "write region: eu-9"),
        (400, "AuthorizationHeaderMalformed", StoreError, "region"),
        (412, "PreconditionFailed", AlreadyThere, ""),
        (400, "BadDigest", ContentRefused, ""),
        (400, "XAmzContentSHA256Mismatch", ContentRefused, ""),
        (404, "ObjectLockConfigurationNotFoundError", StoreError, "drorch store create offsite"),
        (501, "NotImplemented", StoreError, "drorch store probe offsite"),
        (400, "SomethingNew", StoreError, "drorch store probe offsite"),
    ],
)
def test_refusals_without_hope(status: int, code: str, kind: type[StoreError], word: str) -> None:
    """A refusal is said in our words, with where it was and what to do, and is not tried again."""
    refusal = Refusal(status, code, "in \x1b[31mtheir words", {"x-amz-bucket-region": "eu-9"})
    verdict = judged(refusal, SCENE)
    assert type(verdict.error) is kind
    assert not verdict.again
    assert "offsite (bucket b at https://s3)" in verdict.error.message
    assert word in verdict.error.hint
    assert "\x1b" not in str(verdict.error)


@pytest.mark.parametrize(
    ("status", "code", "slow"),
    [
        (503, "SlowDown", True),
        (503, "", True),
        (429, "TooManyRequests", True),
        (500, "InternalError", False),
        (502, "", False),
        (504, "", False),
        (400, "RequestTimeout", True),
        (200, "InternalError", False),
        (200, "", False),
        (200, "SlowDown", True),
        (409, "OperationAborted", False),
    ],
)
def test_refusals_with_hope(status: int, code: str, slow: bool) -> None:  # noqa: FBT001 - a case
    """What passes is tried again, and a store that is busy gets fewer calls at once."""
    verdict = judged(Refusal(status, code), SCENE)
    assert (type(verdict.error), verdict.again, verdict.slow) == (StoreUnreachable, True, slow)
    assert verdict.error.retryable


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Mon, 23 Nov 2026 13:00:30 GMT", "date": "Mon, 23 Nov 2026 13:00:10 GMT"}, 20.0),
        ({"retry-after": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_how_long_a_busy_store_asks_to_wait(headers: dict[str, str], seconds: float) -> None:
    """``Retry-After`` counts in seconds, and as a date by the store's own clock."""
    assert judged(Refusal(503, "SlowDown", headers=headers), SCENE).after == seconds


def test_a_wrong_clock_says_by_how_much() -> None:
    """Clocks that disagree are told with the difference and its direction."""
    ahead = Scene(**{**{name: getattr(SCENE, name) for name in SCENE.__slots__}, "skew": timedelta(minutes=20)})
    assert "20:00 behind the store's" in judged(Refusal(403, "RequestTimeTooSkewed"), ahead).error.message


def _certificate() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "word", "again"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens", True),
        (ConnectionResetError(104, "reset by peer"), "reset by peer", True),
        (TimeoutError("timed out"), "no answer in time", True),
        (socket.gaierror(-2, "Name or service not known"), "no address", True),
        (http.client.IncompleteRead(b""), "cut off", True),
        (http.client.BadStatusLine("SSH-2.0-OpenSSH"), "no HTTP: SSH-2.0", True),
        (http.client.RemoteDisconnected("closed"), "without an answer", True),
        (_certificate(), "not trusted: self-signed", False),
    ],
)
def test_broken_connections(error: Exception, word: str, again: bool) -> None:  # noqa: FBT001 - a case
    """Each way in which a connection breaks is told apart, also below an exception of boto's."""
    wrapped = RuntimeError("boto's")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        verdict = broken(raised, SCENE)
        assert word in verdict.error.message
        assert verdict.again is again
        assert verdict.error.hint


def page(*keys: str, more: str = "", encoded: bool = False) -> bytes:
    """A page of a listing, as Ceph writes it."""
    rows = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-11-23T12:00:00.123Z</LastModified>"
        f"<ETag>&quot;{'a' * 32}&quot;</ETag><Size>5</Size><Owner><ID>x</ID></Owner></Contents>"
        for key in keys
    )
    token = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    coding = "<EncodingType>url</EncodingType>" if encoded else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name>{coding}{token}{rows}</ListBucketResult>"
    ).encode()


def test_a_page_of_a_listing() -> None:
    """Keys come without the prefix, decoded where the store encoded them; times are UTC."""
    read = parse.entries(page("site/nas/a%20b+c%2B", more="t", encoded=True), "site/")
    at = datetime(2026, 11, 23, 12, 0, 0, 123000, tzinfo=UTC)
    assert read.items == [Entry("nas/a b c+", 5, at, "a" * 32)]
    assert read.further == (("continuation-token", "t"),)
    plain = parse.entries(page("a+b").replace(b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b""), "")
    assert [entry.key for entry in plain.items] == ["a+b"]
    assert plain.further == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>hello</body></html>",
        b'{"error": 1}',
        page("a")[:-30],
        page("a").replace(b"<Size>5</Size>", b""),
        page("a", more="t").replace(b"<NextContinuationToken>t</NextContinuationToken>", b""),
    ],
)
def test_what_is_no_page(body: bytes) -> None:
    """A page that is cut, foreign, or tells of more without a way to it is no page, and never an empty one."""
    with pytest.raises(parse.NoListing):
        parse.entries(body, "")


@pytest.mark.parametrize(
    ("headers", "md5", "sha256"),
    [
        ({"etag": f'"{"a" * 32}"'}, "a" * 32, ""),
        ({"etag": f'"{"a" * 32}-3"'}, "", ""),
        ({"etag": f'"{"a" * 32}"', "x-amz-server-side-encryption": "aws:kms"}, "", ""),
        ({"etag": f'"{"a" * 32}"', "x-amz-server-side-encryption": "AES256"}, "a" * 32, ""),
        ({"x-amz-checksum-sha256": base64.b64encode(b"\1" * 32).decode()}, "", "01" * 32),
        ({"x-amz-checksum-sha256": base64.b64encode(b"\1" * 32).decode() + "-2"}, "", ""),
    ],
)
def test_which_checksums_are_of_the_content(headers: dict[str, str], md5: str, sha256: str) -> None:
    """An ETag or checksum of parts, or of what a provider's key encrypted, is not taken for the content's."""
    assert (parse.md5(headers), parse.sha256(headers)) == (md5, sha256)


def test_keys_out_of_order_are_noticed() -> None:
    """A listing is in order only if every key comes after the one before, pages included."""
    assert parse.in_order(["a", "b/", "b0", "\u00e4", "\U0001f600"], "Z")
    assert not parse.in_order(["b", "a"], "")
    assert not parse.in_order(["b"], "b")
