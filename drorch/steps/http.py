"""``http``: ask a web address until it answers as expected."""

import re
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from drorch.core.evidence import Failure, Outcome
from drorch.core.model import Frozen, HostName, SecretRef
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


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
    regex: Annotated[str, AfterValidator(_compiles)] | None = None
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
        """Bring it about."""
        return Failure(why="not built yet")
