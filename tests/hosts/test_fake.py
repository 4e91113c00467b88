"""The machine that exists only in memory."""

from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import HostError, Interrupted, Unreachable, WrongHost
from drorch.core.host import Command, Ended, FakeHostSpec, Host
from drorch.hosts import open_host
from drorch.hosts.fake import Answer, FakeHost, Fault, Reply

from .conftest import Known


def test_longest_answer_wins() -> None:
    """Answers are found by a command's first words, the longest match first; what nobody knows is not found."""
    host = FakeHost("a", answers={("ls",): Reply(stdout=b"any"), ("ls", "-l"): Reply(2, stderr=b"long")})
    assert host.run(Command(("ls", "x"))).stdout == b"any"
    assert host.run(Command(("ls", "-l", "x"))).exit_code == 2
    assert host.run(Command(("rm",))).exit_code == 127
    assert host.commands == (("ls", "x"), ("ls", "-l", "x"), ("rm",))


@pytest.mark.parametrize(
    ("fault", "ended", "ok", "truncated"),
    [
        (Fault.HANG, Ended.TIMED_OUT, False, False),
        (Fault.LOST, Ended.UNKNOWN, False, False),
        (Fault.LIE, Ended.EXITED, True, False),
        (Fault.FLOOD, Ended.EXITED, True, True),
    ],
)
def test_faults(fault: Fault, ended: Ended, ok: bool, truncated: bool) -> None:  # noqa: FBT001 cases
    """Each fault ends as on a real machine."""
    done = FakeHost("a", answers={(): fault}).run(Command(("x",), timeout=5, output_limit=10))
    assert (done.ended, done.ok, done.truncated) == (ended, ok, truncated)
    assert len(done.stdout) <= 10


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Fault.GONE, Unreachable), (Fault.HANG, Interrupted), (HostError("no"), HostError)],
)
def test_faults_that_raise(answer: Answer, error: type[BaseException]) -> None:
    """No connection, a hang without a timeout and a scripted error are raised."""
    with pytest.raises(error):
        FakeHost("a", answers=lambda _: answer).run(Command(("x",)))


def test_input_and_lines(tmp_path: Path) -> None:
    """The whole input is recorded, and lines are handed on as by a real machine."""
    (tmp_path / "in").write_bytes(b"input")
    lines: list[bytes] = []
    host = FakeHost("a", answers={(): Reply(stdout=b"1\n2")})
    done = host.run(Command(("x",), stdin=tmp_path / "in"), on_line=lines.append)
    assert host.asked[0].stdin == b"input"
    assert (lines, done.stdout) == ([b"1", b"2"], b"")


def test_files_services_and_identity() -> None:
    """Files, services and the pin behave as on a real machine."""
    host = FakeHost("a", services={("127.0.0.1", 80): lambda served: served.sendall(b"hi")})
    host.put("~/x", b"content", mode=0o640)
    assert (host.get("/root/x"), host.modes["/root/x"]) == (b"content", 0o640)
    with pytest.raises(HostError):
        host.get("~/x", limit=3)
    with pytest.raises(HostError):
        host.get("~/y")
    with host.dial("127.0.0.1", 80) as connection:
        assert connection.recv(2) == b"hi"
    with pytest.raises(HostError), host.dial("127.0.0.1", 81):
        pass
    assert not host.identity().same_machine(FakeHost("b").identity())
    with pytest.raises(WrongHost):
        FakeHost("a", FakeHostSpec(connector="fake", machine_id="x")).identity()


def test_gone_and_halted() -> None:
    """A machine that is not there, or a request to stop, ends every verb."""
    halt = Halt()
    opened: Host = open_host("a", FakeHostSpec(connector="fake"), secrets=Known(), halt=halt)
    assert opened.identity().hostname == "a"
    with pytest.raises(Unreachable):
        FakeHost("a", reachable=False).get("/x")
    halt.request()
    with pytest.raises(Interrupted):
        opened.run(Command(("x",)))
