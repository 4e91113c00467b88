"""What is true of SSH hosts alone, with real servers: trust, loss, limits."""

import base64
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import paramiko
import pytest

from drorch.core.clock import Halt
from drorch.core.errors import HostError, SecretError, Unreachable, UntrustedHost
from drorch.core.host import Command, Ended, Host
from drorch.core.model import SecretRef
from drorch.hosts import open_host
from drorch.hosts.ssh import SshHost, connection, fetch_host_key, fingerprint, script
from drorch.hosts.words import encoded
from support.processes import alive, children, eventually, kill, running_with
from support.sshd import Sshd, SshdFactory, write_key

from .conftest import GRACE, Known

Opener = Callable[..., SshHost]
END_OF_INPUT = 96
"""SSH_MSG_CHANNEL_EOF, RFC 4254."""


@pytest.fixture(scope="module")
def fragile(sshd_factory: SshdFactory) -> Sshd:
    """A machine whose connections may be cut."""
    return sshd_factory()


def serving(machine: Sshd, ssh: SshHost) -> int:
    """The process that serves a host's one connection."""
    before = set(machine.connections())
    ssh.close()
    ssh.run(Command(("true",)))
    (pid,) = set(machine.connections()) - before
    return pid


@pytest.mark.parametrize("pin", ["none", "other"])
def test_unpinned_and_wrong_keys_are_refused(sshd: Sshd, tmp_path: Path, ssh: Opener, pin: str) -> None:
    """A machine with an unknown or another host key is refused with fingerprints and remedy, before any login."""
    other = None if pin == "none" else write_key(tmp_path / "other")
    log = len(sshd.log)
    with pytest.raises(UntrustedHost) as caught:
        ssh(sshd.spec.model_copy(update={"host_key": other})).run(Command(("true",)))
    assert fingerprint(sshd.host_key) in str(caught.value)
    assert "drorch host trust there" in str(caught.value)
    assert other is None or fingerprint(other) in str(caught.value)
    assert "Accepted" not in sshd.log[log:]


def test_fetched_key_is_the_pin(sshd: Sshd, tmp_path: Path) -> None:
    """The fetched key is what the server holds, and its fingerprint what ssh-keygen shows."""
    line, print_ = fetch_host_key(sshd.spec.model_copy(update={"host_key": None, "key": None}))
    assert line == sshd.host_key
    blob = base64.b64decode(line.split()[1])
    assert print_.startswith("SHA256:")
    assert len(base64.b64decode(print_[7:] + "=")) == 32
    if shutil.which("ssh-keygen"):
        (tmp_path / "key.pub").write_text(line + "\n")
        said = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
        assert print_ in said.stdout
    assert blob[4:15] == b"ssh-ed25519"


def test_ed25519_is_preferred_and_the_pinned_kind_asked_for(sshd_factory: SshdFactory, ssh: Opener) -> None:
    """Of a machine with several keys the ed25519 one is fetched, and a pin of another kind is still met."""
    keygen = shutil.which("ssh-keygen")
    if keygen is None:
        pytest.skip("no ssh-keygen here: apt-get install openssh-client")
    folder = sshd_factory().folder
    rsa = folder / "rsa_key"
    subprocess.run([keygen, "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa], check=True)
    machine = sshd_factory(options=f"HostKey {rsa}")
    assert fetch_host_key(machine.spec)[0] == machine.host_key
    pinned = machine.spec.model_copy(update={"host_key": Path(f"{rsa}.pub").read_text()})
    assert ssh(pinned).run(Command(("true",))).ok


@pytest.mark.parametrize(
    ("passphrase", "said", "error"),
    [
        (None, None, None),
        ("open sesame", "open sesame", None),
        ("open sesame", "wrong", HostError),
        ("open sesame", None, HostError),
        ("open sesame", "missing", SecretError),
    ],
)
def test_keys_with_passphrases(  # noqa: PLR0917 fixtures and cases
    sshd: Sshd, tmp_path: Path, ssh: Opener, passphrase: str | None, said: str | None, error: type[Exception] | None
) -> None:
    """An encrypted key is opened with its secret; a wrong or missing one is an error that shows neither."""
    key = tmp_path / "key"
    line = write_key(key, passphrase=passphrase)
    with (sshd.folder / "authorized_keys").open("a") as file:
        file.write(line + "\n")
    ref = SecretRef(secret="phrase") if said else None
    spec = sshd.spec.model_copy(update={"key": str(key), "key_passphrase": ref})
    host = ssh(spec, **({"phrase": said} if said not in (None, "missing") else {}))
    if error is None:
        assert host.run(Command(("true",))).ok
        return
    with pytest.raises(error) as caught:
        host.run(Command(("true",)))
    assert not passphrase or passphrase not in str(caught.value)
    assert not said or said == "missing" or said not in str(caught.value).replace("wrong one", "")


def test_unknown_key_cannot_log_in(sshd: Sshd, tmp_path: Path, ssh: Opener) -> None:
    """A key that the server does not know is an error for a person, not one to retry."""
    write_key(tmp_path / "stranger")
    with pytest.raises(HostError, match="cannot log in") as caught:
        ssh(sshd.spec.model_copy(update={"key": str(tmp_path / "stranger")})).run(Command(("true",)))
    assert not caught.value.retryable


def test_agent(sshd: Sshd, ssh: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key file the agent's keys are used; without an agent the remedy is told."""
    agent = shutil.which("ssh-agent")
    if agent is None:
        pytest.skip("no ssh-agent here: apt-get install openssh-client")
    spec = sshd.spec.model_copy(update={"key": None})
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    with pytest.raises(HostError, match="no key to log in with"):
        ssh(spec).run(Command(("true",)))
    process = subprocess.Popen([agent, "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    try:
        assert eventually((tmp_path / "agent").exists)
        subprocess.run(["ssh-add", "-q", sshd.key], check=True)
        assert ssh(spec).run(Command(("true",))).ok
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("listening", [False, True])
def test_unreachable(sshd: Sshd, ssh: Opener, listening: bool) -> None:  # noqa: FBT001 a case
    """Where nobody listens, or nobody speaks SSH, the host is unreachable within its connect timeout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listening:
            server.close()
        spec = sshd.spec.model_copy(update={"port": port, "connect_timeout": timedelta(seconds=1)})
        started = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            ssh(spec).run(Command(("true",)))
    assert time.monotonic() - started < 5
    assert caught.value.retryable


def test_cut_connection_is_an_unknown_outcome(fragile: Sshd, ssh: Opener) -> None:
    """A connection that breaks under a command makes its outcome unknown, no success and no failure."""
    host = ssh(fragile.spec)
    pid = serving(fragile, host)
    mark = f"95{uuid.uuid4().int % 10**8}"
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(host.run, Command(("sh", "-c", f"echo begun; sleep {mark}")))
        assert eventually(lambda: bool(running_with(mark)))
        kill(pid)
        done = future.result(20)
    for left in running_with(mark):
        kill(left)
    assert (done.ended, done.exit_code, done.ok) == (Ended.UNKNOWN, None, False)
    assert done.failure("it").unknown
    assert host.run(Command(("echo", "back"))).text == "back\n"


def test_connection_lost_between_commands_is_made_again(fragile: Sshd, ssh: Opener) -> None:
    """A command that finds its old connection gone runs on a new one."""
    host = ssh(fragile.spec)
    for _ in range(3):
        kill(serving(fragile, host))
        assert host.run(Command(("true",))).ok


def test_remote_deadline(fragile: Sshd, ssh: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose connection is gone is still ended on the machine when its time is over."""
    monkeypatch.setattr(script, "REMOTE_MARGIN", 0.0)
    host = ssh(fragile.spec)
    pid = serving(fragile, host)
    mark = f"94{uuid.uuid4().int % 10**8}"
    script_ = f"trap '' TERM; sleep {mark} & sleep {mark}; sleep {mark}"
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(host.run, Command(("sh", "-c", script_), timeout=2))
        assert eventually(lambda: bool(running_with(mark)))
        kill(pid)
        assert future.result(20).ended is Ended.UNKNOWN
    assert running_with(mark)
    assert eventually(lambda: not running_with(mark), within=15)


def test_hanging_connection(fragile: Sshd, ssh: Opener) -> None:
    """A server process that stands still costs a running command its timeout; its end is made through another."""
    host = ssh(fragile.spec)
    pid = serving(fragile, host)
    below = children(pid)
    mark = f"93{uuid.uuid4().int % 10**8}"
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(host.run, Command(("sleep", mark), timeout=1.5))
        assert eventually(lambda: bool(running_with(mark)))
        stopped = [pid, *(each for each in below if alive(each))]
        for each in stopped:
            os.kill(each, signal.SIGSTOP)
        try:
            done = future.result(30)
            assert done.ended is Ended.TIMED_OUT
            assert not running_with(mark)
            with pytest.raises(Unreachable):
                host.run(Command(("true",), timeout=1))
        finally:
            for each in stopped:
                os.kill(each, signal.SIGCONT)


def test_hanging_machine_is_given_up(fragile: Sshd, ssh: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that answers no keepalive is taken for gone, so a command without a timeout does not wait for ever."""
    monkeypatch.setattr(connection, "KEEPALIVE", 0.2)
    monkeypatch.setattr(connection, "PATIENCE", 0.5)
    host = ssh(fragile.spec)
    pid = serving(fragile, host)
    mark = f"89{uuid.uuid4().int % 10**8}"
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(host.run, Command(("sleep", mark)))
        assert eventually(lambda: bool(running_with(mark)))
        time.sleep(0.3)  # a few keepalives are answered first
        assert not future.done()
        os.kill(pid, signal.SIGSTOP)
        try:
            assert future.result(20).ended is Ended.UNKNOWN
        finally:
            os.kill(pid, signal.SIGCONT)
            for each in (pid, *running_with(mark)):
                kill(each)


def test_one_connection_for_many_commands(fragile: Sshd, ssh: Opener) -> None:
    """Many commands at once share one connection, and more of them than a server grants wait their turn."""
    host = ssh(fragile.spec)
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(host.run, Command(("sh", "-c", f"sleep 0.2; echo {n}"))) for n in range(16)]
        assert [future.result(30).text for future in futures] == [f"{n}\n" for n in range(16)]
    # Those of earlier tests are on their way out.
    assert eventually(lambda: len(fragile.connections()) == 1)


def test_nothing_is_said_to_a_channel_that_was_left(
    fragile: Sshd, ssh: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end of input that comes late, after both sides closed the channel, does not end the connection; and the number
    of that channel serves the next.
    """
    send = paramiko.Transport._send_user_message  # type: ignore[attr-defined]  # the stubs leave it out
    late: list[bool] = []

    def held(self: paramiko.Transport, message: paramiko.Message) -> None:
        if message.asbytes()[0] == END_OF_INPUT and threading.current_thread() is not self:
            number = int.from_bytes(message.asbytes()[1:5], "big")
            late.append(eventually(lambda: all(each.remote_chanid != number for each in self._channels.values())))  # type: ignore[attr-defined]
            time.sleep(0.05)  # the server hears CLOSE before what was held; without that the test proves less
        send(self, message)

    monkeypatch.setattr(paramiko.Transport, "_send_user_message", held)
    host = ssh(fragile.spec)
    pid = serving(fragile, host)
    late.clear()
    for _ in range(3):
        assert host.run(Command(("echo", "heard"))).text == "heard\n"
    assert eventually(lambda: len(late) == 3), "the server was the first to close"
    assert all(late)
    time.sleep(0.1)
    assert host.run(Command(("true",))).ok
    assert pid in fragile.connections()


def test_few_sessions(sshd_factory: SshdFactory, ssh: Opener) -> None:
    """Where the server grants two sessions, further commands wait, and one that takes too long is still ended."""
    machine = sshd_factory(options="MaxSessions 2")
    host = ssh(machine.spec)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(host.run, Command(("sh", "-c", f"sleep 0.1; echo {n}"))) for n in range(8)]
        assert [future.result(30).text for future in futures] == [f"{n}\n" for n in range(8)]
        mark = f"92{uuid.uuid4().int % 10**8}"
        late = [pool.submit(host.run, Command(("sleep", mark), timeout=1)) for _ in range(2)]
        assert [future.result(30).ended for future in late] == [Ended.TIMED_OUT] * 2
    assert not running_with(mark)


def test_no_sessions(sshd_factory: SshdFactory, ssh: Opener) -> None:
    """A server that grants no session is told as such."""
    with pytest.raises(HostError, match="grants no session"):
        ssh(sshd_factory(options="MaxSessions 0").spec).run(Command(("true",)))


def test_forced_command(sshd_factory: SshdFactory, ssh: Opener) -> None:
    """Where the login executes something else, nothing of the command was begun, and what it said is shown."""
    machine = sshd_factory(options='ForceCommand echo "This account is not available."; exit 1')
    with pytest.raises(HostError, match="This account is not available"):
        ssh(machine.spec).run(Command(("true",)))


def test_forbidden_forwarding(sshd_factory: SshdFactory, ssh: Opener, tmp_path: Path) -> None:
    """Where the server forbids forwarding, dialling and publishing name the setting."""
    host = ssh(sshd_factory(options="AllowTcpForwarding no").spec)
    with pytest.raises(HostError, match="AllowTcpForwarding"), host.dial("127.0.0.1", 1):
        pass
    with pytest.raises(HostError, match="AllowTcpForwarding"), host.publish(tmp_path / "x"):
        pass
    assert host.run(Command(("true",))).ok


@contextmanager
def silent_port() -> Iterator[tuple[str, int]]:
    """A port that says nothing at all to visitors, as a machine without power does."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for visitor in (first, second):  # there is room for nobody else
            visitor.settimeout(0)
            visitor.connect_ex(server.getsockname())
        yield server.getsockname()


def test_a_silent_port_keeps_no_command_waiting(sshd: Sshd, ssh: Opener) -> None:
    """While a port is dialled that says nothing, commands on the same connection begin as ever."""
    host = ssh(sshd.spec)
    host.run(Command(("true",)))
    with silent_port() as (address, port), ThreadPoolExecutor(1) as pool:

        def dial() -> None:
            with host.dial(address, port, timeout=3):
                pass

        dialling = pool.submit(dial)
        for _ in range(3):
            assert host.run(Command(("true",))).ok
            assert not dialling.done()
        with pytest.raises(HostError, match="nothing answers"):
            dialling.result()


@pytest.mark.parametrize(
    ("changed", "handed_on"), [({"connect_timeout": timedelta(seconds=9)}, True), ({"env": {"A": "b"}}, False)]
)
def test_a_connection_is_handed_on(fragile: Sshd, changed: dict[str, object], *, handed_on: bool) -> None:
    """Who follows goes on with the connection to a machine that has shown who it is, if only the patience differs."""
    former = open_host("there", fragile.spec, secrets=Known(), halt=Halt())
    former.identity()
    before = set(fragile.connections())
    heir = open_host("there", fragile.spec.model_copy(update=changed), secrets=Known(), halt=Halt(), former=former)
    former.close()
    assert heir.run(Command(("true",))).ok
    assert (set(fragile.connections()) <= before) is handed_on
    heir.close()


def test_a_silent_machine_is_waited_for_once(sshd: Sshd) -> None:
    """Whoever asks a moment later does not knock again, nor who follows, unless that has more patience."""
    with silent_port() as (address, port):
        where = sshd.spec.model_copy(update={"address": address, "port": port})
        hasty, patient = (
            where.model_copy(update={"connect_timeout": timedelta(seconds=seconds)}) for seconds in (0.2, 0.4)
        )
        former = open_host("there", hasty, secrets=Known(), halt=Halt())
        assert 0.2 <= waited(former, 5) < 0.4
        assert waited(former, 5) < 0.1
        heir = open_host("there", patient, secrets=Known(), halt=Halt(), former=former)
        assert waited(heir, 0.1) < 0.1
        assert waited(heir, 5) >= 0.4


def waited(host: Host, timeout: float) -> float:
    """How long a command waits for a silent machine, with so much time of its own."""
    began = time.monotonic()
    with pytest.raises(Unreachable, match="silent for"):
        host.run(Command(("true",), timeout=timeout))
    return time.monotonic() - began


def test_public_forwarding_is_refused(sshd_factory: SshdFactory, ssh: Opener, tmp_path: Path) -> None:
    """A server that would offer a published port to the world is refused, and the port closed again."""
    host = ssh(sshd_factory(options="GatewayPorts yes").spec)
    with pytest.raises(HostError, match="GatewayPorts"), host.publish(tmp_path / "x"):
        pass


def test_halt_while_waiting_for_a_place(sshd: Sshd) -> None:
    """A request to stop reaches commands that run and commands that wait for a place."""
    halt = Halt()
    host = SshHost("there", sshd.spec, secrets=None, halt=halt, grace=GRACE)  # type: ignore[arg-type]  # needs none
    with ThreadPoolExecutor(12) as pool:
        futures = [pool.submit(host.run, Command(("sleep", "60"))) for _ in range(12)]
        assert eventually(lambda: host._open == 8)
        halt.request()
        errors = [type(future.exception(30)).__name__ for future in futures]
    assert errors == ["Interrupted"] * 12
    host.close()


def test_identity_has_the_host_key(sshd: Sshd, fragile: Sshd, ssh: Opener) -> None:
    """Two servers on one machine are told apart by their host keys, and a host is the same as itself."""
    one, other = ssh(sshd.spec).identity(), ssh(fragile.spec).identity()
    assert one.host_key == sshd.host_key
    assert one.machine_id == other.machine_id
    assert not one.same_machine(other)
    assert one.same_machine(ssh(sshd.spec).identity())


def test_stranger_on_a_cancelled_port(sshd: Sshd, ssh: Opener, tmp_path: Path) -> None:
    """The end of one offer leaves the others of the same connection open."""
    host = ssh(sshd.spec)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / "door"))
    door.listen()
    with door, host.publish(tmp_path / "door") as port:
        with host.publish(tmp_path / "nobody"):
            pass
        with socket.create_connection(("127.0.0.1", port), timeout=10) as visitor:
            inside, _ = door.accept()
            with inside:
                visitor.sendall(b"x")
                assert inside.recv(1) == b"x"


def test_threads_end_with_the_host(sshd: Sshd) -> None:
    """A closed host leaves no thread behind."""
    before = set(threading.enumerate())
    host = SshHost("there", sshd.spec, secrets=None, halt=Halt(), grace=GRACE)  # type: ignore[arg-type]  # needs none
    host.run(Command(("cat",), stdin=b"x"))
    host.close()
    assert eventually(lambda: not [each for each in set(threading.enumerate()) - before if each.is_alive()])


SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "fish", "tcsh", "busybox") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_opens(shell: str) -> None:
    """The opening line is the same to every login shell, and the order then goes to /bin/sh."""
    words = ["a\nb", "'", "\\", "!x", "$HOME", "\udcff", ""]
    order = script.order(("printf", r"%s\0", *words), {"A": "'\n\\"}, cwd=None, timeout=5, grace=1)
    applet = ["sh"] if shell == "busybox" else []
    done = subprocess.run(
        [shell, *applet, "-c", script.opening("mark123").decode()], input=order, capture_output=True, check=True
    )
    noise, _, said = done.stdout.partition(b"mark123\n")
    assert noise == b""
    assert said.split(b"\0")[:-1] == [encoded(word) for word in words]
    assert done.stderr.startswith(b"mark123 ")


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell in ("sh", "bash", "dash", "busybox")])
def test_any_posix_shell_reads_the_order(shell: str) -> None:
    """Whatever /bin/sh is, the order means the same and the input after it is untouched."""
    words = [chr(code) if code < 128 else chr(0xDC00 + code) for code in range(1, 256)]
    order = script.order(("sh", "-c", r'printf "%s\0" "$@"; cat', "sh", *words), {}, cwd="/", timeout=5, grace=1)
    applet = ["sh"] if shell == "busybox" else []
    argv = [shell, *applet, "-c", script._READER.format(mark="m")]
    env = {"LC_ALL": "C", "PATH": os.environ["PATH"], "HOME": "/"}
    done = subprocess.run(argv, input=order + b"rest\n", capture_output=True, check=True, env=env)
    assert done.stdout == b"m\n" + b"\0".join(encoded(word) for word in words) + b"\0rest\n"


TABLES = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:9C40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 00000000:9C41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   2: 00000000:9C42 0100007F:0001 01 00000000:00000000 00:00000000 00000000     0        0 1
   0: 00000000000000000000000001000000:9C43 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1
   1: 00000000000000000000000000000000:9C44 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1
"""


@pytest.mark.parametrize(
    ("port", "verdict"), [(40000, False), (40001, True), (40002, False), (40003, False), (40004, True), (1, False)]
)
def test_exposed_ports(port: int, verdict: bool) -> None:  # noqa: FBT001 a case
    """A port is exposed when the kernel's tables show it listening at more than the loopback address."""
    assert script.exposed(TABLES, port) is verdict
