"""HAProxy on the edge: through it customers reach the shop."""

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from drorch import switches
from lab.host import Host
from lab.layer import enable, write
from lab.web import PORT

UNIT = "haproxy.service"
SOCKET = "/run/haproxy/admin.sock"
"""HAProxy's runtime API, for whoever is root on the edge."""
BACKEND = "shop"
"""Its servers are called like their hosts."""

_HOLD = "/etc/haproxy/drorch-hold.lua"

_SETTINGS = f"""\
global
    lua-load {_HOLD}
    user haproxy
    group haproxy
    stats socket {SOCKET} mode 660 level admin expose-fd listeners
    log /dev/log local0 notice

defaults
    mode http
    log global
    timeout connect 3s
    timeout check 2s
    timeout client 10s
    timeout server 5s
    timeout queue 2s
    # An order is sent to a server again only when that server certainly has not seen it.
    retries 2
    retry-on conn-failure
    option redispatch

frontend shop
    bind :80
    http-request lua.drorch_hold {BACKEND}
    default_backend {BACKEND}

backend {BACKEND}
    option httpchk GET /health
    default-server check inter 500ms fastinter 100ms downinter 100ms fall 2 rise 1
    server web1 web1:{PORT}
    server web2 web2:{PORT} disabled
"""
_RUNTIME = "[Service]\nRuntimeDirectory=haproxy\n"


@dataclass(frozen=True)
class HAProxy:
    """The load balancer of a host."""

    host: Host

    @property
    def url(self) -> str:
        """Where the shop is for customers."""
        return f"http://{self.host.address}"

    def lay(self) -> None:
        """Its settings, on a host that is off."""
        root = self.host.disk.root
        write(root / "etc/haproxy/haproxy.cfg", _SETTINGS)
        shutil.copy(Path(switches.__file__).with_name("drorch-hold.lua"), root / _HOLD.lstrip("/"))
        write(root / f"etc/systemd/system/{UNIT}.d/runtime.conf", _RUNTIME)
        enable(root, UNIT)

    def ask(self, *commands: str) -> str:
        """What the runtime API answers to commands that are given at once; no network is in between."""
        with socket.socket(socket.AF_UNIX) as talk:
            talk.settimeout(5)
            talk.connect(str(self.host.inside / SOCKET.lstrip("/")))
            talk.sendall(f"{';'.join(commands)}\n".encode())
            talk.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: talk.recv(65536), b"")).decode()

    def states(self) -> dict[str, str]:
        """The state of each server of the shop, such as ``UP``, ``DOWN`` or ``MAINT``."""
        heads, *rows = (line.split(",") for line in self.ask("show stat").splitlines() if line)
        stats = [dict(zip(heads, row, strict=False)) for row in rows]
        return {
            row["svname"]: row["status"]
            for row in stats
            if row["# pxname"] == BACKEND and row["svname"] not in ("FRONTEND", "BACKEND")
        }
