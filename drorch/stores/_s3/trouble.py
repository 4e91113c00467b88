"""What a refusal or a broken connection means: an error of ours with its remedy, and whether to try again; pure."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from drorch.core.errors import (
    AlreadyThere,
    ContentRefused,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnreachable,
)
from drorch.core.host import printable

LONGEST_MESSAGE = 300
"""Characters of a provider's own words that are shown."""

_REACH = "check endpoint and the network in between"

_BUSY = frozenset(
    [
        "SlowDown",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "RequestThrottled",
        "Busy",
    ]
)
_PASSING = frozenset(
    [
        "InternalError",
        "InternalFailure",
        "RequestTimeout",
        "RequestTimeoutException",
        "OperationAborted",
        "IncompleteBody",
        "TemporaryRedirect",
        "ConditionalRequestConflict",
        "BadGateway",
        "GatewayTimeout",
    ]
)
_STALE = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})
_DENIED: Mapping[str, tuple[str, str]] = {
    "InvalidAccessKeyId": (
        "no such access key",
        "check the id in secret {secret}, and that it belongs to this provider",
    ),
    "SignatureDoesNotMatch": (
        "the signature is wrong",
        "check the key's secret in secret {secret}; a proxy in between may also have changed the request",
    ),
    "AccessDenied": ("not allowed", "`drorch store policy {store}` prints what the {role} needs"),
    "AllAccessDisabled": ("all access is disabled", "ask the provider"),
    "AccountProblem": ("the account has a problem", "ask the provider; are its bills paid?"),
    "NotSignedUp": ("the account is not signed up", "finish it at the provider"),
    "UserSuspended": ("the account is suspended", "ask the provider"),
}
WRONG_CONTENT = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
_MISSING = frozenset({"NoSuchKey", "NoSuchVersion"})
_WRONG_REGION = frozenset(
    [
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "Redirect",
        "IncorrectEndpoint",
    ]
)
_MOVED = frozenset({HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})
_NOT_HERE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_CANNOT_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "InvalidBucketState"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not a success."""

    status: int
    code: str = ""
    """The provider's word for it; empty where the answer had none (every HEAD)."""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""

    @property
    def shown(self) -> str:
        """For messages."""
        said = printable(self.message).replace("\n", " ")[:LONGEST_MESSAGE]
        what = f"{self.code}, status {self.status}" if self.code else f"status {self.status}"
        return f"{what}: {said}" if said else what


@dataclass(frozen=True, slots=True)
class Scene:
    """What was going on."""

    shown: str
    """The store's name and address."""
    store: str
    doing: str
    """Such as ``put nas/config``."""
    secret: str
    """Name of the credential's secret."""
    role: str
    region: str
    skew: timedelta = timedelta()
    """By how much the store's clock is ahead of ours."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to make of it."""

    error: StoreError
    again: bool = False
    """Whether trying again can help."""
    slow: bool = False
    """Whether fewer calls at once are wanted."""
    stale: bool = False
    """Whether a renewed credential can help."""
    after: float = 0.0
    """Seconds that the store asks to wait at least."""


def judged(refusal: Refusal, scene: Scene) -> Verdict:
    """What a refusal means."""
    where = f"{scene.shown}: {scene.doing}"
    code, status = refusal.code, refusal.status
    if code in _BUSY or status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        error: StoreError = StoreUnreachable(f"{where}: it is too busy ({refusal.shown})", hint="try again later")
        return Verdict(error, again=True, slow=True, after=_after(refusal.headers))
    # An error in the body of a success began well and broke down on the way.
    if code in _PASSING or status < HTTPStatus.MULTIPLE_CHOICES or _failed(status):
        error = StoreUnreachable(f"{where}: it failed ({refusal.shown})", hint="try again later; ask the provider")
        return Verdict(error, again=True, slow=code.startswith("RequestTimeout"), after=_after(refusal.headers))
    if code in _STALE:
        hint = f"renew secret {scene.secret}; a key without an end suits a daemon better"
        return Verdict(StoreDenied(f"{where}: the session has expired ({refusal.shown})", hint=hint), stale=True)
    error = _final(refusal, scene, where)
    return Verdict(error, stale=code == "InvalidAccessKeyId")


def _final(refusal: Refusal, scene: Scene, where: str) -> StoreError:  # noqa: C901, PLR0911 - a table of cases
    code, status = refusal.code, refusal.status
    if code == "RequestTimeTooSkewed":
        return clock_wrong(scene)
    if code in _DENIED:
        what, hint = _DENIED[code]
        hint = hint.format(secret=scene.secret, store=scene.store, role=scene.role)
        return StoreDenied(f"{where}: {what} ({refusal.shown})", hint=hint)
    if code == "NoSuchBucket":
        return StoreError(
            f"{where}: there is no such bucket",
            hint=f"check endpoint and bucket; `drorch store create {scene.store}` makes it",
        )
    if code in _MISSING:
        return ObjectMissing(f"{where}: there is no such object")
    if code in _WRONG_REGION or status in _MOVED:
        region = refusal.headers.get("x-amz-bucket-region", "")
        right = f"write region: {printable(region)}" if region else "check endpoint and region"
        return StoreError(f"{where}: the bucket is elsewhere than in {scene.region} ({refusal.shown})", hint=right)
    if code == "PreconditionFailed" or status == HTTPStatus.PRECONDITION_FAILED:
        return AlreadyThere(f"{where}: there is one already")
    if code in WRONG_CONTENT:
        return ContentRefused(f"{where}: what arrived does not match its checksum ({refusal.shown})")
    if "Object Lock" in refusal.message or code in _CANNOT_LOCK:
        return StoreError(f"{where}: it cannot lock ({refusal.shown})", hint=lock_remedy(scene.store))
    if not code and status == HTTPStatus.NOT_FOUND:
        return ObjectMissing(f"{where}: there is no such object")
    if not code and status in {401, 403}:
        return StoreDenied(f"{where}: not allowed ({refusal.shown})", hint=f"check secret {scene.secret}")
    return StoreError(f"{where}: it refused ({refusal.shown})", hint=f"`drorch store probe {scene.store}` shows more")


def missing(refusal: Refusal) -> bool:
    """There is no such object or version, or only the mark that it was deleted."""
    return refusal.status in _NOT_HERE and refusal.code in {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"}


def empty(refusal: Refusal) -> bool:
    """An object without bytes has no first one."""
    return refusal.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE


def customer_key(refusal: Refusal) -> bool:
    """S3 names no code of its own for it."""
    return refusal.status == HTTPStatus.BAD_REQUEST and refusal.code in {"InvalidRequest", "InvalidArgument"}


def lock_remedy(store: str) -> str:
    """What to do about a bucket that cannot lock."""
    return (
        "it was made without Object Lock, which can only be set when a bucket is made: name another bucket and run "
        f"`drorch store create {store}`, or leave lock: out"
    )


def clock_wrong(scene: Scene) -> StoreError:
    """The clocks disagree by more than S3 stands."""
    seconds = abs(scene.skew.total_seconds())
    by = f"{timedelta(seconds=round(seconds))} {'behind' if scene.skew > timedelta() else 'ahead of'}"
    return StoreError(
        f"{scene.shown}: this machine's clock is {by} the store's" if seconds else f"{scene.shown}: a clock is wrong",
        hint="set this machine's clock (`timedatectl set-ntp true`): S3 refuses what is signed minutes off",
    )


def no_s3(scene: Scene, refusal: Refusal) -> StoreError:
    """Something answered that does not speak S3."""
    kind = printable(refusal.headers.get("content-type", "no type"))[:LONGEST_MESSAGE]
    return StoreError(
        f"{scene.shown}: {scene.doing}: the answer is not S3's (status {refusal.status}, {kind})",
        hint="check endpoint: its scheme, host and port; a web console often listens on another port than the API",
    )


def broken(error: BaseException, scene: Scene) -> Verdict:  # noqa: PLR0911 - a table of cases
    """What an exception of the connection means."""
    cause = _root(error)
    where = f"{scene.shown}: {scene.doing}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = "check endpoint; for an authority of your own, name its file under certificate:"
        return Verdict(StoreError(f"{where}: its certificate is not trusted: {cause.verify_message}", hint=hint))
    if isinstance(cause, ssl.SSLError) and cause.reason in {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "RECORD_LAYER_FAILURE",
    }:
        return Verdict(
            StoreError(f"{where}: it does not speak TLS there", hint="check endpoint: http:// or another port")
        )
    if isinstance(cause, OSError) and "Name or service not known" in str(cause):
        error_ = StoreUnreachable(f"{where}: its name has no address", hint="check endpoint, and this machine's DNS")
        return Verdict(error_, again=True)
    if isinstance(cause, TimeoutError):
        return Verdict(StoreUnreachable(f"{where}: no answer in time", hint=_REACH), again=True, slow=True)
    if isinstance(cause, ConnectionRefusedError):
        return Verdict(StoreUnreachable(f"{where}: nothing listens there", hint=_REACH), again=True)
    if isinstance(cause, http.client.IncompleteRead):
        return Verdict(StoreUnreachable(f"{where}: the answer was cut off", hint=_REACH), again=True)
    if isinstance(cause, http.client.RemoteDisconnected):
        hint = f"{_REACH}; it may want https:// where the endpoint says http://"
        return Verdict(StoreUnreachable(f"{where}: the connection was closed without an answer", hint=hint), again=True)
    if isinstance(cause, http.client.HTTPException):
        what = printable(str(cause))[:LONGEST_MESSAGE] or type(cause).__name__
        hint = "check endpoint: https:// or http://, and the port"
        return Verdict(StoreUnreachable(f"{where}: the answer is no HTTP: {what}", hint=hint), again=True)
    what = printable(str(cause))[:LONGEST_MESSAGE] or type(cause).__name__
    return Verdict(StoreUnreachable(f"{where}: the connection broke: {what}", hint=_REACH), again=True)


def _root(error: BaseException) -> BaseException:
    """The exception of the standard library below those of libraries."""
    known = (OSError, http.client.HTTPException)
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, known) and type(seen).__module__ in {"builtins", "ssl", "socket", "http.client"}:
            return seen
        inner = getattr(seen, "kwargs", {}).get("error") if not isinstance(seen, known) else None
        seen = inner if isinstance(inner, BaseException) else seen.__cause__ or seen.__context__
    return error


def _failed(status: int) -> bool:
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED


def _after(headers: Mapping[str, str]) -> float:
    """``Retry-After`` in seconds, also where it is a date; 0 for none."""
    said = headers.get("retry-after", "")
    if said.isdigit():
        return float(min(int(said), 86400))
    try:
        wanted = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, wanted.total_seconds())
