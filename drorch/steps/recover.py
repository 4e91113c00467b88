"""``recover``: rebuild a repository from what a store still has of its mirror, whatever was done to it since."""

import json
from typing import Annotated, Literal

from pydantic import AwareDatetime, StringConstraints

from drorch.core.errors import Refused, RepositoryError
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.host import Command, Host
from drorch.core.model import Json, RepositoryName, StoreName
from drorch.core.scene import Scene
from drorch.core.step import Earlier, Planned, Step, Tools
from drorch.core.store import Means, Reading, Store
from drorch.mirror import ledger
from drorch.mirror.ledger import OutOfTime
from drorch.mirror.recover import KEYS, Recovered, recover
from drorch.steps._copied import shown
from drorch.stores.directory import DirectoryStore

MARKER = ".drorch-recovery"
"""A file in the folder that says what is being rebuilt there."""


class Recover(Step):
    """Rebuild a repository in a folder of the controller from any versions in a store whose hash equals their name."""

    kind: Literal["recover"]
    store: StoreName
    """Where the mirror is, or once was."""
    to: Annotated[str, StringConstraints(pattern=r"^/[^\x00]*[^/\x00]$")]
    """The folder, absolute: fresh, or one that a former attempt at the same recovery began."""
    repository: RepositoryName | None = None
    """Of which repository; the service's own unless said."""
    as_of: AwareDatetime | None = None
    """Leave out snapshots and indexes that reached the store later: what came after an attack began may be forged."""
    config_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Which repository it must be, should drorch's own memory be lost: the evidence of each mirror step tells it."""

    @property
    def subject(self) -> str:
        """The store."""
        return self.store

    def describe(self, scene: Scene) -> str:
        """The plan's line."""
        time = f" as of {self.as_of:%Y-%m-%dT%H:%M:%SZ}" if self.as_of else ""
        return f"rebuild {self.repository or scene.repository} from {self.store}{time} in {self.to}, and check it"

    def preview(self, scene: Scene, run: str) -> tuple[Planned, ...]:
        """What is read, and restic's own check of it."""
        name = self.repository or scene.repository
        return (
            Planned("controller", ("versions", f"{self.store}:{name}/"), note="all versions, deleted ones too"),
            Planned("controller", ("get", f"{self.store}:{name}/<version>"), note="each is hashed; packs first"),
            Planned("controller", ("restic", "check", "--no-lock"), note=f"of {self.to}"),
        )

    def perform(self, tools: Tools, earlier: Earlier) -> Outcome:
        """Rebuild it and have restic check it."""
        name = self.repository or tools.scene.repository
        store = tools.store(self.store)
        at = tools.controller()
        known = ledger.read(tools.memory, self.store, name)
        into = self._make_room(tools, at, name)
        clocked = tools.clock.monotonic()
        try:
            done = recover(
                store,
                f"{name}/",
                into,
                as_of=self.as_of,
                config=self.config_sha256 or known.config,
                check=ledger.watch(tools.clock, tools.deadline),
                show=shown(tools),
            )
        except OutOfTime as late:
            return Failure(why=f"recovery from {self.store}: {late.message}", hint=late.hint, timed_out=True)
        seconds = tools.clock.monotonic() - clocked
        rebuilt = tools.elsewhere(name, Reading(url=self.to))
        try:
            checked = rebuilt.check(at, subset=None)
            snapshots = rebuilt.snapshots(at)
        except RepositoryError as error:
            if error.retryable:
                raise
            return Failure(why=error.message, hint=self._advice(error), facts={"left_out_as_later": done.later})
        facts: dict[str, Json] = {
            "store": self.store,
            "repository": name,
            "to": self.to,
            "as_of": self.as_of.isoformat() if self.as_of else None,
            "config_sha256": done.config,
            "config_remembered": bool(self.config_sha256 or known.config),
            "objects": done.objects,
            "bytes": done.bytes,
            "older_versions": done.older,
            "left_out_as_later": done.later,
            "left_out_keys": done.strange_keys,
            "lost": done.lost_count,
            "lost_keys": done.lost,
            "snapshots": len(snapshots),
            "newest_snapshot": snapshots[-1].time.isoformat() if snapshots else None,
            "check_seconds": checked.seconds,
            "seconds": round(seconds, 3),
        }
        return Evidence(facts=facts, exceptions=_exceptions(done, facts))

    def _advice(self, error: RepositoryError) -> str:
        """What to do when restic does not like what was rebuilt: files may be there that an attacker made."""
        if self.as_of is None:
            return (
                "somebody may have added snapshots or indexes that are none: name a time before that with --as-of, "
                "and a fresh folder"
            )
        return error.hint or "if somebody added files before that time too, name an earlier one, and a fresh folder"

    def _make_room(self, tools: Tools, at: Host, name: str) -> Store:
        """The folder as a store: fresh, or what a former attempt at this very recovery began."""
        means = Means(secrets=tools.secrets, clock=tools.clock, host=tools.host)
        spec = DirectoryStore(kind="directory", path=self.to)
        marker = f"{self.to}/{MARKER}"
        wanted = json.dumps(
            {"store": self.store, "repository": name, "as_of": self.as_of.isoformat() if self.as_of else None}
        )
        made = at.run(Command(("mkdir", "-p", "-m", "700", "--", self.to)))
        if not made.ok:
            raise Refused(f"{self.to} cannot be made: {made.errors}", hint="name another folder")
        there = at.run(Command(("ls", "-A", "--", self.to)))
        if not there.ok:
            raise Refused(f"{self.to} cannot be read: {there.errors}", hint="name another folder")
        if there.text.strip():
            begun = at.run(Command(("cat", "--", marker)))
            if not begun.ok or begun.text != wanted:
                raise Refused(
                    f"{self.to} is not empty, and not what an attempt at this very recovery left",
                    hint="name a fresh folder",
                )
        else:
            at.put(marker, wanted.encode())
        spec.creation("recovered", means).create()
        return spec.open("recovered", means)


def _exceptions(done: Recovered, facts: dict[str, Json]) -> tuple[str, ...]:
    said = []
    if done.lost_count:
        said.append(
            f"no version of {done.lost_count} files is right: {', '.join(done.lost[:3])}; restic misses none of them"
        )
    if done.strange_keys:
        said.append(
            f"{done.strange_keys} files among the keys were left out: they are none, or came after the first {KEYS}"
        )
    if not facts["snapshots"]:
        said.append("there is no snapshot in it")
    if not facts["config_remembered"]:
        said.append(f"nobody remembered which repository it must be; its config is {done.config[:16]}…, and it opens")
    return tuple(said)
