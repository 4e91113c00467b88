"""Where a bucket is tried: objects with names of their own, single requests, and the clearing up afterwards."""

import base64
import hashlib
import secrets as randomness
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from http.client import HTTPException

from botocore.exceptions import BotoCoreError

from drorch.core.errors import StoreError, StoreUnreachable
from drorch.core.host import printable
from drorch.core.store import Trial
from drorch.stores._s3.bucket import Bucket, Tried
from drorch.stores._s3.place import Role
from drorch.stores._s3.wire import Request
from drorch.stores._trials import FOLDER

SHORT = timedelta(seconds=90)
"""For how long a trial's object is locked."""

SILENT = "not tried: it has stopped to answer"

_SIZE = 256
_OLD = timedelta(minutes=10)
_SWEPT = 200
"""Objects of earlier probes that one probe removes at most."""
_ENOUGH = 5
"""Refusals after which it leaves the others: the credential may not, or they are locked."""
_SILENT = 2
_NO_ANSWER_TO_IT = frozenset(
    {"ExpiredToken", "InvalidToken", "NotImplemented", "RequestTimeTooSkewed", "RequestTimeout", "SlowDown"}
)


def shown(tried: Tried) -> str:
    """What the store said, in one printable sentence."""
    return printable(tried.shown).replace("\n", " ")


def refused(tried: Tried) -> bool:
    """Whether it said no to what was tried, and not for a reason of its own."""
    client_error = HTTPStatus.BAD_REQUEST <= tried.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return client_error and not tried.passing and tried.code not in _NO_ANSWER_TO_IT


def base64_of(raw: bytes) -> str:
    """As headers carry digests."""
    return base64.b64encode(raw).decode("ascii")


def md5_header(content: bytes) -> dict[str, str]:
    """``Content-MD5`` of that content."""
    return {"Content-MD5": base64_of(hashlib.md5(content, usedforsecurity=False).digest())}


def sha256_headers(content: bytes) -> dict[str, str]:
    """S3's own checksum of that content."""
    digest = base64_of(hashlib.sha256(content).digest())
    return {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": digest}


@dataclass
class Bench:
    """One probe's objects."""

    bucket: Bucket
    folder: str = field(default_factory=lambda: f"{FOLDER}{randomness.token_hex(8)}/")
    silences: int = 0
    """How many trials ended without an answer."""
    made: list[tuple[str, str]] = field(default_factory=list)
    """Key and version of everything that was taken; an empty version where the store has none."""

    @property
    def silent(self) -> bool:
        """Whether it has stopped to answer, so that further trials would only wait."""
        return self.silences >= _SILENT

    def fresh(self) -> bytes:
        """Content that no store has seen."""
        return randomness.token_bytes(_SIZE)

    def key(self, name: str) -> str:
        """The whole key of a trial's object."""
        return self.bucket.key(self.folder + name)

    def until(self) -> datetime:
        """When a short lock that is set now will be over, by the store's clock."""
        return self.bucket.now() + SHORT

    def lock_headers(self) -> dict[str, str]:
        """The short lock; without it a bucket's own default would hold the object for long. None where none is."""
        lock = self.bucket.lock
        if lock is None:
            return {}
        return {"x-amz-object-lock-mode": lock.mode.upper(), "x-amz-object-lock-retain-until-date": iso(self.until())}

    def put(self, name: str, content: bytes, headers: Mapping[str, str], *, signed: bytes | None = None) -> Tried:
        """A single try to write; ``signed``: the content whose hash is signed, if another.

        Raises:
            StoreError: there was no answer.
        """
        sha256 = hashlib.sha256(content if signed is None else signed).hexdigest()
        whole = {"Content-Type": "application/octet-stream", **self.lock_headers(), **headers}
        tried = self.bucket.raw_send(Request("PUT", self.key(name), headers=whole, body=content, sha256=sha256))
        if tried.done:
            self.made.append((name, str(tried.output.get("x-amz-version-id", ""))))
        return tried

    def get(self, name: str) -> tuple[Tried, bytes]:
        """A single try to read, and what was read.

        Raises:
            StoreError: there was no answer.
        """
        tried = self.bucket.raw("get_object", Key=self.key(name))
        try:
            return tried, tried.output["Body"].read() if tried.done else b""
        except (BotoCoreError, OSError, HTTPException) as error:
            raise StoreUnreachable(f"{self.bucket.shown}: what was written cannot be read to its end") from error

    def absent(self, name: str) -> tuple[bool | None, str]:
        """Whether nothing is under that name, None where that cannot be told, and what the store said.

        Raises:
            StoreError: there was no answer.
        """
        tried, _content = self.get(name)
        if tried.done or tried.status == HTTPStatus.NOT_FOUND:
            return not tried.done, shown(tried)
        # Who may not list without a prefix is told 403 for what is missing.
        listed = self.bucket.raw("list_objects_v2", Prefix=self.key(name))
        if not listed.done:
            return None, shown(tried)
        return not listed.output.get("Contents"), shown(listed)

    def head(self, name: str, version: str) -> Tried:
        """A single look at a version.

        Raises:
            StoreError: there was no answer.
        """
        query = (("versionId", version),) if version else ()
        return self.bucket.raw_send(Request("HEAD", self.key(name), query))

    def delete(self, name: str, version: str = "", *, role: Role = "writer", bypass: bool = False) -> Tried:
        """A single try to delete.

        Raises:
            StoreError: there was no answer.
        """
        query = (("versionId", version),) if version else ()
        headers = {"x-amz-bypass-governance-retention": "true"} if bypass else {}
        return self.bucket.raw_send(Request("DELETE", self.key(name), query, headers), role=role)

    def clear(self) -> None:
        """Remove what was made and is not locked; what cannot be removed is left to the next probe."""
        if self.bucket.lock is None and not self.silent:
            with suppress(StoreError):
                for name, version in self.made:
                    self.delete(name, version, role=self.cleaner)

    def sweep(self) -> None:
        """Remove what earlier probes had to leave, as far as that can be done."""
        with suppress(StoreError):
            listed = self.bucket.raw("list_object_versions", Prefix=self.bucket.key(FOLDER), MaxKeys=_SWEPT)
            found = [*listed.output.get("Versions", ()), *listed.output.get("DeleteMarkers", ())]
            refusals = 0
            for item in found:
                if refusals < _ENOUGH and item["LastModified"] < self.bucket.now() - _OLD:
                    version = {"VersionId": item["VersionId"]} if item.get("VersionId") else {}
                    gone = self.bucket.raw("delete_object", role=self.cleaner, Key=item["Key"], **version)
                    refusals += not gone.done

    @property
    def cleaner(self) -> Role:
        """With whose credential objects of probes are removed."""
        return "deleter" if self.bucket.may_delete else "writer"


def iso(at: datetime) -> str:
    """As S3 takes it: UTC, whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def open_trial(name: str, what: str, why: str) -> Trial:
    """One that could not be carried out."""
    return Trial(name=name, what=what, good=None, answer=printable(why).replace("\n", " "))
