"""``dns``: point a name to another address by RFC 2136, on any name server that takes dynamic updates."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure
from drorch.core.finding import Finding, Standing
from drorch.core.model import Duration, Frozen, Json, SecretRef, parse_duration
from drorch.core.step import Planned, Tools
from drorch.core.switch import Traffic, Turn, Way
from drorch.switches import _names as names
from drorch.switches._records import Answer, Record, Server, Signer

PAUSE = 0.1
"""Seconds between two questions to a secondary."""

Place = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:][A-Za-z0-9_.:-]*(@[0-9]{1,5})?$")]
DomainName = Annotated[str, StringConstraints(pattern=r"^(@|[A-Za-z0-9_*.-]+)$")]


class Key(Frozen):
    """A TSIG key."""

    name: DomainName
    """Its name, the same here and in the name server's configuration."""
    algorithm: Literal["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1"] = "hmac-sha256"
    """Its algorithm."""
    secret: SecretRef
    """Its secret, in base64."""


class DnsRecord(names.Pointer):
    """A record in a zone, and the name server that takes updates of it."""

    server: names.Address
    """The zone's primary, by name or address; it is asked over TCP, from the controller."""
    port: Annotated[int, Field(ge=1, le=65535)] = 53
    """Its port."""
    zone: DomainName
    """The zone, such as ``shop.example``."""
    name: DomainName
    """The name in it, such as ``www``; ``@`` is the zone itself, and with a last dot it is a whole name."""
    key: Key | None = None
    """The key that signs the updates."""
    secondaries: tuple[Place, ...] = ()
    """The zone's other servers, ``ADDRESS`` or ``ADDRESS@PORT``: waited for until they say the same."""
    resolvers: tuple[Place, ...] = ()
    """Resolvers that customers use, such as ``1.1.1.1``: asked how long their caches still lead to the old host."""
    within: Duration = parse_duration("15s")
    """How long the secondaries are waited for."""


class Dns(Way):
    """Point a name to the new host's address, if it still points to the old one's. Caches follow when the record's TTL
    is over; some clients follow later, or never: a name alone stops no writes to the old host.
    """

    dns: DnsRecord
    """Which name, and where."""

    @property
    def title(self) -> str:
        """The name and its server."""
        return f"{self._record.full} {self.dns.type} at {self.dns.server}"

    def problems(self, turn: Turn) -> tuple[tuple[str, str], ...]:
        """Both values are known, and not the same."""
        return self.dns.problems(turn)

    def describe(self, turn: Turn) -> str:
        """The plan's line."""
        return self.dns.describe(self.title, turn)

    def preview(self, turn: Turn) -> tuple[Planned, ...]:
        """The update in the words of nsupdate."""
        if self.problems(turn):
            return ()
        old, new = self.dns.values(turn)
        name, kind = self._record.full, self.dns.type
        update = (f"update delete {name} {kind}", f"update add {name} {self.dns.ttl} {kind} {new}")
        argv = ("nsupdate", f"prereq yxrrset {name} {kind} {old}", *update)
        return (Planned("controller", argv, note=f"as one message to {self.dns.server}, without nsupdate"),)

    def look(self, tools: Tools, turn: Turn) -> Traffic | Failure:
        """What the zone's primary says."""
        found = self._asked(tools)
        return Traffic(leads=names.leads(found.values, *self.dns.values(turn)), facts=_facts(found))

    def lead(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """One update, whose prerequisite is the record as it was seen; then the primary and secondaries are asked."""
        began = tools.clock.monotonic()
        old, new = self.dns.values(turn)
        before = self._asked(tools)
        leads = names.leads(before.values, old, new)
        if leads == "elsewhere":
            return Failure(
                why=f"{self.title} says {', '.join(sorted(before.values))}, which is neither {old} nor {new}",
                hint="somebody changed it; if that is not wanted, correct the record by hand, then retry",
                facts=_facts(before),
            )
        after = before
        if leads != "new" or before.ttl != self.dns.ttl:
            server, signer = self._server(tools), self._signer(tools)
            try:
                _swap(server, self._record, old=before.values, new=new, ttl=self.dns.ttl, signer=signer)
            except DrorchError as error:
                # The answer may be lost and the update done: the record itself knows.
                after = self._asked(tools)
                if after.values != {new}:
                    return Failure.of(error)
            else:
                after = self._asked(tools)
        if after.values != {new}:
            return Failure(
                why=f"{self.title} was updated, and says {', '.join(sorted(after.values)) or 'nothing'} still",
                hint="does something else write that zone? look at the server's log",
                facts=_facts(after),
            )
        late = self._late(tools, new)
        return Evidence(
            facts={
                "before": leads,
                "leads": "new",
                "value": new,
                "ttl": after.ttl,
                "cached_seconds": before.ttl,
                "secondaries": {each: each not in late for each in self.dns.secondaries},
                "seconds": round(tools.clock.monotonic() - began, 3),
            },
            exceptions=tuple(f"secondary {each} does not say {new} yet: {why}" for each, why in late.items()),
        )

    def back(self, tools: Tools, turn: Turn) -> Evidence | Failure:
        """The same with the two values in each other's place."""
        return Dns(dns=self.dns.turned()).lead(tools, turn.back())

    def residual(self, tools: Tools, turn: Turn) -> Mapping[str, Json]:
        """How many seconds the caches of the resolvers still lead to the old host."""
        old, new = self.dns.values(turn)
        seen: dict[str, Json] = {}
        seconds = 0
        for each in self.dns.resolvers:
            try:
                found = _ask(_server(tools, each), self._record, authority=False)
            except DrorchError as error:
                seen[each] = {"unknown": error.message}
                continue
            leads = names.leads(found.values, old, new)
            seen[each] = {"leads": leads, "seconds": 0 if leads == "new" else found.ttl}
            seconds = max(seconds, 0 if leads == "new" else found.ttl)
        return {"resolvers": seen, "seconds": seconds} if seen else {}

    def findings(self, tools: Tools, turn: Turn) -> Iterable[Finding]:
        """The server answers, the key may update, the TTL is low, the others answer."""
        found = self._asked(tools)
        try:
            _swap(self._server(tools), self._record, old=found.values, new=None, signer=self._signer(tools))
        except DrorchError as error:
            yield Finding.of(self.title, error)
        else:
            yield self._finding("it takes updates from here")
        if self.dns.key is None:
            yield self._finding(
                "its updates are not signed: whoever reaches the server can change the record",
                Standing.DOUBTFUL,
                "let the server ask for a TSIG key, and say it under `key:`",
            )
        yield from self.dns.kept(self.title, found.ttl)
        for each in (*self.dns.secondaries, *self.dns.resolvers):
            yield self._other(tools, each, found)

    def _other(self, tools: Tools, place: str, wanted: Answer) -> Finding:
        secondary = place in self.dns.secondaries
        try:
            said = _ask(_server(tools, place), self._record, authority=secondary)
        except DrorchError as error:
            return self._finding(
                f"{place} does not answer: {error.message}",
                Standing.DOUBTFUL,
                error.hint or "correct it, or take it out",
            )
        if said.values != wanted.values:
            says = ", ".join(sorted(said.values)) or "nothing"
            wait = "do the zone's transfers work?" if secondary else f"wait {said.ttl} s for its cache"
            return self._finding(f"{place} says {says}", Standing.DOUBTFUL, wait)
        return self._finding(f"{place} says the same")

    def _late(self, tools: Tools, new: str) -> dict[str, str]:
        """The secondaries that do not say it in time, and why."""
        until = tools.clock.monotonic() + min(self.dns.within.total_seconds(), tools.deadline.remaining() - 1)
        late = dict.fromkeys(self.dns.secondaries, "not asked")
        while late:
            for each in tuple(late):
                try:
                    said = _ask(_server(tools, each), self._record, authority=True)
                except DrorchError as error:
                    late[each] = error.message
                    continue
                if said.values == {new}:
                    del late[each]
                else:
                    late[each] = f"it says {', '.join(sorted(said.values)) or 'nothing'}"
            if tools.clock.monotonic() >= until:
                break
            if late:
                tools.clock.sleep(PAUSE)
        return late

    @property
    def _record(self) -> Record:
        return Record(self.dns.zone, self.dns.name, self.dns.type)

    def _server(self, tools: Tools) -> Server:
        return Server(tools.controller(), self.dns.server, self.dns.port)

    def _signer(self, tools: Tools) -> Signer | None:
        key = self.dns.key
        return Signer(key.name, key.algorithm, tools.secrets.get(key.secret)) if key else None

    def _asked(self, tools: Tools) -> Answer:
        return _ask(self._server(tools), self._record, authority=True, signer=self._signer(tools))

    def _finding(self, what: str, standing: Standing = Standing.GOOD, remedy: str = "", **facts: Json) -> Finding:
        return Finding(about=self.title, what=what, standing=standing, remedy=remedy, facts=facts)


def _server(tools: Tools, place: str) -> Server:
    address, _, port = place.partition("@")
    return Server(tools.controller(), address, int(port or 53))


def _facts(found: Answer) -> dict[str, Json]:
    return {"values": sorted(found.values), "ttl": found.ttl}


def _ask(server: Server, record: Record, *, authority: bool, signer: Signer | None = None) -> Answer:
    from drorch.switches import _dns as wire  # noqa: PLC0415 - loads dnspython, which most commands do not need

    return wire.ask(server, record, authority=authority, signer=signer)


def _swap(
    server: Server, record: Record, *, old: frozenset[str], new: str | None, ttl: int = 0, signer: Signer | None = None
) -> None:
    from drorch.switches import _dns as wire  # noqa: PLC0415 - the same

    wire.swap(server, record, old=old, new=new, ttl=ttl, signer=signer)
