"""Finding restic on a machine, and bringing it there."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import ResticUnusable, Unreachable
from drorch.core.host import Command, FakeHostSpec, Host, HostSpec
from drorch.core.source import Tree
from drorch.hosts import open_host
from drorch.hosts.fake import Answers, FakeHost, Fault, Reply
from drorch.hosts.local import LocalHost
from drorch.repositories.restic import binary, debian
from drorch.repositories.restic.argv import Version
from support.dumping import machine
from support.sshd import Sshd
from support.vaults import NOW, SECRETS, OpenVault, tags

FOLDER = "/root/.drorch/bin"


def _says(version: str) -> Reply:
    return Reply(stdout=b'{"message_type":"version","version":"%s"}\n' % version.encode())


def _fake(answers: Answers) -> FakeHost:
    return FakeHost("web", FakeHostSpec(connector="fake"), answers)


def _never() -> Path:
    pytest.fail("the controller's restic was asked for")


def _with(on_path: str | None, *brought: str, broken: tuple[str, ...] = ()) -> FakeHost:
    """A machine with a restic on its PATH and others in drorch's folder."""
    answers: dict[tuple[str, ...], Reply] = {
        ("find", FOLDER): Reply(stdout="".join(f"restic-{name}\n" for name in brought).encode())
    }
    if on_path is not None:
        answers["restic", "version"] = _says(on_path)
    for name in brought:
        answers[f"{FOLDER}/restic-{name}", "version"] = Reply(126) if name in broken else _says(name)
    return _fake(answers)


FOUND = [
    # on the PATH, in drorch's folder, what is used
    ("0.19.1", (), "restic"),
    ("0.17.1", ("0.19.1",), "restic"),
    ("0.17.0", ("0.19.1",), f"{FOLDER}/restic-0.19.1"),
    ("0.14.0", ("0.9.6", "0.18.1", "0.19.1", "0.19.0"), f"{FOLDER}/restic-0.19.1"),
    (None, ("0.18.0",), f"{FOLDER}/restic-0.18.0"),
    (None, ("0.10.0", "0.9.0"), None),
    (None, ("new", "", "0.18.0.part"), f"{FOLDER}/restic-0.18.0.part"),
    ("0.16.5", (), None),
    ("1.0.0", (), "restic"),
    ("none", (), None),
    (None, (), None),
]


@pytest.mark.parametrize(("on_path", "brought", "used"), FOUND)
def test_the_newest_usable_restic_is_chosen(on_path: str | None, brought: tuple[str, ...], used: str | None) -> None:
    """A usable one on the PATH is the user's choice; else the newest of drorch's own; too old is none."""
    found, seen = binary.look(_with(on_path, *brought), FOLDER)
    assert (found.program if found else None) == used
    assert seen


def test_a_restic_that_does_not_run_is_passed_over() -> None:
    """One made for another machine is no restic; the next newest is."""
    found, _ = binary.look(_with(None, "0.19.1", "0.18.1", broken=("0.19.1",)), FOLDER)
    assert found == binary.Restic(f"{FOLDER}/restic-0.18.1", Version(0, 18, 1))


def test_a_usable_restic_costs_one_command() -> None:
    """Where the PATH has one, nothing else is looked at."""
    host = _with("0.19.1")
    assert binary.ensure(host, FOLDER, install=True, own=_never).version == Version(0, 19, 1)
    assert host.commands == (("restic", "version", "--json"),)


def test_nothing_is_brought_without_leave() -> None:
    """Without `install_restic` the message names the host, what was seen and what to do; nothing is uploaded."""
    host = _with("0.14.0")
    with pytest.raises(ResticUnusable) as caught:
        binary.ensure(host, FOLDER, install=False, own=_never)
    assert "web has no usable restic: restic 0.14.0 on the PATH is older than 0.17.1" in caught.value.message
    assert "install_restic: true for web" in caught.value.hint
    assert host.files == {}


@pytest.mark.parametrize("system", [b"Linux armv7l\n", b"FreeBSD amd64\n", b""])
def test_a_restic_for_another_machine_is_not_sent(system: bytes, tmp_path: Path) -> None:
    """Another processor or system is told before anything is uploaded."""
    own = tmp_path / "restic-0.19.1"
    own.write_bytes(b"\x7fELF\x02\x01".ljust(18, b"\0") + b"\x3e\0")
    host = _fake({("find",): Reply(), ("uname",): Reply(stdout=system)})
    with pytest.raises(ResticUnusable, match="made for Linux x86_64"):
        binary.ensure(host, FOLDER, install=True, own=lambda: own)
    assert host.files == {}


def test_an_upload_that_arrives_altered_is_removed(tmp_path: Path) -> None:
    """What arrives is hashed there before it is run; a difference is an error, and the file goes."""
    own = tmp_path / "restic-0.19.1"
    own.write_bytes(b"\x7fELF\x02\x01".ljust(18, b"\0") + b"\x3e\0")
    target = f"{FOLDER}/restic-0.19.1"
    host = _fake(
        {
            ("find",): Reply(),
            ("uname",): Reply(stdout=b"Linux x86_64\n"),
            ("sha256sum",): Reply(stdout=f"{'0' * 64}  {target}\n".encode()),
            ("rm",): Reply(),
            (target,): _says("0.19.1"),
        }
    )
    with pytest.raises(ResticUnusable, match="is not the one that was sent"):
        binary.ensure(host, FOLDER, install=True, own=lambda: own)
    assert ("rm", "-f", "--", target) in host.commands
    assert not any(words[0] == target for words in host.commands)


@pytest.fixture
def bare_machine(sshd: Sshd, tmp_path: Path) -> Iterator[tuple[Host, HostSpec]]:
    """A machine reached by SSH that has no restic and lets drorch bring its own."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name != "restic":
            (tools / program.name).symlink_to(program)
    more = {"work": f"{tmp_path}/work", "install_restic": True, "env": {"PATH": str(tools)}}
    spec = sshd.spec.model_copy(update=more)
    host = open_host("web", spec, secrets=SECRETS, halt=Halt())
    yield host, spec
    host.close()


def test_restic_is_brought_to_a_machine_and_used(
    open_vault: OpenVault, bare_machine: tuple[Host, HostSpec], tmp_path: Path
) -> None:
    """The controller's restic is uploaded once, named by its version, and takes the backup there."""
    host, spec = bare_machine
    (tmp_path / "file").write_text("x")
    for run in ("nightly@1", "nightly@2"):
        vault = open_vault(hosts={"web": spec})
        part = Tree(paths=(str(tmp_path / "file"),))
        taken = vault.repository.backup(host, part, tags(run), time=NOW, progress=lambda _: None, repeated=False)
        assert taken.files == 1
    (brought,) = (tmp_path / "work" / "bin").iterdir()
    assert brought.name.startswith("restic-0.")
    assert brought.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700


def _apt(answer: Callable[[tuple[str, ...]], Reply | None]) -> FakeHost:
    """A machine that runs drorch, whose apt answers so."""

    def reply(command: Command) -> Reply | None:
        if command.argv[0] == "apt-get":
            return answer(command.argv)
        return Reply() if command.argv[0] == "find" else None

    return FakeHost("controller", FakeHostSpec(connector="fake"), reply)


_MIRROR = Reply(stdout=b"Debian|main|https://deb.example.org/debian|\n")
_OLD = Reply(stdout=b"'https://deb.example.org/restic_0.14.0-1_amd64.deb' restic_0.14.0-1_amd64.deb 1 SHA256:0 \n")
NOTHING: list[tuple[str, Callable[[tuple[str, ...]], Reply | None], str]] = [
    # what is wrong, what apt answers, what the message holds
    ("no apt", lambda _: None, "names no Debian mirror"),
    ("no network", lambda words: _MIRROR if "indextargets" in words else Reply(100, stderr=b"E: no route"), "no route"),
    ("old only", lambda words: _MIRROR if "indextargets" in words else _OLD, "none is offered"),
]


@pytest.mark.parametrize(("answer", "words"), [each[1:] for each in NOTHING], ids=[each[0] for each in NOTHING])
def test_when_nothing_can_be_had_the_message_says_what_to_do(
    answer: Callable[[tuple[str, ...]], Reply | None], words: str, tmp_path: Path
) -> None:
    """Without apt, network or a new enough package, the error names the reason and how to install restic by hand."""
    with pytest.raises(ResticUnusable, match=words) as caught:
        binary.ensure_here(_apt(answer), tmp_path / "bin")
    assert "0.17.1" in caught.value.hint
    assert "PATH" in caught.value.hint


SIGNED = [
    ("deb [arch=amd64 signed-by=/k/a.gpg] https://x/ y main", 1, "/k/a.gpg"),
    ("# first\ndeb [signed-by=/k/b.gpg] https://x/ y main", 2, "/k/b.gpg"),
    ("deb https://x/ y main", 1, ""),
    ("Types: deb\nURIs: https://x/\nSigned-By: /k/c.gpg\n", 1, "/k/c.gpg"),
    ("Types: deb\nURIs: a\n\nTypes: deb\nSigned-By: /k/d.pgp\n", 2, "/k/d.pgp"),
    ("Types: deb\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n", 1, ""),
    ("", 1, ""),
]


@pytest.mark.parametrize(("text", "number", "keyring"), SIGNED)
def test_the_mirrors_own_keyring_is_used(text: str, number: int, keyring: str) -> None:
    """Both styles of apt's sources name the keyring that vouches for the mirror."""
    assert debian.signed_by(text, number) == keyring


def test_a_host_that_vanishes_is_not_called_without_restic() -> None:
    """A broken connection while looking is not read as a missing program."""
    host = _fake({("restic",): Fault.LOST})
    with pytest.raises(Unreachable, match="looking for restic on web"):
        binary.ensure(host, FOLDER, install=True, own=_never)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt here")
def test_a_machine_names_its_mirror_or_says_that_it_has_none(tmp_path: Path) -> None:
    """The machine's own apt is asked; nothing is fetched."""
    here: LocalHost = machine("controller", tmp_path)
    try:
        assert debian.own_mirror(here).uri.startswith(("http", "file", "cdrom", "mirror", "copy"))
    except ResticUnusable as error:
        assert "PATH" in error.hint  # noqa: PT017 - either is right, by machine


@pytest.mark.skipif("DRORCH_TEST_FETCH" not in os.environ, reason="half a minute: set DRORCH_TEST_FETCH=1")
def test_restic_is_fetched_from_a_newer_debian(tmp_path: Path) -> None:
    """The machine's own apt fetches and verifies a usable restic without root's help, and leaves nothing else."""
    here = machine("controller", tmp_path / "home")
    try:
        mirror = debian.own_mirror(here)
        path = debian.fetch(here, tmp_path, lambda _: None, mirror=mirror)
    except ResticUnusable as error:
        pytest.skip(f"nothing can be fetched here: {error}")
    end = here.run(Command((str(path), "version", "--json")))
    assert end.ok
    assert path.name.startswith("restic-0.")
    assert not (tmp_path / "apt").exists()
