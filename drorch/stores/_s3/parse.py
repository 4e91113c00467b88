"""What answers say: pages of listings, headers of objects; pure.

boto3 takes 10 s of one core for the listing of 100,000 objects, this takes 1.5 s.
"""

import base64
import binascii
import functools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar
from urllib.parse import unquote_plus

from drorch.core.store import Entry, Recorded, Version

T = TypeVar("T")

_MD5 = re.compile(r"^[0-9a-f]{32}$")
_KEYED = ("aws:kms", "aws:kms:dsse")


class NoListing(ValueError):
    """It is no page of a listing."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a listing."""

    items: list[T]
    further: tuple[tuple[str, str], ...]
    """What to ask with for the next page; nothing where this is the last."""


def entries(body: bytes, prefix: str) -> Page[Entry]:
    """A page of ListObjectsV2; keys without the prefix.

    Raises:
        NoListing: it is none.
    """
    root, space = _root(body, "ListBucketResult")
    key, size, modified, etag = (space + name for name in ("Key", "Size", "LastModified", "ETag"))
    decoded, cut, at = _encoded(root, space), len(prefix), datetime.fromisoformat
    items = []
    try:
        for element in root.iter(space + "Contents"):
            said = {child.tag: child.text or "" for child in element}
            name = _plain(said[key]) if decoded else said[key]
            items.append(Entry(name[cut:], int(said[size]), at(said[modified]), md5_of(said.get(etag, ""))))
    except (KeyError, ValueError) as error:
        raise NoListing(str(error)) from error
    token = root.findtext(f"{space}NextContinuationToken", "")
    return Page(items, (("continuation-token", token),) if _more(root, space, token) else ())


def versions(body: bytes, prefix: str) -> Page[Version]:
    """A page of ListObjectVersions; keys without the prefix.

    Raises:
        NoListing: it is none.
    """
    root, space = _root(body, "ListVersionsResult")
    decoded = _encoded(root, space)
    items = []
    try:
        for element in root:
            deleted = element.tag == f"{space}DeleteMarker"
            if not deleted and element.tag != f"{space}Version":
                continue
            said = {child.tag.removeprefix(space): child.text or "" for child in element}
            name = unquote_plus(said["Key"]) if decoded else said["Key"]
            items.append(
                Version(
                    name[len(prefix) :],
                    said["VersionId"],
                    0 if deleted else int(said["Size"]),
                    datetime.fromisoformat(said["LastModified"]),
                    said["IsLatest"] == "true",
                    deleted=deleted,
                    md5="" if deleted else md5_of(said.get("ETag", "")),
                )
            )
    except (KeyError, ValueError) as error:
        raise NoListing(str(error)) from error
    key = root.findtext(f"{space}NextKeyMarker", "")
    if not _more(root, space, key):
        return Page(items, ())
    marker = root.findtext(f"{space}NextVersionIdMarker", "")
    key = unquote_plus(key) if decoded else key
    return Page(items, (("key-marker", key), *((("version-id-marker", marker),) if marker else ())))


def md5_of(etag: str) -> str:
    """Hexadecimal, where the ETag can be one: neither of parts nor anything else."""
    plain = etag.strip('"')
    return plain if _MD5.match(plain) else ""


def md5(headers: Mapping[str, str]) -> str:
    """As the store recorded it, hexadecimal; empty where the ETag is something else, as with keys of the provider."""
    keyed = headers.get("x-amz-server-side-encryption", "") in _KEYED
    customer = "x-amz-server-side-encryption-customer-algorithm" in headers
    return "" if keyed or customer else md5_of(headers.get("etag", ""))


def sha256(headers: Mapping[str, str]) -> str:
    """As the store recorded it, hexadecimal; empty where it recorded none, or one of parts."""
    said = headers.get("x-amz-checksum-sha256", "")
    try:
        raw = base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return raw.hex() if len(raw) == 32 else ""  # noqa: PLR2004 - SHA-256 has 32 bytes


@functools.lru_cache(maxsize=64)  # many answers come within one second
def moment(text: str) -> datetime | None:
    """A time as HTTP or as ISO 8601 writes it; UTC."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return read(text).replace(tzinfo=UTC) if read(text).tzinfo is None else read(text).astimezone(UTC)
        except (ValueError, TypeError):
            continue
    return None


def recorded(headers: Mapping[str, str], size: int) -> Recorded | None:
    """What the headers of a HEAD say; None where the least is missing."""
    modified = moment(headers.get("last-modified", ""))
    if modified is None:
        return None
    return Recorded(
        size=size,
        modified=modified,
        sha256=sha256(headers),
        md5=md5(headers),
        version=headers.get("x-amz-version-id", ""),
        mode=headers.get("x-amz-object-lock-mode", "").lower(),
        locked_until=moment(headers.get("x-amz-object-lock-retain-until-date", "")),
        held=headers.get("x-amz-object-lock-legal-hold", "").upper() == "ON",
        customer_key="x-amz-server-side-encryption-customer-algorithm" in headers,
    )


def _root(body: bytes, name: str) -> tuple[ET.Element, str]:
    """The document, and what its tags begin with."""
    try:
        root = ET.fromstring(body)  # noqa: S314 - expat expands no external entity, and bounds what it expands
    except ET.ParseError as error:
        raise NoListing(str(error)) from error
    space, brace, plain = root.tag.rpartition("}")
    if plain != name:
        raise NoListing(f"a document {plain[:40]}")
    return root, space + brace


def _encoded(root: ET.Element, space: str) -> bool:
    return root.findtext(f"{space}EncodingType", "") == "url"


def _plain(name: str) -> str:
    """Of what is encoded in a name of ours only slashes are, and `unquote_plus` takes as long as all the rest."""
    name = name.replace("%2F", "/")
    return unquote_plus(name) if "%" in name or "+" in name else name


def _more(root: ET.Element, space: str, token: str) -> bool:
    truncated = root.findtext(f"{space}IsTruncated", "false") == "true"
    if truncated and not token:
        raise NoListing("there is more, but not how to ask for it")
    return truncated


def in_order(keys: Iterable[str], last: str) -> bool:
    """Whether each key comes after the one before, by code points."""
    for key in keys:
        if key <= last and last:
            return False
        last = key
    return True
