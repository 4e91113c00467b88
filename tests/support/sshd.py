"""Real OpenSSH servers on loopback ports, each playing a machine: its own host key, its own home folder.

They run as the user who runs the tests, root or not, and let that user in with one key.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from drorch.core.host import SshHostSpec
from support.processes import children, eventually, kill

_CONFIG = """\
{more}
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
GatewayPorts no
X11Forwarding no
PrintMotd no
MaxStartups 100:30:200
LogLevel VERBOSE
SetEnv HOME={folder}/home
"""


def write_key(path: Path, *, passphrase: str | None = None) -> str:
    """Make an ed25519 key pair, the private half in ``path`` (0600); gives the public half as ``type base64``."""
    key = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@dataclass
class Sshd:
    """A running server."""

    folder: Path
    """Holds ``host_key``, ``client_key``, ``authorized_keys``, ``home/``, ``log``."""
    port: int
    host_key: str
    """As ``ssh-ed25519 AAAA…``, the pin."""
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def home(self) -> Path:
        """What ``~`` and ``$HOME`` are for commands there."""
        return self.folder / "home"

    @property
    def key(self) -> Path:
        """The private key that opens it."""
        return self.folder / "client_key"

    @property
    def spec(self) -> SshHostSpec:
        """Reaches it, with its host key pinned."""
        return SshHostSpec(
            connector="ssh",
            address="127.0.0.1",
            port=self.port,
            user=getpass.getuser(),
            key=str(self.key),
            host_key=self.host_key,
            connect_timeout=timedelta(seconds=10),
        )

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self.folder / "log").read_text(errors="replace")

    def settled(self) -> bool:
        """Whether it answers, or has given up."""
        return self.process.poll() is not None or _banner(self.port)

    def connections(self) -> tuple[int, ...]:
        """Process ids that serve a connection each; killing one cuts it without a word."""
        return children(self.process.pid)

    def cut(self) -> None:
        """End every connection as a crash would: the commands on it go on."""
        for pid in self.connections():
            for below in children(pid):
                if b"sshd" in _name(below):  # the unprivileged half, which holds the socket too
                    kill(below)
            kill(pid)

    def stop(self) -> None:
        """End the server and its connections."""
        connections = self.connections()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        for pid in connections:
            kill(pid)


def _name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class SshdFactory(Protocol):
    """Starts machines; all are stopped with the test session."""

    def __call__(self, *, options: str = "") -> Sshd:
        """A new machine; ``options`` are lines of its sshd_config that come before all others, and so win."""
        ...


def find_sshd() -> str | None:
    """The server's absolute path: it insists on being started by one."""
    return shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


def _banner(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.settimeout(5)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def start_sshd(folder: Path, *, options: str = "") -> Sshd:
    """Start a machine in an empty folder; the caller stops it."""
    program = find_sshd()
    if program is None:
        pytest.skip("no sshd here: apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where its unprivileged half is locked in
    (folder / "home").mkdir(mode=0o700)
    host_key = write_key(folder / "host_key")
    (folder / "authorized_keys").write_text(write_key(folder / "client_key") + "\n")
    for _ in range(10):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        text = _CONFIG.format(folder=folder, port=port, more=options)
        config = folder / "sshd_config"
        config.write_text(text + "PerSourcePenalties no\n")  # newer servers would shut out a test that is refused often
        if subprocess.run([program, "-t", "-f", config], capture_output=True, check=False).returncode:
            config.write_text(text)
        process = subprocess.Popen(
            [program, "-D", "-f", config, "-E", folder / "log"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        machine = Sshd(folder, port, host_key, process)
        if eventually(machine.settled) and process.poll() is None:
            return machine
        process.kill()
        process.wait(10)
    pytest.fail(f"sshd does not start: {(folder / 'log').read_text(errors='replace')}")


@pytest.fixture(scope="session")
def sshd_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshdFactory]:
    """Starts as many machines as are asked for."""
    started: list[Sshd] = []

    def start(*, options: str = "") -> Sshd:
        machine = start_sshd(tmp_path_factory.mktemp("sshd"), options=options)
        started.append(machine)
        return machine

    yield start
    for machine in started:
        machine.stop()


@pytest.fixture(scope="session")
def sshd(sshd_factory: SshdFactory) -> Sshd:
    """One machine that all tests of the session share; do not cut or stop it."""
    return sshd_factory()
