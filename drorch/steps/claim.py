"""``claim``: have a service alone among all controllers, by way of a store."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from drorch.claim import footing
from drorch.claim.log import Book
from drorch.claim.rules import Claim as Held
from drorch.claim.rules import Wanted
from drorch.core.errors import DrorchError, Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.finding import Finding, Standing
from drorch.core.host import printable
from drorch.core.model import Duration, StoreName, format_duration, parse_duration
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.core.store import Store
from drorch.steps._claimed import FACT, Claimed, holder, kept_nonce, nonce_of


def _fit(length: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= length <= timedelta(days=1):
        raise ValueError("a claim lasts from 1m to 24h")
    return length


class Claim(Step):
    """Claim the service in a store before moving it, so that two controllers never move it at once. Every later step
    that cannot be taken back makes sure that the claim still holds, and renews it in time.
    """

    kind: Literal["claim"]
    store: StoreName
    """Where claims are kept: at neither of the sites, and reached by every controller."""
    length: Annotated[Duration, AfterValidator(_fit)] = parse_duration("30m")
    """How long after the last renewal somebody else may have it, should this controller be lost."""
    required: bool = True
    """Stop where the store cannot be reached; ``false`` goes on without a claim, and says so in the evidence. A claim
    that somebody else has always stops."""
    take_over: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    """Why a claim that somebody else still has is ended; only when their controller has certainly stopped."""

    @property
    def default_timeout(self) -> timedelta:
        """A store that does not answer is told sooner."""
        return timedelta(minutes=5)

    @property
    def subject(self) -> str:
        """The store."""
        return self.store

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        line = f"claim {scene.service} in {self.store} for {format_duration(self.length)}"
        if self.take_over:
            line += f", even from somebody else: {_line(self.take_over)}"
        return line if self.required else f"{line}, going on without where {self.store} cannot be reached"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """No command runs."""
        key = f"{self.store}:drorch-claims/{scene.service}/<next number>"
        return (Planned("controller", ("put", key), note="only if nobody did before"),)

    def doubts(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """What makes a claim worth less than it looks."""
        found = []
        spec = scene.stores.get(self.store)
        if spec is not None and spec.kind == "directory":
            found.append(
                (
                    "store",
                    f"{self.store} is a folder of whichever machine drorch runs on: another controller does not see it",
                    "claim in a bucket, or in a folder behind SSH",
                )
            )
        if spec is not None and getattr(spec, "host", None) == scene.primary:
            found.append(
                (
                    "store",
                    f"{self.store} is on {scene.primary}, and is gone when that is",
                    f"claim in a store that does not fail together with {scene.primary}",
                )
            )
        if self.take_over:
            found.append(
                (
                    "take_over",
                    "every run of this ends whatever claim somebody else has",
                    "give the reason to the one run that needs it",
                )
            )
        return tuple(found)

    def preflight(self, tools: Tools) -> Iterable[Finding]:
        """Whether the service could be claimed now."""
        scene = tools.scene
        store = tools.store(self.store)
        store.ready()
        standing = footing.known(store, tools.memory, tools.clock.now())
        if standing is None:
            yield Finding(
                about=self.store,
                what="whether it refuses a second writer was not tried within a day",
                standing=Standing.UNKNOWN,
                remedy=f"drorch store probe {self.store}",
            )
        elif doubt := footing.doubt(self.store, standing):
            remedy = "use a bucket that keeps versions, or that honours If-None-Match"
            yield Finding(about=self.store, what=doubt, standing=Standing.DOUBTFUL, remedy=remedy)
        now = Book(store, scene.service, tools.clock).holding()
        if now.claim is None:
            yield Finding(about=self.store, what=f"nobody claims {scene.service}")
        elif now.claim.nonce != kept_nonce(tools):
            yield _someone(self.store, scene.service, now.claim, over=tools.clock.now() >= now.claim.until)
        if scene.kind == "failover" and now.home is not None and now.home.host != scene.primary:
            yield Finding(
                about=self.store,
                what=f"{scene.service} lives on {now.home.host} since {printable(now.home.run)}, by its last claim, "
                f"and the inventory says {scene.primary}",
                standing=Standing.DOUBTFUL,
                remedy=f"correct the primary of {scene.service}, or lead it home first",
            )

    def rehearse(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Look whether it could be had; a drill claims nothing, so that it never blocks a failover."""
        store = tools.store(self.store)
        store.ready()
        now = Book(store, tools.scene.service, tools.clock).holding()
        return Evidence(facts={"rehearsed": False, "looked_at": self.store, "events": now.number})

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Have it, or know why not."""
        if tools.scene.drill:
            raise Refused("a drill claims nothing, so that it never blocks a failover")
        nonce = nonce_of(tools)
        who = holder(tools)
        try:
            store = tools.store(self.store)
            store.ready()
            return self._taken(tools, store, nonce, who)
        except DrorchError as error:
            return self._unclaimed(tools, who, error)

    def _taken(self, tools: Tools, store: Store, nonce: str, who: str) -> Outcome:
        scene = tools.scene
        wanted = Wanted(
            nonce=nonce,
            holder=who,
            run=tools.run.id,
            plan=tools.run.plan,
            length=self.length,
            home_before=scene.primary,
            home_wanted=scene.target or scene.primary,
            take_over=self.take_over or "",
        )
        standing = footing.footing(store, tools.memory, tools.clock.now())
        held = Book(store, scene.service, tools.clock).take(wanted, standing)
        if isinstance(held, Failure):
            return held
        said = Claimed(
            store=self.store,
            service=scene.service,
            holder=held.holder,
            epoch=held.epoch,
            nonce=nonce,
            at=held.at,
            until=held.until,
            sure=standing.sure,
            reason=standing.reason,
            required=self.required,
            home_before=held.home_before,
            home_wanted=held.home_wanted,
        )
        exceptions = [doubt] if (doubt := footing.doubt(self.store, standing)) else []
        if held.taken_from:
            reason = _line(held.take_over)
            exceptions.append(f"the claim of {printable(held.taken_from)} was ended while it held: {reason}")
        return Evidence(facts={FACT: said.model_dump(mode="json")}, exceptions=tuple(exceptions))

    def _unclaimed(self, tools: Tools, who: str, error: DrorchError) -> Outcome:
        scene = tools.scene
        why = f"{scene.service} cannot be claimed: {error.message}"
        if self.required:
            return Failure(
                why=why,
                hint=(f"{error.hint}. " if error.hint else "")
                + f"If it cannot wait: make sure by phone that nobody else moves {scene.service}, then skip this step",
                retryable=error.retryable,
            )
        said = Claimed(
            store=self.store,
            service=scene.service,
            holder=who,
            reason=error.message,
            required=False,
            home_before=scene.primary,
            home_wanted=scene.target or scene.primary,
        )
        return Evidence(
            facts={FACT: said.model_dump(mode="json")},
            exceptions=(f"{why}; so another controller could move it at the same time",),
        )

    @property
    def can_undo(self) -> bool:
        """It can be given back."""
        return True

    def undo(self, tools: Tools, evidence: Evidence) -> Outcome:
        """Give it back: the service lives where it did."""
        said = Claimed.model_validate(evidence.facts[FACT])
        if not said.epoch:
            return Evidence(facts={"released": False, "reason": said.reason})
        book = Book(tools.store(self.store), said.service, tools.clock)
        done = book.release(said.nonce, said.epoch, said.footing, outcome="undone", home=said.home_before)
        if isinstance(done, Failure):
            return done
        return Evidence(facts={"released": done is not None, "epoch": said.epoch})


def _someone(store: str, service: str, claim: Held, *, over: bool) -> Finding:
    who = f"{printable(claim.holder)} in run {printable(claim.run)}"
    if over:
        return Finding(
            about=store,
            what=f"{who} claimed {service} and never released it; that claim seems to be over",
            standing=Standing.DOUBTFUL,
            remedy="find out how that run ended, and where the service lives",
        )
    return Finding(
        about=store,
        what=f"{service} is being moved by {who}, until {claim.until:%Y-%m-%d %H:%M:%S} UTC unless renewed",
        standing=Standing.BAD,
        remedy="speak with them",
    )


def _line(text: str) -> str:
    return printable(" ".join(text.split())).rstrip(".")
