"""Operations on buckets, and listings."""

import base64
import binascii
import heapq
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import chain
from typing import Literal
from urllib.parse import quote

from support.strict.faults import Ghost, Hide, Struck
from support.strict.holdings import Bucket, Version
from support.strict.objects import Scene
from support.strict.words import Refusal, Reply, Tree, moment, parsed, xml

_DAYS = {"Days": 1, "Years": 365}


def _list_objects(scene: Scene, struck: Struck) -> Reply:
    """ListObjectsV2; the first version is not known here."""
    scene.need("s3:ListBucket")
    query = scene.request.query
    if query.get("list-type") != "2":
        raise Refusal(501, "NotImplemented", "only ListObjectsV2 is known here")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    token = query.get("continuation-token", "")
    after = _untoken(token) if token else query.get("start-after", "")
    limit = _limit(scene)
    shown = _shower(query)
    contents: list[Tree] = []
    folders: list[str] = []
    last = after
    more = False
    for key, version in _live(scene.bucket, prefix, after, struck):
        folder = _folder(key, prefix, delimiter)
        if folder and (folder in folders[-1:] or after.startswith(folder)):
            last = key
            continue
        if len(contents) + len(folders) >= limit:
            more = True
            break
        last = key
        if folder:
            folders.append(folder)
        else:
            contents.append({"Key": shown(key), **_entry(version), "StorageClass": "STANDARD"})
    return xml(
        "ListBucketResult",
        {
            "Name": scene.bucket.name,
            "Prefix": shown(prefix),
            "Delimiter": shown(delimiter) or None,
            "MaxKeys": limit,
            "KeyCount": len(contents) + len(folders),
            "EncodingType": query.get("encoding-type"),
            "ContinuationToken": token or None,
            "IsTruncated": more,
            "NextContinuationToken": base64.b64encode(last.encode()).decode() if more else None,
            "Contents": contents,
            "CommonPrefixes": [{"Prefix": shown(folder)} for folder in folders],
        },
    )


def _list_versions(scene: Scene, struck: Struck) -> Reply:
    scene.need("s3:ListBucketVersions")
    query = scene.request.query
    if query.get("delimiter"):
        raise Refusal(501, "NotImplemented", "a delimiter for versions is not known here")
    marker, at = query.get("key-marker", ""), query.get("version-id-marker", "")
    limit = _limit(scene)
    shown = _shower(query)
    hidden = [hide.pattern for hide in struck.all(Hide)]
    elements: list[tuple[str, Tree]] = []
    last: Version | None = None
    more = False
    for version in _history(scene.bucket, query.get("prefix", ""), marker, at):
        if any(fnmatchcase(version.key, pattern) for pattern in hidden):
            continue
        if len(elements) >= limit:
            more = True
            break
        last = version
        common: dict[str, str | bool] = {
            "Key": shown(version.key),
            "VersionId": version.id,
            "IsLatest": scene.bucket.all(version.key)[0] is version,
        }
        if version.deleted:
            elements.append(("DeleteMarker", {**common, "LastModified": moment(version.modified)}))
        else:
            elements.append(("Version", {**common, **_entry(version), "StorageClass": "STANDARD"}))
    return xml(
        "ListVersionsResult",
        {
            "Name": scene.bucket.name,
            "Prefix": shown(query.get("prefix", "")),
            "MaxKeys": limit,
            "EncodingType": query.get("encoding-type"),
            "KeyMarker": shown(marker),
            "VersionIdMarker": at,
            "IsTruncated": more,
            "NextKeyMarker": shown(last.key) if more and last else None,
            "NextVersionIdMarker": last.id if more and last else None,
            "Version": [tree for name, tree in elements if name == "Version"],
            "DeleteMarker": [tree for name, tree in elements if name == "DeleteMarker"],
        },
    )


def _get_versioning(scene: Scene) -> Reply:
    scene.need("s3:GetBucketVersioning")
    return xml("VersioningConfiguration", {"Status": scene.bucket.versioning or None})


def _put_versioning(scene: Scene) -> Reply:
    scene.need("s3:PutBucketVersioning")
    scene.check_body(needed=True)
    status = parsed(scene.request.body).findtext("Status", "")
    if scene.bucket.locks and status != "Enabled":
        raise Refusal(409, "InvalidBucketState", "An Object Lock configuration is present on this bucket")
    known: Mapping[str, Literal["Enabled", "Suspended"]] = {"Enabled": "Enabled", "Suspended": "Suspended"}
    if status not in known:
        raise Refusal(400, "MalformedXML", "versioning is Enabled or Suspended")
    scene.bucket.versioning = known[status]
    return Reply()


def _get_lock(scene: Scene) -> Reply:
    scene.need("s3:GetBucketObjectLockConfiguration")
    bucket = scene.bucket
    if not bucket.locks or scene.traits.locks == "none":
        code = "ObjectLockConfigurationNotFoundError"
        raise Refusal(404, code, "Object Lock configuration does not exist for this bucket")
    rule: Tree | None = None
    if bucket.default:
        rule = {"DefaultRetention": {"Mode": bucket.default[0], "Days": bucket.default[1].days}}
    return xml("ObjectLockConfiguration", {"ObjectLockEnabled": "Enabled", "Rule": rule})


def _put_lock(scene: Scene) -> Reply:
    scene.need("s3:PutBucketObjectLockConfiguration")
    scene.check_body(needed=True)
    bucket, root = scene.bucket, parsed(scene.request.body)
    if scene.traits.locks == "none":
        raise Refusal(501, "NotImplemented", "no locks here")
    if root.findtext("ObjectLockEnabled") != "Enabled" or bucket.versioning != "Enabled":
        raise Refusal(409, "InvalidBucketState", "Versioning must be Enabled for Object Lock")
    rule = root.find("Rule/DefaultRetention")
    default = None
    if rule is not None:
        days = sum(int(rule.findtext(unit, "0")) * length for unit, length in _DAYS.items())
        mode = rule.findtext("Mode", "")
        if days <= 0 or mode not in ("GOVERNANCE", "COMPLIANCE"):
            raise Refusal(400, "MalformedXML", "a default retention needs a mode and a time")
        kept: Literal["GOVERNANCE", "COMPLIANCE"] = "COMPLIANCE" if mode == "COMPLIANCE" else "GOVERNANCE"
        default = (kept, timedelta(days=days))
    bucket.locks, bucket.default = True, default
    return Reply()


def _head_bucket(scene: Scene) -> Reply:
    scene.need("s3:ListBucket")
    return Reply(headers={"x-amz-bucket-region": "us-east-1"})


def _location(scene: Scene) -> Reply:
    scene.need("s3:GetBucketLocation")
    return xml("LocationConstraint", {})


LISTINGS: Mapping[str, Callable[[Scene, Struck], Reply]] = {
    "ListObjectsV2": _list_objects,
    "ListObjectVersions": _list_versions,
}
OPERATIONS: Mapping[str, Callable[[Scene], Reply]] = {
    "HeadBucket": _head_bucket,
    "GetBucketLocation": _location,
    "GetBucketVersioning": _get_versioning,
    "PutBucketVersioning": _put_versioning,
    "GetObjectLockConfiguration": _get_lock,
    "PutObjectLockConfiguration": _put_lock,
}


def _limit(scene: Scene) -> int:
    text = scene.request.query.get("max-keys", "1000")
    if not text.isdecimal():
        raise Refusal(400, "InvalidArgument", "max-keys is a number")
    return min(int(text), scene.traits.page)


def _shower(query: Mapping[str, str]) -> Callable[[str], str]:
    if query.get("encoding-type") == "url":
        return lambda text: quote(text, safe="/-_.~*")
    return str


def _untoken(token: str) -> str:
    try:
        return base64.b64decode(token, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refusal(400, "InvalidArgument", "The continuation token provided is incorrect") from error


def _live(bucket: Bucket, prefix: str, after: str, struck: Struck) -> Iterator[tuple[str, Version]]:
    """Keys and what a listing says of them, in order, as stale as the faults say."""
    hidden = [hide.pattern for hide in struck.all(Hide)]
    ghosts = {
        ghost.key: Version(key=ghost.key, content=b"\0" * ghost.size, modified=bucket.created, etag="0" * 32)
        for ghost in struck.all(Ghost)
        if ghost.key.startswith(prefix) and ghost.key > after and bucket.latest(ghost.key) is None
    }
    for key in heapq.merge(bucket.sorted_keys(prefix, after), sorted(ghosts)):
        version = bucket.latest(key) or ghosts.pop(key, None)
        if version is not None and not any(fnmatchcase(key, pattern) for pattern in hidden):
            yield key, version


def _history(bucket: Bucket, prefix: str, marker: str, at: str) -> Iterator[Version]:
    """Versions of keys in order, the newest first, after a version of a key, or after the key."""
    rest: Iterator[Version] = iter(())
    if marker and at:
        found = bucket.all(marker)
        ids = [version.id for version in found]
        if at not in ids:
            raise Refusal(400, "InvalidArgument", "Invalid version id specified")
        rest = iter(found[ids.index(at) + 1 :])
    return chain(rest, (version for key in bucket.sorted_keys(prefix, marker) for version in bucket.all(key)))


def _folder(key: str, prefix: str, delimiter: str) -> str:
    """The common prefix that the key falls under; empty for none."""
    if not delimiter:
        return ""
    head, found, _ = key[len(prefix) :].partition(delimiter)
    return prefix + head + found if found else ""


def _entry(version: Version) -> dict[str, str | int | None]:
    return {
        "LastModified": moment(version.modified),
        "ETag": f'"{version.etag}"',
        "Size": len(version.content),
        "ChecksumAlgorithm": "SHA256" if version.sha256 else None,
        "ChecksumType": "FULL_OBJECT" if version.sha256 else None,
    }
