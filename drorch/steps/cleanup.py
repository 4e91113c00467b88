"""``cleanup``: leave nothing of a drill behind."""

from datetime import timedelta
from typing import Literal

from drorch.core.errors import DrorchError, Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.host import printable
from drorch.core.model import Json
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.steps import _processes as processes
from drorch.steps._apart import identified, live_hosts
from drorch.steps._folder import children, destination, exists, remove, remove_command, run_folder
from drorch.steps._intent import note, noted

SAID = 1000
"""Characters at the end of a program's output that are kept."""


class Cleanup(Step):
    """Remove everything that this drill put on its hosts. Stands at the end of every drill by itself."""

    kind: Literal["cleanup"]
    always: bool = True
    """Run it whatever happened before."""

    @property
    def default_timeout(self) -> timedelta:
        """Removing a large tree takes a while."""
        return timedelta(hours=1)

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        return f"remove everything this drill put on {', '.join(_stages(scene)) or 'no host'}"

    def problems(self, scene: Scene) -> tuple[tuple[str, str, str], ...]:
        """Only a drill has something of its own to remove."""
        if scene.drill:
            return ()
        return (("kind", f"a {scene.kind} run leaves nothing to clean up", "cleanup is for drills"),)

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """What it removes on each host."""
        return tuple(
            Planned(
                host,
                remove_command(scene.folder(run, host)).argv,
                note="after ending the run's programs and dropping what was loaded outside of it",
            )
            for host in _stages(scene)
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Leave nothing on any host that the drill may have worked on, whatever is recorded about it.

        Each host's folder is removed last: as long as it is there, it tells what is left to do.
        """
        if not tools.scene.drill:
            raise Refused(f"a {tools.scene.kind} run leaves nothing to clean up", hint="cleanup is for drills")
        cleaned: dict[str, Json] = {}
        failures: list[Failure] = []
        for host in _stages(tools.scene):
            try:
                outcome = _clean(tools, host)
            except DrorchError as error:
                outcome = Failure.of(error)
            if isinstance(outcome, Failure):
                failures.append(outcome.model_copy(update={"why": f"on {host}: {outcome.why}"}))
            else:
                cleaned[host] = outcome
        if failures:
            return failures[0].model_copy(
                update={"why": "; ".join(failure.why for failure in failures), "facts": {"hosts": cleaned}}
            )
        return Evidence(facts={"hosts": cleaned, "left": 0})


def _stages(scene: Scene) -> tuple[str, ...]:
    """The hosts on which a drill may have put something."""
    return tuple(sorted(scene.hosts - live_hosts(scene)))


def _clean(tools: Tools, name: str) -> dict[str, Json] | Failure:
    scene, run = tools.scene, tools.run.id
    host = tools.host(name)
    identity = identified(tools, name, "cleans up", strict=False)
    folder = run_folder(scene, run, name, identity)
    there = exists(host, folder)
    below = children(host, folder)
    programs = children(host, f"{folder}/processes")
    for answer in (there, below, programs):
        if isinstance(answer, Failure):
            return answer
    report = _Report(tools, f"cleanup:{scene.service}:{name}")
    if there:
        report.removed = folder
    # A source's folder is made before anything of it is loaded, and removed after that is gone.
    sources = [source for source in scene.sources if source in _names(below)]
    report.sources |= set(sources)
    for program in _names(programs):
        home = processes.home(folder, program)
        failure = processes.stop(host, home)
        if failure is not None:
            return failure
        # Its last words go with the folder, and may be all that explains a failed drill.
        last = processes.look(host, home)
        words = "" if isinstance(last, Failure) else printable(tools.secrets.redact(last[1])).strip()
        report.programs[program] = words[-SAID:]
    failure = processes.stop_all(host, folder)
    if failure is not None:
        return failure
    report.note()
    for source in sources:
        failure = scene.sources[source].discard(host, destination(scene, run, source, name, identity), tools.secrets)
        if failure is not None:
            return failure
    failure = remove(host, folder)
    return report.facts() if failure is None else failure


def _names(answer: tuple[str, ...] | Failure) -> tuple[str, ...]:
    return () if isinstance(answer, Failure) else answer


class _Report:
    """What is removed from a host, by this attempt or by one that was cut."""

    def __init__(self, tools: Tools, key: str) -> None:
        self._tools = tools
        self._key = key
        before = noted(tools, key) or {}
        self.programs: dict[str, str] = dict(before.get("programs", {}))
        self.sources: set[str] = set(before.get("sources", ()))
        self.removed: str = before.get("removed", "")

    def facts(self) -> dict[str, Json]:
        """As evidence: the end of each program's output, the sources, the folder."""
        return {
            "programs": dict(sorted(self.programs.items())),
            "sources": sorted(self.sources),
            "removed": self.removed,
        }

    def note(self) -> None:
        """Keep it until the record is written."""
        note(self._tools, self._key, self.facts())
