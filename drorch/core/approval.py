"""Agreement by another person: what is signed, and what comes back. Pure.

What is signed is one line of JSON that names the run, its plan, the host it leads to and an end; both sides make the
very same bytes of it, so that a signature over them means this run and no other.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from drorch.core.model import Frozen, Name

NAMESPACE = "drorch-approval"
"""Of the signatures, so that one made for another purpose means nothing here, and this one nothing elsewhere."""

PublicKey = Annotated[str, StringConstraints(pattern=r"^(ssh-|ecdsa-|sk-)[!-~]+ [A-Za-z0-9+/=]+( .*)?$")]
"""A public SSH key, as it stands in ``~/.ssh/id_ed25519.pub``."""

_Text = Annotated[str, StringConstraints(max_length=1000)]


class Request(Frozen):
    """What a person agrees to by signing its text."""

    drorch: Literal["approval 1"] = "approval 1"
    """What the text is, for whoever signs it elsewhere."""
    run: _Text
    runbook: _Text
    service: _Text
    plan: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    target: _Text
    """The host that the run leads to."""
    number: int
    """Which of several approvals."""
    expires: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """UTC; later it is worth nothing."""

    @property
    def text(self) -> str:
        """The one text of it, with a newline at its end: this is what is signed."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n"

    @property
    def until(self) -> datetime:
        """When it expires."""
        return datetime.fromisoformat(self.expires)

    def differs(self, wanted: "Request") -> str:
        """What this was signed for and the other was not, in words; empty when they ask for the same thing."""
        mine, theirs = self.model_dump(), wanted.model_dump()
        for field, words in _DIFFERENT.items():
            if mine[field] != theirs[field]:
                return words.format(mine[field][:16] if field == "plan" else mine[field])
        return ""


_DIFFERENT = {
    "run": "another run, {}",
    "plan": "another plan, {}",
    "runbook": "another runbook, {}",
    "service": "another service, {}",
    "target": "another host, {}",
    "number": "approval number {}",
}
"""Every field but the expiry, the most telling first."""


def read_request(text: str) -> Request | None:
    """The request that has exactly this text; None for any other text."""
    try:
        request = Request.model_validate_json(text)
        request.until  # noqa: B018 - the 31st of February fits the pattern
    except (ValidationError, ValueError):
        return None
    return request if request.text == text else None


def expiry(moment: datetime) -> str:
    """A time as requests carry it: the last whole second before it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class Agreement(Frozen):
    """A person's signature over a request, as the note of an answer."""

    person: Name
    request: Annotated[str, StringConstraints(max_length=10_000)]
    """The text that was signed, as it was."""
    signature: Annotated[str, StringConstraints(max_length=20_000)]
    """As ``ssh-keygen -Y sign`` writes it."""


class BreakGlass(Frozen):
    """A person's word that it must go on without approval, as the note of an answer."""

    break_glass: Annotated[str, Field(max_length=2000), StringConstraints(pattern=r"\S")]
    """Why."""
    by: str = ""
    """Who, where the answer itself does not say."""


def read_note(note: str) -> Agreement | BreakGlass | None:
    """What the note of an answer says about an approval; None for anything else."""
    for kind in (Agreement, BreakGlass):
        try:
            return kind.model_validate_json(note)
        except ValidationError:
            continue
    return None


def note_words(note: str) -> str:
    """The note of an answer for people to read: a signature is not."""
    said = read_note(note)
    if isinstance(said, Agreement):
        return f"signed by {said.person}"
    return f"BREAK-GLASS: {said.break_glass}" if isinstance(said, BreakGlass) else note


def is_login(login: str, seen: str) -> bool:
    """Whether ``login`` (``anna``, ``anna@laptop``) is whom drorch saw as ``user@machine``.

    A machine's name counts with or without its domain: rather once too often.
    """
    user, _, machine = login.casefold().partition("@")
    seen_user, _, seen_machine = seen.casefold().partition("@")
    short = machine.partition(".")[0] == seen_machine.partition(".")[0]
    return user == seen_user and (not machine or short)
