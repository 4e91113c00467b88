"""The name servers of the zone ``shop.test``: the first takes updates signed with its key, the second follows it."""

import shutil
from dataclasses import dataclass

from lab import dns, network
from lab.host import Host
from lab.layer import enable, write

ZONE = "shop.test"
TTL = 5
TSIG_NAME = "drorch"
TSIG_ALGORITHM = "hmac-sha256"
TSIG_SECRET = "bGFiLXRzaWctc2VjcmV0LTBjMjVlOTMxN2Q0OGEyNmY="
WWW = f"www.{ZONE}"
"""Is web1 at first: the name by which customers come who do not come through the edge."""
FIRST_UNIT, SECOND_UNIT = "knot.service", "knot-second.service"

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
ns2 A {{second_dns}}
edge A {{edge}}
web1 A {{web1}}
web2 A {{web2}}
www A {{web1}}
floating A {{floating}}
"""
_UNIT = """\
[Unit]
Description=Knot DNS server
After=network.target{after}

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
class Zone:
    """The zone, whose name servers run on one host."""

    host: Host

    @property
    def servers(self) -> tuple[str, str]:
        """The address of the first name server, which takes updates, and of the second."""
        return self.host.address, self.host.network.address(network.SECOND_DNS)

    def lay(self) -> None:
        """The name servers and the zone, on a host that is off."""
        disk = self.host.disk
        names = ("edge", "second_dns", "web1", "web2", "floating")
        addresses = {name: self.host.network.address(getattr(network, name.upper())) for name in names}
        disk.write(f"/var/lib/knot/first/{ZONE}.zone", _ZONE.format(**addresses), owner="knot")
        (disk.root / "var/lib/knot/second").mkdir()
        for name in ("first", "second"):
            shutil.chown(disk.root / "var/lib/knot" / name, "knot", "knot")
        first, second = self.servers
        for unit, settings, after in ((FIRST_UNIT, _FIRST, ""), (SECOND_UNIT, _SECOND, f" {FIRST_UNIT}")):
            name = unit.removesuffix(".service")
            text = settings.format(first=first, second=second)
            disk.write(f"/etc/knot/{name}.conf", text, mode=0o640, owner="knot")
            write(disk.root / f"etc/systemd/system/{unit}", _UNIT.format(name=name, after=after))
            enable(disk.root, unit)

    def address(self, name: str = WWW, *, second: bool = False) -> str:
        """Where the first name server says that a name is; or the second.

        Raises:
            NoAddress: it says nothing.
        """
        return dns.ask(self.servers[second], name).addresses[0]
