"""What the strict S3 server holds: buckets, versions, and the rules of Object Lock over them. All of it in memory."""

import bisect
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from support.strict.words import Refusal, Request, read_moment

Mode = Literal["", "GOVERNANCE", "COMPLIANCE"]


@dataclass(frozen=True)
class Traits:
    """How good a store it plays; the best unless said."""

    sha256: Literal["checks", "believes", "ignores"] = "checks"
    """``believes`` takes any checksum and shows it again; ``ignores`` does not know the header."""
    md5: Literal["checks", "ignores"] = "checks"
    payload: Literal["checks", "ignores"] = "checks"
    """Whether the body must be the one that was signed."""
    conditions: bool = True
    """Whether If-None-Match is obeyed."""
    locks: Literal["holds", "shortens", "deletes", "none"] = "holds"
    """``shortens`` lets anybody shorten a lock, ``deletes`` also delete what is locked, ``none`` knows no locks."""
    customer_keys: bool = True
    """Whether SSE-C is taken; refused with AccessDenied otherwise, as a bucket policy does."""
    page: int = 1000
    """Entries in one answer of a listing at most."""


STRICT = Traits()
MD5_ONLY = Traits(sha256="ignores", locks="none")
NEITHER = Traits(sha256="believes", md5="ignores", payload="ignores", locks="none")
"""Takes any content, and says that all is well."""


@dataclass(frozen=True)
class Lock:
    """A retention."""

    mode: Mode = ""
    until: datetime | None = None

    def active(self, now: datetime) -> bool:
        """Whether it still holds."""
        return bool(self.mode) and self.until is not None and self.until > now


@dataclass
class Version:
    """One version of an object, or a delete marker."""

    key: str
    content: bytes
    modified: datetime
    id: str = "null"
    deleted: bool = False
    etag: str = ""
    """Without quotes."""
    sha256: str = ""
    """Base64, as recorded at the upload."""
    lock: Lock = Lock()
    held: bool = False
    customer_key: str = ""
    """MD5 of the SSE-C key, as sent; empty for none."""
    headers: dict[str, str] = field(default_factory=dict)
    """Content-Type and metadata."""


@dataclass
class Bucket:
    """One bucket."""

    name: str
    owner: str
    created: datetime
    versioning: Literal["", "Enabled", "Suspended"] = ""
    locks: bool = False
    default: tuple[Mode, timedelta] | None = None
    """Retention of what is put without one."""
    _versions: dict[str, list[Version]] = field(default_factory=dict)
    """By key, the newest last."""
    _keys: list[str] = field(default_factory=list)
    """Sorted by code points."""

    def sorted_keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Keys with any version, beginning with the prefix, greater than ``after``, in order."""
        start = bisect.bisect_right(self._keys, after) if after else 0
        for index in range(max(start, bisect.bisect_left(self._keys, prefix)), len(self._keys)):
            if not self._keys[index].startswith(prefix):
                return
            yield self._keys[index]

    def all(self, key: str) -> list[Version]:
        """Its versions and markers, the newest first."""
        return self._versions.get(key, [])[::-1]

    def latest(self, key: str) -> Version | None:
        """The newest version that is no delete marker and not hidden by one."""
        versions = self._versions.get(key)
        return versions[-1] if versions and not versions[-1].deleted else None

    def find(self, key: str, version: str) -> Version:
        """One version or marker; the latest where none is named.

        Raises:
            Refusal: there is none.
        """
        versions = self._versions.get(key, [])
        if not version:
            if not versions or versions[-1].deleted:
                headers = {"x-amz-delete-marker": "true", "x-amz-version-id": versions[-1].id} if versions else {}
                raise Refusal(404, "NoSuchKey", "The specified key does not exist.", headers)
            return versions[-1]
        for held in versions:
            if held.id == version:
                return held
        raise Refusal(404, "NoSuchVersion", "The specified version does not exist.")

    def add(self, version: Version) -> None:
        """Make it the newest; without versioning the only one."""
        versions = self._versions.get(version.key)
        if versions is None:
            versions = self._versions[version.key] = []
            bisect.insort(self._keys, version.key)
        if self.versioning == "Enabled":
            version.id = secrets.token_urlsafe(24)
        else:
            versions[:] = [held for held in versions if held.id != "null"]
        versions.append(version)

    def drop(self, version: Version) -> None:
        """Forget a version for good."""
        versions = self._versions[version.key]
        versions.remove(version)
        if not versions:
            del self._versions[version.key]
            del self._keys[bisect.bisect_left(self._keys, version.key)]

    @property
    def empty(self) -> bool:
        """Whether there is no version of anything."""
        return not self._keys


def deletable(version: Version, now: datetime, *, bypass: bool, traits: Traits) -> None:
    """May this version be deleted for good?

    Raises:
        Refusal: it is locked or held.
    """
    if traits.locks == "deletes":
        return
    locked = version.lock.active(now) and not (version.lock.mode == "GOVERNANCE" and bypass)
    if version.held or locked:
        raise Refusal(403, "AccessDenied", "Access Denied because object protected by object lock.")


def relocked(version: Version, wanted: Lock, now: datetime, *, bypass: bool, traits: Traits) -> None:
    """May the version's lock become this one?

    Raises:
        Refusal: it would be weaker.
    """
    held = version.lock
    if traits.locks in {"shortens", "deletes"} or not held.active(now):
        return
    longer = wanted.until is not None and held.until is not None and wanted.until >= held.until
    weaker = not longer or (held.mode, wanted.mode) == ("COMPLIANCE", "GOVERNANCE")
    if weaker and not (held.mode == "GOVERNANCE" and bypass):
        raise Refusal(403, "AccessDenied", "Access Denied because object protected by object lock.")


def lock_of(mode: str, until: str, now: datetime) -> Lock:
    """A lock that is asked for, valid by itself.

    Raises:
        Refusal: it is not.
    """
    if not mode and not until:
        return Lock()
    if not mode or not until:
        raise Refusal(400, "InvalidArgument", "object lock mode and date must both be supplied")
    if mode not in ("GOVERNANCE", "COMPLIANCE"):
        raise Refusal(400, "InvalidArgument", "Unknown wormMode directive.")
    moment = read_moment(until)
    if moment <= now:
        raise Refusal(400, "InvalidArgument", "The retain until date must be in the future!")
    return Lock("COMPLIANCE" if mode == "COMPLIANCE" else "GOVERNANCE", moment)


def customer_key(request: Request, traits: Traits, prefix: str = "x-amz-server-side-encryption-customer-") -> str:
    """MD5 of the SSE-C key that the request carries; empty for none.

    Raises:
        Refusal: the headers are not whole, or such keys are not taken.
    """
    names = [request.header(prefix + name) for name in ("algorithm", "key", "key-md5")]
    if not any(names):
        return ""
    if not all(names) or names[0] != "AES256":
        raise Refusal(400, "InvalidArgument", "Requests with customer keys must name algorithm, key and its MD5.")
    if not traits.customer_keys:
        raise Refusal(403, "AccessDenied", "Customer keys are blocked here.")
    return names[2]


def etag_of(content: bytes, key: str) -> str:
    """MD5 of the content, but of nothing useful under a customer key."""
    return secrets.token_hex(16) if key else hashlib.md5(content, usedforsecurity=False).hexdigest()
