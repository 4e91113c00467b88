"""The layer between this machine's files and a lab host's disk: what a host is without a purpose of its own.

It hides this machine's own services, settings and secrets, and holds systemd units few enough to boot in a moment.
"""

import os
import shutil
import sys
from pathlib import Path

from lab import paths

_UNITS = Path("/usr/lib/systemd/system")
_TARGETS = (
    *("basic", "sysinit", "multi-user", "sockets", "timers", "paths", "slices", "local-fs"),
    *("network", "network-online", "shutdown", "umount", "final", "poweroff", "reboot"),
)
_KEPT_UNITS = (
    *(f"{name}.target" for name in _TARGETS),
    *("systemd-poweroff.service", "systemd-reboot.service"),
    *("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
    *("ssh.service", "haproxy.service", "knot.service"),
)
_AT_BOOT = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")
_SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 100:30:200
MaxSessions 100
Subsystem sftp internal-sftp
"""
_UP = """\
[Unit]
Description=All services of this host have been started
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/touch /run/lab-up
"""
PYTHON = Path(sys.executable)
"""Runs the lab's own programs inside the hosts: with the packages of this project."""
NEEDED = (paths.PROJECT, Path(sys.prefix), Path(sys.base_prefix))
"""Folders of this machine that its hosts must see."""


def make(layer: Path, authorized_key: str) -> None:
    """The layer, in a folder that is not there yet; whoever has the key is root on all hosts."""
    layer.mkdir()
    for hidden in ("usr/lib/systemd/system", "usr/lib/systemd/system-generators", "etc/systemd", "etc/ssh"):
        _hide(layer / hidden)
    for hidden in ("tmp", "var/tmp", "var/log", "srv"):
        if not any(path.is_relative_to(f"/{hidden}") for path in NEEDED):
            _hide(layer / hidden, mode=0o1777 if hidden.endswith("tmp") else 0o755)
    for entry in Path("/root").iterdir():
        if not any(path.is_relative_to(entry) for path in NEEDED):
            _remove(layer / "root" / entry.name)
    (layer / "root").chmod(0o700)
    units = layer / "usr/lib/systemd/system"
    for name in _KEPT_UNITS:
        if (_UNITS / name).exists():
            shutil.copy(_UNITS / name, units / name)
    (units / "default.target").symlink_to("multi-user.target")
    for name in _AT_BOOT:
        enable(layer, name, "sysinit.target")
    enable(layer, "ssh.service")
    write(layer / "etc/systemd/system/lab-up.service", _UP)
    enable(layer, "lab-up.service")
    write(layer / "etc/systemd/system.conf", "[Manager]\nDefaultTimeoutStopSec=5s\n")
    write(layer / "etc/systemd/journald.conf", "[Journal]\nStorage=volatile\n")
    write(layer / "etc/ssh/sshd_config", _SSHD)
    _hide(layer / "root/.ssh", mode=0o700)
    write(layer / "root/.ssh/authorized_keys", f"{authorized_key}\n")
    restic = shutil.which("restic", path=f"{paths.PROJECT}/.tools/bin:{os.environ.get('PATH', '')}")
    if restic:
        (layer / "usr/local/bin").mkdir(parents=True)
        (layer / "usr/local/bin/restic").symlink_to(restic)
    write(layer / "etc/fstab", "")
    write(layer / "etc/resolv.conf", "")  # a resolver that is not there would cost every look-up ten seconds
    write(layer / "etc/shadow", _shadow(), mode=0o600)


def enable(layer: Path, unit: str, target: str = "multi-user.target") -> None:
    """What ``systemctl enable`` would do."""
    wants = layer / "etc/systemd/system" / f"{target}.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / unit).symlink_to(f"/etc/systemd/system/{unit}" if _own(layer, unit) else _UNITS / unit)


def write(file: Path, text: str, *, mode: int = 0o644) -> None:
    """A file, with its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def _own(layer: Path, unit: str) -> bool:
    return (layer / "etc/systemd/system" / unit).exists()


def _hide(folder: Path, *, mode: int = 0o755) -> None:
    """An empty folder that shows nothing of this machine's."""
    folder.mkdir(parents=True)
    folder.chmod(mode)
    os.setxattr(folder, "trusted.overlay.opaque", b"y")


def _remove(file: Path) -> None:
    """Hide one file or folder of this machine: overlayfs's sign for *removed*."""
    file.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(file, 0o20000, os.makedev(0, 0))


def _shadow() -> str:
    """The accounts without passwords; sshd lets nobody in whose password is locked."""
    lines = Path("/etc/shadow").read_text().splitlines()
    return "".join(f"{line.split(':')[0]}:*:{':'.join(line.split(':')[2:])}\n" for line in lines)
