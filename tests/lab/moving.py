"""What the operator of the lab's shop wrote for the worst night: failover, the way home, and their rehearsal."""

from lab import database, web
from lab.documents import Document, Documents, documents
from lab.lab import Lab
from lab.template import PASSWORDS

SOCKET = "/run/haproxy/admin.sock"


def ladder(lab: Lab, host: str) -> list[object]:
    """How a host is fenced: asked, then powered off by its provider, then by a person's word."""
    power = str(lab.power)
    return [
        {"stop": {"units": [web.UNIT, database.UNIT], "timeout": "10s"}},
        {
            "power_off": {
                "command": [power, "off", host],
                "status": [power, "status", host],
                "on": [power, "on", host],
                "off": "^off$",
                "timeout": "15s",
                "poll": "100ms",
            }
        },
        "attest",
    ]


def led(lab: Lab, old: str, new: str) -> list[Document]:
    """The steps that lead the shop from one host to the other."""
    edge: Document = {"haproxy": {"host": "edge", "socket": SOCKET, "backend": "shop", "hold": True}}
    return [
        {"kind": "caught_up", "source": "database", "host": new, "when": "planned"},
        {"kind": "hold", "via": edge},
        {"kind": "fence", "host": old, "ladder": ladder(lab, old)},
        {"kind": "promote", "source": "database"},
        {"kind": "service", "host": new, "start": web.UNIT},
        {"kind": "http", "url": f"http://127.0.0.1:{web.PORT}/health", "host": new},
        {"kind": "switch", "via": edge},
        {"kind": "http", "url": f"{lab.front.url}/health"},
    ]


def moving_documents(lab: Lab) -> Documents:
    """The shop with a replica, a probe, a third vantage, and runbooks to fail over and back."""
    said = documents(lab)
    shop = said.inventory["services"]["shop"]
    shop["vantages"] = ["edge"]
    shop["probe"] = {"url": f"{lab.front.url}/health", "every": "100ms"}
    shop["sources"]["database"]["replica"] = {
        "unit": database.UNIT,
        "user": "replicator",
        "password": {"secret": "replicator"},
    }
    said.inventory["secrets"]["replicator"] = {"file": "secrets/replicator"}
    said.secrets["replicator"] = PASSWORDS["replicator"]
    failover: Document = {"kind": "failover", "service": "shop", "to": "web2", "steps": led(lab, "web1", "web2")}
    home = [
        {"kind": "rejoin", "source": "database", "host": "web1"},
        *led(lab, "web2", "web1"),
        {"kind": "rejoin", "source": "database", "host": "web2", "id": "rejoin-after"},
    ]
    failback: Document = {"kind": "failback", "service": "shop", "to": "web1", "steps": home}
    drill: Document = {"kind": "drill", "service": "shop", "standby": "web2", "rehearses": "shop-failover"}
    for name, book in (("failover", failover), ("failback", failback), ("rehearsal", drill)):
        said.add({"runbook": f"shop-{name}", **book})
    return said
