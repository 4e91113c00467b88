"""A web host: the shop, its pictures, and its unit."""

import shutil

from lab import paths
from lab.host import Host
from lab.layer import PYTHON, enable, write
from lab.template import PASSWORDS

UNIT = "shop.service"
PORT = 8080
MEDIA = "/srv/shop/media"
_PROGRAM = "/usr/local/lib/shop/shop.py"
_SETTINGS = "/etc/shop"

_UNIT = f"""\
[Unit]
Description=The shop
After={{after}} network.target

[Service]
Type=notify
EnvironmentFile={_SETTINGS}/environment
ExecStart={PYTHON} -I {_PROGRAM} {PORT}
Restart=no

[Install]
WantedBy=multi-user.target
"""


def lay(host: Host, *, after: str, at_boot: bool) -> None:
    """The shop on a host that is off."""
    write(host.disk.root / f"etc/systemd/system/{UNIT}", _UNIT.format(after=after))
    program = host.disk.root / _PROGRAM.lstrip("/")
    program.parent.mkdir(parents=True)
    shutil.copy(paths.HERE / "shop.py", program)
    host.disk.write(f"{_SETTINGS}/passwords", f"*:*:*:shop:{PASSWORDS['shop']}\n", mode=0o600)
    host.disk.write(
        f"{_SETTINGS}/environment",
        f"DATABASE=host=127.0.0.1 dbname=shop user=shop passfile={_SETTINGS}/passwords application_name=shop\n",
    )
    for number in range(1, 21):
        host.disk.write(f"{MEDIA}/{number:02}.jpg", f"picture of article {number}\n" * 200)
    if at_boot:
        enable(host.disk.root, UNIT)


def lay_floating(host: Host, address: str, *, at_boot: bool) -> None:
    """A unit that takes a floating address, as a provider's customers configure it."""
    write(
        host.disk.root / "etc/systemd/system/floating-ip.service",
        "[Unit]\nDescription=The floating address\nBefore=network.target\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/sbin/ip address replace {address}/32 dev eth0\n"
        f"ExecStop=-/sbin/ip address del {address}/32 dev eth0\n\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    if at_boot:
        enable(host.disk.root, "floating-ip.service")
