"""What the strict S3 server is asked and answers, before it becomes bytes on a wire and after."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Union
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"

Content = Union[str, int, bool, None, "Tree", Iterable["Tree"]]
Tree = Mapping[str, Content]
"""XML as a mapping: name to text, to a tree, or to several trees of that name; None is left out."""


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message or code
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Request:
    """One request, its body read whole."""

    method: str
    target: str
    """Path and query as they were sent."""
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes = b""
    path: str = field(init=False)
    """Unquoted."""
    query: Mapping[str, str] = field(init=False)
    bucket: str = field(init=False)
    """Empty for the service itself."""
    key: str = field(init=False)
    """Empty for the bucket itself."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        path = unquote(parts.path)
        bucket, _, key = path.removeprefix("/").partition("/")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name, value in {"path": path, "query": query, "bucket": bucket, "key": key}.items():
            object.__setattr__(self, name, value)

    def header(self, name: str) -> str:
        """A header's value; empty when it was not sent."""
        return self.headers.get(name, "")

    @property
    def operation(self) -> str:
        """Its name in S3's reference, such as ``PutObjectRetention``; ``Unknown`` for what the server does not know."""
        asked = next((name for name in _SUBRESOURCES if name in self.query), "")
        if self.method == "PUT" and "x-amz-copy-source" in self.headers:
            return "CopyObject"
        level = "object" if self.key else "bucket" if self.bucket else "service"
        return _OPERATIONS.get((level, self.method, asked), "Unknown")


_SUBRESOURCES = (
    *("retention", "legal-hold", "versioning", "object-lock", "versions", "delete", "location", "policy"),
    *("uploads", "uploadId", "acl", "tagging", "encryption", "lifecycle", "attributes"),
)
_OPERATIONS = {
    ("service", "GET", ""): "ListBuckets",
    ("bucket", "PUT", ""): "CreateBucket",
    ("bucket", "HEAD", ""): "HeadBucket",
    ("bucket", "DELETE", ""): "DeleteBucket",
    ("bucket", "GET", ""): "ListObjectsV2",
    ("bucket", "GET", "versions"): "ListObjectVersions",
    ("bucket", "POST", "delete"): "DeleteObjects",
    ("bucket", "GET", "location"): "GetBucketLocation",
    ("bucket", "GET", "versioning"): "GetBucketVersioning",
    ("bucket", "PUT", "versioning"): "PutBucketVersioning",
    ("bucket", "GET", "object-lock"): "GetObjectLockConfiguration",
    ("bucket", "PUT", "object-lock"): "PutObjectLockConfiguration",
    ("object", "PUT", ""): "PutObject",
    ("object", "GET", ""): "GetObject",
    ("object", "HEAD", ""): "HeadObject",
    ("object", "DELETE", ""): "DeleteObject",
    ("object", "GET", "retention"): "GetObjectRetention",
    ("object", "PUT", "retention"): "PutObjectRetention",
    ("object", "GET", "legal-hold"): "GetObjectLegalHold",
    ("object", "PUT", "legal-hold"): "PutObjectLegalHold",
}


@dataclass
class Reply:
    """One answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    """What Content-Length says, where that is not the body's: answers to HEAD."""


def xml(root: str, tree: Tree) -> Reply:
    """A document as an answer."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{XMLNS}">{_inner(tree)}</{root}>'
    return Reply(headers={"Content-Type": "application/xml"}, body=text.encode())


def error(refusal: Refusal, request: Request) -> Reply:
    """An error as an answer; without a body for HEAD, as HTTP has it."""
    tree = {"Code": refusal.code, "Message": refusal.message, "Resource": request.path, "RequestId": "strict"}
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{_inner(tree)}</Error>'.encode()
    headers = {"Content-Type": "application/xml", **refusal.headers}
    return Reply(refusal.status, headers, b"" if request.method == "HEAD" else body)


def _inner(tree: Tree) -> str:
    return "".join(_element(name, content) for name, content in tree.items())


def _element(name: str, content: Content) -> str:
    match content:
        case None:
            return ""
        case bool():
            return f"<{name}>{str(content).lower()}</{name}>"
        case str() | int():
            return f"<{name}>{escape(str(content))}</{name}>"
        case Mapping():
            return f"<{name}>{_inner(content)}</{name}>"
    return "".join(_element(name, part) for part in content)


def parsed(body: bytes) -> ET.Element:
    """A document that was sent, its names without their namespace.

    Raises:
        Refusal: it is none.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314 - tests send it
    except ET.ParseError as error:
        raise Refusal(400, "MalformedXML", str(error)) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def moment(value: datetime) -> str:
    """As S3 writes times."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"


def read_moment(text: str) -> datetime:
    """The time that was meant.

    Raises:
        Refusal: none was.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal(400, "InvalidArgument", f"no time: {text}") from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)
