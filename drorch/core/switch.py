"""Switches: leading customers to another host. One file in `drorch.switches` is one way.

The name of a way's one required field is the word that users write: ``via: {haproxy: {…}}``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding
from drorch.core.model import Frozen, Json
from drorch.core.step import Planned, Tools


@dataclass(frozen=True, slots=True)
class Turn:
    """From where to where customers are to be led."""

    old: str
    """The host that they were led to."""
    new: str
    """The host that they are to be led to."""
    addresses: Mapping[str, str]
    """The address of each host that has one, by its name."""

    def back(self) -> "Turn":
        """The way back."""
        return Turn(old=self.new, new=self.old, addresses=self.addresses)


class Traffic(Frozen):
    """Where customers are led now, as the mechanism itself says."""

    leads: Literal["old", "new", "both", "nowhere", "elsewhere"]
    """``both``: half done; ``elsewhere``: to something that is neither, which nobody may overwrite unasked."""
    facts: dict[str, Json] = Field(default_factory=dict)


class Way(Frozen, ABC):
    """One way to lead customers."""

    @property
    def word(self) -> str:
        """Its kind, as users write it."""
        return next(iter(type(self).model_fields))

    @property
    def title(self) -> str:
        """What it is called in findings, such as ``backend shop of HAProxy on edge``; pure."""
        return self.word

    def problems(self, turn: Turn) -> tuple[tuple[str, str], ...]:
        """What is wrong with it for this turn, (message, hint) each; pure, for `drorch check`."""
        return ()

    @abstractmethod
    def describe(self, turn: Turn) -> str:
        """What it does, for the plan, such as ``lead backend shop of HAProxy on edge to web2``; pure."""

    def preview(self, turn: Turn) -> tuple[Planned, ...]:
        """Every command that it would run; pure."""
        return ()

    @abstractmethod
    def look(self, tools: Tools, turn: Turn) -> Traffic | Failure:
        """Ask the mechanism where it leads customers now; changes nothing."""

    @abstractmethod
    def lead(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Lead customers to the new host: probe, act, verify by asking again. Safe to repeat, cut at any moment; half
        done, it is completed. Compare and swap where the mechanism can: what leads elsewhere is not overwritten.
        Existing sessions on the old host are ended where the mechanism can.

        Evidence: what it was before and is now, and how long it took.
        """

    def back(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Lead them to the old host again, given the turn that led them to the new one."""
        return self.lead(tools, turn.back())

    def residual(self, tools: Tools, turn: Turn) -> Mapping[str, Json]:
        """Traffic that still reaches the old host, measured: sessions, requests since, seconds until caches end."""
        return {}

    def findings(self, tools: Tools, turn: Turn) -> Iterable[Finding]:
        """Whether it could work now: it answers, the credential may, what it leads to is known, the TTL is low."""
        return ()

    @property
    def can_hold(self) -> bool:
        """Whether new requests can be made to wait meanwhile instead of failing."""
        return False

    def hold(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Let new requests wait, and those that are being answered end; safe to repeat."""
        return Failure(why=f"{self.word} cannot let requests wait", hint="leave the hold step out")

    def release(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """Let the waiting requests go on; nothing held is success."""
        return Evidence(facts={"held": False})
