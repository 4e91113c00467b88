"""``route53``: point a name to another address in a hosted zone of AWS."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import StringConstraints

from drorch.core.accesskey import parse
from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding, Standing
from drorch.core.model import Duration, Json, SecretRef, format_duration, parse_duration
from drorch.core.step import Planned, Tools
from drorch.core.switch import Traffic, Turn, Way
from drorch.switches import _names as names

if TYPE_CHECKING:
    from drorch.switches._route53 import Found, Zone

PAUSE = 1.0
"""Seconds between two questions about a change."""


class Route53Record(names.Pointer):
    """A plain record in a hosted zone: no alias, none of several by weight, place or health."""

    zone: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,32}$")]
    """The hosted zone's id, such as ``Z0123456789ABCDEFGHIJ``."""
    name: Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$")]
    """The whole name, such as ``www.shop.example``."""
    credentials: SecretRef
    """An access key: its id and its secret, as ``ID:SECRET`` or on two lines. It needs
    ``route53:ListResourceRecordSets``, ``route53:ChangeResourceRecordSets`` and ``route53:GetChange``."""
    within: Duration = parse_duration("90s")
    """How long AWS is waited for until all its name servers have it."""
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@/]+/?$")] | None = None
    """Another address of the service, such as that of another partition of AWS."""


class Route53(Way):
    """Replace a record of AWS Route 53 in one change that fails when the record is not what it was. Caches follow when
    its TTL is over; some clients follow later, or never: a name alone stops no writes to the old host.
    """

    route53: Route53Record
    """Which record."""

    @property
    def title(self) -> str:
        """The name."""
        return f"{self._name.rstrip('.')} {self.route53.type} at Route 53"

    def problems(self, turn: Turn) -> tuple[tuple[str, str], ...]:
        """Both values are known, and not the same."""
        return self.route53.problems(turn)

    def describe(self, turn: Turn) -> str:
        """The plan's line."""
        return self.route53.describe(self.title, turn)

    def preview(self, turn: Turn) -> tuple[Planned, ...]:
        """The change in short."""
        if self.problems(turn):
            return ()
        (old, new), said = self.route53.values(turn), self.route53
        argv = ("route53", said.zone, f"DELETE {self._name} {said.type} {old}", f"CREATE {said.ttl} {said.type} {new}")
        return (Planned("controller", argv, note="one change, both or neither"),)

    def look(self, tools: Tools, turn: Turn) -> Traffic | Failure:
        """What Route 53 has."""
        found = self._found(self._zone(tools))
        if found.special:
            return Traffic(leads="elsewhere", facts={"record": found.special})
        return Traffic(leads=names.leads(found.values, *self.route53.values(turn)), facts=_facts(found))

    def lead(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """One change, then wait until all name servers have it."""
        from drorch.switches._route53 import Changed  # noqa: PLC0415 - loads botocore, which most commands do not need

        began = tools.clock.monotonic()
        old, new = self.route53.values(turn)
        zone = self._zone(tools)
        before = self._found(zone)
        leads = names.leads(before.values, old, new)
        if before.special or leads == "elsewhere":
            says = f"is {before.special}" if before.special else f"says {', '.join(sorted(before.values))}"
            return Failure(
                why=f"{self.title} {says}, which is neither {old} nor {new}",
                hint="if that is not wanted, correct the record by hand, then retry",
                facts=_facts(before),
            )
        change = ""
        if leads != "new" or before.ttl != self.route53.ttl:
            said = self.route53
            try:
                change = zone.swap(
                    self._name, said.type, old=before, new=new, ttl=said.ttl, comment=f"drorch {tools.run.id}"
                )
            except Changed as error:
                # Sent twice because its answer was lost, it is refused the second time: the record itself knows.
                if self._found(zone).values != {new}:
                    return Failure.of(error)
        after = self._found(zone)
        if after.values != {new} or after.special:
            return Failure(why=f"{self.title} was changed, and is not {new}", hint="look at it, then retry")
        everywhere = self._everywhere(tools, zone, change) if change else None
        late = f"not all name servers of Route 53 have it after {format_duration(self.route53.within)}"
        return Evidence(
            facts={
                "before": leads,
                "leads": "new",
                "value": new,
                "ttl": after.ttl,
                "cached_seconds": before.ttl,
                "everywhere": everywhere,
                "seconds": round(tools.clock.monotonic() - began, 3),
            },
            exceptions=(late,) if everywhere is False else (),
        )

    def back(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """The same with the two values in each other's place."""
        return Route53(route53=self.route53.turned()).lead(tools, turn.back())

    def findings(self, tools: Tools, turn: Turn) -> Iterable[Finding]:
        """The key may read the zone, the record is a plain one, its TTL is low. Whether the key may change it is only
        seen when it does.
        """
        try:
            found = self._found(self._zone(tools))
        except DrorchError as error:
            yield Finding.of(self.title, error)
            return
        if found.special:
            yield self._finding(
                f"it is {found.special}, which is not replaced",
                Standing.BAD,
                "make it a plain record, or lead by `command`",
            )
            return
        yield self._finding("the key reads the zone", ttl=found.ttl)
        yield from self.route53.kept(self.title, found.ttl)

    @property
    def _name(self) -> str:
        return f"{self.route53.name.rstrip('.').lower()}."

    def _zone(self, tools: Tools) -> "Zone":
        from drorch.switches._route53 import zone  # noqa: PLC0415 - loads botocore, which most commands do not need

        keys = parse(tools.secrets.get(self.route53.credentials))
        return zone(self.route53.zone, keys, self.route53.endpoint)

    def _found(self, zone: "Zone") -> "Found":
        return zone.find(self._name, self.route53.type)

    def _everywhere(self, tools: Tools, zone: "Zone", change: str) -> bool:
        until = tools.clock.monotonic() + min(self.route53.within.total_seconds(), tools.deadline.remaining() - 5)
        while not zone.everywhere(change):
            if tools.clock.monotonic() >= until:
                return False
            tools.clock.sleep(PAUSE)
        return True

    def _finding(self, what: str, standing: Standing = Standing.GOOD, remedy: str = "", **facts: Json) -> Finding:
        return Finding(about=self.title, what=what, standing=standing, remedy=remedy, facts=facts)


def _facts(found: "Found") -> dict[str, Json]:
    return {"values": sorted(found.values), "ttl": found.ttl}
