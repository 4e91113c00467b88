"""Files and folders of a host, as they lie there."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import permutations
from typing import Annotated, Literal

from pydantic import Field, field_validator

from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Command, Host, printable
from drorch.core.model import Json
from drorch.core.secret import Secrets
from drorch.core.source import Destination, Expectation, Part, Restored, Source, Tree
from drorch.sources._places import HostPath, Listed, Word, absolute, foreign, suffix
from drorch.sources._swap import Exchange, exchange

_PART = "tree"
_PRESENT = 'for place do if [ -e "$place" ] || [ -L "$place" ]; then echo 1; else echo 0; fi; done'
_COUNT = ("-printf", "%y %s %T@\\n")
_FIELDS = 3


class Files(Source):
    """Files and folders, backed up where they lie and restored with their owners, modes, times and links."""

    kind: Literal["files"]
    paths: Annotated[tuple[HostPath, ...], Field(min_length=1), Listed]
    """What to back up: absolute paths such as ``/srv/shop/media``, or ``~/shop`` for the home of the host's user.
    A single one needs no list."""
    excludes: Annotated[tuple[Word, ...], Listed] = ()
    """What to leave out, as restic's exclude patterns: ``*.tmp``, ``/srv/shop/media/cache``, ``**/node_modules``."""
    one_file_system: bool = False
    """Stay on the file system of each path: mounts below it are left out."""

    @field_validator("paths")
    @classmethod
    def _apart(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path, other in permutations(paths, 2):
            if path == other or path.startswith(f"{other.rstrip('/')}/"):
                msg = f"{path!r} is backed up with {other!r} already: name one of them"
                raise ValueError(msg)
        return paths

    def describe(self) -> str:
        """The paths."""
        return f"files {', '.join(self.paths)}"

    def parts(self) -> tuple[Part, ...]:
        """One tree."""
        return (Tree(name=_PART, paths=self.paths, excludes=self.excludes, one_file_system=self.one_file_system),)

    def preview_load(self, into: Destination) -> tuple[Command, ...]:
        """The look at what came back."""
        return (_look([f"{into.directory}/{_PART}{path.removeprefix('~')}" for path in self.paths]),)

    def load(self, host: Host, into: Destination, secrets: Secrets) -> Restored | Failure:
        """Find each path in the restored tree; the files are usable where they lie.

        Facts: ``places`` (each path → where it was restored), ``missing`` (paths that the snapshot does not hold).
        """
        tree = f"{absolute(host, into.directory)}/{_PART}"
        wanted = {path: f"{tree}{path}" for path in self.paths if not path.startswith("~/")}
        below_home = tuple(path for path in self.paths if path.startswith("~/"))
        if below_home:
            home = self._home(host, tree, below_home, into)
            if isinstance(home, Failure):
                return home
            wanted |= {path: f"{tree}{home}{path[1:]}" for path in below_home}
        places = [wanted[path] for path in self.paths]
        done = host.run(_look(places))
        present = done.text.split()
        if not done.ok or len(present) != len(places):
            return done.failure(f"looking for the restored files on {host.name}")
        missing = [path for path, answer in zip(self.paths, present, strict=True) if answer != "1"]
        if len(missing) == len(self.paths):
            return Failure(
                why=f"the restored tree {tree} holds none of {', '.join(self.paths)}",
                hint="the snapshot was made of other paths: choose another one, or restore it by hand with restic",
            )
        return Restored(
            host=host.name,
            path=places[0] if len(places) == 1 else tree,
            facts={"places": wanted, "missing": missing},
        )

    def verify(self, host: Host, restored: Restored, expect: Expectation, secrets: Secrets) -> Evidence | Failure:
        """Walk the restored tree and count what is in it; fails when a path is missing or too few files came back."""
        places, missing = _places(restored)
        if missing or not places:
            return Failure(
                why=f"not restored: {', '.join(missing) or 'anything'}",
                hint="the backup could not read it, or the path was added after that snapshot",
            )
        tally = _Tally()
        for place in places.values():
            done = host.run(Command(("find", place, *_COUNT), env={"LC_ALL": "C"}), on_line=tally.add)
            if not done.ok:
                return done.failure(f"walking {place} on {host.name}")
        facts = tally.facts()
        if tally.odd:
            return Failure(why=f"find on {host.name} gave lines that are no counts", facts=facts)
        least = 1 if expect.files is None else expect.files
        if tally.kinds["f"] < least:
            return Failure(
                why=f"{tally.kinds['f']} files were restored, at least {least} were expected",
                hint="" if expect.files is not None else "say `files: 0` if it is right that there are none",
                facts=facts,
            )
        return Evidence(facts=facts, level=ProofLevel.RESTORED)

    def discard(self, host: Host, into: Destination, secrets: Secrets) -> Failure | None:
        """Everything lies in the destination's folder."""
        return foreign(into)

    def swap(self, host: Host, restored: Restored, into: Destination, secrets: Secrets) -> Evidence | Failure:
        """Rename each live path to ``PATH.drorch-before-…`` and the restored one into its place.

        Stop what writes there first. Facts: ``swapped``, a list of ``live`` and ``kept`` (None: there was no live one).
        """
        if (refusal := foreign(into)) is not None:
            return refusal
        places, missing = _places(restored)
        if missing or set(places) != set(self.paths):
            return Failure(
                why=f"not restored: {', '.join(missing) or 'every path'}; nothing was moved",
                hint="choose a snapshot that holds every path",
            )
        if "/" in self.paths:
            return Failure(why="/ cannot be renamed", hint="copy from the restored tree by hand, from a rescue system")
        directory = absolute(host, into.directory)
        swapped: list[Json] = []
        for number, path in enumerate(self.paths):
            wanted = Exchange(absolute(host, path), places[path], f"{directory}/.swapped-{number}", suffix(into))
            outcome = exchange(host, wanted)
            if isinstance(outcome, Failure):
                return outcome.model_copy(update={"facts": {"swapped": swapped}})
            swapped.append(outcome)
        return Evidence(facts={"swapped": swapped})

    def _home(self, host: Host, tree: str, below_home: tuple[str, ...], into: Destination) -> str | Failure:
        """The home, on the machine that was backed up, below which the ``~/`` paths lie.

        What the snapshot recorded is sure; without it the tree is searched, this host's own home first.
        """
        recorded = [path for path in into.recorded.get(_PART, ()) if path not in self.paths]
        if recorded:
            found = [(path, each) for path in below_home for each in recorded if each.endswith(path[1:])]
        else:
            own = host.identity().home.rstrip("/")
            done = host.run(_look([f"{tree}{own}{path[1:]}" for path in below_home]))
            if not done.ok:
                return done.failure(f"looking for the restored files on {host.name}")
            if "0" not in done.text.split():
                return own
            done = host.run(_search(tree, below_home))
            if not done.ok or done.truncated:
                return done.failure(f"searching {tree} on {host.name}")
            lines = [f"/{line}" for line in done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]]
            found = [(path, each) for path in below_home for each in lines if each.endswith(path[1:])]
        homes = {path: {each.removesuffix(path[1:]) for other, each in found if other == path} for path in below_home}
        common = set.intersection(*homes.values())
        candidates = common or {home for each in homes.values() for home in each}
        if len(candidates) == 1:
            return candidates.pop()
        seen = ", ".join(sorted(printable(home) or "/" for home in candidates)) or "nowhere"
        return Failure(
            why=f"cannot tell where {', '.join(below_home)} came from in {tree}: {seen}",
            hint="write absolute paths instead of ~/ in the inventory",
        )


@dataclass
class _Tally:
    """What `find` told, summed up."""

    kinds: Counter[str] = field(default_factory=Counter)
    size: int = 0
    newest: float = 0.0
    odd: int = 0

    def add(self, line: bytes) -> None:
        """Take one line: type, size, time of change in seconds."""
        words = line.decode("ascii", "replace").split()
        if len(words) != _FIELDS or not re.fullmatch(r"\d+ -?[\d.]+", " ".join(words[1:])):
            self.odd += 1
            return
        self.kinds[words[0]] += 1
        if words[0] == "f":
            self.size += int(words[1])
            self.newest = max(self.newest, float(words[2]))

    def facts(self) -> dict[str, Json]:
        """As evidence."""
        named = {"f": "files", "d": "folders", "l": "links"}
        counts: dict[str, Json] = {name: self.kinds[kind] for kind, name in named.items()}
        counts["others"] = sum(count for kind, count in self.kinds.items() if kind not in named)
        newest = datetime.fromtimestamp(self.newest, UTC).isoformat() if self.newest else None
        return {**counts, "bytes": self.size, "newest_file": newest}


def _look(places: list[str]) -> Command:
    """Prints 1 or 0 for each place, in order."""
    return Command(("sh", "-c", _PRESENT, "sh", *places))


def _search(tree: str, below_home: tuple[str, ...]) -> Command:
    """Lists, relative to the tree and ended by NUL, everything that could be one of the paths."""
    tests: list[str] = []
    for path in below_home:
        tests += ["-o", "-path", "*" + re.sub(r"([][*?\\])", r"\\\1", path[1:])]
    return Command(("find", tree, "(", *tests[1:], ")", "-printf", "%P\\0"), env={"LC_ALL": "C"})


def _places(restored: Restored) -> tuple[Mapping[str, str], list[str]]:
    """Each path's restored place, and the paths that were missing."""
    return restored.facts.get("places", {}), restored.facts.get("missing", [])
