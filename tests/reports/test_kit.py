"""What status says of the recovery kit."""

from datetime import UTC, datetime, timedelta

import pytest

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.model import Json
from drorch.reports.kit import Made, documents_digest, failover_services, kit_gaps, lacks

NOW = datetime(2026, 6, 1, tzinfo=UTC)
INVENTORY: Json = {
    "site": "acme",
    "hosts": {"web1": {"address": "192.0.2.1", "key": "/a/key"}, "ctl": {}},
    "repositories": {
        "nas": {"url": "/srv/nas", "password": {"secret": "nas"}},
        "far": {"url": "sftp:me@far:/x", "password": {"secret": "nas"}},
    },
    "secrets": {"nas": {"file": "/a/nas"}},
}


def inventory(**changed: Json) -> Inventory:
    """The inventory with other sections."""
    return Inventory.model_validate({**INVENTORY, **changed})


def runbooks(kind: str) -> dict[str, Runbook]:
    """One runbook."""
    plain: Json = {"runbook": "one", "kind": kind, "service": "shop"}
    return {"one": Runbook.model_construct(**plain)}  # what a failover must hold is no matter here


def gaps(remembered: Json, kind: str = "failover") -> list[tuple[str, bool]]:
    """What is said of the shop's kit."""
    return [(gap.what, gap.risk) for gap in kit_gaps("shop", runbooks(kind), remembered, "today", NOW)]


def kit(age: timedelta, documents: str = "today") -> Json:
    """What is remembered of a kit."""
    return Made(at=NOW - age, documents=documents).model_dump(mode="json")


@pytest.mark.parametrize(
    ("remembered", "words"),
    [
        (None, "there is no recovery kit"),
        (kit(timedelta(days=3), "yesterday"), "the recovery kit is older than the documents: made 3 d ago"),
        (kit(timedelta(days=101)), "the recovery kit is 101 d old"),
    ],
)
def test_a_missing_or_old_kit_is_a_risk_where_there_is_a_failover(remembered: Json, words: str) -> None:
    """For a service that is to fail over it is a risk; for another one it is only worth knowing."""
    assert failover_services(runbooks("failover")) == ("shop",)
    assert gaps(remembered) == [(words, True)]
    assert gaps(remembered, "backup") == [(words, False)]


@pytest.mark.parametrize("age", [timedelta(), timedelta(days=99), -timedelta(days=1)])
def test_a_fresh_kit_is_not_spoken_of(age: timedelta) -> None:
    """A clock that was set back is no reason to worry either."""
    assert gaps(kit(age)) == []


def test_where_secrets_lie_does_not_change_the_documents() -> None:
    """The opened kit has the digest of the machine where it was made; any other change makes another one."""
    same = inventory(
        hosts={"web1": {"address": "192.0.2.1", "key": "/kit/keys/web1"}, "ctl": {}},
        secrets={"nas": {"file": "/kit/secrets/nas"}},
    )
    digest = documents_digest(inventory(), {})
    assert documents_digest(same, {}) == digest
    assert documents_digest(inventory(site="other"), {}) != digest
    assert documents_digest(inventory(secrets={"nas": {"env": "X"}, "more": {"env": "Y"}}), {}) != digest


def test_what_stays_behind_is_named() -> None:
    """Folders with their path, so that those that are here, too, need not be told; and what is no folder."""
    found = {lack.what: lack.path for lack in lacks(inventory())}
    assert found["repository nas at /srv/nas is a folder of the machine where the kit was made"] == "/srv/nas"
    assert sum("own ssh" in what for what in found) == 1
    assert sum("host ctl" in what for what in found) == 1
