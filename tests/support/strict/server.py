"""A strict S3 server in memory, for what real ones cannot be made to show: it verifies all and fails on demand."""

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from fnmatch import fnmatchcase

import pytest

from support.s3 import Client, Keys, client
from support.strict import buckets, objects
from support.strict.faults import Answer, Effect, Fault, Plan, Struck
from support.strict.holdings import STRICT, Bucket, Traits, Version
from support.strict.http import Listener
from support.strict.signature import Credential, check_payload, signer
from support.strict.words import Refusal, Reply, Request, error, moment, xml


@dataclass
class Seen:
    """One request that came in."""

    method: str
    operation: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case names."""
    size: int
    """Of the body as announced."""
    at: float
    """By time.monotonic()."""
    signer: str = ""
    """Key id, once the signature was found right."""
    status: int = 0
    """0 while it is worked on, and where no answer was sent."""


class StrictS3:
    """The server; its methods are the test's side of it."""

    def __init__(self, traits: Traits = STRICT) -> None:
        self.traits = traits
        """May be changed while it works."""
        self.skew = timedelta()
        """How far its clock is ahead."""
        self.later = timedelta()
        """How much later locks believe it to be, beyond that."""
        self.seen: list[Seen] = []
        self.peak = 0
        """Most requests at the same time so far."""
        self.errors: list[BaseException] = []
        """Its own mistakes."""
        self.owner = Keys("OWNERKEY", secrets.token_urlsafe(24))
        self._credentials = {self.owner.id: Credential(self.owner)}
        self._rights: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        self._buckets: dict[str, Bucket] = {}
        self._plan = Plan()
        self._working = 0
        self._lock = threading.RLock()
        self._listener = Listener(self._answer, self._begins, self._ends, self.errors)

    @property
    def endpoint(self) -> str:
        """Plain HTTP."""
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def access_key(self) -> str:
        """The owner's key id."""
        return self.owner.id

    @property
    def secret_key(self) -> str:
        """The owner's."""
        return self.owner.secret

    def user(self, name: str, rights: Sequence[str] = (), *, token: str = "") -> Keys:
        """Another credential, with rights on all buckets, such as `support.ceph.WRITER` or ``s3:Put*``.

        With a token it counts only together with that.
        """
        keys = Keys(f"{name}-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
        with self._lock:
            self._credentials[keys.id] = Credential(keys, token)
            self._rights[keys.id] = [("*", tuple(rights))]
        return keys

    def allow(self, bucket: str, grants: Sequence[tuple[Keys, Sequence[str]]]) -> None:
        """Give users rights on one bucket, besides those they have."""
        with self._lock:
            for keys, actions in grants:
                self._rights[keys.id].append((bucket, tuple(actions)))

    def expire(self, keys: Keys, *, expired: bool = True) -> None:
        """From now on everything that this credential signs is refused with ExpiredToken."""
        self._credentials[keys.id].expired = expired

    def client(self, key: str | None = None, secret: str | None = None, *, token: str | None = None) -> Client:
        """A plain boto3 client; the owner's unless said."""
        return client(self.endpoint, Keys(key, secret or "") if key else self.owner, token=token)

    def bucket(self, lock: bool = False, *, versioned: bool | None = None, name: str = "") -> str:  # noqa: FBT001, FBT002 - as of support.ceph
        """A new bucket of the owner's; locks need versions, which come along."""
        made = Bucket(name or f"test-{secrets.token_hex(6)}", self.owner.id, self.now, locks=lock)
        made.versioning = "Enabled" if lock or versioned else ""
        with self._lock:
            self._buckets[made.name] = made
        return made.name

    def inject(self, effect: Effect, *, on: str = "*", key: str = "*", skip: int = 0, times: int | None = 1) -> Fault:
        """Let something go wrong; see `Fault`, which counts."""
        fault = Fault(effect, on, key, skip, times)
        with self._plan.lock:
            self._plan.faults.append(fault)
        return fault

    def mend(self) -> None:
        """No faults any more."""
        with self._plan.lock:
            self._plan.faults.clear()

    def forget(self) -> None:
        """Forget the requests that were seen."""
        with self._lock:
            self.seen.clear()
            self.peak = self._working

    def requests(self, on: str = "*", key: str = "*") -> list[Seen]:
        """Those that were seen, by patterns for operation and key."""
        with self._lock:
            return [seen for seen in self.seen if fnmatchcase(seen.operation, on) and fnmatchcase(seen.key, key)]

    def live(self, bucket: str) -> dict[str, bytes]:
        """What is live, by key in order."""
        with self._lock:
            held = self._buckets[bucket]
            latest = ((key, held.latest(key)) for key in held.sorted_keys())
            return {key: version.content for key, version in latest if version is not None}

    def versions(self, bucket: str, key: str) -> list[Version]:
        """All versions and delete markers of a key, the newest first; changing one changes what is stored."""
        with self._lock:
            return self._buckets[bucket].all(key)

    def plant(self, bucket: str, key: str, content: bytes) -> None:
        """Put an object as the owner, without a request."""
        request = Request("PUT", f"/{bucket}/{key}", {}, content)
        with self._lock:
            held = self._buckets[bucket]
            objects.put_object(objects.Scene(request, held, self.traits, self.now, lambda _: True))

    def rot(self, bucket: str, key: str, content: bytes | None = None) -> None:
        """The latest version's bytes become others, what was recorded about them stays; one bit unless said."""
        version = self.versions(bucket, key)[0]
        flipped = bytes([version.content[0] ^ 1]) + version.content[1:] if version.content else b"\1"
        version.content = flipped if content is None else content

    def lose(self, bucket: str, key: str) -> None:
        """Every version of the object is gone, locks or not."""
        with self._lock:
            for version in self.versions(bucket, key):
                self._buckets[bucket].drop(version)

    @property
    def now(self) -> datetime:
        """By its clock, as locks see it."""
        return datetime.now(UTC) + self.skew + self.later

    def close(self) -> None:
        """End it, and every connection."""
        self._listener.close()

    def _begins(self, request: Request, size: int) -> tuple[Seen, Struck]:
        seen = Seen(
            request.method,
            request.operation,
            request.bucket,
            request.key,
            request.query,
            request.headers,
            size,
            time.monotonic(),
        )
        with self._lock:
            self.seen.append(seen)
            self._working += 1
            self.peak = max(self.peak, self._working)
        return seen, self._plan.struck(request)

    def _ends(self, seen: Seen, status: int) -> None:
        with self._lock:
            self._working -= 1
            seen.status = status

    def _answer(self, request: Request, seen: Seen, struck: Struck) -> Reply:
        reply = self._refused_or_done(request, seen, struck)
        clock = format_datetime(datetime.now(UTC) + self.skew, usegmt=True)
        reply.headers.setdefault("Date", clock)
        return reply

    def _refused_or_done(self, request: Request, seen: Seen, struck: Struck) -> Reply:
        answer = struck.first(Answer)
        if answer is not None:
            headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
            return error(Refusal(answer.status, answer.code, "injected", headers), request)
        try:
            credential = signer(request, self._credentials, datetime.now(UTC) + self.skew)
            seen.signer = credential.keys.id
            if self.traits.payload == "checks":
                check_payload(request)
            with self._lock:
                return self._performed(request, seen.signer, struck)
        except Refusal as refusal:
            return error(refusal, request)

    def _may(self, who: str, bucket: str, action: str) -> bool:
        if who == self.owner.id or (bucket in self._buckets and self._buckets[bucket].owner == who):
            return True
        return any(
            fnmatchcase(bucket, where) and any(fnmatchcase(action, pattern) for pattern in patterns)
            for where, patterns in self._rights[who]
        )

    def _scene(self, request: Request, name: str, who: str) -> objects.Scene:
        if name not in self._buckets:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
        return objects.Scene(
            request, self._buckets[name], self.traits, self.now, lambda action: self._may(who, name, action)
        )

    def _performed(self, request: Request, who: str, struck: Struck) -> Reply:
        match request.operation:
            case "Unknown":
                raise Refusal(501, "NotImplemented", f"{request.method} {request.target} is not known here")
            case "ListBuckets":
                return self._list_buckets(who)
            case "CreateBucket":
                return self._create_bucket(request, who)
            case "DeleteBucket":
                scene = self._scene(request, request.bucket, who)
                scene.need("s3:DeleteBucket")
                if not scene.bucket.empty:
                    raise Refusal(409, "BucketNotEmpty")
                del self._buckets[request.bucket]
                return Reply(204)
            case "CopyObject":
                bucket, key, version = objects.copy_source(request)
                source = self._scene(request, bucket, who)
                source.need("s3:GetObjectVersion" if version else "s3:GetObject")
                scene = self._scene(request, request.bucket, who)
                return objects.copy_object(scene, source.bucket, key, version)
            case name if name in buckets.LISTINGS:
                return buckets.LISTINGS[name](self._scene(request, request.bucket, who), struck)
            case name:
                act = objects.OPERATIONS.get(name) or buckets.OPERATIONS[name]
                return act(self._scene(request, request.bucket, who))

    def _list_buckets(self, who: str) -> Reply:
        if not self._may(who, "", "s3:ListAllMyBuckets"):
            raise Refusal(403, "AccessDenied")
        own = [bucket for bucket in self._buckets.values() if bucket.owner == who]
        listed = [{"Name": bucket.name, "CreationDate": moment(bucket.created)} for bucket in own]
        return xml("ListAllMyBucketsResult", {"Owner": {"ID": who}, "Buckets": {"Bucket": listed}})

    def _create_bucket(self, request: Request, who: str) -> Reply:
        name = request.bucket
        if name in self._buckets:
            own = self._buckets[name].owner == who
            raise Refusal(409, "BucketAlreadyOwnedByYou" if own else "BucketAlreadyExists")
        if not self._may(who, name, "s3:CreateBucket"):
            raise Refusal(403, "AccessDenied")
        locked = request.header("x-amz-bucket-object-lock-enabled").lower() == "true"
        if locked and self.traits.locks == "none":
            raise Refusal(501, "NotImplemented", "no locks here")
        made = Bucket(name, who, self.now, versioning="Enabled" if locked else "", locks=locked)
        self._buckets[name] = made
        return Reply(headers={"Location": f"/{name}"})


@contextlib.contextmanager
def running_strict(traits: Traits = STRICT) -> Iterator[StrictS3]:
    """A server that ends with the context.

    Raises:
        AssertionError: it made a mistake of its own meanwhile.
    """
    server = StrictS3(traits)
    try:
        yield server
    finally:
        server.close()
    assert not server.errors, server.errors


@pytest.fixture
def strict_s3() -> Iterator[StrictS3]:
    """A server of the test's own."""
    with running_strict() as server:
        yield server
