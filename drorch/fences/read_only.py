"""``read_only``: a database server accepts no more writes from anybody."""

from collections.abc import Iterable
from datetime import timedelta

from drorch.core.errors import DrorchError, Unreachable
from drorch.core.evidence import Failure
from drorch.core.fence import Proof, Rung
from drorch.core.finding import Finding, Standing
from drorch.core.host import Identity
from drorch.core.model import SourceName
from drorch.core.replication import Replication
from drorch.core.scene import Scene
from drorch.core.step import Planned, Tools
from drorch.fences._reach import MOMENT, PATIENCE, another, boot_id, finding, silent, who, within


class ReadOnly(Rung):
    """Set a database server read-only for everybody, its superuser included, so that it stays so over a restart; it
    goes on answering questions. Proven when the server itself refuses a write.
    """

    read_only: SourceName
    """The source whose server it is."""

    @property
    def graceful(self) -> bool:
        """The server is asked, and keeps what it acknowledged."""
        return True

    @property
    def longest(self) -> timedelta:
        """A restart in order."""
        return timedelta(minutes=2)

    def describe(self, host: str) -> str:
        """The plan's line."""
        return f"set {self.read_only} on {host} read-only"

    def preview(self, host: str) -> tuple[Planned, ...]:
        """What is asked of the server."""
        return (Planned(host, ("read-only", self.read_only), note="until the server itself refuses a write"),)

    def problems(self, scene: Scene, host: str) -> tuple[tuple[str, str, str], ...]:
        """A source that can be set so, on that host."""
        source = scene.sources.get(self.read_only)
        if source is None:
            return ()  # said already, of the name
        if source.replication() is None:
            message = f"{source.describe()} cannot be set read-only"
            return (("read_only", message, "stop its units instead: {stop: …}"),)
        if scene.home_of(self.read_only) != host:
            message = f"{self.read_only} lives on {scene.home_of(self.read_only)}, not on {host}"
            return (("read_only", message, "name a source of the fenced host"),)
        return ()

    def fence(self, tools: Tools, host: str) -> Proof | Failure:
        """Freeze, then have the server refuse a write."""
        try:
            boot = within(PATIENCE, lambda: boot_id(tools, host))
            if boot is None or isinstance(boot, Failure):
                return boot or silent(host)
            identity = tools.host(host).identity()
            server = self._server(tools)
            failure = server.freeze(tools, tools.host(host))
            if failure is not None:
                return failure.model_copy(update={"facts": {**failure.facts, "acted": True, **who(identity, boot)}})
            return self._proven(tools, host, identity, boot)
        except Unreachable as error:
            return silent(host, error)

    def holds(self, tools: Tools, proof: Proof) -> Failure | None:
        """While the host answers, the server must refuse a write again. When it is silent, what was proven stays: a
        server that is started again is still read-only.
        """
        host = tools.host(proof.host)
        try:
            boot = within(MOMENT, lambda: boot_id(tools, proof.host))
            if boot is None or isinstance(boot, Failure):
                return None if boot is None or boot.timed_out or boot.unknown else boot
            failure = another(proof.host, host.identity(), proof.facts)
            frozen = failure or self._server(tools).frozen(tools, host)
        except Unreachable:
            return None
        except DrorchError as error:
            return Failure.of(error)
        if isinstance(frozen, Failure):
            return frozen
        why = f"{self.read_only} on {proof.host} accepts writes again"
        return None if frozen else Failure(why=why, hint=f"fence {proof.host} again, then retry")

    def lift(self, tools: Tools, proof: Proof) -> Failure | None:
        """Give it back."""
        host = tools.host(proof.host)
        failure = another(proof.host, host.identity(), proof.facts) if proof.facts else None
        return failure or self._server(tools).thaw(tools, host)

    def findings(self, tools: Tools, host: str) -> Iterable[Finding]:
        """The server answers as one that accepts writes."""
        about = f"fence {host}"
        try:
            boot = within(PATIENCE, lambda: boot_id(tools, host)) or silent(host)
            state = boot if isinstance(boot, Failure) else self._server(tools).look(tools, tools.host(host))
        except Unreachable as error:
            state = silent(host, error)
        if isinstance(state, Failure):
            yield finding(about, state)
        elif state.role != "primary":
            what = f"{self.read_only} on {host} is {'stopped' if state.role == 'stopped' else 'a standby'} now"
            yield Finding(about=about, what=what, standing=Standing.DOUBTFUL, remedy="is this the right host?")
        else:
            yield Finding(about=about, what=f"{self.read_only} on {host} can be set read-only")

    def _server(self, tools: Tools) -> Replication:
        source = tools.scene.sources.get(self.read_only)
        replication = source.replication() if source else None
        if replication is None:
            raise DrorchError(f"{self.read_only} cannot be set read-only", hint="stop its units instead: {stop: …}")
        return replication

    def _proven(self, tools: Tools, host: str, identity: Identity, boot: str) -> Proof | Failure:
        frozen = self._server(tools).frozen(tools, tools.host(host))
        known = {"acted": True, **who(identity, boot)}
        if isinstance(frozen, Failure):
            return frozen.model_copy(update={"facts": {**frozen.facts, **known}})
        if not frozen:
            why = f"{self.read_only} on {host} was set read-only, and still accepts writes"
            return Failure(why=why, hint="stop its units instead", facts=known)
        words = f"{self.read_only} on {host} refuses writes, and goes on doing so after a restart"
        return Proof(host=host, rung=self.word, words=words, facts=dict(who(identity, boot)))
