"""A bucket that can be called: every call passes the gate, is tried again where there is hope, and fails in our words.

`Bucket.send` is for the calls of which there are many, `Bucket.call` for all others, by boto3's names. `Bucket.raw` and
`Bucket.raw_send` are single tries whose refusal is the result: for trials.
"""

import random
import ssl
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, TypeVar

from drorch.core.accesskey import Keys, parse
from drorch.core.errors import SecretError, StoreDenied, StoreError
from drorch.core.model import SecretRef
from drorch.core.secret import Renewing
from drorch.core.store import Lock, Means
from drorch.stores._s3.bandwidth import Allowance
from drorch.stores._s3.gate import Call, Gate
from drorch.stores._s3.parse import moment
from drorch.stores._s3.place import Place, Role
from drorch.stores._s3.retry import Failed, Patience, persist
from drorch.stores._s3.trouble import Refusal, Scene, Verdict, broken, judged, no_s3
from drorch.stores._s3.wire import Answer, Request, Timeouts, TooLarge, Wire

T = TypeVar("T")

Client = Any
"""boto3's, which has no types."""

_REDIRECT = HTTPStatus.MULTIPLE_CHOICES
_PATIENCE = Patience()
_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a single try that was answered, well or not."""

    status: int
    code: str = ""
    """Empty for a success, and for a refusal without a word."""
    message: str = ""
    output: Mapping[str, Any] = field(default_factory=dict)
    """As boto3 gives it; of `Bucket.raw_send`, the headers."""

    @property
    def done(self) -> bool:
        """Whether the store did what it was asked."""
        return HTTPStatus.OK <= self.status < _REDIRECT and not self.code

    @property
    def passing(self) -> bool:
        """Whether the store only failed or was busy, which says nothing about what it would refuse."""
        failed = self.status >= HTTPStatus.INTERNAL_SERVER_ERROR and self.status != HTTPStatus.NOT_IMPLEMENTED
        return failed or self.status == HTTPStatus.TOO_MANY_REQUESTS

    @property
    def shown(self) -> str:
        """For messages; no control characters."""
        return "it did" if self.done else Refusal(self.status, self.code, self.message).shown


class Bucket:
    """A bucket at its endpoint; nothing connects before the first call. Shared by threads."""

    def __init__(
        self, place: Place, means: Means, *, patience: Patience = _PATIENCE, timeouts: Timeouts = _TIMEOUTS
    ) -> None:
        self.place = place
        self.patience = patience
        self._means = means
        self._clock = means.clock
        self._timeouts = timeouts
        self._gate = Gate(place.parallel, means.clock)
        self._allowance = Allowance(place.bandwidth, means.clock)
        self._lock = threading.Lock()
        self._wire: Wire | None = None
        self._keys: dict[Role, Keys] = {}
        self._clients: dict[Role, tuple[Keys, Client]] = {}
        self._ahead = timedelta()

    @property
    def name(self) -> str:
        """The bucket's."""
        return self.place.bucket

    @property
    def prefix(self) -> str:
        """What all keys of ours begin with: empty, or ends with ``/``."""
        return f"{self.place.prefix}/" if self.place.prefix else ""

    @property
    def shown(self) -> str:
        """Name and address, for messages."""
        return self.place.shown

    @property
    def lock(self) -> Lock | None:
        """As the inventory asks for it."""
        return self.place.lock

    @property
    def client(self) -> Client:
        """boto3's, with the writer's credential: untranslated errors, no gate, no second try; better `raw`."""
        return self._client("writer", self._credential("writer"))

    @property
    def deleter(self) -> Client | None:
        """The same with the deleter's credential; None where there is none."""
        return self._client("deleter", self._credential("deleter")) if self.place.deleter else None

    @property
    def may_delete(self) -> bool:
        """Whether a deleter's credential can be had now; it may well be kept elsewhere until the day it is needed."""
        if self.place.deleter is None:
            return False
        try:
            self._credential("deleter")
        except SecretError:
            return False
        return True

    @property
    def skew(self) -> timedelta:
        """By how much the store's clock is ahead of ours, as its last answer said, to a second."""
        return self._ahead

    @property
    def at_once(self) -> int:
        """How many calls are made at once at present."""
        return self._gate.limit

    def now(self) -> datetime:
        """The store's time, to a second."""
        return self._clock.now() + self._ahead

    def key(self, key: str) -> str:
        """The whole key of ours."""
        return self.prefix + key

    def call(
        self,
        operation: str,
        *,
        role: Role = "writer",
        patience: Patience | None = None,
        **words: Any,  # noqa: ANN401 - as boto3 takes them
    ) -> Mapping[str, Any]:
        """A call by boto3's name, such as ``get_bucket_versioning``; ``Bucket`` is added.

        Raises:
            StoreError: it was refused, or there was no answer, after trying again where that could help.
        """

        def attempt(_tried: int) -> Mapping[str, Any]:
            tried = self._boto(operation, role, words)
            if isinstance(tried, Refusal):
                raise Failed(self._verdict(tried, operation.replace("_", " "), role))
            return tried

        return self._persist(attempt, patience, role)

    def setting(self, name: str, patience: Patience | None = None) -> Tried:
        """What is set for the bucket under a word of S3's, such as ``versioning``: texts by the names of elements.

        Without boto3, which takes a third of a second to load: every pass asks for some. A refusal is a result; what
        passes is tried again.

        Raises:
            StoreError: there was no answer, or none of S3's, or the store went on failing.
        """
        doing = f"look at its {name}"

        def final(refusal: Refusal) -> bool:
            verdict = self._verdict(refusal, doing, "writer")
            return not (verdict.again or verdict.stale)

        answer = self.send(Request("GET", query=((name, ""),)), doing, expected=final, patience=patience)
        if answer.refusal is not None:
            return Tried(answer.refusal.status, answer.refusal.code, answer.refusal.message)
        try:
            return Tried(answer.status, output=_texts(answer.body))
        except ET.ParseError as error:
            raise no_s3(self.scene(doing), Refusal(answer.status, headers=answer.headers)) from error

    def raw(self, operation: str, *, role: Role = "writer", **words: Any) -> Tried:  # noqa: ANN401 - as boto3 takes them
        """A single try; a refusal is a result, `Tried.passing` among them.

        Raises:
            StoreError: there was no answer.
        """
        try:
            tried = self._boto(operation, role, words)
        except Failed as failed:
            raise failed.verdict.error from failed.__cause__
        if isinstance(tried, Refusal):
            return Tried(tried.status, tried.code, tried.message)
        return Tried(int(tried["ResponseMetadata"]["HTTPStatusCode"]), output=tried)

    def send(
        self,
        request: Request,
        doing: str,
        *,
        role: Role = "writer",
        expected: Callable[[Refusal], bool] = lambda _refusal: False,
        patience: Patience | None = None,
    ) -> Answer:
        """A call over the wire; a refusal that is ``expected`` is a result as well.

        Raises:
            StoreError: it was refused, or there was no answer, after trying again where that could help.
        """

        def attempt(tried: int) -> Answer:
            answer, refusal = self._over_wire(request, doing, role)
            if refusal is None or expected(refusal):
                return replace(answer, refusal=refusal, uncertain=tried > 0)
            raise Failed(self._verdict(refusal, doing, role, head=request.method == "HEAD"))

        return self._persist(attempt, patience, role)

    def raw_send(self, request: Request, *, role: Role = "writer") -> Tried:
        """A single try over the wire, where boto3 will not do what is to be tried; a refusal is a result.

        Raises:
            StoreError: there was no answer.
        """
        try:
            answer, refusal = self._over_wire(request, f"{request.method} {request.key}", role)
        except Failed as failed:
            raise failed.verdict.error from failed.__cause__
        if refusal:
            return Tried(refusal.status, refusal.code, refusal.message, refusal.headers)
        return Tried(answer.status, output=answer.headers)

    def versioning(self, patience: Patience | None = None) -> str:
        """``Enabled``, ``Suspended``, or empty for a bucket or a store without versions."""
        tried = self.setting("versioning", patience)
        if tried.status == HTTPStatus.NOT_IMPLEMENTED or tried.code in {"NotImplemented", "MethodNotAllowed"}:
            return ""
        if not tried.done:
            raise self.refused(Refusal(tried.status, tried.code, tried.message), "look at its versioning")
        return str(tried.output.get("Status", ""))

    def refused(self, refusal: Refusal, doing: str, role: Role = "writer") -> StoreError:
        """A refusal as an error."""
        return self._verdict(refusal, doing, role).error

    def wait(self, tried: int) -> None:
        """As before the next try after so many."""
        self._clock.sleep(self.patience.delay(tried, 0.0, random.random()))  # noqa: S311 - no secret

    def close(self) -> None:
        """Give back connections."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
            wire = self._wire
        for _keys, client in clients:
            client.close()
        if wire:
            wire.close()

    def scene(self, doing: str, role: Role = "writer") -> Scene:
        """For errors."""
        place = self.place
        return Scene(self.shown, place.store, doing, self._ref(role).secret, role, place.region, self._ahead)

    def _persist(self, attempt: Callable[[int], T], patience: Patience | None, role: Role) -> T:
        def renewing(tried: int) -> T:
            used = self._credential(role)
            try:
                return attempt(tried)
            except Failed as failed:
                if failed.verdict.stale and self._renewed(role, used):
                    return attempt(tried)
                raise

        return persist(renewing, patience or self.patience, self._clock)

    def _over_wire(self, request: Request, doing: str, role: Role) -> tuple[Answer, Refusal | None]:
        keys = self._credential(role)
        wire = self._connected()
        with self._gate.call() as call:
            try:
                answer = wire.exchange(self.name, request, keys)
            except TooLarge as error:
                raise StoreError(f"{self.shown}: {doing}: it has {error}, too many to be read") from error
            except (OSError, HTTPException) as error:
                raise self._broke(error, doing, role, call) from error
            refusal = _refusal(answer, request)
            self._heard(call, answer.headers, refusal, len(request.body) + len(answer.body))
        return answer, refusal

    def _boto(self, operation: str, role: Role, words: Mapping[str, Any]) -> Mapping[str, Any] | Refusal:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - most passes need no boto3

        client = self._client(role, self._credential(role))
        with self._gate.call() as call:
            try:
                answer: Mapping[str, Any] = getattr(client, operation)(Bucket=self.name, **words)
            except ClientError as error:
                meta = error.response.get("ResponseMetadata", {})
                said = error.response.get("Error", {})
                code = str(said.get("Code", ""))
                code = "" if code.isdigit() else code
                status = int(meta.get("HTTPStatusCode", 0))
                refusal = Refusal(
                    status, code, str(said.get("Message") or "") if code else "", meta.get("HTTPHeaders", {})
                )
                self._heard(call, refusal.headers, refusal, 0)
                return refusal
            except (BotoCoreError, OSError, HTTPException) as error:
                raise self._broke(error, operation.replace("_", " "), role, call) from error
            self._heard(call, answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}), None, 0)
            return answer

    def _heard(self, call: Call, headers: Mapping[str, str], refusal: Refusal | None, size: int) -> None:
        """Learn from an answer: the gate, the clock."""
        call.bytes = size
        call.slow = refusal is not None and judged(refusal, self.scene("")).slow
        call.good = refusal is None
        date = moment(headers.get("date", ""))
        if date is not None:
            self._ahead = timedelta(seconds=round((date - self._clock.now()).total_seconds()))

    def _broke(self, error: Exception, doing: str, role: Role, call: Call) -> Failed:
        verdict = broken(error, self.scene(doing, role))
        call.slow = verdict.slow
        return Failed(verdict)

    def _verdict(self, refusal: Refusal, doing: str, role: Role, *, head: bool = False) -> Verdict:
        scene = self.scene(doing, role)
        if not refusal.code and not head and refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Verdict(no_s3(scene, refusal))
        return judged(refusal, scene)

    def _ref(self, role: Role) -> SecretRef:
        return self.place.deleter if role == "deleter" and self.place.deleter else self.place.credentials

    def _credential(self, role: Role) -> Keys:
        if role == "deleter" and self.place.deleter is None:
            raise StoreDenied(
                f"{self.shown}: nothing is deleted without a credential for it",
                hint=f"name one under deleter: of store {self.place.store}, kept where the writer's cannot be read",
            )
        with self._lock:
            if role not in self._keys:
                self._keys[role] = parse(self._means.secrets.get(self._ref(role)))
            return self._keys[role]

    def _renewed(self, role: Role, used: Keys) -> bool:
        """Whether there is another credential now than the one that was used."""
        secrets = self._means.secrets
        with self._lock:
            if self._keys.get(role) == used and isinstance(secrets, Renewing):
                self._keys[role] = parse(secrets.renew(self._ref(role)))
            return self._keys.get(role) != used

    def _client(self, role: Role, keys: Keys) -> Client:
        from drorch.stores._s3 import client as boto  # noqa: PLC0415 - most passes need no boto3

        with self._lock:
            kept = self._clients.get(role)
            if kept is None or kept[0] != keys:
                self._trusted()
                kept = self._clients[role] = (keys, boto.make(self.place, keys, self._timeouts))
            return kept[1]

    def _connected(self) -> Wire:
        with self._lock:
            if self._wire is None:
                place = self.place
                self._wire = Wire(
                    place.endpoint, place.region, self._trusted(), self._timeouts, self._allowance, self._clock
                )
            return self._wire

    def _trusted(self) -> ssl.SSLContext | None:
        if not self.place.endpoint.startswith("https:"):
            return None
        from botocore.httpsession import get_cert_path  # noqa: PLC0415 - knows where the public ones are

        file = self.place.certificate
        try:
            return ssl.create_default_context(cafile=file or get_cert_path(verify=True))
        except OSError as error:
            raise StoreError(
                f"{self.shown}: certificate {file} cannot be used: {error.strerror or error}",
                hint="name a file of certificates in PEM form that drorch's user can read",
            ) from error


def _refusal(answer: Answer, request: Request) -> Refusal | None:
    """What the answer refuses; also an error told in the body of a success."""
    if answer.status < _REDIRECT:
        document = request.method != "GET" or not request.key
        if not document or b"<Error" not in answer.body[:_FIRST_WORDS]:
            return None
    code, message = _error(answer.body)
    return Refusal(answer.status, code, message, answer.headers)


_FIRST_WORDS = 1024


def _error(body: bytes) -> tuple[str, str]:
    """Code and message of an error document; empty where it is none."""
    try:
        texts = _texts(body)
    except ET.ParseError:
        return "", ""
    return (texts.get("Code", ""), texts.get("Message", "")) if next(iter(texts)) == "Error" else ("", "")


def _texts(document: bytes) -> dict[str, str]:
    """The texts of all elements by their names, the root first."""
    root = ET.fromstring(document)  # noqa: S314 - expat expands no external entity, and bounds what it expands
    return {element.tag.rpartition("}")[2]: element.text or "" for element in root.iter()}
