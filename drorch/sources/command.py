"""Anything that a command can write to its standard output and another can take back."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Command, Completed, Host, printable
from drorch.core.model import Json, SecretRef
from drorch.core.secret import Secret, Secrets
from drorch.core.source import Destination, Expectation, Part, Restored, Source, Stream
from drorch.sources._places import Word, absolute, foreign

_PART = "stream"
_TAIL = 2000
_PLACEHOLDERS = ("{file}", "{token}", "{directory}")

Argv = Annotated[tuple[Word, ...], Field(min_length=1)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]


class Custom(Source):
    """A stream of your own: one command writes it, others take it back, check it and clear away.

    Commands are lists of words, run as they stand, without a shell. In `load`, `verify`, `discard` and `swap` the
    placeholders ``{file}`` (the restored stream), ``{token}`` (a name that only this restore has, for databases and the
    like) and ``{directory}`` (a folder of this restore's own) are replaced inside the words. Each of these commands
    must be safe to run twice.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    kind: Literal["command"]
    backup: Argv
    """Writes the stream to its standard output. Any other exit code than 0, or no output, is a failed backup."""
    filename: FileName = "stream"
    """What the stream is called inside the snapshot."""
    env: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Word | SecretRef] = Field(
        default_factory=dict
    )
    """Environment of all these commands; a secret as ``{secret: NAME}``, and only here."""
    load_argv: Annotated[Argv | None, Field(alias="load")] = None
    """Takes the restored stream back, as ``[mytool, import, --into, "{token}", "{file}"]``. Without it the file stays
    where it is."""
    verify_argv: Annotated[Argv | None, Field(alias="verify")] = None
    """Exits with 0 only if what was restored is whole. Without it only the stream's size is looked at."""
    discard_argv: Annotated[Argv | None, Field(alias="discard")] = None
    """Removes what `load` made outside ``{directory}``; success when nothing is there. The folder goes by itself."""
    swap_argv: Annotated[Argv | None, Field(alias="swap")] = None
    """Puts the restored thing in the live one's place and keeps the live one."""

    @field_validator("backup")
    @classmethod
    def _no_placeholder(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        if any(mark in word for word in argv for mark in _PLACEHOLDERS):
            msg = "has no placeholders: there is nothing restored yet when it runs"
            raise ValueError(msg)
        return argv

    @model_validator(mode="after")
    def _cleaned(self) -> Self:
        if self.load_argv and not self.discard_argv and any("{token}" in word for word in self.load_argv):
            msg = "`load` makes something called {token}: say under `discard` how a drill removes it"
            raise ValueError(msg)
        return self

    def describe(self) -> str:
        """The backup command's first word."""
        return f"the stream of {self.backup[0]}"

    def parts(self) -> tuple[Part, ...]:
        """The stream."""
        return (Stream(name=_PART, filename=self.filename, argv=self.backup, env=self.env),)

    def preview_load(self, into: Destination) -> tuple[Command, ...]:
        """The user's own command, filled in."""
        return (Command(_filled(self.load_argv, self._marks(into.directory, into.token))),) if self.load_argv else ()

    def load(self, host: Host, into: Destination, secrets: Secrets) -> Restored | Failure:
        """Hand the stream to the user's command."""
        if (refusal := foreign(into)) is not None:
            return refusal
        directory = absolute(host, into.directory)
        marks = self._marks(directory, into.token)
        if self.load_argv:
            done = self._run(host, self.load_argv, marks, secrets)
            if not done.ok:
                return done.failure(f"{self.load_argv[0]} (load) on {host.name}")
        return Restored(
            host=host.name,
            name=into.token,
            path=marks["{file}"],
            facts={"directory": directory},
        )

    def verify(self, host: Host, restored: Restored, expect: Expectation, secrets: Secrets) -> Evidence | Failure:
        """Look at the stream's size and run the user's check; says so when there is none."""
        if expect.tables or expect.files is not None:
            return Failure(
                why="a `command` source cannot count tables or files", hint="leave `expect` out and check in `verify`"
            )
        sized = host.run(Command(("stat", "--format=%s", "--", restored.path)))
        if not sized.ok or not sized.text.strip().isdigit():
            return sized.failure(f"looking at {restored.path} on {host.name}")
        size = int(sized.text)
        facts: dict[str, Json] = {"bytes": size}
        if size == 0:
            return Failure(why=f"the restored stream {restored.path} is empty", facts=facts)
        if not self.verify_argv:
            return Evidence(facts={**facts, "skipped": ["no `verify` command: only the size was looked at"]})
        directory = str(restored.facts.get("directory", ""))
        marks = {"{file}": restored.path, "{token}": restored.name, "{directory}": directory}
        done = self._run(host, self.verify_argv, marks, secrets)
        facts |= {"exit_code": done.exit_code, "output": secrets.redact(printable(done.text.strip())[-_TAIL:])}
        if not done.ok:
            return done.failure(f"{self.verify_argv[0]} (verify) on {host.name}").model_copy(update={"facts": facts})
        return Evidence(facts=facts, level=ProofLevel.RESTORED)

    def discard(self, host: Host, into: Destination, secrets: Secrets) -> Failure | None:
        """Run the user's clean-up."""
        if (refusal := foreign(into)) is not None:
            return refusal
        if not self.discard_argv:
            return None
        marks = self._marks(absolute(host, into.directory), into.token)
        done = self._run(host, self.discard_argv, marks, secrets)
        return None if done.ok else done.failure(f"{self.discard_argv[0]} (discard) on {host.name}")

    def swap(self, host: Host, restored: Restored, into: Destination, secrets: Secrets) -> Evidence | Failure:
        """Run the user's own swap."""
        if (refusal := foreign(into)) is not None:
            return refusal
        if not self.swap_argv:
            return Failure(
                why="this source has no `swap` command; nothing was replaced",
                hint=f"add one, or put {restored.path or restored.name} in place by hand",
            )
        marks = self._marks(absolute(host, into.directory), into.token)
        done = self._run(host, self.swap_argv, marks, secrets)
        if not done.ok:
            return done.failure(f"{self.swap_argv[0]} (swap) on {host.name}")
        return Evidence(facts={"output": secrets.redact(printable(done.text.strip())[-_TAIL:])})

    def _marks(self, directory: str, token: str) -> dict[str, str]:
        return {"{file}": f"{directory}/{_PART}/{self.filename}", "{token}": token, "{directory}": directory}

    def _run(self, host: Host, argv: tuple[str, ...], marks: Mapping[str, str], secrets: Secrets) -> Completed:
        env: dict[str, str | Secret] = {
            name: secrets.get(value) if isinstance(value, SecretRef) else value for name, value in self.env.items()
        }
        return host.run(Command(_filled(argv, marks), env=env))


def _filled(argv: tuple[str, ...], marks: Mapping[str, str]) -> tuple[str, ...]:
    """The words with their placeholders replaced, once: what a value holds is never looked at again."""
    pattern = re.compile("|".join(map(re.escape, marks)))
    return tuple(pattern.sub(lambda match: marks[match.group()], word) for word in argv)
