"""``cleanup``: leave nothing of a drill behind."""

from datetime import timedelta
from typing import Literal

from drorch.core.errors import DrorchError, Refused
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.model import Json
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.steps import _processes as processes
from drorch.steps._apart import identified, live_hosts
from drorch.steps._folder import children, destination, remove, remove_command, run_folder
from drorch.steps._intent import note, noted


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
    identity = identified(tools, name, "cleans up")
    folder = run_folder(scene, run, name, identity)
    programs = children(host, f"{folder}/processes")
    if isinstance(programs, Failure):
        return programs
    there = children(host, folder)
    if isinstance(there, Failure):
        return there
    # A source's folder is made before anything of it is loaded, and removed after that is gone.
    sources = tuple(source for source in scene.sources if source in there)
    found = _noted_with(tools, name, programs, sources, folder if there else "")
    for program in programs:
        failure = processes.stop(host, processes.home(folder, program), processes.mark(run, program))
        if failure is not None:
            return failure
    for source in sources:
        failure = scene.sources[source].discard(host, destination(scene, run, source, name, identity), tools.secrets)
        if failure is not None:
            return failure
    failure = remove(host, folder)
    return found if failure is None else failure


def _noted_with(
    tools: Tools, host: str, programs: tuple[str, ...], sources: tuple[str, ...], folder: str
) -> dict[str, Json]:
    """What is to be removed, with what a cut attempt found."""
    key = f"cleanup:{tools.scene.service}:{host}"
    before = noted(tools, key) or {}
    found: dict[str, Json] = {
        "programs": sorted({*before.get("programs", ()), *programs}),
        "sources": sorted({*before.get("sources", ()), *sources}),
        "removed": folder or before.get("removed", ""),
    }
    note(tools, key, found)
    return found
