"""How off-site copies stand in `drorch status`: each thing that is wrong is one gap with what to do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook
from drorch.core.model import Json
from drorch.reports.offsite import mirrors_of, offsite_gaps

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
INVENTORY = Inventory.model_validate(
    {
        "site": "acme",
        "hosts": {"web1": {}},
        "repositories": {"nas": {"url": "/srv/nas", "password": {"secret": "p"}}},
        "stores": {
            "offsite": {
                "kind": "s3",
                "endpoint": "https://s3.example.com",
                "bucket": "acme-offsite",
                "credentials": {"secret": "p"},
                "lock": {"days": 30},
            }
        },
        "services": {
            "shop": {
                "objectives": {"rpo": "24h"},
                "primary": "web1",
                "repository": "nas",
                "sources": {"media": {"kind": "files", "paths": ["/srv"]}},
            }
        },
        "secrets": {"p": {"env": "P"}},
    }
)
NIGHTLY = Runbook.model_validate(
    {
        "runbook": "shop-nightly",
        "kind": "backup",
        "service": "shop",
        "steps": [{"kind": "backup", "source": "media"}, {"kind": "mirror", "store": "offsite"}],
    }
)
LEDGER = {
    "config": "ab",
    "began": (NOW - timedelta(hours=9)).isoformat(),
    "locked_until": (NOW + timedelta(days=25)).isoformat(),
}
PROBE = {"grade": "refuses and locks", "best": "refuses and locks", "trials": [], "at": NOW.isoformat()}
WELL: dict[str, Json] = {"mirror:offsite:nas": LEDGER, "probe:offsite": PROBE}


def gaps(memory: dict[str, Json]) -> list[tuple[str, str]]:
    """What is said, and what to do."""
    found = mirrors_of("shop", INVENTORY, {"shop-nightly": NIGHTLY}, memory.get, NOW)
    return [(gap.what, gap.do) for gap in offsite_gaps(INVENTORY.services["shop"], INVENTORY, found, NOW)]


def test_all_well() -> None:
    """A fresh, locked copy in a store that refuses has no gap."""
    assert gaps(WELL) == []


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "never": ({"mirror:offsite:nas": None}, "nothing was ever copied", "drorch run shop-nightly"),
    "old": (
        {"mirror:offsite:nas": {**LEDGER, "began": (NOW - timedelta(days=3)).isoformat()}},
        "3 d old",
        "drorch run shop-nightly",
    ),
    "worse": ({"probe:offsite": {**PROBE, "grade": "refuses"}}, "no longer refuses", "drorch store probe offsite"),
    "unlocked": ({"mirror:offsite:nas": {**LEDGER, "locked_until": None}}, "not locked", "drorch mirror offsite"),
    "expiring": (
        {"mirror:offsite:nas": {**LEDGER, "locked_until": (NOW + timedelta(days=2)).isoformat()}},
        "locks in offsite end in 2 d",
        "drorch mirror offsite",
    ),
    "audited": (
        {"looked:offsite:nas": {"at": NOW.isoformat(), "problems": 2, "run": "shop-audit@1"}},
        "found 2 problems",
        "drorch show shop-audit@1",
    ),
    "overwritten": ({"mirror:offsite:nas": {**LEDGER, "replaced": 1}}, "1 file overwritten", "drorch audit offsite"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said(case: str) -> None:
    """Each thing that is wrong gives one gap that names it and a command."""
    changed, word, do = CASES[case]
    ((what, said),) = gaps({**WELL, **changed})
    assert word in what
    assert said == do
