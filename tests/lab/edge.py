"""The edge: HAProxy before the shop, and the name servers of its zone."""

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from lab import network
from lab.host import Host
from lab.layer import enable, write
from lab.web import PORT

HAPROXY = "haproxy.service"
KNOT = "knot.service"
SECOND_KNOT = "knot-second.service"
SOCKET = "/run/haproxy/admin.sock"
"""HAProxy's runtime API, for whoever is root on the edge."""
ZONE = "shop.test"
TTL = 5
TSIG_NAME = "drorch"
TSIG_ALGORITHM = "hmac-sha256"
TSIG_SECRET = "bGFiLXRzaWctc2VjcmV0LTBjMjVlOTMxN2Q0OGEyNmY="

_HAPROXY = f"""\
global
    user haproxy
    group haproxy
    stats socket {SOCKET} mode 660 level admin expose-fd listeners
    log /dev/log local0 notice

defaults
    mode http
    log global
    timeout connect 500ms
    timeout client 10s
    timeout server 5s
    timeout queue 2s
    # An order is sent to a server again only when that server certainly has not seen it.
    retries 2
    retry-on conn-failure
    option redispatch

frontend shop
    bind :80
    default_backend shop

backend shop
    option httpchk GET /health
    default-server check inter 500ms fall 2 rise 1
    server web1 web1:{PORT}
    server web2 web2:{PORT} disabled
"""
_RUNTIME = "[Service]\nRuntimeDirectory=haproxy\n"
_FIRST = f"""\
server:
    rundir: /run/knot
    listen: {{first}}@53
log:
  - target: syslog
    any: notice
database:
    storage: /var/lib/knot/first
key:
  - id: {TSIG_NAME}
    algorithm: {TSIG_ALGORITHM}
    secret: {TSIG_SECRET}
remote:
  - id: second
    address: {{second}}@53
acl:
  - id: update
    key: {TSIG_NAME}
    action: [update, transfer]
  - id: transfer
    address: {{second}}
    action: transfer
zone:
  - domain: {ZONE}
    storage: /var/lib/knot/first
    file: {ZONE}.zone
    acl: [update, transfer]
    notify: second
"""
_SECOND = f"""\
server:
    rundir: /run/knot-second
    listen: {{second}}@53
log:
  - target: syslog
    any: notice
database:
    storage: /var/lib/knot/second
remote:
  - id: first
    address: {{first}}@53
    via: {{second}}
acl:
  - id: notify
    address: [{{first}}, {{second}}]
    action: notify
zone:
  - domain: {ZONE}
    storage: /var/lib/knot/second
    file: {ZONE}.zone
    master: first
    acl: notify
"""
_ZONE = f"""\
$ORIGIN {ZONE}.
$TTL {TTL}
@ SOA ns1 hostmaster 1 60 10 3600 {TTL}
@ NS ns1
@ NS ns2
ns1 A {{edge}}
ns2 A {{second}}
edge A {{edge}}
web1 A {{web1}}
web2 A {{web2}}
www A {{web1}}
floating A {{floating}}
"""
_KNOT = """\
[Unit]
Description=Knot DNS server
After=network.target

[Service]
Type=notify
User=knot
AmbientCapabilities=CAP_NET_BIND_SERVICE
RuntimeDirectory={name}
ExecStart=/usr/sbin/knotd -m 64 -c /etc/knot/{name}.conf
ExecReload=/bin/kill -HUP $MAINPID

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Edge:
    """The host that customers meet first."""

    host: Host

    @property
    def url(self) -> str:
        """Where the shop is for customers."""
        return f"http://{self.host.address}"

    @property
    def name_servers(self) -> tuple[str, str]:
        """The addresses of the zone's first name server, which takes updates, and of its second."""
        return self.host.address, self.host.network.address(network.SECOND_DNS)

    def lay(self) -> None:
        """HAProxy, the name servers and their zone, on a host that is off."""
        root = self.host.root
        write(root / "etc/haproxy/haproxy.cfg", _HAPROXY)
        write(root / "etc/systemd/system/haproxy.service.d/runtime.conf", _RUNTIME)
        enable(root, HAPROXY)
        first, second = self.name_servers
        numbers = {name: getattr(network, name.upper()) for name in ("edge", "web1", "web2", "floating")}
        addresses = {name: self.host.network.address(number) for name, number in numbers.items()}
        zone = _ZONE.format(second=second, **addresses)
        self.host.write(f"/var/lib/knot/first/{ZONE}.zone", zone, owner="knot")
        self.host.write("/var/lib/knot/second/.keep", "", owner="knot")
        for name, text in (("knot", _FIRST), ("knot-second", _SECOND)):
            self.host.write(f"/etc/knot/{name}.conf", text.format(first=first, second=second), mode=0o640, owner="knot")
            write(root / f"etc/systemd/system/{name}.service", _KNOT.format(name=name))
            enable(root, f"{name}.service")
        for name in ("first", "second"):
            own(root / "var/lib/knot" / name, "knot")

    def ask(self, *commands: str) -> str:
        """What HAProxy's runtime API answers to commands, given as one line."""
        with socket.socket(socket.AF_UNIX) as talk:
            talk.settimeout(5)
            talk.connect(str(self.host.inside / SOCKET.lstrip("/")))
            talk.sendall(f"{';'.join(commands)}\n".encode())
            talk.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: talk.recv(65536), b"")).decode()

    def states(self) -> dict[str, str]:
        """The state of each server of the shop, such as ``UP`` or ``MAINT``."""
        lines = self.ask("show stat").splitlines()
        heads = lines[0].removeprefix("# ").split(",")
        rows = [dict(zip(heads, line.split(","), strict=False)) for line in lines[1:] if line]
        return {
            row["svname"]: row["status"] for row in rows if row["pxname"] == "shop" and row["svname"].startswith("web")
        }


def own(folder: Path, owner: str) -> None:
    """Give a folder to an account."""
    shutil.chown(folder, owner, owner)
