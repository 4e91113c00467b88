"""``command``: run a program on a host, or start one that goes on running."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drorch.core.evidence import Failure, Outcome
from drorch.core.model import Frozen, HostName, SecretRef
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Step, Tools

Words = Annotated[tuple[Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")], ...], Field(min_length=1)]
"""A program and its arguments, one word each: no shell reads them. ``{{ restore.SOURCE.path }}`` is filled."""

VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class CommandExpectation(Frozen):
    """What counts as success."""

    exit: Annotated[int, Field(ge=0, le=255)] = 0
    """The exit code."""
    stdout: str | None = None
    """Text that the standard output must contain."""


class RunCommand(Step):
    """Run a program on a host; with `background`, start one that runs until the clean-up or the undo."""

    kind: Literal["command"]
    run: Words
    """The program and its arguments, as a list of words; no shell reads them."""
    host: HostName | None = None
    """Where; the standby of a drill or failover, else the primary, unless said. A drill refuses the live hosts."""
    probe: Words | None = None
    """A program that exits with 0 when there is nothing (more) to do: asked before, so that nothing is done twice,
    and after, as the proof. Without one the program is run again when the run is cut while it runs."""
    undo_by: Annotated[Words | None, Field(alias="undo")] = None
    """A program that takes it back, for ``on_failure: undo``."""
    background: bool = False
    """Start it and go on while it runs; it must live for a second at least. Its output is kept in a bounded log."""
    env: dict[VariableName, str | SecretRef] = Field(default_factory=dict)
    """Variables for the program; a value may be ``{secret: NAME}``."""
    cwd: str | None = None
    """Where it starts; the home of the host's user unless said."""
    expect: CommandExpectation = CommandExpectation()
    """What counts as success."""

    @model_validator(mode="after")
    def _background_has_no_end(self) -> Self:
        if self.background and self.expect != CommandExpectation():
            raise ValueError("expect asks for an end, and a background program has none; probe it with an http step")
        return self

    @property
    def default_timeout(self) -> timedelta:
        """Long enough for a start or a migration."""
        return timedelta(hours=1)

    def place(self, scene: Scene) -> str:
        """The host on which it runs."""
        return self.host or scene.target or scene.primary

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        verb = "start" if self.background else "run"
        return f"{verb} {self.run[0]} on {self.place(scene)}" + (
            " unless its probe finds it done" if self.probe else ""
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Bring it about."""
        return Failure(why="not built yet")
