"""A journal in which a service was moved: real records, signed, of runs that were written by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.step import RunState
from drorch.engine.journal import Journal, Run
from drorch.engine.plan import Plan, make_plan
from drorch.reports.incident import Chapter, Timeline
from drorch.reports.timeline import timeline
from drorch.vault.signing import Signer, verify

BEGAN = datetime(2026, 11, 20, 3, 0, 12, tzinfo=UTC)
ADA, BEN = "ada@laptop", "ben@desk"
LOSS = {"seconds": 4.0, "transactions": 17, "mode": "asynchronous", "basis": "web1 was last seen 3 min ago"}
NOTHING = {"none": True, "seconds": 0.0, "transactions": 0, "bytes": 0, "mode": "synchronous"}
DOCUMENT: dict[str, Any] = {
    "site": "acme",
    "hosts": {
        "web1": {"address": "192.0.2.1", "user": "root", "host_key": "SHA256:AAAA"},
        "web2": {"address": "192.0.2.2", "user": "root", "host_key": "SHA256:BBBB"},
    },
    "repositories": {"nas": {"url": "/srv/nas", "password": {"secret": "nas"}}},
    "services": {
        "shop": {
            "objectives": {"rpo": "1m", "rto": "10m"},
            "primary": "web1",
            "standbys": ["web2"],
            "repository": "nas",
            "probe": {"url": "https://shop.example.com/health"},
            "sources": {
                "database": {
                    "kind": "postgres",
                    "database": "shop",
                    "replica": {"unit": "postgresql", "user": "replicator", "password": {"secret": "nas"}},
                }
            },
        }
    },
    "secrets": {"nas": {"env": "NAS"}},
}


def steps(old: str) -> list[dict[str, Any]]:
    """What leads the shop away from a host."""
    return [
        {"kind": "fence", "host": old, "ladder": [{"stop": ["postgresql"]}, "attest"]},
        {"kind": "promote", "source": "database"},
        {
            "kind": "switch",
            "id": "switch",
            "via": {"haproxy": {"host": "web2", "socket": "/run/haproxy.sock", "backend": "shop"}},
        },
    ]


FAILOVER: dict[str, Any] = {
    "runbook": "shop-failover",
    "kind": "failover",
    "service": "shop",
    "to": "web2",
    "steps": steps("web1"),
}
FAILBACK: dict[str, Any] = {
    "runbook": "shop-failback",
    "kind": "failback",
    "service": "shop",
    "to": "web1",
    "steps": [
        {"kind": "rejoin", "source": "database", "host": "web1", "id": "rejoin-web1"},
        *steps("web2"),
        {"kind": "rejoin", "source": "database", "host": "web2", "id": "rejoin-web2"},
    ],
}


def proof(host: str, words: str = "postgresql is stopped and masked", *, attested: bool = False) -> dict[str, Any]:
    """What a fence step's evidence says."""
    rung: Any = {"stop": ["postgresql"]}
    said: dict[str, Any] = {
        "host": host,
        "rung": "attest" if attested else "stop",
        "words": words,
        "facts": {},
        "attested": attested,
    }
    return {"fenced": host, "proof": said, "rung": {"attest": True} if attested else rung, "tried": []}


def promoted(host: str, loss: Mapping[str, Any] = LOSS) -> dict[str, Any]:
    """What a promotion's evidence says."""
    return {"host": host, "timeline_before": 3, "timeline": 4, "promoted_at_lsn": "0/3000148", "loss": dict(loss)}


@dataclass
class Told:
    """A run being told, one record after the other; times are seconds since it began."""

    journal: Journal
    plan: Plan
    began: datetime = BEGAN
    measured: dict[str, Any] = field(default_factory=dict)
    note: Any = None

    @property
    def id(self) -> str:
        """The run's id."""
        return f"{self.plan.runbook}@{self.began:%Y-%m-%dT%H:%M:%SZ}"

    @property
    def run(self) -> Run:
        """The run as it stands."""
        return self.journal.run(self.id)

    def at(self, seconds: float) -> datetime:
        """So long after it began."""
        return self.began + timedelta(seconds=seconds)

    def begin(self, by: str = ADA, **said: Any) -> "Told":  # noqa: ANN401 - any JSON
        """It is confirmed and begins; nothing was shown unless said."""
        plan = self.plan
        run = Run(self.id, plan.runbook, plan.kind, "shop", "", plan.digest, RunState.PENDING, self.began, None, {})
        body = {"what": "started", "runbook": plan.runbook, "kind": plan.kind, "service": "shop", "plan": plan.digest}
        self.journal.begin(run, plan.text, {**body, "slot": "", "by": by, "drorch": "0.1.0", "said": said})
        self.journal.stand(self.id, RunState.RUNNING, self.began)
        return self

    def tell(self, key: str, at: float, **body: Any) -> "Told":  # noqa: ANN401 - any JSON
        """A record of any kind."""
        self.journal.append(self.id, key, self.at(at), body)
        return self

    def did(
        self,
        step: str,
        start: float,
        end: float,
        *,
        number: int = 1,
        undo: bool = False,
        **outcome: Any,  # noqa: ANN401 - any JSON
    ) -> "Told":
        """An attempt of a step, or to take it back; ``failure`` or else facts."""
        exceptions = outcome.pop("exceptions", [])
        failed = "failure" in outcome
        result = outcome if failed else {"evidence": {"facts": outcome, "exceptions": exceptions}}
        return self.tell(
            f"attempt {step}#{number}",
            end,
            what="attempt",
            state="failed" if failed else "succeeded",
            step=step,
            number=number,
            started=self.at(start).isoformat(),
            ended=self.at(end).isoformat(),
            **({"undo": True} if undo else {}),
            **result,
        )

    def asked(self, topic: str, step: str, at: float, *verbs: str) -> "Told":
        """It waits for a person."""
        detail = {"step": step, "topic": topic, "verbs": list(verbs), "question": "?"}
        self.tell(f"waiting {topic}", at, what="waiting", state="paused_failed", step=step, verbs=list(verbs))
        self.journal.stand(self.id, RunState.PAUSED_FAILED, self.at(at), detail)
        return self

    def answered(self, topic: str, step: str, at: float, verb: str, *, by: str = ADA, note: str = "") -> "Told":
        """A person's word."""
        self.tell(f"answer {topic}", at, what="answer", step=step, verb=verb, by=by, note=note)
        self.journal.stand(self.id, RunState.RUNNING, self.at(at))
        return self

    def out(self, began: float, ended: float | None, *, unseen: float = 0.0, older: bool = False) -> dict[str, Any]:
        """What the probe saw: one window."""
        window = {"began": self.at(began).isoformat(), "reason": "connection refused", "older": older}
        return {
            "url": "https://shop.example.com/health",
            "viewer": "controller",
            "began": self.at(min(began, -20)).isoformat(),
            "last": self.at((ended or 30) + 5).isoformat(),
            "asked": 400,
            "failed": 60,
            "windows": [{**window, **({"ended": self.at(ended).isoformat()} if ended is not None else {})}],
            "unseen": unseen,
        }

    def end(self, at: float, state: RunState = RunState.COMPLETED, **detail: Any) -> "Told":  # noqa: ANN401
        """It is over."""
        body = {"what": "ended", "state": state.value, "why": "", "hint": "", "step": "", "exceptions": [], **detail}
        self.journal.append(self.id, "ended", self.at(at), body, state=state, detail=body)
        return self

    @property
    def chapter(self) -> Chapter:
        """For the timeline."""
        return Chapter(self.run, tuple(self.journal.records(self.id)), self.plan, alive=False, note=self.note)


class Moves:
    """A journal to tell moves in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal.sqlite", lambda: Signer.open(folder / "keys"))

    @cached_property
    def inventory(self) -> Inventory:
        """The shop on web1, with web2 as its replicated standby."""
        return Inventory.model_validate(DOCUMENT)

    def failover(self, *, planned: bool = False, runbook: Mapping[str, Any] | None = None) -> Told:
        """A failover that has not begun."""
        book = Runbook.model_validate({**FAILOVER, **(runbook or {})})
        return Told(self.journal, make_plan(self.inventory, book, mode="planned" if planned else None))

    def failback(self, after: timedelta = timedelta(hours=9)) -> Told:
        """The way home, so long after the failover began."""
        shop = self.inventory.services["shop"].model_copy(update={"primary": "web2", "standbys": ("web1",)})
        inventory = self.inventory.model_copy(update={"services": {"shop": shop}})
        return Told(self.journal, make_plan(inventory, Runbook.model_validate(FAILBACK)), BEGAN + after)

    def completed(self) -> Told:
        """A failover that went as it should, with an outage of 34.2 s."""
        run = self.failover()
        return (
            run.begin(
                confirmed="typed",
                by=ADA,
                preflight={
                    "at": run.at(-8).isoformat(),
                    "losses": {"database": {**LOSS, "words": "at most 4 s / 17 transactions seen but not received"}},
                    "sights": [
                        {"viewer": "here", "seen": "web1", "reached": False, "why": ""},
                        {"viewer": "web2", "seen": "web1", "reached": False, "why": ""},
                        {"viewer": "here", "seen": "web2", "reached": True, "why": ""},
                    ],
                    "findings": [
                        {
                            "step": "",
                            "finding": {"about": "web1", "what": "does not answer", "standing": "unknown"},
                        }
                    ],
                },
            )
            .did("fence-web1", 0.2, 6.0, **proof("web1"))
            .did("promote-database", 6.1, 7.6, **promoted("web2"))
            .did("switch", 7.7, 8.0, way="haproxy", old="web1", new="web2", before="old", leads="new", residual={})
            .end(9.0, measured={"loss": {"database": LOSS}, "rto_seconds": 8.0}, outage=run.out(-26.0, 8.2))
        )

    def moved_home(self, run: Told, host: str) -> None:
        """What the promotion leaves in the memory."""
        self.journal.put("home:shop", {"host": host, "since": run.at(7.6).isoformat(), "run": run.id})

    def told(self, *runs: Told) -> Timeline:
        """Their timeline, with the chain verified."""
        broken = self.journal.verify(verify)
        doubts = [f"the journal, from record {broken.seq} on: {broken.why}"] if broken else []
        return timeline([run.chapter for run in runs], doubts, broken.seq if broken else None)


def words(events: Sequence[Any]) -> list[str]:
    """What is told, without who and when."""
    return [event.what for event in events]
