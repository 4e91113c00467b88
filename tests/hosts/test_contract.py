"""What every connector promises; one suite for all of them, with real processes."""

import hashlib
import io
import os
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drorch.core.clock import Halt
from drorch.core.errors import HostError, Interrupted, WrongHost
from drorch.core.host import Command, Ended
from drorch.core.secret import Secret
from support.processes import eventually, kill, running_with

from .conftest import Machine, RealHost

HOSTILE = [
    "",
    "-rf",
    "--",
    "a b",
    "a\nb\n",
    "\n",
    "'",
    '"',
    "\\",
    "\\n",
    "$HOME",
    "$(touch /tmp/x)",
    "`id`",
    "!!",
    "~/x",
    "*",
    "a;b&c|d>e<f",
    "\t\r\x01\x1b[31m\x7f",
    "\udcff\udc80\udce4",
    "\udc81\udc82\udc83\udc84\udc85\udc86\udc87\udc88",
    "ä€😀",
    "#",
    "=",
    "{a,b}",
    "x" * 100_000,
]

any_bytes = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
any_word = st.one_of(st.sampled_from(HOSTILE[:-1]), any_bytes)


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Something beside the test."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive()


def raw(word: str) -> bytes:
    """A word's bytes."""
    return word.encode("utf-8", "surrogateescape")


def test_hostile_words_arrive(host: RealHost) -> None:
    """Every word arrives as it was given, whatever a shell would make of it."""
    done = host.run(Command(("printf", r"%s\0", *HOSTILE)))
    assert done.stdout.split(b"\0")[:-1] == [raw(word) for word in HOSTILE]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(any_word, min_size=1, max_size=5), value=any_word)
def test_any_words_arrive(host: RealHost, words: list[str], value: str) -> None:
    """Any bytes but NUL arrive unchanged in argument lists and in the environment."""
    done = host.run(Command(("sh", "-c", r'printf "%s\0" "$VALUE" "$@"', "sh", *words), env={"VALUE": value}))
    assert done.ok, done
    assert done.stdout.split(b"\0")[:-1] == [raw(word) for word in (value, *words)]


@pytest.mark.parametrize(
    "command",
    [
        Command(()),
        Command(("",)),
        Command(("echo", "a\0b")),
        Command(("true",), env={"A B": "x"}),
        Command(("true",), env={"A=B; touch x #": "x"}),
        Command(("true",), env={"A": "x\0y"}),
        Command(("true",), stdin=Path("/nowhere/at/all")),
    ],
)
def test_impossible_commands_are_refused(host: RealHost, command: Command) -> None:
    """What no machine could execute is refused before anything starts."""
    with pytest.raises(HostError):
        host.run(command)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 3"), 3),
        (("sh", "-c", "kill -9 $$"), 137),
        (("sh", "-c", "kill -15 $$"), 143),
        (("no-such-program-anywhere",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_exit_codes(host: RealHost, argv: tuple[str, ...], code: int) -> None:
    """An exit code is the process's own, and 128 + n for signal n; a missing program is 127."""
    done = host.run(Command(argv))
    assert (done.ended, done.exit_code) == (Ended.EXITED, code)


def test_missing_program_is_named(host: RealHost) -> None:
    """The errors of a command whose program is missing name it."""
    assert "no-such-program" in host.run(Command(("no-such-program",))).errors


def test_folder(machine: Machine) -> None:
    """A command starts in the home, or where it is told to, ``~/`` being the host's home; elsewhere it fails."""
    host = machine.open()
    name = "a 'b\n\udcff"
    os.makedirs(os.path.join(raw(str(machine.home)), raw(name)), exist_ok=True)  # noqa: PTH103, PTH118 bytes are the case
    assert host.run(Command(("pwd",))).text.strip() == str(machine.home)
    assert host.run(Command(("pwd",), cwd="/usr")).stdout == b"/usr\n"
    assert host.run(Command(("pwd",), cwd=f"~/{name}")).stdout == raw(f"{machine.home}/{name}\n")
    assert host.run(Command(("pwd",), cwd="/nowhere/at/all")).exit_code == 126


def test_environment_is_clean(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inherited RESTIC_PASSWORD, of drorch's own or a login shell's environment, reaches no command."""
    monkeypatch.setenv("RESTIC_PASSWORD", "inherited")
    (machine.home / ".bashrc").write_text("export RESTIC_PASSWORD=inherited\necho noise\necho noise >&2\n")
    try:
        done = machine.open().run(Command(("env",), env={"OWN": "1"}))
    finally:
        (machine.home / ".bashrc").unlink()
    names = {line.split("=")[0] for line in done.text.splitlines()}
    assert "RESTIC_PASSWORD" not in names
    assert {"PATH", "HOME", "USER", "LOGNAME", "LANG", "OWN"} <= names
    assert done.stderr == b""


def test_secrets_stay_hidden(host: RealHost) -> None:
    """A secret reaches the command and never an argument list, a representation or an error."""
    canary = f"canary-{uuid.uuid4().hex}"
    seen: list[tuple[int, ...]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(running_with(canary))

    with beside(watch):
        for _ in range(5):
            command = Command(
                ("sh", "-c", 'printf %s "$TOKEN"; sleep 0.05; cat'),
                env={"TOKEN": Secret("token", canary)},
                stdin=Secret("token", canary),
            )
            done = host.run(command)
            assert done.text == canary * 2
            assert canary not in repr(command)
        with pytest.raises(HostError) as caught:
            host.run(Command(("true",), env={"T": Secret("token", canary + "\0")}))
        stop.set()
    assert canary not in str(caught.value)
    assert not any(seen)


@pytest.mark.parametrize("stream", [1, 2])
def test_flood_is_bounded(host: RealHost, stream: int) -> None:
    """A flood is read to its end, and no more than the limit is kept."""
    done = host.run(Command(("sh", "-c", f"head -c 20000000 /dev/zero >&{stream}"), output_limit=1000))
    assert done.ok
    assert done.truncated
    assert len(done.stdout) + len(done.stderr) == 1000


def test_lines(host: RealHost) -> None:
    """Lines arrive one by one, a huge one cut, the last without its newline, and are not kept."""
    lines: list[bytes] = []
    script = r"printf 'a\n\nb\n'; head -c 5000000 /dev/zero | tr '\0' x; printf '\nend'"
    done = host.run(Command(("sh", "-c", script)), on_line=lines.append)
    assert lines == [b"a", b"", b"b", b"x" * (4 << 20), b"end"]
    assert done.stdout == b""
    assert done.truncated


def test_error_in_a_line_ends_the_command(host: RealHost) -> None:
    """An error of the receiver of lines passes through, and the command does not stay behind."""
    mark = f"98{uuid.uuid4().int % 10**8}"

    def fail(line: bytes) -> None:
        raise LookupError(line)

    with pytest.raises(LookupError):
        host.run(Command(("sh", "-c", f"echo x; sleep {mark}")), on_line=fail)
    assert eventually(lambda: not running_with(mark))


def test_large_input_and_output(host: RealHost, tmp_path: Path) -> None:
    """50 MB go in while as much comes out, from a file, from bytes and from a stream, without a deadlock."""
    block = os.urandom(1 << 20)
    data = block * 50
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "big").write_bytes(data)
    done = host.run(Command(("cat",), stdin=tmp_path / "big", output_limit=1 << 30))
    assert hashlib.sha256(done.stdout).hexdigest() == digest
    assert host.run(Command(("sha256sum",), stdin=data)).text[:64] == digest
    assert host.run(Command(("sha256sum",), stdin=io.BytesIO(data))).text[:64] == digest


@pytest.mark.parametrize("stdin", [None, b"", b"x" * 5_000_000])
def test_unread_input(host: RealHost, stdin: bytes | None) -> None:
    """A command need not read its input, and an absent input is an empty one."""
    assert host.run(Command(("true",), stdin=stdin, timeout=20)).ok
    assert host.run(Command(("wc", "-c"), stdin=stdin, timeout=20)).text.strip() == str(len(stdin or b""))


def test_broken_input_is_no_success(host: RealHost) -> None:
    """A command whose input could not be read to its end is not believed: it would store half of it as the whole."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 100_000:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises(HostError, match="the disk is gone"):
        host.run(Command(("sh", "-c", "cat >/dev/null; sleep 0.3"), stdin=Broken(b"x" * 1_000_000)))


@pytest.mark.parametrize("stubborn", [False, True])
def test_timeout_ends_the_whole_tree(host: RealHost, stubborn: bool) -> None:  # noqa: FBT001 a case
    """A command that takes too long is ended with all its children, those that ignore the request among them."""
    mark = f"97{uuid.uuid4().int % 10**8}"
    trap = "trap '' TERM; " if stubborn else ""
    script = f"{trap}sleep {mark} & (sleep {mark} & sleep {mark}) & echo started; wait; sleep {mark}"
    done = host.run(Command(("sh", "-c", script), timeout=0.7))
    assert (done.ended, done.exit_code, done.stdout) == (Ended.TIMED_OUT, None, b"started\n")
    assert eventually(lambda: not running_with(mark), within=2)
    assert done.seconds < 6


def test_polite_end(host: RealHost) -> None:
    """A command that takes too long is asked first, and what it says then is heard."""
    script = "trap 'echo cleaned; exit 0' TERM; echo started; while :; do sleep 0.05; done"
    done = host.run(Command(("sh", "-c", script), timeout=0.5))
    assert (done.ended, done.stdout) == (Ended.TIMED_OUT, b"started\ncleaned\n")


def test_halt_ends_the_command(machine: Machine) -> None:
    """A request to stop ends the running command, and no further one starts."""
    halt = Halt()
    host = machine.open(halt=halt)
    mark = f"96{uuid.uuid4().int % 10**8}"

    def stop() -> None:
        assert eventually(lambda: bool(running_with(mark)))
        halt.request()

    with beside(stop), pytest.raises(Interrupted):
        host.run(Command(("sleep", mark)))
    assert eventually(lambda: not running_with(mark), within=2)
    with pytest.raises(Interrupted):
        host.run(Command(("true",)))


def test_left_child_does_not_hold_the_command(host: RealHost) -> None:
    """A command that leaves a child behind, which holds its pipes, has ended when it has ended; the child lives."""
    done = host.run(Command(("sh", "-c", "sleep 60 & echo $!; echo done"), timeout=20))
    child = int(done.stdout.split()[0])
    try:
        assert done.ok
        assert done.stdout.endswith(b"done\n")
        assert done.seconds < 5
        assert child in running_with("60")
    finally:
        kill(child)


def test_many_at_once(host: RealHost) -> None:
    """One host serves many threads at once, each with its own answer."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: host.run(Command(("sh", "-c", f"sleep 0.1; echo {n}"))).text, range(40)))
    assert answers == [f"{n}\n" for n in range(40)]


@pytest.mark.parametrize("name", ["plain", "a 'b\n$x", "-dash", "\udcff\udc80"])
def test_put_and_get(machine: Machine, name: str) -> None:
    """A file is put with its mode and read back, whatever its name; nothing else is left beside it."""
    host = machine.open()
    folder = f"{machine.home}/{uuid.uuid4().hex}"
    Path(folder).mkdir()
    content = os.urandom(300_000)
    host.put(f"{folder}/{name}", b"old", mode=0o644)
    host.put(f"{folder}/{name}", content, mode=0o640)
    assert host.get(f"{folder}/{name}") == content
    assert os.listdir(raw(folder)) == [raw(name)]  # noqa: PTH208 bytes are the case
    assert os.stat(raw(f"{folder}/{name}")).st_mode & 0o7777 == 0o640  # noqa: PTH116 bytes are the case


def test_put_from_file_into_home(machine: Machine, tmp_path: Path) -> None:
    """``~/`` is the host's home, and content may be a file of the controller."""
    (tmp_path / "source").write_bytes(b"content")
    host = machine.open()
    host.put("~/from-file", tmp_path / "source")
    assert (machine.home / "from-file").read_bytes() == b"content"
    assert host.get("~/from-file") == b"content"
    assert (machine.home / "from-file").stat().st_mode & 0o7777 == 0o600


def test_put_is_whole_or_not_at_all(machine: Machine) -> None:
    """A reader sees the old content or the new, never a piece."""
    host = machine.open()
    path = machine.home / uuid.uuid4().hex
    versions = [bytes([n]) * 2_000_000 for n in range(3)]
    path.write_bytes(versions[0])
    stop = threading.Event()
    torn: list[int] = []

    def read() -> None:
        while not stop.is_set():
            seen = path.read_bytes()
            if seen not in versions:
                torn.append(len(seen))

    with beside(read):
        for version in versions[1:]:
            host.put(str(path), version)
        stop.set()
    assert torn == []


def test_put_that_fails_leaves_nothing(machine: Machine) -> None:
    """A file that cannot be put is told, and leaves neither a piece nor a temporary file."""
    host = machine.open()
    folder = machine.home / uuid.uuid4().hex
    (folder / "taken").mkdir(parents=True)
    for path in (folder / "taken", folder / "missing" / "x"):
        with pytest.raises(HostError, match="cannot write"):
            host.put(str(path), b"x")
    assert [each.name for each in folder.iterdir()] == ["taken"]


def test_get_refuses(machine: Machine) -> None:
    """A missing file, a folder and a file over the limit are errors, and the limit itself is not."""
    host = machine.open()
    (machine.home / "ten").write_bytes(b"0123456789")
    assert host.get("~/ten", limit=10) == b"0123456789"
    with pytest.raises(HostError, match="larger than 9 bytes"):
        host.get("~/ten", limit=9)
    for path in ("~/no-such-file", str(machine.home)):
        with pytest.raises(HostError, match="cannot read"):
            host.get(path)


def test_identity_and_its_pin(machine: Machine) -> None:
    """A machine tells who it is; the pinned one is accepted and any other refused."""
    identity = machine.open().identity()
    assert identity.home == str(machine.home)
    assert identity.hostname == socket.gethostname()
    assert machine.open(machine_id=identity.machine_id).identity() == identity
    with pytest.raises(WrongHost, match="drorch host trust"):
        machine.open(machine_id="0" * 32).identity()


@contextmanager
def echo_server(server: socket.socket) -> Iterator[None]:
    """Sends back what it gets, in capitals, until the visitor has said all."""

    def serve() -> None:
        while True:
            try:
                visitor, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(visitor,), daemon=True).start()

    def answer(visitor: socket.socket) -> None:
        with visitor, suppress(ConnectionError):
            while data := visitor.recv(65536):
                visitor.sendall(data.upper())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def exchange(connection: socket.socket, data: bytes) -> bytes:
    """Send all, say so, and read to the end, both at once."""
    with ThreadPoolExecutor(1) as pool:

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sent = pool.submit(send)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        sent.result(10)
    return answer


def test_dial(host: RealHost) -> None:
    """A dialled socket carries megabytes both ways and passes on the end of each direction."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    data = b"hello " * 500_000
    with echo_server(server):
        for _ in range(2):
            with host.dial("127.0.0.1", port) as connection:
                assert exchange(connection, data) == data.upper()
    with pytest.raises(HostError, match="nothing answers"), host.dial("127.0.0.1", port):
        pass


def test_dialled_socket_serves_tls(host: RealHost) -> None:
    """The standard library's TLS can be laid over a dialled socket: a plain answer is told as such."""
    server = socket.create_server(("127.0.0.1", 0))
    with echo_server(server), host.dial("127.0.0.1", server.getsockname()[1]) as connection:
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_hostname="localhost")


def test_publish(host: RealHost, tmp_path: Path) -> None:
    """Unix sockets of the controller are offered on loopback ports of the host, several at once, until each ends."""
    data = b"hello " * 100_000
    servers = []
    for name in "ab":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(tmp_path / name))
        server.listen()
        servers.append(server)
    with echo_server(servers[0]), echo_server(servers[1]):
        with host.publish(tmp_path / "a") as one:
            with host.publish(tmp_path / "b") as two:
                assert one != two
                with ThreadPoolExecutor(8) as pool:
                    answers = pool.map(lambda port: visit(port, data), (one, two) * 4)
                    assert set(answers) == {data.upper()}
            assert eventually(lambda: closed(two))
            assert visit(one, b"still") == b"STILL"
        assert eventually(lambda: closed(one))


def visit(port: int, data: bytes) -> bytes:
    """Talk to a loopback port."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return exchange(connection, data)


def closed(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) != 0


def test_publishing_nobody(host: RealHost, tmp_path: Path) -> None:
    """A visitor to a socket that nobody serves is sent away, not left waiting."""
    with (
        host.publish(tmp_path / "nobody") as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as visitor,
    ):
        assert visitor.recv(1) == b""


def test_used_again_after_close(host: RealHost) -> None:
    """A closed host can be used again."""
    host.run(Command(("true",)))
    host.close()
    assert host.run(Command(("true",))).ok


def test_hang_is_bounded(host: RealHost) -> None:
    """A command that never says anything costs its timeout and no more."""
    started = time.monotonic()
    assert host.run(Command(("sleep", "600"), timeout=0.3)).ended is Ended.TIMED_OUT
    assert time.monotonic() - started < 5
