"""``release``: give a service's claim back, and tell the store where the service lives now."""

from datetime import timedelta
from typing import Literal

from drorch.claim import footing
from drorch.claim.log import Book, Released
from drorch.claim.rules import Wanted
from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.model import Json, StoreName
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.steps._claimed import Claimed, claimed, holder, kept_nonce, nonce_of

MOVED = ("promote", "switch")
"""Steps that lead the service to the other host."""


class Release(Step):
    """Give back the claim that this run has, saying where the service lives now. Whatever happened before."""

    kind: Literal["release"]
    store: StoreName
    """Where it was claimed."""
    always: bool = True
    """Run it whatever happened before."""

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
        return f"release {scene.service} in {self.store}, telling where it lives now"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """No command runs."""
        key = f"{self.store}:drorch-claims/{scene.service}/<next number>"
        return (Planned("controller", ("put", key), note="only if nobody did before"),)

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Say it once. A claim whose step failed after it was taken is found by its nonce."""
        scene = tools.scene
        said = claimed(earlier)
        outcome, home = _ended(scene, earlier)
        facts: dict[str, Json] = {"store": self.store, "service": scene.service}
        if not home and kept_nonce(tools) is None:
            return Evidence(facts=facts | {"released": False, "reason": "nothing was claimed"})
        untold = f"{self.store} was not told that this run ended{_where(scene, home)}"
        try:
            done = self._released(tools, said, outcome, home)
        except DrorchError as error:
            if said is None or said.required:
                hint = f"{error.hint}. " if error.hint else ""
                over = f": the claim ends by itself at {said.until:%H:%M:%S} UTC" if said and said.until else ""
                return Failure(
                    why=f"{untold}: {error.message}",
                    hint=f"{hint}Retry once it answers, or skip this{over}",
                    retryable=error.retryable,
                )
            done = Failure(why=error.message)
        if done is None:
            return Evidence(facts=facts | {"released": False, "reason": "nothing was claimed"})
        if isinstance(done, Released):
            told = {"outcome": done.outcome, "home": done.home or None, "at": done.at.isoformat()}
            return Evidence(facts=facts | {"released": True, "epoch": done.epoch} | told)
        if done.retryable:
            return done
        return Evidence(facts=facts | {"released": False, "reason": done.why}, exceptions=(f"{untold}: {done.why}",))

    def _released(self, tools: Tools, said: Claimed | None, outcome: str, home: str) -> Released | Failure | None:
        store = tools.store(self.store)
        store.ready()
        scene, nonce = tools.scene, nonce_of(tools)
        standing = said.footing if said and said.epoch else footing.footing(store, tools.memory, tools.clock.now())
        book = Book(store, scene.service, tools.clock)
        epoch = said.epoch if said else 0
        done = book.release(nonce, epoch, standing, outcome=outcome, home=home)
        if done is not None:
            return done
        if epoch:
            return Failure(why="the claim is somebody else's now")
        if not home:
            return None
        # It could not be claimed before, and was moved all the same: who looks at the store must know that.
        wanted = Wanted(
            nonce=nonce,
            holder=holder(tools),
            run=tools.run.id,
            plan=tools.run.plan,
            length=timedelta(minutes=1),
            home_before=scene.primary,
            home_wanted=home,
        )
        late = book.take(wanted, standing)
        if isinstance(late, Failure):
            return late
        return book.release(nonce, late.epoch, standing, outcome=outcome, home=home) or Failure(why="it was taken over")


def _ended(scene: Scene, earlier: Earlier) -> tuple[str, str]:
    """What came of the run, and where the service lives if it was moved."""
    if any(step.partition("-")[0] in MOVED for step in earlier):
        return "moved", scene.target or scene.primary
    return "not moved", ""


def _where(scene: Scene, home: str) -> str:
    return f", and that {scene.service} lives on {home}" if home else ""
