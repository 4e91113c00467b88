"""`drorch host` and `drorch repository` against real machines and a real restic."""

import getpass
from pathlib import Path

import pytest

from drorch.config.load import load
from drorch.core.exits import Exit
from drorch.hosts.ssh.keys import fingerprint
from support.place import Place
from support.sshd import Sshd, SshdFactory

OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB0Ea1N2cF9cVx1eQw8y5mVYyq2b8v0m3t1mJr9mQyXk"


@pytest.fixture
def remote(place: Place, sshd: Sshd) -> Place:
    """The standby is an SSH machine whose key nobody has pinned yet."""
    spec = f"web2: {{address: 127.0.0.1, port: {sshd.port}, user: {getpass.getuser()}, key: {sshd.key}}}"
    place.inventory.write_text(place.inventory.read_text().replace("web2: {home: ../web2}", spec))
    return place


def pins(place: Place) -> str | None:
    """The pinned key of the standby."""
    return getattr(load(place.inventory.parent).inventory.hosts["web2"], "host_key", None)


def test_a_right_fingerprint_pins_the_key(remote: Place, sshd: Sshd) -> None:
    """The key lands in the user's own text, comments untouched, and the host can be used from then on."""
    before = remote.inventory.read_text()
    remote.drorch("host", "test", "web2", expect=Exit.FAILED)
    said = remote.json("host", "trust", "web2", "--fingerprint", fingerprint(sshd.host_key))
    assert (said["changed"], said["login"]) == (True, "ok")
    assert pins(remote) == sshd.host_key
    after = remote.inventory.read_text()
    assert "# the standby" in after
    assert [line for line in after.splitlines() if "web2: {" not in line] == [
        line for line in before.splitlines() if "web2: {" not in line
    ]
    assert remote.json("host", "test", "web2")["hosts"][0]["ok"]
    assert remote.json("host", "trust", "web2")["changed"] is False


@pytest.mark.parametrize("words", [(), ("--fingerprint", "SHA256:wrong")])
def test_nothing_is_trusted_without_a_person_or_the_right_fingerprint(remote: Place, words: tuple[str, ...]) -> None:
    """There is no silent first use: a script that does not know the key is refused, and the file is as before."""
    before = remote.inventory.read_bytes()
    assert "SHA256:" in remote.drorch("host", "trust", "web2", *words, expect=Exit.REFUSED).stderr
    assert remote.inventory.read_bytes() == before


def test_another_pin_is_replaced_on_demand_only(remote: Place, sshd: Sshd) -> None:
    """A changed key is an alarm first; --replace is a person's word that the machine was replaced."""
    text = remote.inventory.read_text().replace("user: ", f"host_key: {OTHER}, user: ")
    remote.inventory.write_text(text)
    alarm = remote.drorch("host", "trust", "web2", "--yes", expect=Exit.REFUSED).stderr
    assert fingerprint(OTHER) in alarm
    assert remote.inventory.read_text() == text
    remote.drorch("host", "trust", "web2", "--replace", "--fingerprint", fingerprint(sshd.host_key))
    assert pins(remote) == sshd.host_key


def test_another_machine_behind_the_pinned_key_is_refused(remote: Place) -> None:
    """A pinned machine id outlives a trusted key: nothing changes until the user says that the machine was replaced."""
    other = "0" * 32
    text = remote.inventory.read_text().replace("user: ", f'machine_id: "{other}", user: ')
    remote.inventory.write_text(text)
    remote.drorch("host", "trust", "web2", "--yes", expect=Exit.FAILED)
    assert remote.inventory.read_text() == text
    assert other not in remote.json("host", "trust", "web2", "--yes", "--replace")["pins"].get("machine_id", "")


def test_a_key_can_be_trusted_before_the_login_works(remote: Place, sshd_factory: SshdFactory) -> None:
    """Who the machine is and whether it lets drorch in are two questions."""
    stranger = sshd_factory()
    (stranger.folder / "authorized_keys").write_text("")
    text = remote.inventory.read_text()
    port = text.partition("port: ")[2].partition(",")[0]
    remote.inventory.write_text(text.replace(port, str(stranger.port)))
    said = remote.json("host", "trust", "web2", "--yes")
    assert said["login"] != "ok"
    assert pins(remote) == stranger.host_key


def test_the_file_keeps_its_mode(remote: Place) -> None:
    """A pin does not make an inventory readable by others."""
    remote.inventory.chmod(0o600)
    remote.drorch("host", "trust", "web2", "--yes")
    assert remote.inventory.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in remote.inventory.parent.iterdir()} == {"drorch.yaml", "runbooks"}


@pytest.mark.parametrize(("name", "code"), [("web1", Exit.REFUSED), ("web9", Exit.UNKNOWN)])
def test_what_cannot_be_trusted(remote: Place, name: str, code: Exit) -> None:
    """A local host has no key, an unknown one is unknown."""
    remote.drorch("host", "trust", name, "--yes", expect=code)


def test_hosts_are_listed_without_connecting(remote: Place) -> None:
    """Connector, roles and whether the host can be used yet."""
    web1, web2 = remote.json("host", "list")["hosts"]
    assert (web1["usable"], web1["primary_of"]) == (True, ["shop"])
    assert (web2["usable"], web2["standby_of"]) == (False, ["shop"])
    assert "drorch host trust web2" in remote.drorch("host", "list").stdout


def test_a_repository_is_created_once_and_lists_its_points(place: Place, restic: Path) -> None:
    """Creating is explicit and never repeated; each recovery point stands under its service and source."""
    assert restic.exists()
    media = place.folder / "media"
    media.mkdir()
    (media / "a").write_text("one\n")
    place.inventory.write_text(place.inventory.read_text().replace("/srv/media", str(media)))
    assert "error" in place.json("repository", "list", expect=Exit.FAILED)["repositories"][0]
    assert len(place.json("repository", "create", "nas")["id"]) == 64
    place.drorch("repository", "create", "nas", expect=Exit.FAILED)
    assert "0 recovery points" in place.drorch("repository", "list").stdout
    place.drorch("run", "nightly")
    (point,) = place.json("repository", "list", "nas")["repositories"][0]["points"]
    assert (point["service"], point["source"], point["bytes"]) == ("shop", "media", 4)
    assert point["run"] == place.json("show", "last")["run"]
    assert place.json("repository", "unlock", "nas")["unlocked"]
    place.drorch("repository", "list", "vault", expect=Exit.UNKNOWN)


def test_a_password_in_an_address_is_not_shown(place: Place) -> None:
    """What a URL carries by mistake stays off the screen."""
    text = place.inventory.read_text().replace("../nas", "rest:http://me:planted-42@127.0.0.1:9/x")
    place.inventory.write_text(text)
    done = place.drorch("repository", "create", "nas", expect=Exit.CONFIG)
    assert "planted-42" not in done.stdout + done.stderr
