"""What a machine must have to carry a lab."""

import os
import shutil
from pathlib import Path

from lab import paths, template

_PROGRAMS = {
    "haproxy": "haproxy",
    "knotd": "knot",
    "sshd": "openssh-server",
    "nft": "nftables",
    "ip": "iproute2",
    "tc": "iproute2",
    "arping": "arping",
    "/lib/systemd/systemd": "systemd",
    str(template.BINARIES / "postgres"): "postgresql",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
"""Programs, and the Debian packages that bring them."""


def missing() -> str:
    """Why there can be no lab here, as a reason to skip; empty when there can."""
    if os.geteuid() != 0:
        return "the lab needs root: its hosts have disks, networks and process trees of their own"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        packages = " ".join(sorted({_PROGRAMS[name] for name in absent}))
        return f"the lab needs {', '.join(Path(name).name for name in absent)}: apt-get install {packages}"
    if paths.groups() is None:
        return "the lab needs control groups of version 2: none are mounted here"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "the lab needs overlayfs: this kernel has none (modprobe overlay)"
    return ""
