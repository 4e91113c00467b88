"""Ceph's own daemons on loopback: a monitor, an object store in memory, and the gateway that speaks S3.

No manager runs: it would only gather statistics, for 300 MB and a second of processor time.

Run as a program it is a keeper: it starts a cluster for several processes and ends it, and itself, as soon as none
of them holds its lock on the file ``users`` any more, however they ended. As ``… serve ADDRESS FOLDER`` it runs one at
that address until it is ended; ``cluster.json`` in the folder says when it is there.
"""

import base64
import contextlib
import fcntl
import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool", "setpriv")
OWNER = "owner"
"""The key id of the first user, who owns the buckets."""

_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_START_LIMIT = 30.0
LOOPBACK = "127.0.0.1"
_CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:{host}:{mon}
public addr = {host}
cluster addr = {host}
ms bind msgr1 = false
ms bind retry count = 1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {folder}/$name.keyring
run dir = {folder}
log file = {folder}/log/$name.log
admin socket =
pid file =
chdir =
paxos propose interval = 0.05
paxos min wait = 0.02
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
rgw rados pool pg num min = 1
[mon.a]
keyring = {folder}/mon/keyring
mon data = {folder}/mon
mon cluster log file = {folder}/log/cluster.log
mon data avail crit = 0
mon data avail warn = 0
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {memory}
osd class load list = *
osd class default list = *
[client.rgw]
rgw frontends = beast endpoint={host}:{port} ssl_endpoint={host}:{tls_port} \
ssl_certificate={folder}/tls.crt ssl_private_key={folder}/tls.key
rgw enable usage log = false
rgw thread pool size = 128
rgw max concurrent requests = 1024
"""
_CAPABILITIES: Mapping[str, Mapping[str, str]] = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *", "mgr": "allow profile osd"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx", "mgr": "allow rw"},
}


class CephFailed(Exception):
    """The cluster could not be started; the text holds what its daemons said."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One running cluster."""

    folder: str
    host: str
    """The address at which it listens."""
    port: int
    """Of plain HTTP."""
    tls_port: int
    secret: str
    """The owner's."""

    @property
    def certificate(self) -> Path:
        """The gateway's certificate, which is its own authority."""
        return Path(self.folder) / "tls.crt"

    def add_user(self, key: str, secret: str) -> None:
        """Make a user whose key id is his name too."""
        _run(
            Path(self.folder),
            *("radosgw-admin", "-n", "client.admin", "user", "create", f"--uid={key}", f"--display-name={key}"),
            *(f"--access-key={key}", f"--secret-key={secret}"),
        )


def missing() -> str:
    """The programs that are not on this machine, as a reason to skip; empty when all are."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"no Ceph here ({', '.join(absent)}): apt-get install ceph-mon ceph-osd radosgw" if absent else ""


@contextlib.contextmanager
def running(folder: Path, *, memory: int = 8 << 30, host: str = LOOPBACK) -> Iterator[Cluster]:
    """A cluster in a folder that is empty or not there yet; its objects live in memory, at most ``memory`` bytes.

    Its daemons end with the context, or with this thread.

    Raises:
        CephFailed: it does not come up.
    """
    for attempt in range(3):  # another process may take a port between the asking and the binding
        place = folder / f"ceph{attempt}"
        started: list[subprocess.Popen[bytes]] = []
        try:
            cluster = _start(place, memory, host, started)
        except CephFailed as error:
            _end(started)
            if attempt == 2:
                raise CephFailed(f"{error}\n{_said(place)}") from error
            continue
        except BaseException:
            _end(started)
            raise
        try:
            yield cluster
        finally:
            _end(started)
        return


@contextlib.contextmanager
def shared(base: Path) -> Iterator[Cluster]:
    """The cluster that all processes with the same ``base`` folder share: started by the first, ended by the last.

    Raises:
        CephFailed: it does not come up.
    """
    base.mkdir(parents=True, exist_ok=True)
    keeper: subprocess.Popen[bytes] | None = None
    with (base / "users").open("wb") as users:
        with (base / "starting").open("wb") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            cluster = _joined(base, users.fileno())
            if cluster is None:
                fcntl.flock(users, fcntl.LOCK_SH)  # waits for a keeper that is ending
                (base / "cluster.json").unlink(missing_ok=True)
                keeper = _keep(base)
                cluster = _joined(base, users.fileno())
        if cluster is None:
            raise CephFailed("the cluster ended as soon as it was there")
        yield cluster
    if keeper is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it stays for the others
            keeper.wait(1)


def _joined(base: Path, users: int) -> Cluster | None:
    """The running cluster, with a share of its users' lock; None when there is none."""
    try:
        fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
        cluster = Cluster(**json.loads((base / "cluster.json").read_bytes()))
    except (BlockingIOError, FileNotFoundError):
        return None
    return cluster if _answers(cluster) else None


def _keep(base: Path) -> subprocess.Popen[bytes]:
    log = base / "keeper.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, __file__, base],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C at the terminal is for the tests, which then let go
        )
    end = time.monotonic() + 4 * _START_LIMIT
    while not (base / "cluster.json").exists():
        if keeper.poll() is not None or time.monotonic() > end:
            keeper.kill()
            raise CephFailed(log.read_text(errors="replace")[-4000:])
        time.sleep(0.02)
    return keeper


def _keeper(base: Path) -> None:
    """Run a cluster for as long as anybody shares the lock on ``base``/users."""
    folder = Path(tempfile.mkdtemp(prefix="drorch-ceph-"))
    state = base / "cluster.json"
    try:
        with running(folder) as cluster, (base / "users").open("wb") as users:
            _tell(state, cluster)
            fcntl.flock(users, fcntl.LOCK_EX)
            state.unlink()
            # Whoever comes now waits for the lock, and so for the end of these daemons.
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(host: str, folder: Path) -> None:
    """Run a cluster until this process is ended."""
    with running(folder, host=host) as cluster:
        _tell(folder / "cluster.json", cluster)
        signal.pause()


def _tell(state: Path, cluster: Cluster) -> None:
    state.with_suffix(".new").write_text(json.dumps(asdict(cluster)))
    state.with_suffix(".new").replace(state)


def _start(folder: Path, memory: int, host: str, started: list[subprocess.Popen[bytes]]) -> Cluster:
    for name in ("mon", "osd", "log"):
        (folder / name).mkdir(parents=True)
    mon, port, tls_port = _free_ports(host, 3)
    fsid = str(uuid.uuid4())
    _certify(folder, host)
    config = _CONFIG.format(folder=folder, fsid=fsid, host=host, mon=mon, port=port, tls_port=tls_port, memory=memory)
    (folder / "ceph.conf").write_text(config)
    everyone = ""
    for name, capabilities in _CAPABILITIES.items():
        lines = [f"[{name}]", f"key = {_key()}", *(f'caps {on} = "{what}"' for on, what in capabilities.items())]
        text = "\n".join(lines) + "\n"
        everyone += text
        (folder / f"{name}.keyring").write_text(text)
    (folder / "everyone.keyring").write_text(everyone)
    monmap = folder / "monmap"
    _run(folder, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:{host}:{mon}]", str(monmap))
    keys = str(folder / "everyone.keyring")
    _run(folder, "ceph-mon", "--id", "a", "--mkfs", "--keyring", keys, "--monmap", str(monmap))
    started.append(_daemon(folder, "ceph-mon", "--id", "a"))
    making = _daemon(folder, "ceph-osd", "--id", "0", "--mkfs", "--osd-uuid", str(uuid.uuid4()))
    started.append(making)
    _run(folder, "ceph", "--connect-timeout", "10", "osd", "create")
    if making.wait(_START_LIMIT) != 0:
        raise CephFailed("ceph-osd --mkfs failed")
    started.remove(making)
    started.append(_daemon(folder, "ceph-osd", "--id", "0"))
    started.append(_daemon(folder, "radosgw", "-n", "client.rgw"))
    cluster = Cluster(str(folder), host, port, tls_port, secrets.token_urlsafe(24))
    end = time.monotonic() + _START_LIMIT
    while not _answers(cluster):
        dead = [process.args for process in started if process.poll() is not None]
        if dead or time.monotonic() > end:
            raise CephFailed(f"ended by themselves: {dead}" if dead else "the gateway does not answer")
        time.sleep(0.02)
    cluster.add_user(OWNER, cluster.secret)
    return cluster


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(started):
        process.kill()
    for process in started:
        process.wait(30)


def _key() -> str:
    """A cephx key: type, time, length, 16 bytes."""
    return base64.b64encode(struct.pack("<hIIh", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)).decode()


def _certify(folder: Path, host: str) -> None:
    """A certificate of its own for the gateway, good for a month."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _env(folder: Path) -> dict[str, str]:
    return {"PATH": _PATH, "CEPH_CONF": str(folder / "ceph.conf"), "HOME": str(folder)}


def _run(folder: Path, *words: str) -> None:
    try:
        done = subprocess.run(
            words, env=_env(folder), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_START_LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise CephFailed(f"{words[0]} hangs") from error
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise CephFailed(f"{' '.join(words[:4])}: exit {done.returncode}: {said[-2000:]}")


def _daemon(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """In the foreground, and dead with the thread that started it."""
    foreground = () if "--mkfs" in words else ("-f",)
    with (folder / "log" / "daemons.out").open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *words, *foreground],
            env=_env(folder),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _said(folder: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (folder / "log" / "daemons.out").read_text(errors="replace")[-4000:]
    return ""


def _free_ports(host: str, count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((host, 0))
        return [probe.getsockname()[1] for probe in probes]


def _answers(cluster: Cluster) -> bool:
    """Whether the gateway greets a stranger, on both ports."""
    trust = ssl.create_default_context(cafile=cluster.certificate)
    try:
        for url in (f"http://{cluster.host}:{cluster.port}/", f"https://{cluster.host}:{cluster.tls_port}/"):
            context = trust if url.startswith("https") else None
            urllib.request.urlopen(url, timeout=5, context=context).close()  # noqa: S310 - one of the two above
    except (urllib.error.URLError, OSError):
        return False
    return True


if __name__ == "__main__":
    os.chdir("/")
    if sys.argv[1] == "serve":
        _serve(sys.argv[2], Path(sys.argv[3]))
    else:
        _keeper(Path(sys.argv[1]))
