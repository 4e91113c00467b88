"""A strict stand-in for AWS Route 53: no real one can be had in a test, and what is freely there deletes records that
differ from the one that was named. Rules and words are those of AWS's own documentation.
"""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest

ZONE = "Z0DRORCH"
KEY = "AKIDRORCH"
SECRET = "planted-route53-secret"
_SPACE = "https://route53.amazonaws.com/doc/2013-04-01/"

Records = dict[tuple[str, str], tuple[int, tuple[str, ...]]]
"""TTL and values by name and type."""


class _Refused(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass
class HostedZone:
    """One hosted zone, and how its service behaves."""

    records: Records = field(default_factory=dict)
    alias: bool = False
    pending: int = 1
    """How often a change is asked for until all name servers have it."""
    refuse: str = ""
    """A code with which everything is refused."""
    garbage: bytes | None = None
    """What everything is answered with instead."""
    down: bool = False
    """Whether every connection ends without an answer."""
    lose: int = 0
    """So many answers to changes are lost after the change was made."""
    changes: int = 0
    port: int = 0

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def listed(self, start: str, kind: str) -> str:
        """Record sets from a name on."""
        found = sorted(key for key in self.records if key >= (start, kind))[:2]
        sets = "".join(self._set(*key) for key in found)
        rest = "<IsTruncated>false</IsTruncated><MaxItems>2</MaxItems>"
        root = "ListResourceRecordSetsResponse"
        return f"<{root} xmlns='{_SPACE}'><ResourceRecordSets>{sets}</ResourceRecordSets>{rest}</{root}>"

    def changed(self, text: bytes) -> str:
        """All of a batch, or nothing of it."""
        after = dict(self.records)
        wrong = [said for each in ET.fromstring(text).iter(f"{{{_SPACE}}}Change") if (said := self._apply(each, after))]  # noqa: S314 - a test's own
        if wrong:
            raise _Refused("InvalidChangeBatch", f"[{', '.join(wrong)}]")
        self.records = after
        self.changes += 1
        return _info("ChangeResourceRecordSetsResponse", "PENDING")

    def progress(self) -> str:
        """How far a change is."""
        self.pending -= 1
        return _info("GetChangeResponse", "PENDING" if self.pending >= 0 else "INSYNC")

    def _apply(self, change: "ET.Element", records: Records) -> str:
        def text(path: str) -> str:
            return change.findtext("/".join(f"{{{_SPACE}}}{word}" for word in path.split("/"))) or ""

        name, kind = text("ResourceRecordSet/Name"), text("ResourceRecordSet/Type")
        values = tuple(each.text or "" for each in change.iter(f"{{{_SPACE}}}Value"))
        there = (int(text("ResourceRecordSet/TTL")), values)
        said = f"resource record set [name='{name}', type='{kind}']"
        match text("Action"):
            case "CREATE" if (name, kind) in records:
                return f"Tried to create {said} but it already exists"
            case "CREATE":
                records[name, kind] = there
            case "DELETE" if (name, kind) not in records:
                return f"Tried to delete {said} but it was not found"
            case "DELETE" if records[name, kind] != there:
                return f"Tried to delete {said} but the values provided do not match the current values"
            case "DELETE":
                del records[name, kind]
            case other:
                return f"{other} is not what this stand-in knows"
        return ""

    def _set(self, name: str, kind: str) -> str:
        ttl, values = self.records[name, kind]
        rest = f"<TTL>{ttl}</TTL><ResourceRecords>" + "".join(
            f"<ResourceRecord><Value>{each}</Value></ResourceRecord>" for each in values
        )
        health = "<EvaluateTargetHealth>false</EvaluateTargetHealth>"
        target = f"<HostedZoneId>{ZONE}</HostedZoneId><DNSName>x.</DNSName>{health}"
        body = f"<AliasTarget>{target}</AliasTarget>" if self.alias else f"{rest}</ResourceRecords>"
        return f"<ResourceRecordSet><Name>{name}</Name><Type>{kind}</Type>{body}</ResourceRecordSet>"


def _info(root: str, status: str) -> str:
    info = f"<Id>/change/C1</Id><Status>{status}</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt>"
    return f"<{root} xmlns='{_SPACE}'><ChangeInfo>{info}</ChangeInfo></{root}>"


class _Door(BaseHTTPRequestHandler):
    zone: HostedZone

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        status = 200
        try:
            said = self._said(body).encode()
        except _Refused as refused:
            status = refused.status
            error = f"<Error><Type>Sender</Type><Code>{refused.code}</Code><Message>{refused}</Message></Error>"
            said = f"<ErrorResponse xmlns='{_SPACE}'>{error}<RequestId>1</RequestId></ErrorResponse>".encode()
        if self.zone.down or (self.zone.lose and body):
            self.zone.lose -= 1
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def _said(self, body: bytes) -> str:
        zone = self.zone
        if zone.garbage is not None:
            return zone.garbage.decode("latin-1")
        if zone.refuse:
            raise _Refused(zone.refuse, "as the test said", 403)
        if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            raise _Refused("InvalidClientTokenId", "The security token included in the request is invalid", 403)
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path.startswith("/2013-04-01/change/"):
            return zone.progress()
        if not re.fullmatch(f"/2013-04-01/hostedzone/{ZONE}/rrset/?", url.path):
            raise _Refused("NoSuchHostedZone", "No hosted zone found with that id", 404)
        return zone.changed(body) if body else zone.listed(query["name"], query["type"])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture(scope="session")
def route53_door() -> Iterator[ThreadingHTTPServer]:
    """The service; one address for all tests, since a client for one is costly to make."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Door)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hosted_zone(route53_door: ThreadingHTTPServer) -> HostedZone:
    """A zone with a name that points to the primary."""
    names = ("www.shop.example.", "A"), ("x.shop.example.", "A")
    _Door.zone = HostedZone(dict.fromkeys(names, (60, ("198.51.100.10",))), port=route53_door.server_address[1])
    return _Door.zone
