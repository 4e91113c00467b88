"""A store over SFTP survives broken lines, ends when a server hangs, and says what is wrong in words."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from drorch.core.clock import FakeClock, Halt
from drorch.core.errors import HostError, Interrupted, StoreError, Unreachable
from drorch.core.host import Command, SshHostSpec
from drorch.hosts.ssh import SshHost
from drorch.hosts.ssh.connection import Connection
from drorch.hosts.ssh.files import SshFiles
from drorch.stores.sftp import SftpStore
from support.dumping import Known
from support.processes import children
from support.sshd import Sshd, SshdFactory
from support.stores import NO_SHELL, OLD, SUBSYSTEM, SshdOf, means, sftp_stage, sha


def opened(machine: Sshd, root: Path, *, patience: float = 10, halt: Halt | None = None, lanes: int = 4) -> SshFiles:
    """The files below a folder behind a server."""

    def connect() -> Connection:
        return Connection.open("far", machine.spec, Known())

    return SshFiles("far", str(root), connect, halt=halt or Halt(), lanes=lanes, patience=patience)


@contextmanager
def frozen(machine: Sshd) -> Iterator[None]:
    """Every process that serves a connection stands still."""
    pids = [pid for above in machine.connections() for pid in (above, *children(above))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_local_host_is_refused() -> None:
    """A host that is no SSH host has no SFTP, and the error names the kind to use."""
    with pytest.raises(StoreError, match="not reached by SSH") as caught:
        SftpStore(kind="sftp", host="here", path="/srv").open("far", means())
    assert "kind: directory" in caught.value.hint


def test_no_shell(sshd_of: SshdOf) -> None:
    """The suite's account without a shell really executes nothing."""
    host = SshHost("far", sshd_of(SUBSYSTEM + NO_SHELL).spec, secrets=Known(), halt=Halt())
    with pytest.raises(HostError):
        host.run(Command(("true",), timeout=5))
    host.close()


def test_old_server(sshd_of: SshdOf, tmp_path: Path) -> None:
    """The suite's old server really knows none of the extensions, and nobody tells its free space."""
    files = opened(sshd_of(SUBSYSTEM + OLD), tmp_path)
    assert files.free() is None
    files.close()
    files = opened(sshd_of(SUBSYSTEM), tmp_path)
    assert (files.free() or 0) > 0
    files.close()


def test_no_sftp(sshd: Sshd, tmp_path: Path) -> None:
    """A server without SFTP is told from a broken line, with what to set."""
    with pytest.raises(HostError, match="offers no SFTP") as caught:
        opened(sshd, tmp_path).scan("")
    assert "Subsystem sftp" in caught.value.hint


def test_talkative_login(sshd_of: SshdOf, tmp_path: Path) -> None:
    """What a login prints before SFTP begins is no answer, and the error says what it looks like."""
    with pytest.raises(HostError, match="prints something"):
        opened(sshd_of(SUBSYSTEM + "ForceCommand echo welcome to the machine\n"), tmp_path).scan("")


def test_one_session(sshd_of: SshdOf, tmp_path: Path) -> None:
    """A server that grants one session at a time is used by eight threads, one after the other."""
    files = opened(sshd_of(SUBSYSTEM + "MaxSessions 1\n"), tmp_path, lanes=8)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: files.create(f"{number}", b"x" * 100_000), range(16)))
    assert len(files.scan("")) == 16
    files.close()


def test_cut(sshd_factory: SshdFactory, tmp_path: Path) -> None:
    """Connections that break under eight threads at work cost a retry, and no object."""
    machine = sshd_factory(options=SUBSYSTEM + NO_SHELL)
    (tmp_path / "store").mkdir()
    contents = {f"nas/data/{number:02}": os.urandom(300_000) for number in range(16)}
    with ExitStack() as stack:
        stage = sftp_stage(machine.spec, tmp_path / "store", stack, clock=FakeClock())
        store = stage.open()
        with ThreadPoolExecutor(8) as threads:
            puts = [threads.submit(store.put, key, content, sha256=sha(content)) for key, content in contents.items()]
            for _ in range(3):
                while not machine.connections() and not all(put.done() for put in puts):
                    time.sleep(0.005)
                machine.cut()
            for put in puts:
                put.result()
        assert {entry.key: store.read(entry.key, limit=1 << 20) for entry in store.entries("")} == contents
    machine.stop()


def test_hung_server(sshd_factory: SshdFactory, tmp_path: Path) -> None:
    """A server that stops answering ends in an error that a retry may help, and works again when it wakes up."""
    machine = sshd_factory(options=SUBSYSTEM)
    files = opened(machine, tmp_path, patience=1)
    files.create("a", b"x")
    with frozen(machine):
        began = time.monotonic()
        with pytest.raises(Unreachable, match="said nothing"):
            files.create("b", bytes(20 << 20))
        assert time.monotonic() - began < 10
    assert files.read("a", 9) == b"x"
    files.close()
    machine.stop()


def test_stop(sshd_factory: SshdFactory, tmp_path: Path) -> None:
    """A stop ends a wait for a server within a second."""
    machine, halt = sshd_factory(options=SUBSYSTEM), Halt()
    files = opened(machine, tmp_path, patience=60, halt=halt)
    files.create("a", b"x")
    with frozen(machine):
        timer = threading.Timer(0.3, halt.request)
        timer.start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            files.read("a", 9)
        assert time.monotonic() - began < 5
        timer.join()
    files.close()
    machine.stop()


def test_nobody_there(tmp_path: Path, sshd: Sshd) -> None:
    """A machine that is away is unreachable, for stores as for commands."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        spec: SshHostSpec = sshd.spec.model_copy(update={"port": free.getsockname()[1]})
        store = SftpStore(kind="sftp", host="far", path=str(tmp_path)).open(
            "far", means(hosts={"far": spec}, clock=FakeClock())
        )
        with pytest.raises(StoreError) as caught:
            store.ready()
    assert caught.value.retryable
    assert "far (folder" in caught.value.message


def test_wrong_key(tmp_path: Path, sshd_of: SshdOf, sshd: Sshd) -> None:
    """A machine with another key than the pinned one is not spoken to."""
    spec = sshd_of(SUBSYSTEM).spec.model_copy(update={"host_key": sshd.host_key})
    store = SftpStore(kind="sftp", host="far", path=str(tmp_path)).open("far", means(hosts={"far": spec}))
    with pytest.raises(StoreError, match="and the inventory pins"):
        store.ready()


@pytest.mark.root
def test_full_disk(sshd_of: SshdOf, tmp_path: Path) -> None:
    """A full disk behind a server, for which the protocol has no word, is told as one, and nothing half is left."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs root and the right to mount: {mounted.stderr.strip()}")
    try:
        with ExitStack() as stack:
            store = sftp_stage(sshd_of(SUBSYSTEM + NO_SHELL).spec, tmp_path, stack).open()
            content = os.urandom(2_000_000)
            with pytest.raises(StoreError, match=r"no space is left: \d\.\d MB are free"):
                store.put("nas/a", content, sha256=sha(content))
            assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".drorch-store"]
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_relative_root(sshd_of: SshdOf) -> None:
    """A relative path and one with ~ count from where the login begins."""
    machine = sshd_of(SUBSYSTEM)
    roots = (opened(machine, Path("~")), opened(machine, Path()), opened(machine, Path("~/.")))
    listed = [{found.name for found in files.scan("")} for files in roots]
    assert listed[0] == listed[1] == listed[2]
    for files in roots:
        files.close()


def test_odd_names(sshd_of: SshdOf, tmp_path: Path) -> None:
    """Names that are no UTF-8, links, and what is neither file nor folder, are taken for what they are."""
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"12")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "nowhere").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    files = opened(sshd_of(SUBSYSTEM), tmp_path)
    found = {each.name: (each.size if not each.folder else None) for each in files.scan("")}
    assert found == {os.fsdecode(b"\xff"): 2, "folder": None, "link": None}
    assert files.read(os.fsdecode(b"\xff"), 9) == b"12"
    files.close()
