"""A store in a bucket."""

import base64
import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TypeVar

from drorch.core.errors import AlreadyThere, ContentRefused, ObjectMissing, StoreDenied, StoreError
from drorch.core.store import Entry, Lock, Probe, Receipt, Recorded, Version
from drorch.stores._s3 import parse
from drorch.stores._s3.bucket import Bucket
from drorch.stores._s3.ready import check
from drorch.stores._s3.trouble import WRONG_CONTENT, Refusal, customer_key, empty, lock_remedy, missing, no_s3
from drorch.stores._s3.wire import Answer, Request

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE = 1000
"""Keys that are asked for at once; S3 gives no more."""
LOOKS = 3
"""Looks at an object that comes and goes meanwhile."""
CORRUPTED = 3
"""Tries of a put that arrives damaged although it left whole."""
CONFLICTS = 8
"""Tries of a put if absent that another one came across."""
_CONFLICT = "ConditionalRequestConflict"


class BucketStore:
    """A `Store` in a bucket; nothing connects before the first call."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._versioning: str | None = None
        self._conditional = True

    @property
    def name(self) -> str:
        """As in the inventory."""
        return self.bucket.place.store

    @property
    def shown(self) -> str:
        """Name and address."""
        return self.bucket.shown

    @property
    def lanes(self) -> int:
        """As many as the inventory allows; the gate decides how many of them call at once."""
        return self.bucket.place.parallel

    @property
    def lock(self) -> Lock | None:
        """As the inventory asks for it."""
        return self.bucket.lock

    @property
    def versioned(self) -> bool:
        """Whether the bucket keeps versions now; asked once."""
        return self._versions_kept() == "Enabled"

    def ready(self) -> None:
        """Address, credentials, bucket, clock, lock."""
        self._versioning = check(self.bucket)

    def put(self, key: str, content: bytes, *, sha256: str, absent: bool = False) -> Receipt:
        """One signed put, with both checksums."""
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        headers = {
            "Content-MD5": _base64(md5),
            "Content-Type": "application/octet-stream",
            "x-amz-sdk-checksum-algorithm": "SHA256",
            "x-amz-checksum-sha256": _base64(bytes.fromhex(sha256)),
        }
        request = Request("PUT", self.bucket.key(key), headers=headers, body=content, sha256=sha256)
        try:
            answer = self._put_absent(key, request) if absent else self._put(key, request)
        except (AlreadyThere, ContentRefused):
            raise
        except StoreError as error:
            # Stores have many words for content that does not match; whether it does is known here.
            self._check_content(key, content, sha256, error)
            raise
        return self._receipt(key, answer, sha256, md5.hex())

    def recorded(self, key: str, *, version: str = "") -> Recorded:
        """One HEAD, where the object is there and can be looked at."""
        doing = f"look at {key}"
        request = Request("HEAD", self.bucket.key(key), _version(version), {"x-amz-checksum-mode": "ENABLED"})
        said = ""
        for _ in range(LOOKS):
            answer = self.bucket.send(
                request, doing, expected=lambda refusal: refusal.status < HTTPStatus.TOO_MANY_REQUESTS
            )
            if answer.refusal is None:
                found = parse.recorded(answer.headers, answer.size)
                if found is None:
                    raise no_s3(self.bucket.scene(doing), Refusal(answer.status, headers=answer.headers))
                return found
            said = answer.refusal.shown
            # A HEAD says no word about why: ask again in a way that does.
            sealed = self._refused_look(key, version, doing)
            if sealed is not None:
                return sealed
        raise StoreError(
            f"{self.shown}: {doing}: it can be read, but not looked at ({said})",
            hint="do others write and delete it at this moment?",
        )

    def extend(self, key: str, *, until: datetime, version: str = "") -> None:
        """Retention, and a legal hold where the inventory asks for one; never shorter than it is."""
        lock = self.lock
        if lock is None:
            raise StoreError(f"{self.shown}: nothing is locked here", hint=f"declare lock: of store {self.name}")
        second = datetime.fromtimestamp(math.ceil(until.timestamp()), until.tzinfo)
        retention = (
            f'<Retention xmlns="{_XMLNS}"><Mode>{lock.mode.upper()}</Mode>'
            f"<RetainUntilDate>{_iso(second)}</RetainUntilDate></Retention>"
        )
        request = self._setting(key, version, "retention", retention)
        asked = self.bucket.send(request, f"lock {key}", expected=lambda refusal: refusal.code in _LONGER)
        if asked.refusal is not None:
            now = self.recorded(key, version=version)
            if not now.mode and asked.refusal.code == "InvalidRequest":
                raise self._cannot_lock(asked.refusal, f"lock {key}")
            if not now.mode or now.locked_until is None or now.locked_until < until:
                raise self.bucket.refused(asked.refusal, f"lock {key}")
        if lock.legal_hold:
            hold = f'<LegalHold xmlns="{_XMLNS}"><Status>ON</Status></LegalHold>'
            self.bucket.send(self._setting(key, version, "legal-hold", hold), f"hold {key}")

    def entries(self, folder: str) -> Iterator[Entry]:
        """ListObjectsV2, page by page."""
        prefix = self.bucket.key(folder)
        query = (("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(PAGE)), ("prefix", prefix))
        cut = self.bucket.prefix
        last = ""
        for items in self._pages(query, folder, lambda body: parse.entries(body, cut)):
            if not parse.in_order((entry.key for entry in items), last):
                raise self._unordered(folder)
            last = items[-1].key if items else last
            yield from items

    def versions(self, folder: str) -> Iterator[Version]:
        """ListObjectVersions, page by page."""
        if not self._versions_kept():
            for entry in self.entries(folder):
                yield Version(entry.key, "", entry.size, entry.modified, latest=True, md5=entry.md5)
            return
        prefix = self.bucket.key(folder)
        query = (("versions", ""), ("encoding-type", "url"), ("max-keys", str(PAGE)), ("prefix", prefix))
        cut = self.bucket.prefix
        last = ""
        for items in self._pages(query, folder, lambda body: parse.versions(body, cut)):
            for item in items:
                if item.key < last:
                    raise self._unordered(folder)
                last = item.key
            yield from items

    def read(self, key: str, *, limit: int, version: str = "") -> bytes:
        """One GET."""
        return self._get(key, limit, version).body

    def remove(self, key: str, *, version: str = "") -> None:
        """With the deleter's credential, never past a lock."""
        request = Request("DELETE", self.bucket.key(key), _version(version))
        try:
            self.bucket.send(
                request,
                f"remove {key}",
                role="deleter",
                expected=lambda refusal: refusal.code in {"NoSuchKey", "NoSuchVersion"},
            )
        except StoreDenied as error:
            if self.lock is None or "AccessDenied" not in error.message:
                raise
            hint = "it is still locked, or the deleter may not delete: `drorch store policy` prints what it needs"
            raise StoreDenied(error.message, hint=hint) from error

    def probe(self) -> Probe:
        """Objects of its own below ``drorch-probe/``."""
        from drorch.stores._s3.probe import probe  # noqa: PLC0415 - rarely needed

        return probe(self.bucket)

    def close(self) -> None:
        """Give back connections."""
        self.bucket.close()

    def _put(self, key: str, request: Request) -> Answer:
        """Raises `ContentRefused` for content that was wrong when it left, or whenever it arrived."""
        doing = f"put {key}"
        for left in range(CORRUPTED, 0, -1):
            answer = self.bucket.send(self._locked(request), doing, expected=self._about_put)
            if answer.refusal is not None and self.lock is not None and answer.refusal.code == "InvalidRequest":
                raise self._cannot_lock(answer.refusal, doing)
            if answer.refusal is None or answer.refusal.code not in WRONG_CONTENT:
                break
            error = self.bucket.refused(answer.refusal, doing)
            self._check_content(key, request.body, request.sha256, error)
            if left == 1:
                raise error
        return answer

    def _put_absent(self, key: str, request: Request) -> Answer:
        doing = f"put {key}"
        tried = 0
        while True:
            tried += 1
            # Some stores take the condition and ignore it (Ceph 16 where a bucket has versions): look first.
            if self._there(key):
                break
            answer = self._put(key, _with(request, {"If-None-Match": "*"} if self._conditional else {}))
            refusal = answer.refusal
            if refusal is None:
                return answer
            if refusal.status == HTTPStatus.NOT_IMPLEMENTED:
                self._conditional = False
                log.warning("%s cannot put only if absent; drorch looks first, which two at once can pass", self.shown)
                continue
            if answer.uncertain and (mine := self._same(key, request.body)):
                return mine
            if refusal.code != _CONFLICT:
                break
            if tried >= CONFLICTS:
                raise self.bucket.refused(refusal, doing)
            self.bucket.wait(tried)
        raise AlreadyThere(f"{self.shown}: {doing}: there is one already")

    def _about_put(self, refusal: Refusal) -> bool:
        statuses = {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_IMPLEMENTED}
        lock = self.lock is not None and refusal.code == "InvalidRequest"
        return lock or refusal.code in WRONG_CONTENT or refusal.code == _CONFLICT or refusal.status in statuses

    def _cannot_lock(self, refusal: Refusal, doing: str) -> StoreError:
        return StoreError(f"{self.shown}: {doing}: it cannot lock ({refusal.shown})", hint=lock_remedy(self.name))

    def _same(self, key: str, content: bytes) -> Answer | None:
        """What is there, if it is this content: a put of ours whose answer was lost."""
        try:
            there = self._get(key, max(1, len(content)), "")
        except ObjectMissing:
            return None
        except StoreError as error:
            if error.retryable:
                raise
            return None
        return there if there.body == content else None

    def _there(self, key: str) -> bool:
        try:
            self.recorded(key)
        except ObjectMissing:
            return False
        return True

    def _locked(self, request: Request) -> Request:
        """With the lock of the store, counted from now by its clock."""
        lock = self.lock
        if lock is None:
            return request
        until = self.bucket.now() + timedelta(days=lock.days, seconds=1)
        headers = {
            "x-amz-object-lock-mode": lock.mode.upper(),
            "x-amz-object-lock-retain-until-date": _iso(until),
        }
        if lock.legal_hold:
            headers["x-amz-object-lock-legal-hold"] = "ON"
        return _with(request, headers)

    def _check_content(self, key: str, content: bytes, sha256: str, cause: StoreError) -> None:
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ContentRefused(f"{self.shown}: put {key}: its content does not match its checksum") from cause

    def _receipt(self, key: str, answer: Answer, sha256: str, md5: str) -> Receipt:
        said_sha256, said_md5 = parse.sha256(answer.headers), parse.md5(answer.headers)
        for said, meant in ((said_sha256, sha256), (said_md5, md5)):
            if said and said != meant:
                raise StoreError(
                    f"{self.shown}: put {key}: it says that it took other content than was sent",
                    hint=f"do not trust this store: `drorch store probe {self.name}`",
                )
        date = parse.moment(answer.headers.get("date", "")) or self.bucket.now()
        # HTTP's dates are cut to a second, an object's own time may not be.
        at = date + timedelta(seconds=1)
        return Receipt(at, said_sha256, said_md5, answer.headers.get("x-amz-version-id", ""))

    def _refused_look(self, key: str, version: str, doing: str) -> Recorded | None:
        """Why a HEAD was refused: an error, or an object that only its writer can read.

        None where there is no reason any more: the object came between the two.
        """
        request = Request("GET", self.bucket.key(key), _version(version), {"Range": "bytes=0-0"})
        known = (missing, customer_key, empty)
        answer = self.bucket.send(request, doing, expected=lambda refusal: any(check(refusal) for check in known))
        if answer.refusal is None or empty(answer.refusal):
            return None
        if customer_key(answer.refusal):
            return self._sealed(key, version)
        raise ObjectMissing(f"{self.shown}: {doing}: there is no such object")

    def _sealed(self, key: str, version: str) -> Recorded:
        """What a listing tells about an object that cannot be looked at."""
        for item in self.versions(key):
            if item.key != key:
                break
            if not item.deleted and (item.id == version or (not version and item.latest)):
                return Recorded(item.size, item.modified, version=item.id, customer_key=True)
        raise ObjectMissing(f"{self.shown}: look at {key}: there is no such object")

    def _get(self, key: str, limit: int, version: str) -> Answer:
        request = Request("GET", self.bucket.key(key), _version(version), limit=limit)
        expected = lambda refusal: missing(refusal) or customer_key(refusal)  # noqa: E731 - said once
        answer = self.bucket.send(request, f"read {key}", expected=expected)
        if answer.refusal is not None and customer_key(answer.refusal):
            raise StoreError(
                f"{self.shown}: read {key}: it refused ({answer.refusal.shown})",
                hint="encrypted with a key that only its writer knows? An older version may be readable",
            )
        if answer.refusal is not None:
            raise ObjectMissing(f"{self.shown}: read {key}: there is no such object")
        return answer

    def _setting(self, key: str, version: str, what: str, document: str) -> Request:
        body = document.encode()
        headers = {"Content-MD5": _base64(hashlib.md5(body, usedforsecurity=False).digest())}
        return Request("PUT", self.bucket.key(key), ((what, ""), *_version(version)), headers, body)

    def _pages(
        self, query: tuple[tuple[str, str], ...], folder: str, read: Callable[[bytes], parse.Page[T]]
    ) -> Iterator[list[T]]:
        doing = f"list {folder or 'all'}"
        further: tuple[tuple[str, str], ...] = ()
        while True:
            answer = self.bucket.send(Request("GET", query=(*query, *further)), doing)
            try:
                page = read(answer.body)
            except parse.NoListing as error:
                refusal = Refusal(answer.status, headers=answer.headers)
                raise no_s3(self.bucket.scene(doing), refusal) from error
            yield page.items
            if not page.further:
                return
            if page.further == further:
                raise StoreError(f"{self.shown}: {doing}: it gives the same page again", hint="tell the provider")
            further = page.further

    def _unordered(self, folder: str) -> StoreError:
        return StoreError(
            f"{self.shown}: list {folder or 'all'}: keys are not in order, so none can be said to be missing",
            hint="use an ordinary bucket: S3 lists in order, directory buckets do not",
        )

    def _versions_kept(self) -> str:
        """``Enabled``, ``Suspended`` or empty."""
        if self._versioning is None:
            self._versioning = self.bucket.versioning()
        return self._versioning


_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_LONGER = frozenset({"AccessDenied", "InvalidRequest", "InvalidArgument"})
"""Answers to a date that is earlier than the one that holds; others than that mean something else by them."""


def _version(version: str) -> tuple[tuple[str, str], ...]:
    return (("versionId", version),) if version else ()


def _with(request: Request, headers: Mapping[str, str]) -> Request:
    return Request(
        request.method,
        request.key,
        request.query,
        {**request.headers, **headers},
        request.body,
        request.sha256,
        request.limit,
    )


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _iso(at: datetime) -> str:
    """As S3 takes it: UTC, whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
