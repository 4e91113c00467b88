"""PostgreSQL's streaming replication."""

from collections.abc import Iterable
from typing import Literal

from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding
from drorch.core.host import Host
from drorch.core.replication import Pair, ReplicaState, Replication
from drorch.core.step import Planned, Tools
from drorch.sources._postgres_findings import findings
from drorch.sources._postgres_follow import Following
from drorch.sources._postgres_freeze import freeze, frozen, thaw
from drorch.sources._postgres_look import look
from drorch.sources._postgres_promote import Promotion
from drorch.sources._postgres_rehearse import Rehearsal, forget
from drorch.sources._postgres_server import Server


class PostgresReplication(Replication):
    """How standbys of one PostgreSQL server follow it; every command runs on the servers' own hosts."""

    server: Server

    def units(self) -> tuple[str, ...]:
        """The unit, where there is one."""
        return (self.server.replica.unit,) if self.server.replica.unit else ()

    def address(self, host: str) -> str | None:
        """Where the other server reaches it."""
        return self.server.replica.addresses.get(host)

    def look(self, tools: Tools, host: Host) -> ReplicaState | Failure:
        """Ask in one round trip; of one that does not run, what its files say."""
        return look(self.server, tools, host)

    def promote(self, tools: Tools, host: Host, before: ReplicaState, *, former: str) -> Evidence | Failure:
        """Promote in one round trip."""
        return Promotion(self.server, tools, host, before, self.server.replica.slot_of(former)).carry_out()

    def follow(self, tools: Tools, pair: Pair, *, keep: str, fresh: bool = False) -> Evidence | Failure:
        """Stop it, see where the two parted, rewind or copy, start, wait until it streams."""
        return Following(self.server, tools, pair, keep, fresh).carry_out()

    def preview(self, host: str, action: Literal["promote", "follow"]) -> tuple[Planned, ...]:
        """The programs that do it."""
        if action == "promote":
            return (
                Planned(
                    host, ("psql", "--file=-"), note="SELECT pg_promote(false); waits, asserts timeline and a write"
                ),
            )
        return (
            Planned(host, ("pg_ctl", "stop"), note="or its unit; what runs there is stopped in order"),
            Planned(host, ("pg_waldump", "--rmgr=Transaction"), note="what only it has is reported"),
            Planned(host, ("cp", "-a", "<data>", "<kept>"), note="only where it has what the leader lacks"),
            Planned(
                host, ("pg_rewind", "--source-server=<leader>"), note="or pg_basebackup, where that cannot be done"
            ),
            Planned(host, ("pg_ctl", "start"), note="as a standby; waits until it has caught up"),
        )

    def findings(self, tools: Tools, primary: Host, standby: Host) -> Iterable[Finding]:
        """Both are looked at once; the primary may be gone."""
        return findings(self.server, tools, primary, standby)

    def freeze(self, tools: Tools, host: Host) -> Failure | None:
        """Restart it as a standby of nobody."""
        return freeze(self.server, tools, host)

    def frozen(self, tools: Tools, host: Host) -> bool | Failure:
        """Try to write."""
        return frozen(self.server, tools, host)

    def thaw(self, tools: Tools, host: Host) -> Failure | None:
        """Start it again as the primary that it was."""
        return thaw(self.server, tools, host)

    def rehearse(self, tools: Tools, host: Host, folder: str, token: str) -> Evidence | Failure:
        """Beside the standby's data, since its account must be able to enter it: the fact ``directory`` says where."""
        return Rehearsal(self.server, tools, host, token).carry_out()

    def forget(self, tools: Tools, host: Host, folder: str, token: str) -> Failure | None:
        """Stopped by its own process file, then removed."""
        return forget(self.server, tools, host, token)
