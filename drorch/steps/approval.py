"""``approval``: another person agrees, signed with their SSH key."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drorch.core.approval import (
    NAMESPACE,
    Agreement,
    BreakGlass,
    PublicKey,
    Request,
    expiry,
    is_login,
    read_note,
    read_request,
)
from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.host import Host, printable
from drorch.core.model import Name, NotifyName, format_duration
from drorch.core.scene import RunFacts, Scene
from drorch.core.step import Earlier, Question, Step, Tools
from drorch.hosts import sshsig


class ApprovalStep(Step):
    """Wait until another person agrees, by a signature over this very run, plan and host; no answer within the timeout
    (15 min) is a no. Runbooks say ``approval:``, and their plans begin with it.
    """

    kind: Literal["approval"]
    people: Annotated[dict[Name, PublicKey], Field(min_length=1)]
    """Who may, each with their public SSH key."""
    logins: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    """How drorch sees them when they type: whoever began the run does not approve it."""
    number: Annotated[int, Field(ge=1, le=5)] = 1
    """Which of several approvals this is; nobody gives two."""
    required: Annotated[int, Field(ge=1, le=5)] = 1
    """How many there are."""
    tell: tuple[NotifyName, ...] = ()
    """Routes that hear of it at once when somebody goes on without approval."""

    @model_validator(mode="after")
    def _binding(self) -> Self:
        if self.on_failure == "continue":
            raise ValueError("an approval that fails is a no: on_failure cannot be continue")
        return self

    @property
    def default_timeout(self) -> timedelta:
        """How long they have."""
        return timedelta(minutes=15)

    @property
    def skippable(self) -> bool:
        """A skipped approval would be one that nobody gave and nobody heard of: that is what break-glass is for."""
        return False

    @property
    def _length(self) -> timedelta:
        return self.timeout or self.default_timeout

    @property
    def _of(self) -> int:
        return max(self.required, self.number)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        which = f" ({self.number} of {self._of})" if self._of > 1 else ""
        return f"another person agrees, signed with their SSH key{which}: {_any(self.people)}"

    def question(self, scene: Scene, earlier: Earlier) -> Question | None:
        """Who may agree to what; not asked when somebody goes on without approval already."""
        if _broken(earlier) is not None:
            return None
        which = f"{self.number} of {self._of} approvals" if self._of > 1 else "approval"
        whereto = f" from {scene.primary} to {scene.target}" if scene.target else f" on {scene.primary}"
        left = [name for name in self.people if name not in _given(earlier)]
        text = (
            f"{scene.runbook or scene.kind} of {scene.service}{whereto} needs {which} of another person than who"
            f" began it: {_any(left) or 'nobody is left who may'}. They sign with their SSH key: drorch approve RUN."
            f" No answer within {format_duration(self._length)} is a no."
        )
        return Question(text=text, timeout=self._length, verbs=("approve", "refuse"))

    def request(self, run: RunFacts, scene: Scene, asked: datetime) -> Request:
        """What is to be signed, given when the question was asked."""
        return Request(
            run=run.id,
            runbook=run.id.rpartition("@")[0],
            service=scene.service,
            plan=run.plan,
            target=scene.target or scene.primary,
            number=self.number,
            expires=expiry(asked + self._length),
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Judge the answer that the engine put under this step's own id."""
        answer = earlier.get(tools.step)
        if answer is None:
            broken = _broken(earlier)
            return broken or Failure(why="nobody approved it", hint=f"drorch approve {tools.run.id}")
        said = read_note(str(answer.facts.get("note", "")))
        by = str(answer.facts.get("confirmed_by") or "")
        if isinstance(said, BreakGlass):
            return self._break(tools, said, by or said.by)
        if said is None:
            return Failure(
                why=f"the yes of {by or 'nobody'} came without a signature", hint=f"drorch approve {tools.run.id}"
            )
        outcome = self.judge(said, tools.run, tools.scene, earlier, now=tools.clock.now(), host=tools.controller())
        if isinstance(outcome, Failure):
            return outcome
        return outcome.model_copy(update={"facts": {**outcome.facts, "handed_in_by": by}})

    def judge(
        self, said: Agreement, run: RunFacts, scene: Scene, earlier: Earlier, *, now: datetime, host: Host
    ) -> Outcome:
        """Whether this is a valid approval of this run now. ``host`` is the controller, where ssh-keygen is."""
        failure = (
            self._unfit(said.person, run, earlier)
            or self._unbound(said, run, scene, now)
            or sshsig.verify(
                host,
                said.request,
                said.signature,
                person=said.person,
                key=self.people[said.person],
                namespace=NAMESPACE,
            )
        )
        if failure is not None:
            return failure.model_copy(update={"retryable": False, "hint": failure.hint.replace(" RUN", f" {run.id}")})
        return Evidence(
            facts={
                "approved_by": said.person,
                "key": sshsig.fingerprint(self.people[said.person]),
                "request": said.request,
                "signature": said.signature,
            }
        )

    def _unfit(self, person: str, run: RunFacts, earlier: Earlier) -> Failure | None:
        """Why this person cannot approve this run."""
        hint = f"it may be approved by {_any(self.people)}"
        if person not in self.people:
            return Failure(why=f"{person} may not approve this", hint=hint)
        if not run.by:
            return Failure(why="it is not known who began this run", hint="drorch abort RUN, and begin it anew")
        if any(is_login(login, run.by) for login in self.logins.get(person, ())):
            return Failure(
                why=f"{person} began this run (as {run.by}), and whoever asks does not approve",
                hint=f"{hint}; in an emergency: drorch approve RUN --break-glass REASON",
            )
        given = _given(earlier)
        if person in given:
            return Failure(why=f"{person} has approved it already, and nobody counts twice", hint=hint)
        if sshsig.fingerprint(self.people[person]) in given.values():
            return Failure(
                why=f"{person}'s key has approved it already, under another name", hint="give each person their own key"
            )
        return None

    def _unbound(self, said: Agreement, run: RunFacts, scene: Scene, now: datetime) -> Failure | None:
        """Why the text that was signed does not ask for this, now."""
        hint = "sign what drorch approve RUN --request prints now, exactly as it is"
        request = read_request(said.request)
        if request is None:
            return Failure(why="what was signed is no request of drorch's", hint=hint)
        if different := request.differs(self.request(run, scene, now)):
            return Failure(why=f"it was signed for {different}", hint=hint)
        if request.until <= now:
            return Failure(why=f"it expired at {request.expires}", hint=hint)
        if request.until > now + self._length:
            return Failure(
                why=f"it would hold until {request.expires}, longer than {format_duration(self._length)} from now",
                hint=f"{hint}; is the clock of this machine right?",
            )
        return None

    def _break(self, tools: Tools, said: BreakGlass, by: str) -> Outcome:
        """Go on without approval, and tell everybody at once; who cannot be told stops nothing."""
        if not by:
            return Failure(
                why="a break-glass that nobody answers for", hint=f"drorch approve {tools.run.id} --break-glass REASON"
            )
        missing = self._of - self.number + 1
        lacks = f"{missing} of {self._of} approvals" if self._of > 1 else "the approval"
        reason = " ".join(printable(said.break_glass).split())
        words = f"BREAK-GLASS by {by} without {lacks}: {reason}"
        scene = tools.scene
        whereto = f" from {scene.primary} to {scene.target}" if scene.target else ""
        title = f"[{scene.service}] BREAK-GLASS by {by}"
        body = tools.secrets.redact(
            f"{words}\n\n{tools.run.id} goes on{whereto} though nobody else agreed. If that surprises you, act now:"
            f" drorch show {tools.run.id}, drorch abort {tools.run.id}"
        )

        def told(route: str) -> str:
            try:
                tools.notifier(route).send(title, body)
            except DrorchError as error:
                return error.message
            return ""

        with ThreadPoolExecutor(max_workers=len(self.tell) or 1) as side_by_side:  # one that hangs delays no other
            heard = dict(zip(self.tell, side_by_side.map(told, self.tell), strict=True))
        deaf = {route: why for route, why in heard.items() if why}
        return Evidence(
            facts={
                "break_glass": reason,
                "broken_by": by,
                "told": [route for route, why in heard.items() if not why],
                "not_told": deaf,
            },
            exceptions=(words, *(f"{route} was not told of it: {why}" for route, why in deaf.items())),
        )


def _given(earlier: Earlier) -> dict[str, str]:
    """Who approved before in this run, each with their key's fingerprint."""
    facts = [evidence.facts for evidence in earlier.values()]
    return {str(each["approved_by"]): str(each.get("key", "")) for each in facts if "approved_by" in each}


def _broken(earlier: Earlier) -> Evidence | None:
    """What is left of this approval when an earlier one was gone without."""
    for evidence in earlier.values():
        if "break_glass" in evidence.facts:
            return Evidence(facts={key: evidence.facts[key] for key in ("break_glass", "broken_by")})
    return None


def _any(names: Iterable[str]) -> str:
    """Names, as alternatives."""
    *most, last = [*names] or [""]
    return f"{', '.join(most)} or {last}" if most else last
