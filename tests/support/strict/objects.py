"""Operations on objects."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import unquote

from support.strict.holdings import (
    Bucket,
    Lock,
    Traits,
    Version,
    customer_key,
    deletable,
    etag_of,
    lock_of,
    relocked,
)
from support.strict.signature import check_checksums, check_md5, has_checksum
from support.strict.words import Refusal, Reply, Request, moment, parsed, xml


@dataclass(frozen=True)
class Scene:
    """What an operation acts on."""

    request: Request
    bucket: Bucket
    traits: Traits
    now: datetime
    """By the clock that locks follow."""
    may: Callable[[str], bool]
    """Whether the signer has a right on the bucket, such as ``s3:PutObject``."""

    def need(self, *actions: str) -> None:
        """The signer has all these rights.

        Raises:
            Refusal: he has not.
        """
        for action in actions:
            if not self.may(action):
                raise Refusal(403, "AccessDenied", f"no right to {action}")

    @property
    def bypass(self) -> bool:
        """Whether governance locks yield: asked for, and by right."""
        asked = self.request.header("x-amz-bypass-governance-retention").lower() == "true"
        return asked and self.may("s3:BypassGovernanceRetention")

    @property
    def version(self) -> str:
        """The version that was named; empty for the latest."""
        return self.request.query.get("versionId", "")

    def check_body(self, *, needed: bool = False) -> None:
        """The body is what its checksums say, as far as this store looks.

        Raises:
            Refusal: it is not, or there is none where one is needed.
        """
        if needed and not has_checksum(self.request):
            raise Refusal(400, "InvalidRequest", "Missing required header: Content-MD5 OR x-amz-checksum-*")
        if self.traits.md5 == "checks":
            check_md5(self.request)
        if self.traits.sha256 == "checks":
            check_checksums(self.request)


def put_object(scene: Scene) -> Reply:
    """Store a version."""
    request, bucket, traits = scene.request, scene.bucket, scene.traits
    scene.need("s3:PutObject")
    lock, held = _lock_headers(scene)
    scene.check_body(needed=bool(lock.mode) or held)
    _conditions(scene)
    own = customer_key(request, traits)
    said = request.header("x-amz-checksum-sha256")
    if traits.sha256 == "checks" and said:
        said = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    version = Version(
        key=request.key,
        content=request.body,
        modified=scene.now,
        etag=etag_of(request.body, own),
        sha256="" if traits.sha256 == "ignores" else said,
        lock=lock,
        held=held,
        customer_key=own,
        headers={
            name: value for name, value in request.headers.items() if name.startswith(("content-type", "x-amz-meta-"))
        },
    )
    return Reply(headers=_stored(bucket, version))


def copy_object(scene: Scene, source: Bucket, key: str, version: str) -> Reply:
    """``source``, ``key`` and ``version`` are what the header names; reading them was allowed already."""
    request = scene.request
    scene.need("s3:PutObject")
    lock, held = _lock_headers(scene)
    _conditions(scene)
    original = source.find(key, version)
    _unlocked(original, customer_key(request, scene.traits, "x-amz-copy-source-server-side-encryption-customer-"))
    own = customer_key(request, scene.traits)
    made = Version(
        key=request.key,
        content=original.content,
        modified=scene.now,
        etag=etag_of(original.content, own),
        sha256=original.sha256,
        lock=lock,
        held=held,
        customer_key=own,
        headers=dict(original.headers),
    )
    headers = _stored(scene.bucket, made)
    reply = xml("CopyObjectResult", {"LastModified": moment(made.modified), "ETag": f'"{made.etag}"'})
    reply.headers.update(headers)
    return reply


def copy_source(request: Request) -> tuple[str, str, str]:
    """Bucket, key and version that a copy is made from."""
    path, _, version = request.header("x-amz-copy-source").partition("?versionId=")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    return bucket, key, version


def _get_object(scene: Scene) -> Reply:
    request = scene.request
    scene.need("s3:GetObjectVersion" if scene.version else "s3:GetObject")
    version = _found(scene)
    if version.deleted:
        headers = {"x-amz-delete-marker": "true", "Allow": "DELETE"}
        raise Refusal(405, "MethodNotAllowed", "a delete marker has no content", headers)
    _unlocked(version, customer_key(request, scene.traits))
    wanted = request.header("if-match")
    if wanted and wanted.strip('"') != version.etag:
        raise Refusal(412, "PreconditionFailed")
    headers = {
        **version.headers,
        "ETag": f'"{version.etag}"',
        "Last-Modified": format_datetime(version.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        **_shown(scene, version),
    }
    body, status = version.content, 200
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range"))
    if span:
        first, last = int(span[1]), min(int(span[2] or len(body) - 1), len(body) - 1)
        if first >= len(body) or last < first:
            raise Refusal(416, "InvalidRange", "The requested range is not satisfiable")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        body, status = body[first : last + 1], 206
    if request.method == "HEAD":
        return Reply(status, headers, length=len(body))
    return Reply(status, headers, body)


def _delete_object(scene: Scene) -> Reply:
    scene.need("s3:DeleteObjectVersion" if scene.version else "s3:DeleteObject")
    return Reply(204, delete(scene, scene.request.key, scene.version))


def delete(scene: Scene, key: str, named: str) -> dict[str, str]:
    """Delete one, by right; gives what the answer's headers say."""
    bucket = scene.bucket
    if named:
        try:
            version = bucket.find(key, named)
        except Refusal:
            return {"x-amz-version-id": named}
        if not version.deleted:
            deletable(version, scene.now, bypass=scene.bypass, traits=scene.traits)
        bucket.drop(version)
        return {"x-amz-version-id": named, **({"x-amz-delete-marker": "true"} if version.deleted else {})}
    if bucket.versioning:
        marker = Version(key=key, content=b"", modified=scene.now, deleted=True)
        bucket.add(marker)
        return {"x-amz-version-id": marker.id, "x-amz-delete-marker": "true"}
    latest = bucket.latest(key)
    if latest is not None:
        bucket.drop(latest)
    return {}


def _delete_objects(scene: Scene) -> Reply:
    scene.check_body(needed=True)
    root = parsed(scene.request.body)
    gone: list[Mapping[str, str]] = []
    kept: list[Mapping[str, str]] = []
    for item in root.iter("Object"):
        key, named = item.findtext("Key", ""), item.findtext("VersionId", "")
        try:
            scene.need("s3:DeleteObjectVersion" if named else "s3:DeleteObject")
            delete(scene, key, named)
            gone.append({"Key": key, **({"VersionId": named} if named else {})})
        except Refusal as refusal:
            kept.append({"Key": key, "VersionId": named, "Code": refusal.code, "Message": refusal.message})
    if root.findtext("Quiet") == "true":
        gone = []
    return xml("DeleteResult", {"Deleted": gone, "Error": kept})


def _put_object_retention(scene: Scene) -> Reply:
    scene.need("s3:PutObjectRetention")
    version = _lockable(scene)
    scene.check_body(needed=True)
    root = parsed(scene.request.body)
    mode = root.findtext("Mode", "")
    if mode not in {"", "GOVERNANCE", "COMPLIANCE"}:
        raise Refusal(400, "MalformedXML", f"no mode: {mode}")
    wanted = lock_of(mode, root.findtext("RetainUntilDate", ""), scene.now)
    relocked(version, wanted, scene.now, bypass=scene.bypass, traits=scene.traits)
    version.lock = wanted
    return Reply()


def _get_object_retention(scene: Scene) -> Reply:
    scene.need("s3:GetObjectRetention")
    lock = _lockable(scene).lock
    if not lock.mode or lock.until is None:
        raise Refusal(404, "NoSuchObjectLockConfiguration", "The object has no retention.")
    return xml("Retention", {"Mode": lock.mode, "RetainUntilDate": moment(lock.until)})


def _put_object_legal_hold(scene: Scene) -> Reply:
    scene.need("s3:PutObjectLegalHold")
    version = _lockable(scene)
    scene.check_body(needed=True)
    status = parsed(scene.request.body).findtext("Status", "")
    if status not in {"ON", "OFF"}:
        raise Refusal(400, "MalformedXML", "a legal hold is ON or OFF")
    version.held = status == "ON"
    return Reply()


def _get_object_legal_hold(scene: Scene) -> Reply:
    scene.need("s3:GetObjectLegalHold")
    return xml("LegalHold", {"Status": "ON" if _lockable(scene).held else "OFF"})


OPERATIONS: Mapping[str, Callable[[Scene], Reply]] = {
    "PutObject": put_object,
    "GetObject": _get_object,
    "HeadObject": _get_object,
    "DeleteObject": _delete_object,
    "DeleteObjects": _delete_objects,
    "PutObjectRetention": _put_object_retention,
    "GetObjectRetention": _get_object_retention,
    "PutObjectLegalHold": _put_object_legal_hold,
    "GetObjectLegalHold": _get_object_legal_hold,
}


def _found(scene: Scene) -> Version:
    """The version that is asked for; who may not list does not learn what is missing."""
    try:
        return scene.bucket.find(scene.request.key, scene.version)
    except Refusal as refusal:
        if refusal.code == "NoSuchKey" and not scene.may("s3:ListBucket"):
            raise Refusal(403, "AccessDenied") from refusal
        raise


def _lockable(scene: Scene) -> Version:
    if not scene.bucket.locks or scene.traits.locks == "none":
        raise Refusal(400, "InvalidRequest", "Bucket is missing Object Lock Configuration")
    version = _found(scene)
    if version.deleted:
        raise Refusal(405, "MethodNotAllowed", "a delete marker cannot be locked")
    return version


def _lock_headers(scene: Scene) -> tuple[Lock, bool]:
    """The lock and the legal hold that a new object is to have."""
    request, bucket = scene.request, scene.bucket
    names = ("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold")
    mode, until, hold = (request.header(name) for name in names)
    if scene.traits.locks == "none":
        return Lock(), False
    if (mode or until or hold) and not bucket.locks:
        raise Refusal(400, "InvalidRequest", "Bucket is missing Object Lock Configuration")
    if mode or until:
        scene.need("s3:PutObjectRetention")
        return lock_of(mode, until, scene.now), hold == "ON"
    if hold:
        scene.need("s3:PutObjectLegalHold")
    lock = Lock(bucket.default[0], scene.now + bucket.default[1]) if bucket.default else Lock()
    return lock, hold == "ON"


def _conditions(scene: Scene) -> None:
    """If-None-Match and If-Match of a put.

    Raises:
        Refusal: they are not met.
    """
    absent, same = scene.request.header("if-none-match"), scene.request.header("if-match")
    if not scene.traits.conditions:
        return
    latest = scene.bucket.latest(scene.request.key)
    if absent and absent != "*":
        raise Refusal(501, "NotImplemented", "If-None-Match takes only * here")
    if absent and latest is not None:
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    if same and latest is None:
        raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
    if same and latest is not None and same.strip('"') != latest.etag:
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


def _stored(bucket: Bucket, version: Version) -> dict[str, str]:
    """Add it; gives the headers of the answer."""
    bucket.add(version)
    headers = {"ETag": f'"{version.etag}"'}
    if bucket.versioning:
        headers["x-amz-version-id"] = version.id
    if version.sha256:
        headers |= {"x-amz-checksum-sha256": version.sha256, "x-amz-checksum-type": "FULL_OBJECT"}
    return headers | _encryption(version)


def _encryption(version: Version) -> dict[str, str]:
    if not version.customer_key:
        return {}
    prefix = "x-amz-server-side-encryption-customer"
    return {f"{prefix}-algorithm": "AES256", f"{prefix}-key-md5": version.customer_key}


def _unlocked(version: Version, key: str) -> None:
    """The customer's key fits.

    Raises:
        Refusal: it does not, or is missing.
    """
    if version.customer_key and not key:
        raise Refusal(400, "InvalidRequest", "The object was stored using a form of Server Side Encryption.")
    if key != version.customer_key:
        raise Refusal(
            403 if version.customer_key else 400, "AccessDenied" if version.customer_key else "InvalidRequest"
        )


def _shown(scene: Scene, version: Version) -> dict[str, str]:
    """Headers about version, checksum and lock; locks only for who may see them."""
    headers = _encryption(version)
    if scene.bucket.versioning:
        headers["x-amz-version-id"] = version.id
    if version.sha256 and scene.request.header("x-amz-checksum-mode").upper() == "ENABLED":
        headers |= {"x-amz-checksum-sha256": version.sha256, "x-amz-checksum-type": "FULL_OBJECT"}
    lock = version.lock
    if lock.mode and lock.until is not None and scene.may("s3:GetObjectRetention"):
        headers["x-amz-object-lock-mode"] = lock.mode
        headers["x-amz-object-lock-retain-until-date"] = moment(lock.until)
    if version.held and scene.may("s3:GetObjectLegalHold"):
        headers["x-amz-object-lock-legal-hold"] = "ON"
    return headers
