"""``http``: ask a web address until it answers as expected."""

import hashlib
import re
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure, Outcome, ProofLevel
from drorch.core.host import printable
from drorch.core.model import Frozen, HostName, Regex, SecretRef
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools
from drorch.core.template import fill, from_evidence
from drorch.steps._asking import Answer, Asked, ask

PATIENCE = 10.0
"""Seconds that one request may take."""
PAUSE = 0.5
"""Seconds between two tries."""
QUOTED = 200
"""Characters of a wrong answer that the failure quotes."""


def _complete(url: str) -> str:
    if "{{" in url:
        return url
    try:
        split = urlsplit(url)
        _ = split.port
    except ValueError as error:
        raise ValueError(f"is no address: {error}") from None
    if split.scheme not in {"http", "https"} or not split.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if split.username or split.password:
        raise ValueError("must not hold a user or password; put {secret: NAME} into headers")
    return url


class HttpExpectation(Frozen):
    """What counts as the right answer."""

    status: Annotated[int, Field(ge=100, le=599)] = 200
    """The status code; redirections are not followed."""
    body: str | None = None
    """Text that the body must contain."""
    regex: Regex | None = None
    """A regular expression that must match somewhere in the body."""


class Http(Step):
    """Ask a web address again and again until it answers as expected or the timeout (60 s unless said) is over."""

    kind: Literal["http"]
    url: Annotated[str, AfterValidator(_complete), StringConstraints(pattern=r"^[!-~]*(\{\{[^}]*\}\}[!-~]*)*$")]
    """The address, such as ``http://127.0.0.1:18080/health``."""
    host: HostName | None = None
    """The host from which it is asked, so that its loopback address can be meant; the controller unless said."""
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    """How; only methods that change nothing, since it is asked again and again."""
    headers: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")], str | SecretRef] = Field(
        default_factory=dict
    )
    """Headers to send; a value may be ``{secret: NAME}``."""
    expect: HttpExpectation = HttpExpectation()
    """What counts as the right answer."""
    verify: bool = True
    """Whether the certificate of an https address must be valid."""
    ca: str | None = None
    """A file of the controller with the certificates to trust instead of the system's."""

    @property
    def default_timeout(self) -> timedelta:
        """Long enough for an application to start."""
        return timedelta(seconds=60)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        told = f" with {self.expect.body!r} in it" if self.expect.body else ""
        return f"ask {self.url} from {self.host or 'here'} until it answers {self.expect.status}{told}"

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Ask until it answers as expected."""
        host = tools.host(self.host) if self.host else tools.controller()
        asked = self._asked(tools, earlier)
        began, tries = tools.clock.monotonic(), 0
        while True:
            tries += 1
            sent = tools.clock.monotonic()
            try:
                answer = ask(host, asked, min(PATIENCE, max(tools.deadline.remaining(), 0.1)))
                why = self._amiss(answer)
            except DrorchError as error:
                why = error.message
            else:
                if not why:
                    now = tools.clock.monotonic()
                    return Evidence(
                        facts={
                            "url": asked.url,
                            "from": host.name,
                            "status": answer.status,
                            "seconds": round(now - began, 3),
                            "latency_ms": round(1000 * (now - sent), 1),
                            "body_sha256": hashlib.sha256(answer.body).hexdigest(),
                            "body_bytes": len(answer.body),
                            "truncated": answer.truncated,
                            "tries": tries,
                        },
                        level=self._level(tools, earlier),
                    )
            if tools.deadline.remaining() <= PAUSE:
                return Failure(
                    why=f"{asked.url}, asked {tries} times from {host.name}: {printable(tools.secrets.redact(why))}",
                    hint="is the application running, and is this its address?",
                    retryable=True,
                    timed_out=True,
                    facts={"tries": tries},
                )
            tools.clock.sleep(PAUSE)

    def _asked(self, tools: Tools, earlier: Earlier) -> Asked:
        lookup = from_evidence(earlier, {"run": tools.run.id, "service": tools.scene.service})
        headers = {
            key: tools.secrets.get(value).reveal() if isinstance(value, SecretRef) else fill(value, lookup)
            for key, value in self.headers.items()
        }
        url = fill(self.url, lookup)
        try:
            _complete(url)
        except ValueError as error:
            raise DrorchError(f"the url {printable(url)!r} {error}") from None
        return Asked(url, self.method, headers, verify=self.verify, ca=self.ca)

    def _amiss(self, answer: Answer) -> str:
        """What is not as expected; empty when all is."""
        text = answer.body.decode("utf-8", "replace")
        if answer.status != self.expect.status:
            return f"status {answer.status} instead of {self.expect.status}: {text[:QUOTED].strip()}"
        if self.expect.body is not None and self.expect.body not in text:
            return f"{self.expect.body!r} is not in its answer: {text[:QUOTED].strip()}"
        if self.expect.regex is not None and not re.search(self.expect.regex, text):
            return f"nothing in its answer matches {self.expect.regex!r}: {text[:QUOTED].strip()}"
        return ""

    def _level(self, tools: Tools, earlier: Earlier) -> ProofLevel | None:
        """``serving`` where a standby was asked on which this drill restored something: else it may be the live one."""
        restored = {evidence.facts.get("host") for evidence in earlier.values() if "directory" in evidence.facts}
        return ProofLevel.SERVING if tools.scene.drill and self.host in restored else None
