"""What an operator of the lab's shop would have written: an inventory with pinned keys, secrets, runbooks.

Documents are dictionaries here, written as JSON, which is YAML: tests change what they want before `write`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import web
from lab.lab import Lab
from lab.layer import write
from support.site import Site, lay_env

PASSWORD = "planted-lab-password-93b1"
Document = dict[str, Any]


@dataclass
class Documents:
    """The documents of a lab's operator. Change ``inventory`` and ``runbooks`` as you like, then `write`."""

    inventory: Document
    runbooks: dict[str, Document] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """Written to ``config/secrets/NAME``, readable by their owner only."""
    files: dict[str, str] = field(default_factory=dict)
    """Written to ``config/NAME``."""

    def add(self, runbook: Document) -> None:
        """Another runbook."""
        self.runbooks[str(runbook["runbook"])] = runbook

    def write(self, folder: Path) -> Site:
        """Write all into a folder; gives drorch there, as a user starts it."""
        secrets = folder / "config" / "secrets"
        secrets.mkdir(parents=True, exist_ok=True)
        (folder / "runbooks").mkdir(exist_ok=True)
        for name, value in self.secrets.items():
            (secrets / name).touch(mode=0o600)
            (secrets / name).write_text(f"{value}\n")
        for name, text in self.files.items():
            write(folder / "config" / name, text)
        (folder / "config" / "drorch.yaml").write_text(_text(self.inventory))
        for name, runbook in self.runbooks.items():
            (folder / "runbooks" / f"{name}.yaml").write_text(_text(runbook))
        return lay_env(folder)


def documents(lab: Lab) -> Documents:
    """The shop at web1, with web2 as its standby; a repository beside the documents; a nightly backup."""
    hosts = {
        name: {"address": host.address, "user": "root", "key": str(lab.key), "host_key": host.host_key}
        for name, host in lab.hosts.items()
    }
    shop = {
        "objectives": {"rpo": "24h", "rto": "1h"},
        "primary": "web1",
        "standbys": ["web2"],
        "repository": "vault",
        "sources": {
            "database": {"kind": "postgres", "database": "shop", "user": "postgres"},
            "media": {"kind": "files", "paths": [web.MEDIA]},
        },
    }
    inventory: Document = {
        "site": "lab",
        "hosts": hosts,
        "repositories": {"vault": {"url": "../vault", "password": {"secret": "vault-password"}}},
        "services": {"shop": shop},
        "secrets": {"vault-password": {"file": "secrets/vault-password"}},
    }
    nightly = {
        "runbook": "shop-nightly",
        "kind": "backup",
        "service": "shop",
        "schedule": {"daily": "02:30"},
        "steps": [{"kind": "backup", "source": "database"}, {"kind": "backup", "source": "media"}],
    }
    return Documents(inventory, {"shop-nightly": nightly}, {"vault-password": PASSWORD})


def _text(document: Document) -> str:
    return f"{json.dumps(document, indent=2)}\n"
