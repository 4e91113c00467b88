"""A runbook's models: what is done, in which order, when."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, NamedTuple, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)

from drorch.core.model import (
    Duration,
    Frozen,
    HostName,
    Name,
    NotifyName,
    Ref,
    ServiceName,
    StoreName,
    parse_duration,
)
from drorch.core.scene import MOVING, RunKind
from drorch.core.schedule import Schedule
from drorch.core.step import Step
from drorch.steps import AnyStep


class Parallel(Frozen):
    """Steps side by side; the block is over when all of them are."""

    parallel: Annotated[tuple[AnyStep, ...], Field(min_length=1)]
    """The steps; their order means nothing."""


def _block_or_step(value: object) -> str:
    if isinstance(value, dict):
        return "parallel" if "parallel" in value else "step"
    return "parallel" if isinstance(value, Parallel) else "step"


Action = Annotated[
    Annotated[Parallel, Tag("parallel")] | Annotated[AnyStep, Tag("step")],
    Discriminator(_block_or_step),
]


class Approval(Frozen):
    """The agreement of other people, each signed with their SSH key."""

    required: Annotated[int, Field(ge=1, le=5)] = 1
    """How many; whoever asked does not count, and nobody counts twice."""
    timeout: Duration = parse_duration("15m")
    """How long they have; no answer is a no."""
    by: Annotated[tuple[Annotated[Name, Ref("person")], ...], Field(min_length=1)] | None = None
    """Who may; everybody under ``people:`` of the inventory unless said."""


class OnRunFailure(Frozen):
    """Whom to tell when a run fails or pauses."""

    notify: NotifyName
    """A route of the inventory."""


_SAID = r"^(latest|random|[0-9a-f]{8,64})$"
_SELECTION = r"^(latest|random|before:\S+|[0-9a-f]{8,64})$"


def _before(value: object) -> object:
    """``{before: TIME}`` as ``before:TIME``."""
    if isinstance(value, dict) and list(value) == ["before"] and isinstance(value["before"], str):
        return f"before:{value['before'].strip().replace(' ', 'T', 1)}"
    return value


def _selection(said: object) -> str:
    value = _before(said)
    if not isinstance(value, str) or not re.fullmatch(_SELECTION, value):
        raise ValueError("must be latest, random, {before: TIME}, {store: NAME} or a snapshot id")
    return f"before:{_time(value.removeprefix('before:'))}" if value.startswith("before:") else value


def _time(said: object) -> str:
    if not isinstance(said, str):
        raise ValueError("is no time; write it as 2026-10-01 or 2026-10-01T14:30:00Z")  # noqa: TRY004 - for pydantic
    try:
        time = datetime.fromisoformat(said.strip().replace(" ", "T", 1))
    except ValueError:
        raise ValueError("is no time; write it as 2026-10-01 or 2026-10-01T14:30:00Z") from None
    if time.tzinfo is None:
        if time.time() != datetime.min.time():
            raise ValueError("the time needs a zone, as in 2026-10-01T14:30:00Z or 2026-10-01T14:30:00+02:00")
        time = time.replace(tzinfo=UTC)  # a day alone begins at midnight UTC
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


Selection = Annotated[
    str,
    BeforeValidator(_selection),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _SELECTION, "examples": ["latest", "random"]},
                {
                    "type": "object",
                    "properties": {"before": {"type": "string", "examples": ["2026-10-01", "2026-10-01T14:30:00Z"]}},
                    "required": ["before"],
                    "additionalProperties": False,
                },
            ]
        },
        mode="validation",
    ),
]
"""Which recovery point; a day alone begins at midnight UTC."""


class InStore(Frozen):
    """A recovery point read from the mirror in a store, where it lies, instead of from the repository."""

    store: StoreName
    """The store of the inventory that holds the mirror."""
    before: Annotated[str, BeforeValidator(_time)] | None = None
    """The newest point before this time, such as ``2026-10-01`` or ``2026-10-01T14:30:00Z``."""
    take: Annotated[str, StringConstraints(pattern=_SAID)] | None = None
    """Instead of a time: ``latest``, ``random`` or a snapshot id; ``latest`` unless said."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.before is not None and self.take is not None:
            raise ValueError("before and take each say which point; leave one of them out")
        return self

    @property
    def point(self) -> str:
        """Which recovery point, as a plan says it."""
        return f"before:{self.before}" if self.before is not None else self.take or "latest"


def _where(value: object) -> str:
    from_store = isinstance(value, InStore) or (isinstance(value, dict) and "store" in value)
    return "store" if from_store else "repository"


class Runbook(Frozen):
    """One runbook document."""

    runbook: Name
    """Its name; the file is best called the same."""
    kind: RunKind
    """What it is for. A drill always cleans up after itself and never touches what is live."""
    service: ServiceName
    """The service of the inventory that it works on."""
    standby: HostName | None = None
    """Where a drill restores; the service's first standby unless said."""
    to: HostName | None = None
    """The host that a failover or failback leads to; the service's first standby unless said."""
    approval: Approval | None = None
    """How many other people must agree before a failover or failback begins, and how long they have."""
    commit: Duration | None = None
    """How long after its last step a failover without a point of no return waits for `drorch confirm`; without an
    answer everything is taken back."""
    rehearses: Annotated[Name, Ref("runbook")] | None = None
    """Of a drill: the failover that is rehearsed first, apart from everything live; what cannot be done apart is only
    looked at."""
    schedule: Schedule | None = None
    """When the daemon runs it; only when told to unless said."""
    snapshot: Annotated[
        Annotated[Selection, Tag("repository")] | Annotated[InStore, Tag("store")], Discriminator(_where)
    ] = "latest"
    """Which recovery point is restored: ``latest``, ``random``, ``{before: 2026-10-01}`` or a snapshot id;
    ``{store: offsite}``, alone or with ``before``, for one from the off-site copy."""
    steps: Annotated[tuple[Action, ...], Field(min_length=1)] = ()
    """What is done, in this order; steps below one ``parallel:`` run side by side."""
    on_failure: OnRunFailure | None = None
    """Whom to tell when it fails or waits for a person."""

    _rehearsed: tuple[Action, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.rehearses is None and not self.steps:
            raise ValueError("has no steps")
        return self

    def rehearsing(self, other: "Runbook") -> "Runbook":
        """This drill, with the steps of the failover that it rehearses before its own."""
        drill = self.model_copy(update={"standby": self.standby or other.to})
        drill._rehearsed = other.steps  # noqa: SLF001 - a copy of our own
        return drill

    @property
    def moves(self) -> bool:
        """Whether it leads its service to another host."""
        return self.kind in MOVING

    @property
    def point(self) -> str:
        """Which recovery point, wherever it is read from."""
        return self.snapshot.point if isinstance(self.snapshot, InStore) else self.snapshot

    @property
    def store(self) -> str | None:
        """The store whose mirror it is read from; None for the repository itself."""
        return self.snapshot.store if isinstance(self.snapshot, InStore) else None

    def placed(self) -> Iterator["Placed"]:
        """Every step in order, with the id under which its evidence is kept and where it stands in the document."""
        taken: Counter[str] = Counter()

        def named(block: int, path: tuple[str | int, ...], step: Step) -> Placed:
            wanted = step.id or "-".join(word for word in (step.kind, step.subject) if word)
            taken[wanted] += 1
            name = wanted if taken[wanted] == 1 else f"{wanted}-{taken[wanted]}"
            return Placed(block, path, name, step, rehearsed=block < 0)

        first = -len(self._rehearsed)
        for place, action in enumerate((*self._rehearsed, *self.steps)):
            block = first + place
            if isinstance(action, Parallel):
                for index, step in enumerate(action.parallel):
                    yield named(block, ("steps", block, "parallel", index), step)
            else:
                yield named(block, ("steps", block), action)


class Placed(NamedTuple):
    """A step in its runbook."""

    block: int
    """Steps of one block run side by side."""
    path: tuple[str | int, ...]
    id: str
    step: Step
    rehearsed: bool = False
    """Whether it is another runbook's, to be rehearsed; its path means nothing then."""
